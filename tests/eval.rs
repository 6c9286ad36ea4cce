//! Whole evaluations of scripted models, the report, the built-in sets.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test fails by panicking")]

use relayops_intent::classifier::{Classifier, LabelModel, ModelInfo};
use relayops_intent::dataset::CalibrationPart;
use relayops_intent::eval::identity::{FileIdentity, ModelIdentity, Origin, TrainedOn};
use relayops_intent::eval::metrics::bootstrap::Bootstrap;
use relayops_intent::eval::metrics::intervals::{clopper_pearson, upper_bound};
use relayops_intent::eval::sets::{BuiltIn, EvalSet, Labelled, calibration};
use relayops_intent::eval::sgr::RiskTarget;
use relayops_intent::eval::{Evaluation, Evaluator, Options, compare, evaluate, report};
use relayops_intent::pack::IntentConfig;
use relayops_intent::scoring::Scores;
use relayops_intent::{IntentError, Result};

#[track_caller]
fn assert_close(actual: f64, expected: f64, tolerance: f64) {
    assert!((actual - expected).abs() <= tolerance, "{actual} is not {expected}");
}

fn scores(p: &[f64]) -> Scores {
    #[expect(clippy::cast_possible_truncation, reason = "scores are single precision")]
    let log_probabilities = p.iter().map(|p| p.ln() as f32).collect();
    Scores { log_probabilities, token_confidence: None }
}

/// Answers by the first word of a message: its index is the label, the number after it the confidence.
struct Scripted(ModelInfo, usize);

impl LabelModel for Scripted {
    fn score(&mut self, text: &str, _: bool) -> Result<Scores> {
        self.1 += 1;
        let mut words = text.split(' ');
        let (Some(Ok(label)), Some(Ok(confidence))) =
            (words.next().map(str::parse::<usize>), words.next().map(str::parse::<f64>))
        else {
            return Err(IntentError::Inference("no script".to_owned()));
        };
        let mut p = [(1.0 - confidence) / 5.0; 6];
        p[label] = confidence;
        Ok(scores(&p))
    }

    fn info(&self) -> &ModelInfo {
        &self.0
    }
}

fn scripted(name: &str) -> Evaluator {
    let info = ModelInfo {
        stage: name.to_owned(),
        architecture: "script".to_owned(),
        backend: "script".to_owned(),
        threads: 1,
        parameters: 0,
        weight_bytes: 0,
        prefix_tokens: 0,
        identity: None,
    };
    Evaluator::new(name, Classifier::new(Box::new(Scripted(info, 0)), IntentConfig::default()).unwrap())
}

fn set(lines: &[(&str, &str, &str)]) -> EvalSet {
    let message = |(text, intent, slice): &(&str, &str, &str)| Labelled {
        text: (*text).to_owned(),
        intent: (*intent).to_owned(),
        slice: Some((*slice).to_owned()),
        group: None,
    };
    EvalSet { name: "scripted".to_owned(), messages: lines.iter().map(message).collect() }
}

fn evaluated(set: &EvalSet) -> Evaluation {
    let mut evaluator = scripted("script");
    evaluator.read(&set.messages, || ()).unwrap();
    evaluate(&evaluator, set, Options::default()).unwrap()
}

