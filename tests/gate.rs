//! The gate's rules, message limits and configuration checks.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test fails by panicking")]

use relayops_intent::classifier::{Classifier, ClassifyOptions, LabelModel, ModelInfo};
use relayops_intent::gate::{Answer, Gate, Route};
use relayops_intent::message::{MAX_MESSAGE_CHARS, Message};
use relayops_intent::pack::IntentConfig;
use relayops_intent::scoring::Scores;
use relayops_intent::{IntentError, Result};

const RESET: usize = 0;
const BILLING: usize = 3;
const UNKNOWN: usize = 5;

fn decide(text: &str, intent: usize, probabilities: &[f32], threshold: f32) -> (Route, String) {
    let config = IntentConfig::default();
    let gate = Gate::new(&config.labels, &config.policy).unwrap();
    let decision = gate.decide(Answer { text, intent, probabilities }, threshold);
    (decision.route, decision.reason)
}

/// `p` for label `intent`, the rest spread evenly.
fn distribution(intent: usize, p: f32) -> [f32; 6] {
    let mut probabilities = [(1.0 - p) / 5.0; 6];
    probabilities[intent] = p;
    probabilities
}

#[test]
fn a_confident_allowed_intent_stays_local() {
    assert_eq!(
        decide("restart it", RESET, &distribution(RESET, 0.9), 0.55),
        (Route::Local, "confident".to_owned())
    );
    assert_eq!(decide("restart it", RESET, &distribution(RESET, 0.55), 0.55).0, Route::Local);
}

#[test]
fn everything_else_escalates_and_says_why() {
    let nan = [f32::NAN; 6];
    for (text, intent, probabilities, threshold, reason) in [
        ("hi", RESET, &distribution(RESET, 0.549)[..], 0.55, "low_confidence"),
        ("hi", RESET, &distribution(RESET, 0.9), f32::NAN, "low_confidence"),
        ("hi", BILLING, &distribution(BILLING, 0.99), 0.0, "intent:billing"),
        ("hi", UNKNOWN, &distribution(UNKNOWN, 0.99), 0.0, "intent:unknown"),
        ("card 4111 1111 1111 1111 ok", RESET, &distribution(RESET, 0.99), 0.0, "pattern:payment_card"),
        ("4111-1111-1111-1111", RESET, &distribution(RESET, 0.99), 0.0, "pattern:payment_card"),
        ("378282246310005", RESET, &distribution(RESET, 0.99), 0.0, "pattern:payment_card"),
        ("visa4111111111111111x", RESET, &distribution(RESET, 0.99), 0.0, "pattern:payment_card"),
        ("4111  1111\u{a0}1111\u{2013}1111", RESET, &distribution(RESET, 0.99), 0.0, "pattern:payment_card"),
        ("078.05.1120", RESET, &distribution(RESET, 0.99), 0.0, "pattern:ssn"),
        ("ssn 078-05-1120", RESET, &distribution(RESET, 0.99), 0.0, "pattern:ssn"),
        ("hi", RESET, &nan, 0.0, "error:inference"),
        ("hi", RESET, &[0.9, 0.1], 0.0, "error:inference"),
        ("hi", RESET, &[0.9; 6], 0.0, "error:inference"),
        ("hi", RESET, &[0.0; 6], 0.0, "error:inference"),
        ("hi", RESET, &distribution(BILLING, 0.9), 0.0, "error:inference"),
        ("hi", RESET, &[1.5, -0.5, 0.0, 0.0, 0.0, 0.0], 0.0, "error:inference"),
        ("hi", 6, &distribution(RESET, 0.9), 0.0, "error:inference"),
    ] {
        let expected = (Route::Escalate, reason.to_owned());
        assert_eq!(decide(text, intent, probabilities, threshold), expected, "{text} {probabilities:?}");
    }
}

#[test]
fn ordinary_numbers_are_not_secrets() {
    for text in [
        "call 0800 123 456",
        "error 4021 on port 8",
        "192.168.100.1 shows 3 lights",
        "since 2026-11-22 14:05",
    ] {
        assert_eq!(decide(text, RESET, &distribution(RESET, 0.9), 0.55).0, Route::Local, "{text}");
    }
}

#[test]
fn messages_are_trimmed_normalised_and_limited() {
    assert_eq!(Message::new("  \u{a0}hi\n\t").unwrap(), Message::Text("hi".to_owned()));
    assert_eq!(Message::new("cafe\u{301}").unwrap(), Message::Text("café".to_owned()));
    for empty in ["", "   ", "\n\u{2003}\r\n"] {
        assert_eq!(Message::new(empty).unwrap_err().code(), "empty_message");
    }
    let fits = "é".repeat(MAX_MESSAGE_CHARS);
    assert_eq!(Message::new(&format!(" {fits} ")).unwrap(), Message::Text(fits.clone()));
    assert_eq!(Message::new(&format!("{fits}x")).unwrap(), Message::TooLong);
    // Counted after normalisation: 4,000 scalars that are 2,000 characters.
    assert_eq!(Message::new(&"e\u{301}".repeat(MAX_MESSAGE_CHARS)).unwrap(), Message::Text(fits));
}

/// Answers with fixed scores, or fails.
struct Fixed(Option<Vec<f32>>, ModelInfo);

