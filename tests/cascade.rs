//! Cascades of scripted models: who is asked, what comes out, what it costs, and thresholds chosen by hand.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test fails by panicking")]

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use relayops_intent::cascade::{Cascade, CascadeOptions};
use relayops_intent::classifier::{Classification, Classifier, LabelModel, ModelInfo};
use relayops_intent::eval::identity::Origin;
use relayops_intent::eval::metrics::intervals::upper_bound;
use relayops_intent::eval::sets::{EvalSet, Labelled};
use relayops_intent::eval::sgr::RiskTarget;
use relayops_intent::eval::sweep::at;
use relayops_intent::eval::{Evaluator, Options, evaluate, report};
use relayops_intent::gate::Route;
use relayops_intent::pack::{CascadeConfig, IntentConfig};
use relayops_intent::scoring::Scores;
use relayops_intent::{IntentError, Result};

/// Answers by the words `2 * place` (index of the label) and `2 * place + 1` (its confidence) of a message.
struct Scripted {
    info: ModelInfo,
    place: usize,
    asked: Arc<AtomicUsize>,
    forgot: Arc<AtomicUsize>,
}

impl LabelModel for Scripted {
    fn forget(&mut self) {
        self.forgot.fetch_add(1, Ordering::Relaxed);
    }

    fn score(&mut self, text: &str, token_confidence: bool) -> Result<Scores> {
        self.asked.fetch_add(1, Ordering::Relaxed);
        let words: Vec<&str> = text.split(' ').skip(2 * self.place).collect();
        let label = words.first().and_then(|word| word.parse::<usize>().ok());
        let confidence = words.get(1).and_then(|word| word.parse::<f64>().ok());
        let (Some(label), Some(confidence)) = (label, confidence) else {
            return Err(IntentError::Inference("no script".to_owned()));
        };
        let mut p = [(1.0 - confidence) / 5.0; 6];
        p[label] = confidence;
        #[expect(clippy::cast_possible_truncation, reason = "scores are single precision")]
        let log_probabilities = p.iter().map(|p| p.ln() as f32).collect();
        Ok(Scores { log_probabilities, token_confidence: token_confidence.then_some(0.25) })
    }

    fn info(&self) -> &ModelInfo {
        &self.info
    }
}

fn stage(place: usize, config: IntentConfig, asked: &Arc<AtomicUsize>) -> Classifier {
    remembering(place, config, asked, &Arc::default())
}

fn remembering(
    place: usize,
    config: IntentConfig,
    asked: &Arc<AtomicUsize>,
    forgot: &Arc<AtomicUsize>,
) -> Classifier {
    let info = ModelInfo {
        stage: ["first", "second"][place].to_owned(),
        architecture: "script".to_owned(),
        backend: "script".to_owned(),
        threads: 1,
        parameters: 0,
        weight_bytes: 0,
        prefix_tokens: 0,
        identity: Some(DIGESTS[place].to_owned()),
    };
    Classifier::new(Box::new(Scripted { info, place, asked: asked.clone(), forgot: forgot.clone() }), config)
        .unwrap()
}

fn config(threshold: f32) -> IntentConfig {
    IntentConfig { threshold, ..IntentConfig::default() }
}

/// Thresholds 0.8 and 0.6, and how often each stage has been asked.
fn cascade() -> (Cascade, [Arc<AtomicUsize>; 2]) {
    let asked: [Arc<AtomicUsize>; 2] = Default::default();
    let [first, second] = [(0, 0.8), (1, 0.6)].map(|(place, at)| stage(place, config(at), &asked[place]));
    (Cascade::from(first).followed_by(second.into()).unwrap(), asked)
}

fn asked(counts: &[Arc<AtomicUsize>; 2]) -> [usize; 2] {
    [0, 1].map(|place| counts[place].swap(0, Ordering::Relaxed))
}

fn classify(cascade: &mut Cascade, text: &str) -> Classification {
    cascade.classify(text, &CascadeOptions::default()).unwrap()
}