#[test]
fn an_evaluation_by_hand() {
    let long = "a".repeat(2_001);
    let set = set(&[
        ("0 0.9 reset", "reset_device", "core"),
        ("0 0.8 kept though it must not be", "billing", "core"),
        ("1 0.5 unsure", "device_status", "core"),
        ("5 0.9", "unknown", "near_oos"),
        ("2 0.95 faq", "unknown", "near_oos"),
        ("5 0.7", "unknown", "far_oos"),
        ("the model fails here", "unknown", "far_oos"),
        (&long, "device_faq", "long"),
    ]);
    let e = evaluated(&set);
    assert_eq!((e.n, e.units, e.unscored, e.failed), (8, 8, 2, 1));
    assert_eq!(
        e.unscored_reasons.iter().map(|(r, n)| (r.as_str(), *n)).collect::<Vec<_>>(),
        [("error:inference", 1), ("too_long", 1)]
    );
    // A caller gets `unknown` for a failure, which is what the label says, but nothing was recognised: wrong. A long one
    // is answered by policy, which here is wrong too.
    assert_close(e.labels.accuracy, 4.0 / 8.0, 1e-12);
    assert_close(e.gate.coverage, 3.0 / 8.0, 1e-12);
    assert_close(e.gate.selective_accuracy.unwrap(), 1.0 / 3.0, 1e-12);
    assert_eq!((e.gate.unsafe_local, e.gate.must_escalate), (2, 5));
    assert_close(e.gate.unsafe_local_rate.unwrap(), 0.4, 1e-12);
    assert_close(e.gate.unsafe_local_upper.unwrap(), upper_bound(2, 5, 0.05), 1e-12);
    assert_close(e.gate.over_escalation.unwrap(), 2.0 / 3.0, 1e-12);
    let near = e.near_out_of_scope.unwrap();
    assert_eq!((near.n, near.recall, near.escalated), (2, 0.5, 0.5));
    let far = e.far_out_of_scope.unwrap();
    assert_eq!((far.n, far.recall, far.escalated), (2, 0.5, 1.0));
    // Errors above 0.9 among the scored ones: one of two.
    assert_close(e.calibration.confident_error_share.unwrap(), 0.5, 1e-12);
    let errors: Vec<(Option<&str>, Option<f64>)> = e
        .errors
        .iter()
        .map(|m| (m.predicted.as_deref(), m.confidence.map(|c| (c * 100.0).round())))
        .collect();
    assert_eq!(
        errors,
        [
            (Some("device_faq"), Some(95.0)),
            (Some("reset_device"), Some(80.0)),
            (None, None),
            (Some("unknown"), None)
        ]
    );
    let slices: Vec<(&str, usize)> = e.slices.iter().map(|(name, slice)| (name.as_str(), slice.n)).collect();
    assert_eq!(slices, [("core", 3), ("far_oos", 2), ("long", 1), ("near_oos", 2)]);
}

#[test]
fn what_could_not_be_scored_is_neither_calibrated_nor_right() {
    let long = "a".repeat(2_001);
    let failing = evaluated(&set(&[("no script here", "unknown", "core"), ("nor here", "greeting", "core")]));
    let json = serde_json::to_value(&failing).unwrap();
    for field in ["ece", "ece_debiased", "ece_debiased_interval", "brier", "nll", "confident_error_share"] {
        assert!(json[field].is_null(), "{field}");
    }
    assert_eq!((&json["accuracy"], &json["failed"]), (&0.0.into(), &2.into()));
    assert_eq!(json["per_class"]["unknown"]["failed"], 1);
    assert!(json["errors"].as_array().unwrap().iter().all(|error| error["predicted"].is_null()));
    let html = report::html(&[failing], &[]).unwrap();
    assert!(html.contains("(failed)") && !html.contains("NaN"));
    // Too long is a policy's answer, not a failure.
    let policy = evaluated(&set(&[(&long, "unknown", "core")]));
    assert_eq!((policy.labels.accuracy, policy.failed, policy.unscored), (1.0, 0, 1));
    assert_eq!(policy.calibration.ece, None);
}

/// `groups` groups of `size` messages each; of every third group all are kept though they must not be.
fn grouped(groups: usize, size: usize) -> EvalSet {
    let message = |index: usize| {
        let group = index / size;
        let text = if group.is_multiple_of(3) { format!("0 0.9 {index}") } else { format!("3 0.9 {index}") };
        Labelled { text, intent: "billing".to_owned(), slice: None, group: Some(format!("g{group}")) }
    };
    EvalSet { name: "grouped".to_owned(), messages: (0..groups * size).map(message).collect() }
}