impl LabelModel for Fixed {
    fn score(&mut self, _: &str, _: bool) -> Result<Scores> {
        match &self.0 {
            Some(log_probabilities) => {
                Ok(Scores { log_probabilities: log_probabilities.clone(), token_confidence: None })
            }
            None => Err(IntentError::OutOfMemory { what: "the KV cache".to_owned(), bytes: 1 }),
        }
    }

    fn info(&self) -> &ModelInfo {
        &self.1
    }
}

fn classifier(log_probabilities: Option<Vec<f32>>, config: IntentConfig) -> Classifier {
    let info = ModelInfo {
        stage: "fixed".to_owned(),
        architecture: "none".to_owned(),
        backend: "none".to_owned(),
        threads: 1,
        parameters: 0,
        weight_bytes: 0,
        prefix_tokens: 0,
        identity: None,
    };
    Classifier::new(Box::new(Fixed(log_probabilities, info)), config).unwrap()
}

#[test]
fn a_failing_model_is_unknown_and_escalates() {
    let mut failing = classifier(None, IntentConfig::default());
    let result = failing.classify("restart my router", ClassifyOptions::default()).unwrap();
    assert_eq!((result.intent.as_str(), result.decision.reason.as_str()), ("unknown", "error:out_of_memory"));
    assert_eq!(result.json, r#"{"intent": "unknown"}"#);
    assert_eq!((result.confidence, &result.probabilities, result.margin), (None, &None, None));
    let mut broken = classifier(Some(vec![f32::NAN; 6]), IntentConfig::default());
    let result = broken.classify("restart my router", ClassifyOptions::default()).unwrap();
    assert_eq!((result.intent.as_str(), result.decision.reason.as_str()), ("unknown", "error:inference"));
    assert_eq!(result.decision.route, Route::Escalate);
}

#[test]
fn results_carry_the_calibrated_distribution() {
    let scores: Vec<f32> = [0.7f32, 0.1, 0.05, 0.05, 0.05, 0.05].iter().map(|p| p.ln()).collect();
    let mut sharp = classifier(Some(scores.clone()), IntentConfig::default());
    let result = sharp.classify("x", ClassifyOptions::default()).unwrap();
    assert!((result.confidence.unwrap() - 0.7).abs() < 1e-6 && (result.margin.unwrap() - 0.6).abs() < 1e-6);
    assert_eq!(
        (result.json.as_str(), result.decision.reason.as_str()),
        (r#"{"intent": "reset_device"}"#, "confident")
    );
    // At temperature 2 probabilities are proportional to square roots.
    let mut flat = classifier(Some(scores), IntentConfig { temperature: 2.0, ..IntentConfig::default() });
    let result = flat.classify("x", ClassifyOptions::default()).unwrap();
    let expected = 0.7f32.sqrt() / (0.7f32.sqrt() + 0.1f32.sqrt() + 4.0 * 0.05f32.sqrt());
    assert!((result.confidence.unwrap() - expected).abs() < 1e-6);
    assert_eq!(result.decision.reason, "low_confidence");
    let again =
        flat.classify("x", ClassifyOptions { threshold: Some(0.3), ..ClassifyOptions::default() }).unwrap();
    assert_eq!(again.decision.reason, "confident");
}

#[test]
fn a_callers_mistakes_are_errors() {
    let mut classifier = classifier(None, IntentConfig::default());
    assert_eq!(classifier.classify(" ", ClassifyOptions::default()).unwrap_err().code(), "empty_message");
    for threshold in [-0.1, 1.1, f32::NAN] {
        let options = ClassifyOptions { threshold: Some(threshold), ..ClassifyOptions::default() };
        assert_eq!(classifier.classify("x", options).unwrap_err().code(), "invalid_argument");
    }
}

#[test]
fn patterns_are_written_as_they_were_read() {
    let config = IntentConfig::default();
    let json = serde_json::to_value(&config).unwrap();
    assert!(json["policy"]["patterns"][0]["regex"].is_string(), "{json}");
    let again = IntentConfig::from_json(&json.to_string()).unwrap();
    assert_eq!(again, config);
    let mut other = json;
    other["policy"]["patterns"][0]["regex"] = "x".into();
    assert_ne!(IntentConfig::from_json(&other.to_string()).unwrap(), config);
}

#[test]
fn configurations_that_cant_work_are_refused_by_field() {
    let base = serde_json::to_value(IntentConfig::default()).unwrap();
    for (pointer, value, field) in [
        ("/labels", serde_json::json!(["one"]), "labels"),
        ("/labels/1", serde_json::json!("reset_device"), "labels[1]"),
        ("/labels/0", serde_json::json!("a\"b"), "labels[0]"),
        ("/prompt/pieces/7", serde_json::json!("system"), "prompt.pieces"),
        ("/prompt/pieces/0", serde_json::json!("nonsense"), "nonsense"),
        ("/prompt/answer/close", serde_json::json!(""), "prompt.answer.close"),
        ("/policy/always_escalate/0", serde_json::json!("Billing"), "policy.always_escalate[0]"),
        ("/temperature", serde_json::json!(0.0), "temperature"),
        ("/threshold", serde_json::json!(1.5), "threshold"),
        ("/policy/patterns/0/regex", serde_json::json!("("), "policy.patterns[0].regex"),
    ] {
        let mut json = base.clone();
        *json.pointer_mut(pointer).unwrap() = value;
        let error = IntentConfig::from_json(&json.to_string()).unwrap_err();
        assert_eq!(error.code(), "invalid_config", "{pointer}");
        assert!(error.to_string().contains(field), "{pointer}: {error}");
    }
}