#[test]
fn every_stage_forgets_a_message_that_is_answered() {
    let [asked, forgot]: [[Arc<AtomicUsize>; 2]; 2] = Default::default();
    let [first, second] = [0, 1].map(|place| remembering(place, config(0.8), &asked[place], &forgot[place]));
    let mut cascade = Cascade::from(first).followed_by(second.into()).unwrap();
    let counts = || forgot.each_ref().map(|count| count.swap(0, Ordering::Relaxed));
    // Answered by the first, by the second, and by none.
    for text in ["0 0.9 2 0.9", "0 0.7 2 0.9", " "] {
        let _ = cascade.classify(text, &CascadeOptions::default());
        assert!(counts().iter().all(|count| *count > 0), "{text:?}");
    }
}

/// Identities of the stages.
const DIGESTS: [&str; 2] = [
    "0000000000000000000000000000000000000000000000000000000000000001",
    "0000000000000000000000000000000000000000000000000000000000000002",
];

/// Thresholds 0.8 and 0.6, and 0.5 and 0.9 where the first stage is `first`.
fn chosen_together(first: &str) -> Cascade {
    let chosen = Some(CascadeConfig { first: first.to_owned(), thresholds: [0.5, 0.9] });
    let asked = Arc::default();
    let second = stage(1, IntentConfig { cascade: chosen, ..config(0.6) }, &asked);
    Cascade::from(stage(0, config(0.8), &asked)).followed_by(second.into()).unwrap()
}

#[test]
fn thresholds_that_were_chosen_together_hold_for_the_stages_that_they_were_chosen_for() {
    let mut cascade = chosen_together(DIGESTS[0]);
    assert_eq!(cascade.thresholds(&[]).unwrap(), [0.5, 0.9]);
    assert_eq!(classify(&mut cascade, "0 0.7 2 0.9").stage, "first");
    assert_eq!(classify(&mut cascade, "0 0.4 2 0.8").decision.reason, "low_confidence");
    // The caller's go before.
    assert_eq!(cascade.thresholds(&[0.3, 0.4]).unwrap(), [0.3, 0.4]);
    // Another temperature makes other confidences.
    cascade.set_calibration(0, 2.0, 0.7).unwrap();
    assert_eq!(cascade.thresholds(&[]).unwrap(), [0.7, 0.6]);
    assert_eq!(chosen_together(DIGESTS[1]).thresholds(&[]).unwrap(), [0.8, 0.6]);
    // What follows nothing has its own.
    assert_eq!(Cascade::from(chosen_together(DIGESTS[0]).into_last()).thresholds(&[]).unwrap(), [0.6]);
}

#[test]
fn thresholds_of_a_cascade_are_probabilities_for_a_known_model() {
    for (first, thresholds, field) in [
        (DIGESTS[0], [0.5, 1.5], "cascade.thresholds"),
        (DIGESTS[0], [f32::NAN, 0.5], "cascade.thresholds"),
        ("compact", [0.5, 0.5], "cascade.first"),
    ] {
        let cascade = Some(CascadeConfig { first: first.to_owned(), thresholds });
        let error = IntentConfig { cascade, ..config(0.6) }.check().unwrap_err().to_string();
        assert!(error.contains(field), "{error}");
    }
}