#[test]
fn the_gates_intervals_know_groups_and_say_so() {
    let with = grouped(60, 6);
    let mut without = with.clone();
    without.messages.iter_mut().for_each(|message| message.group = None);
    let (with_groups, single) = (evaluated(&with), evaluated(&without));
    assert_eq!(
        serde_json::to_value(with_groups.interval_method).unwrap(),
        serde_json::json!({
            "figures": "cluster-bootstrap over groups", "rates": "cluster-bootstrap over groups", "n": 360, "groups": 60
        })
    );
    assert_eq!(
        serde_json::to_value(single.interval_method).unwrap(),
        serde_json::json!({ "figures": "bootstrap", "rates": "clopper-pearson", "n": 360, "groups": null })
    );
    assert_eq!(with_groups.gate.unsafe_local, 120);
    assert_eq!(single.gate.unsafe_local_upper, Some(upper_bound(120, 360, 0.05)));
    assert_eq!(single.gate.coverage_interval, Some(clopper_pearson(120, 360, 0.95)));
    // Sixty trials: binomial(60, 1/3) / 60 has its 95% quantile at 26/60; of 360 the bound would be 0.376.
    assert_close(with_groups.gate.unsafe_local_upper.unwrap(), 26.0 / 60.0, 0.02);
    let width = |evaluation: &Evaluation| {
        let of = |interval: Option<relayops_intent::eval::metrics::Interval>| {
            interval.map(|interval| interval.high - interval.low).unwrap()
        };
        [of(evaluation.gate.coverage_interval), of(evaluation.labels.accuracy_interval)]
    };
    for (wide, narrow) in width(&with_groups).into_iter().zip(width(&single)) {
        // The square root of six, about.
        assert!((2.0..3.0).contains(&(wide / narrow)), "{wide} {narrow}");
    }
    let mut worse = with_groups.clone();
    worse.outcomes.iter_mut().take(60).for_each(|outcome| outcome.predicted = None);
    let difference = compare(&with_groups, &worse, &with, Bootstrap::default()).unwrap();
    assert_eq!(serde_json::to_value(difference).unwrap()["interval_method"], "cluster-bootstrap over groups");
    let html = report::html(&[with_groups], &[]).unwrap();
    assert!(html.contains("n = 360 in 60 groups; intervals: cluster-bootstrap over groups"));
    let html = report::html(&[single], &[]).unwrap();
    assert!(html.contains("n = 360; intervals: bootstrap; of the gate and of slices: clopper-pearson"));
}

#[test]
fn results_say_which_model_it_was() {
    let set = set(&[("0 0.9", "reset_device", "core")]);
    let unknown = serde_json::to_value(evaluated(&set)).unwrap();
    assert!(unknown["file"].is_null() && unknown["trained_on"].is_null());
    assert_eq!(unknown["temperature_from"], serde_json::json!({ "kind": "configuration" }));
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("m.bin");
    std::fs::write(&path, "abc").unwrap();
    let file = FileIdentity::of(&path).unwrap();
    let identity = ModelIdentity {
        file: Some(file.clone()),
        adapter: Some(FileIdentity { sha256: "0123abcd".repeat(8), ..file }),
        trained_on: Some(TrainedOn { data: "the <b>train</b> part".to_owned(), extra: true }),
        configuration: Some("pack.json".to_owned()),
    };
    let mut evaluator = scripted("script").with_identity(identity);
    evaluator.read(&set.messages, || ()).unwrap();
    let known = evaluate(&evaluator, &set, Options::default()).unwrap();
    let json = serde_json::to_value(&known).unwrap();
    assert_eq!(json["file"]["bytes"], 3);
    // Of FIPS 180-2, appendix B.1.
    let abc = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad";
    assert_eq!(json["file"]["sha256"], abc);
    assert_eq!(json["trained_on"], serde_json::json!({ "data": "the <b>train</b> part", "extra": true }));
    let html = report::html(&[known], &[]).unwrap();
    for said in [
        abc,
        &*format!("adapter SHA-256 {}", "0123abcd".repeat(8)),
        "the &lt;b&gt;train&lt;/b&gt; part, with extra.jsonl",
        "configuration: pack.json",
    ] {
        assert!(html.contains(said), "{said}");
    }
    assert_eq!(FileIdentity::of(&folder.path().join("none")).unwrap_err().code(), "io");
}

#[test]
fn a_promise_is_in_the_results_whether_found_or_not() {
    // Eighty answers of which the surer sixty are right; a third of the rest is never local.
    let mut lines: Vec<(String, &str)> = (0..60).map(|i| (format!("0 0.9{i:03}"), "reset_device")).collect();
    lines.extend((0..20).map(|i| (format!("0 0.7{i:03}"), "device_faq")));
    lines.extend((0..40).map(|i| (format!("3 0.8 {i}"), "billing")));
    let lines: Vec<(&str, &str, &str)> =
        lines.iter().map(|(text, intent)| (&**text, *intent, "core")).collect();
    let sample = EvalSet { name: "the sample".to_owned(), ..set(&lines) };
    let mut evaluator = scripted("script");
    evaluator.read(&sample.messages, || ()).unwrap();
    let before = evaluator.config().threshold;
    let impossible = RiskTarget { risk: 0.001, delta: 0.05 };
    assert!(!evaluator.guarantee(&sample, impossible).unwrap().found);
    assert_eq!((evaluator.config().threshold, evaluator.threshold_from()), (before, &Origin::Configuration));
    let none = evaluate(&evaluator, &sample, Options::default()).unwrap();
    let json = serde_json::to_value(&none).unwrap();
    assert_eq!(
        json["guarantee"],
        serde_json::json!({
            "found": false, "risk": 0.001, "delta": 0.05, "chosen_on": "the sample", "n": 120, "candidates": 80,
            "threshold": null, "bound": null, "accepted": null, "observed_risk": null
        })
    );
    assert!(report::html(&[none], &[]).unwrap().contains("nothing is promised"));
    let found = evaluator.guarantee(&sample, RiskTarget { risk: 0.2, delta: 0.05 }).unwrap().clone();
    assert!(found.found && found.bound.unwrap() <= 0.2 && found.threshold.unwrap() > 0.7, "{found:?}");
    assert_eq!(evaluator.threshold_from(), &Origin::Fitted { on: "the sample".to_owned(), n: 120 });
    let promised = evaluate(&evaluator, &sample, Options::default()).unwrap();
    assert_close(f64::from(promised.gate.threshold), found.threshold.unwrap(), 1e-7);
    assert!(
        report::html(&[promised], &[])
            .unwrap()
            .contains("for messages like those it was chosen on: 120 messages")
    );
    // Whatever changes the confidences or the threshold ends the promise.
    evaluator.calibrate(&sample).unwrap();
    assert_eq!(evaluator.guaranteed(), None);
    evaluator.guarantee(&sample, RiskTarget { risk: 0.2, delta: 0.05 }).unwrap();
    evaluator.set_thresholds(&[0.5]).unwrap();
    assert_eq!((evaluator.guaranteed(), evaluator.threshold_from()), (None, &Origin::Argument));
}

#[test]
fn an_evaluation_serialises_with_the_settled_fields() {
    let e = evaluated(&set(&[("0 0.9", "reset_device", "core"), ("0 0.8", "billing", "core")]));
    let json = serde_json::to_value(&e).unwrap();
    for field in [
        "model",
        "set",
        "n",
        "accuracy",
        "macro_f1",
        "per_class",
        "confusion",
        "ece",
        "coverage",
        "selective_accuracy",
        "unsafe_local_rate",
        "errors",
        "brier",
        "nll",
        "aurc",
        "augrc",
        "threshold",
        "temperature",
    ] {
        assert!(!json[field].is_null(), "{field}");
    }
    assert_eq!(json["confusion"]["billing"]["reset_device"], 1);
    assert_eq!(json["per_class"]["reset_device"]["precision"], 0.5);
    assert_eq!(json["accuracy_interval"].as_array().unwrap().len(), 2);
    assert_eq!(json["errors"][0]["expected"], "billing");
    let keys: Vec<&String> = json["confusion"].as_object().unwrap().keys().collect();
    assert_eq!(keys, ["reset_device", "device_status", "device_faq", "billing", "greeting", "unknown"]);
}