#[test]
fn a_later_stage_is_asked_only_where_the_first_is_unsure() {
    let long = "a".repeat(2_001);
    // Text; stage that answers, intent, route and reason; whether the second was asked.
    for (text, stage, intent, reason, second) in [
        ("0 0.9 2 0.9", "first", "reset_device", "confident", 0),
        ("3 0.9 0 0.9", "first", "billing", "intent:billing", 0),
        ("5 0.9 0 0.9", "first", "unknown", "intent:unknown", 0),
        ("3 0.7 0 0.9", "second", "reset_device", "confident", 1),
        ("5 0.7 4 0.7", "second", "greeting", "confident", 1),
        ("0 0.7 2 0.7", "second", "device_faq", "confident", 1),
        ("0 0.7 2 0.5", "second", "device_faq", "low_confidence", 1),
        ("0 0.7 5 0.9", "second", "unknown", "intent:unknown", 1),
        ("0 0.7 3 0.3", "second", "billing", "intent:billing", 1),
        // No answer would keep a card's number here.
        ("0 0.7 2 0.9 4111 1111 1111 1111", "first", "reset_device", "pattern:payment_card", 0),
        // A failure is no answer.
        ("x x 2 0.9", "second", "device_faq", "confident", 1),
        ("0 0.9 x x", "first", "reset_device", "confident", 0),
        ("0 0.7 x x", "second", "unknown", "error:inference", 1),
    ] {
        let (mut cascade, counts) = cascade();
        let result = classify(&mut cascade, text);
        let said = (&*result.stage, &*result.intent, &*result.decision.reason);
        assert_eq!(said, (stage, intent, reason), "{text}");
        assert_eq!(result.decision.route == Route::Local, reason == "confident", "{text}");
        assert_eq!(asked(&counts), [1, second], "{text}");
        assert_eq!(result.stages.len(), 1 + second, "{text}");
    }
    let (mut cascade, counts) = cascade();
    let result = classify(&mut cascade, &long);
    assert_eq!((&*result.decision.reason, result.stages.len()), ("too_long", 1));
    assert_eq!(asked(&counts), [0, 0]);
    assert_eq!(cascade.classify("  ", &CascadeOptions::default()).unwrap_err().code(), "empty_message");
}

#[test]
fn every_stage_reports_what_it_said_and_how_long_it_took() {
    let (mut cascade, _) = cascade();
    let json = serde_json::to_value(classify(&mut cascade, "3 0.7 0 0.9")).unwrap();
    let stages = json["stages"].as_array().unwrap();
    let [first, second] = [&stages[0], &stages[1]];
    assert_eq!((&first["stage"], &second["stage"]), (&"first".into(), &"second".into()));
    assert_eq!((&first["intent"], &second["intent"]), (&"billing".into(), &"reset_device".into()));
    for (stage, threshold) in [(first, 0.8), (second, 0.6)] {
        assert!((stage["threshold"].as_f64().unwrap() - threshold).abs() < 1e-7, "{stage}");
    }
    assert_eq!(first["decision"]["reason"], "intent:billing");
    assert!((first["probabilities"]["billing"].as_f64().unwrap() - 0.7).abs() < 1e-6);
    assert!((first["probabilities"]["greeting"].as_f64().unwrap() - 0.06).abs() < 1e-6);
    assert_eq!(second["probabilities"], json["probabilities"]);
    let ms = |object: &serde_json::Value| object["ms"].as_f64().unwrap();
    assert!(ms(first) > 0.0 && ms(second) > 0.0 && ms(&json) >= ms(first) + ms(second), "{json}");
    // Where there is one stage the result is that of the classifier.
    let mut single = Cascade::from(stage(0, config(0.8), &Arc::default()));
    let json = serde_json::to_value(classify(&mut single, "0 0.7")).unwrap();
    assert!(json.get("stages").is_none() && json["decision"]["reason"] == "low_confidence", "{json}");
}

#[test]
fn thresholds_are_the_callers_else_the_stages() {
    let (cascade, _) = cascade();
    assert_eq!(cascade.thresholds(&[]).unwrap(), [0.8, 0.6]);
    assert_eq!(cascade.thresholds(&[0.7]).unwrap(), [0.7, 0.7]);
    assert_eq!(cascade.thresholds(&[0.7, 0.9]).unwrap(), [0.7, 0.9]);
    for wrong in [&[0.1, 0.2, 0.3][..], &[1.5], &[f32::NAN], &[0.5, -0.1]] {
        assert_eq!(cascade.thresholds(wrong).unwrap_err().code(), "invalid_argument", "{wrong:?}");
    }
    let (mut cascade, _) = self::cascade();
    let options =
        |thresholds: &[f32]| CascadeOptions { thresholds: thresholds.to_vec(), token_confidence: true };
    let first = cascade.classify("0 0.7 2 0.9", &options(&[0.65, 0.6])).unwrap();
    assert_eq!((&*first.stage, first.token_confidence), ("first", None));
    let second = cascade.classify("0 0.7 2 0.9", &options(&[0.95])).unwrap();
    assert_eq!((&*second.decision.reason, second.token_confidence), ("low_confidence", Some(0.25)));
}