#[test]
fn each_text_is_asked_about_once_and_calibration_needs_no_second_look() {
    let messages =
        set(&[("0 0.9", "reset_device", "a"), ("0 0.9", "billing", "a"), ("0 0.9", "reset_device", "b")]);
    struct Once(Scripted);
    impl LabelModel for Once {
        fn score(&mut self, text: &str, token_confidence: bool) -> Result<Scores> {
            assert_eq!(self.0.1, 0, "asked again");
            self.0.score(text, token_confidence)
        }
        fn info(&self) -> &ModelInfo {
            self.0.info()
        }
    }
    let info = scripted("once").into_classifier().info().clone();
    let model = Box::new(Once(Scripted(info, 0)));
    let mut evaluator = Evaluator::new("once", Classifier::new(model, IntentConfig::default()).unwrap());
    let mut steps = 0;
    evaluator.read(&messages.messages, || steps += 1).unwrap();
    assert_eq!(steps, 3);
    let before = evaluator.answers(&messages.messages).unwrap();
    let temperature = evaluator.calibrate(&messages).unwrap();
    let after = evaluator.answers(&messages.messages).unwrap();
    assert!(temperature > 1.0 && after[0].outcome.confidence() < before[0].outcome.confidence());
    // Right in two of three, and that is what it now says.
    assert_close(after[0].outcome.confidence(), 2.0 / 3.0, 1e-3);
    assert_eq!(evaluator.config().temperature, temperature);
}

#[test]
fn models_are_compared_on_the_same_draws() {
    let set = set(&[
        ("0 0.9 a", "reset_device", "a"),
        ("1 0.9 b", "device_status", "a"),
        ("1 0.9 c", "device_faq", "a"),
        ("2 0.9 d", "device_faq", "a"),
    ]);
    let a = evaluated(&set);
    let same = compare(&a, &a, &set, Bootstrap::default()).unwrap();
    let interval = same.accuracy_interval.unwrap();
    // Unpaired, this interval would be wide.
    assert_eq!((same.accuracy, interval.low, interval.high), (0.0, 0.0, 0.0));
    let mut worse = a.clone();
    worse.outcomes[0].predicted = Some(5);
    worse.labels.accuracy = 0.5;
    let difference = compare(&a, &worse, &set, Bootstrap::default()).unwrap();
    assert_close(difference.accuracy, 0.25, 1e-12);
    assert_eq!(difference.accuracy_interval.unwrap().low, 0.0);
    let other = EvalSet { messages: set.messages[..2].to_vec(), ..set.clone() };
    assert!(compare(&a, &evaluated(&other), &other, Bootstrap::default()).is_err());
}

#[test]
fn the_report_escapes_text_and_asks_for_nothing() {
    let hostile = "0 0.9 <script>alert(1)</script> \"&' <img src=http://evil.example/x onerror=alert(2)>";
    let mut set = set(&[(hostile, "billing", "</td><b>"), ("0 0.9", "reset_device", "core")]);
    set.name = "<i>set</i>".to_owned();
    let e = evaluated(&set);
    let html = report::html(&[e], &[]).unwrap();
    assert!(html.contains("&lt;script&gt;alert(1)&lt;/script&gt;"), "the message is not shown");
    for raw in ["<script", "<img", "<i>", "<b>", "<link", "@import", "url("] {
        assert!(!html.contains(raw), "{raw}");
    }
    // The only addresses are names of XML namespaces inside the charts, and what the message says.
    for address in html.match_indices("http") {
        let rest = &html[address.0..];
        assert!(
            rest.starts_with("http-equiv")
                || rest.starts_with("http://www.w3.org/")
                || rest.starts_with("http://evil")
        );
    }
    assert_eq!(html.matches("<svg").count(), 2);
}