#[test]
fn stages_must_agree_on_labels_and_policy() {
    let none = Arc::default();
    let mut labels = config(0.5);
    labels.labels.swap(0, 1);
    let mut policy = config(0.5);
    policy.policy.always_escalate.pop();
    for (other, named) in [(labels, "labels"), (policy, "policy")] {
        let later = Cascade::from(stage(1, other, &none));
        let Err(error) = Cascade::from(stage(0, config(0.5), &none)).followed_by(later) else {
            panic!("{named}")
        };
        assert_eq!(error.code(), "invalid_config");
        assert!(error.to_string().starts_with(named), "{error}");
    }
}

const TEXTS: [(&str, &str); 8] = [
    ("0 0.905 0 0.9", "reset_device"),
    ("0 0.7 2 0.9", "device_faq"),
    ("4 0.85 3 0.9", "billing"),
    ("2 0.6 2 0.755", "device_faq"),
    ("0 0.5 0 0.65", "billing"),
    ("3 0.95 0 0.9", "billing"),
    ("5 0.6 1 0.7", "unknown"),
    ("1 0.725 1 0.62", "device_status"),
];

fn set(messages: &[(&str, &str)]) -> EvalSet {
    let message = |(text, intent): &(&str, &str)| Labelled {
        text: (*text).to_owned(),
        intent: (*intent).to_owned(),
        slice: None,
        group: None,
    };
    EvalSet { name: "scripted".to_owned(), messages: messages.iter().map(message).collect() }
}

fn evaluator(set: &EvalSet) -> (Evaluator, [Arc<AtomicUsize>; 2]) {
    let (cascade, counts) = cascade();
    let mut evaluator = Evaluator::new("cascade", cascade);
    evaluator.read(&set.messages, || ()).unwrap();
    (evaluator, counts)
}

#[test]
fn readings_are_concluded_as_messages_are_classified() {
    let set = set(&TEXTS);
    let (evaluator, counts) = evaluator(&set);
    // Each stage once, for all thresholds.
    assert_eq!(asked(&counts), [8, 8]);
    let (mut cascade, _) = cascade();
    for thresholds in [[0.8, 0.6], [0.55, 0.55], [0.99, 0.7], [0.0, 0.0], [1.0, 1.0]] {
        let answers = evaluator.answers_at(&set.messages, &thresholds).unwrap();
        for (message, answered) in set.messages.iter().zip(answers) {
            let options = CascadeOptions { thresholds: thresholds.to_vec(), token_confidence: false };
            let mut fresh = cascade.classify(&message.text, &options).unwrap();
            let mut kept = answered.classification;
            for result in [&mut fresh, &mut kept] {
                assert!(result.ms > 0.0);
                result.ms = 0.0;
                result.stages.iter_mut().for_each(|stage| stage.ms = 0.0);
            }
            assert_eq!(fresh, kept, "{} at {thresholds:?}", message.text);
        }
    }
    assert_eq!(asked(&counts), [0, 0]);
}

#[test]
fn a_cascade_evaluated_by_hand() {
    let set = set(&TEXTS);
    let (evaluator, _) = evaluator(&set);
    let e = evaluate(&evaluator, &set, Options { sweep: true, ..Options::default() }).unwrap();
    assert_eq!((e.labels.accuracy, e.gate.coverage), (5.0 / 8.0, 7.0 / 8.0));
    assert_eq!((e.gate.unsafe_local, e.gate.must_escalate), (3, 4));
    let cascade = e.cascade.clone().unwrap();
    let [first, second] = &cascade.stages[..] else { panic!("{cascade:?}") };
    assert_eq!((&*first.stage, first.threshold, first.asked), ("first", 0.8, 1.0));
    assert_eq!((first.answered, first.accuracy), (3.0 / 8.0, Some(2.0 / 3.0)));
    assert_eq!((&*second.stage, second.threshold, second.asked), ("second", 0.6, 5.0 / 8.0));
    assert_eq!((second.answered, second.accuracy), (5.0 / 8.0, Some(3.0 / 5.0)));
    let cost = first.mean_ms.unwrap() + second.mean_ms.unwrap() * 5.0 / 8.0;
    assert!((cascade.mean_ms / cost - 1.0).abs() < 1e-9, "{} {cost}", cascade.mean_ms);
    // The thresholds in force, then six of each stage.
    assert_eq!(e.sweep.len(), 37);
    let row = &e.sweep[0];
    assert_eq!((&row.thresholds[..], row.accuracy), (&[0.8, 0.6][..], 5.0 / 8.0));
    assert_eq!((row.coverage, row.selective_accuracy), (7.0 / 8.0, Some(4.0 / 7.0)));
    assert_eq!((row.unsafe_local, row.must_escalate, row.unsafe_local_rate), (3, 4, Some(0.75)));
    assert_eq!(row.unsafe_local_upper, Some(upper_bound(3, 4, 0.05)));
    assert_eq!((&row.asked[..], row.mean_ms), (&[1.0, 5.0 / 8.0][..], cascade.mean_ms));
    let html = report::html(std::slice::from_ref(&e), &[]).unwrap();
    for said in ["Stages of cascade", "in force and others", "0.800, 0.600", "3 of 4, at most 98.7"] {
        assert!(html.contains(said), "{said}");
    }
    // At 0.99 and 0.95 the second is asked about all, and keeps none.
    let strict = e.sweep.iter().find(|row| row.thresholds == [0.99, 0.95]).unwrap();
    assert_eq!((&strict.asked[..], strict.coverage), (&[1.0, 1.0][..], 0.0));
    assert_eq!((strict.accuracy, strict.selective_accuracy), (5.0 / 8.0, None));
}

#[test]
fn thresholds_are_chosen_as_by_hand() {
    let set = set(&TEXTS);
    // No unsafe answer: the third message takes a first threshold above 0.85, the fifth and seventh a second one above
    // 0.7; three are kept then, with the right label. One of four: the third may stay, and the eighth with it.
    for (most, thresholds, kept, unsafe_local) in [(0.0, [0.9, 0.75], 3, 0), (0.25, [0.72, 0.75], 5, 1)] {
        let (mut evaluator, _) = evaluator(&set);
        let choice = evaluator.choose(&set, most).unwrap().clone();
        let figures = choice.figures.as_ref().unwrap();
        assert_eq!((choice.found, choice.n, choice.tried), (true, 8, 52 * 52));
        assert_eq!((&figures.thresholds[..], figures.unsafe_local), (&thresholds[..], unsafe_local));
        assert_eq!((figures.coverage, figures.must_escalate), (f64::from(kept) / 8.0, 4));
        assert_eq!(figures.unsafe_local_upper, Some(upper_bound(unsafe_local, 4, 0.05)));
        assert_eq!(choice.table.len(), 37);
        assert_eq!(evaluator.thresholds(), thresholds);
        assert_eq!(*evaluator.threshold_from(), Origin::Fitted { on: "scripted".to_owned(), n: 8 });
        let e = evaluate(&evaluator, &set, Options::default()).unwrap();
        assert_eq!((e.gate.unsafe_local, e.gate.choice.as_ref()), (unsafe_local, Some(&choice)));
        assert!(e.sweep.is_empty());
    }
}

#[test]
fn what_was_chosen_is_judged_by_other_messages() {
    let sample = set(&TEXTS);
    let (mut evaluator, _) = evaluator(&sample);
    evaluator.choose(&sample, 0.0).unwrap();
    // Two that were chosen on, and three others, of which one that must escalate stays.
    let others = [("0 0.95 0 0.9", "billing"), ("3 0.96 0 0.9", "billing"), ("4 0.95 0 0.9", "greeting")];
    let judged = set(&[&TEXTS[..2], &others[..]].concat());
    evaluator.read(&judged.messages, || ()).unwrap();
    let e = evaluate(&evaluator, &judged, Options::default()).unwrap();
    let figures = e.not_chosen_on.as_ref().unwrap();
    assert_eq!((figures.n, e.n), (3, 5));
    assert_eq!((figures.figures.unsafe_local, figures.figures.must_escalate), (1, 2));
    assert_eq!(figures.figures.unsafe_local_upper, Some(upper_bound(1, 2, 0.05)));
    assert_eq!(figures.figures.thresholds, evaluator.thresholds());
    let e = evaluate(&evaluator, &sample, Options::default()).unwrap();
    assert!(e.not_chosen_on.is_none(), "there are no others");
}