#[test]
fn built_in_sets_are_what_they_say() {
    let adversarial = BuiltIn::Adversarial.load().unwrap();
    assert!(adversarial.messages.len() >= 300);
    let (dev, half) = (BuiltIn::Dev.load().unwrap(), BuiltIn::DevCalibrate.load().unwrap());
    assert_eq!((dev.messages.len(), half.messages.len()), (292, 291));
    // The other half has two parts without a common message: what a threshold is promised on shaped no confidence.
    let parts =
        [CalibrationPart::Temperature, CalibrationPart::Threshold].map(|part| calibration(part).unwrap());
    let sizes = parts.each_ref().map(|part| part.messages.len());
    assert_eq!(sizes, [145, 146]);
    assert_eq!(
        parts.each_ref().map(|part| part.name.as_str()),
        ["dev.jsonl, ids 0 modulo 4", "dev.jsonl, ids 2 modulo 4"]
    );
    let texts: std::collections::HashSet<&str> =
        parts.iter().flat_map(|part| &part.messages).map(|m| m.text.as_str()).collect();
    assert_eq!(texts.len(), 291);
    assert!(half.messages.iter().all(|message| texts.contains(message.text.as_str())));
    for message in relayops_intent::dataset::dev().unwrap() {
        let part = match message.id[4..].parse::<u32>().unwrap() % 4 {
            0 => Some(CalibrationPart::Temperature),
            2 => Some(CalibrationPart::Threshold),
            _ => None,
        };
        assert_eq!(message.calibrates(), part, "{}", message.id);
    }
    // Nothing is fitted on what judges.
    for message in
        dev.messages.iter().chain(&adversarial.messages).chain(&BuiltIn::HeldOut.load().unwrap().messages)
    {
        assert!(!texts.contains(message.text.as_str()), "{}", message.text);
    }
    let units = BuiltIn::HeldOut.load().unwrap();
    assert!(units.units().len() < units.messages.len(), "paraphrases are grouped");
    assert_eq!(units.units().iter().map(Vec::len).sum::<usize>(), units.messages.len());
}

/// A model that is right as often as it says: the intervals of the debiased ECE must hold the estimate, and most of
/// them the true value, which is 0.
#[test]
fn the_interval_of_the_debiased_ece_covers_a_calibrated_model() {
    let labels = IntentConfig::default().labels;
    let mut covered = 0;
    for seed in 0..40 {
        let mut random = fastrand::Rng::with_seed(seed);
        let lines: Vec<(String, String)> = (0..400)
            .map(|index| {
                let confidence = 0.3 + 0.69 * random.f64();
                let right = random.f64() < confidence;
                // `index` keeps the messages apart.
                (format!("0 {confidence} {index}"), labels[usize::from(!right)].clone())
            })
            .collect();
        let lines: Vec<(&str, &str, &str)> =
            lines.iter().map(|(text, intent)| (text.as_str(), intent.as_str(), "core")).collect();
        let evaluation = serde_json::to_value(evaluated(&set(&lines))).unwrap();
        let [low, high] = [0, 1].map(|end| evaluation["ece_debiased_interval"][end].as_f64().unwrap());
        let estimate = evaluation["ece_debiased"].as_f64().unwrap();
        assert!(low <= estimate && estimate <= high, "seed {seed}: {estimate} is not in [{low}, {high}]");
        covered += usize::from(low == 0.0);
    }
    // 95% are meant to; of 40, fewer than 32 would be a one in ten thousand event.
    assert!(covered >= 32, "{covered} of 40 intervals hold the true value");
}