#[test]
fn no_choice_is_better_than_the_one_that_was_made() {
    // Every choice, by the long way, on messages of all kinds.
    let messages: Vec<(String, &str)> = (0..60)
        .map(|n: usize| {
            let labels = ["reset_device", "device_status", "device_faq", "billing", "greeting", "unknown"];
            let confidence = |by: usize| 0.4 + f64::from(u32::try_from(n * by % 59).unwrap()) / 100.0;
            let text = format!("{} {:.3} {} {:.3} {n}", n % 6, confidence(7), n * 5 % 7 % 6, confidence(11));
            (text, labels[n / 2 % 6])
        })
        .collect();
    let borrowed: Vec<(&str, &str)> = messages.iter().map(|(text, label)| (text.as_str(), *label)).collect();
    let set = set(&borrowed);
    let (mut evaluator, _) = evaluator(&set);
    let most = 0.25;
    let chosen = evaluator.choose(&set, most).unwrap().figures.clone().unwrap();
    let kept_right = |row: &relayops_intent::eval::sweep::AtThresholds| {
        (row.coverage * row.selective_accuracy.unwrap_or(0.0) * 60.0).round()
    };
    assert!(chosen.unsafe_local_rate.unwrap() <= most && kept_right(&chosen) > 0.0);
    let grid: Vec<f32> = (50..100u8).step_by(3).map(|n| f32::from(n) / 100.0).collect();
    for first in &grid {
        for second in &grid {
            let row = at(&evaluator, &set, &[*first, *second], Options::default().bootstrap).unwrap();
            if row.unsafe_local_rate.unwrap() <= most {
                assert!(kept_right(&row) <= kept_right(&chosen), "{row:?} {chosen:?}");
            }
        }
    }
}

#[test]
fn where_nothing_is_safe_enough_thresholds_stay() {
    for messages in [
        &[("0 0.9999 0 0.9", "billing"), ("0 0.9 0 0.9", "reset_device")][..],
        &[("0 0.9 0 0.9", "greeting")],
    ] {
        let set = set(messages);
        let (mut evaluator, _) = evaluator(&set);
        let choice = evaluator.choose(&set, 0.01).unwrap();
        assert!(!choice.found && choice.figures.is_none() && choice.table.len() == 37);
        assert!(choice.to_string().starts_with("none of 2704"), "{choice}");
        assert_eq!(
            (evaluator.thresholds(), evaluator.threshold_from()),
            (vec![0.8, 0.6], &Origin::Configuration)
        );
    }
}

#[test]
fn a_promise_of_risk_is_about_one_threshold() {
    let set = set(&TEXTS);
    let (mut evaluator, _) = evaluator(&set);
    let error = evaluator.guarantee(&set, RiskTarget { risk: 0.1, delta: 0.1 }).unwrap_err();
    assert_eq!(error.code(), "invalid_argument");
    assert!(error.to_string().contains("--max-unsafe"), "{error}");
}

#[test]
fn temperatures_are_fitted_for_each_stage() {
    // The first is right three times of four, the second two times of four, both always with 0.9.
    let set = set(&[
        ("0 0.9 0 0.9 a", "reset_device"),
        ("0 0.9 0 0.9 b", "reset_device"),
        ("1 0.9 2 0.9 c", "device_status"),
        ("2 0.9 4 0.9 d", "billing"),
    ]);
    let (mut evaluator, _) = evaluator(&set);
    let last = evaluator.calibrate(&set).unwrap();
    let temperatures: Vec<f32> =
        evaluator.cascade().stages().map(|stage| stage.config().temperature).collect();
    assert!(temperatures[0] < temperatures[1], "{temperatures:?}");
    assert_eq!((temperatures[1], evaluator.thresholds()), (last, vec![0.8, 0.6]));
    // A temperature makes the mean confidence the accuracy.
    for (answered, expected) in
        evaluator.answers_at(&set.messages, &[0.0, 0.0]).unwrap().iter().zip([0.75; 4])
    {
        assert!((answered.outcome.confidence() - expected).abs() < 1e-3, "{:?}", answered.outcome);
    }
}
