//! The figures, against hand-computed cases and against scikit-learn.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test fails by panicking")]

use relayops_intent::classifier::{Classifier, LabelModel, ModelInfo};
use relayops_intent::eval::metrics::bootstrap::{Bootstrap, quantile};
use relayops_intent::eval::metrics::calibration::{bins, brier, confident_errors, ece, ece_debiased, nll};
use relayops_intent::eval::metrics::classification::Confusion;
use relayops_intent::eval::metrics::gate::GateCounts;
use relayops_intent::eval::metrics::intervals::{clopper_pearson, upper_bound};
use relayops_intent::eval::metrics::selective::RiskCoverage;
use relayops_intent::eval::metrics::{Outcome, Point};
use relayops_intent::eval::sets::{BuiltIn, EvalSet, Labelled, calibration_half};
use relayops_intent::eval::sgr::{RiskTarget, guarantee_risk};
use relayops_intent::eval::temperature::{fit_temperature, negative_log_likelihood};
use relayops_intent::eval::{Evaluator, Options, compare, evaluate, report};
use relayops_intent::pack::IntentConfig;
use relayops_intent::scoring::Scores;
use relayops_intent::{IntentError, Result};
use serde_json::Value;

#[track_caller]
fn assert_close(actual: f64, expected: f64, tolerance: f64) {
    assert!((actual - expected).abs() <= tolerance, "{actual} is not {expected}");
}

fn points(pairs: &[(f64, bool)]) -> Vec<Point> {
    pairs.iter().map(|(confidence, correct)| Point { confidence: *confidence, correct: *correct }).collect()
}

fn floats(value: &Value) -> Vec<f64> {
    value.as_array().unwrap().iter().map(|v| v.as_f64().unwrap()).collect()
}

fn fixture(name: &str) -> Value {
    let path = format!("{}/tests/fixtures/{name}", env!("CARGO_MANIFEST_DIR"));
    serde_json::from_str(&std::fs::read_to_string(path).unwrap()).unwrap()
}

#[test]
fn confusion_by_hand() {
    // gold a: a a b; gold b: b; gold c: none, answered once for a b.
    let confusion = Confusion::new(4, [(0, 0), (0, 0), (0, 1), (1, 1), (1, 2)]);
    assert_eq!(confusion.counts()[0], [2, 1, 0, 0]);
    assert_close(confusion.accuracy(), 3.0 / 5.0, 1e-12);
    let scores = confusion.per_class();
    assert_close(scores[0].precision, 1.0, 1e-12);
    assert_close(scores[0].recall, 2.0 / 3.0, 1e-12);
    assert_close(scores[0].f1, 0.8, 1e-12);
    assert_close(scores[1].f1, 0.5, 1e-12);
    assert_eq!((scores[2].precision, scores[2].recall, scores[2].f1, scores[2].support), (0.0, 0.0, 0.0, 0));
    // Class 3 occurs nowhere and does not count.
    assert_close(confusion.macro_f1(), (0.8 + 0.5 + 0.0) / 3.0, 1e-12);
    assert_eq!(Confusion::new(2, []).macro_f1(), 0.0);
}

#[test]
fn calibration_by_hand() {
    let points = points(&[(0.1, false), (0.2, true), (0.7, true), (0.8, false), (1.0, true)]);
    let five = bins(&points, 5);
    // Edges belong to the bin below: 0.2 to the first, 0.8 to the fourth, 1.0 to the last.
    assert_eq!(five.iter().map(|bin| bin.n).collect::<Vec<_>>(), [2, 0, 0, 2, 1]);
    assert_close(five[0].confidence, 0.15, 1e-12);
    assert_close(five[0].accuracy, 0.5, 1e-12);
    // 2/5 * 0.35 + 2/5 * 0.25 + 1/5 * 0
    assert_close(ece(&five), 0.24, 1e-12);
    assert!(ece_debiased(&five) < ece(&five));
    assert_eq!(confident_errors(&points, 0.75), (1, 2));
    assert_eq!((ece(&bins(&[], 15)), ece_debiased(&bins(&[], 15))), (0.0, 0.0));
    let p: [&[f64]; 2] = [&[0.5, 0.5, 0.0], &[0.0, 0.25, 0.75]];
    // (0.25 + 0.25) and (0.0625 + 0.0625)
    assert_close(brier([(0, p[0]), (2, p[1])]).unwrap(), (0.5 + 0.125) / 2.0, 1e-12);
    assert_close(nll([(0, p[0]), (2, p[1])]).unwrap(), (2f64.ln() - 0.75f64.ln()) / 2.0, 1e-12);
    // A probability of zero costs no more than the machine epsilon.
    assert_close(nll([(2, p[0])]).unwrap(), -f64::EPSILON.ln(), 1e-9);
    assert_eq!((brier([]), nll([])), (None, None));
}

#[test]
fn debiasing_removes_part_of_what_noise_alone_makes() {
    // Perfectly calibrated at 0.7: 400 sets of 60 predictions whose share of right answers is drawn with that chance.
    let mut random = fastrand::Rng::with_seed(7);
    let (mut plain, mut debiased) = (0.0, 0.0);
    for _ in 0..400 {
        let drawn: Vec<(f64, bool)> = (0..60).map(|_| (0.7, random.f64() < 0.7)).collect();
        let bins = bins(&points(&drawn), 15);
        plain += ece(&bins) / 400.0;
        debiased += ece_debiased(&bins) / 400.0;
    }
    assert!(plain > 0.04 && debiased < 0.8 * plain, "{plain} {debiased}");
}

#[test]
fn selection_by_hand() {
    // Confidences fall; errors at ranks 2 and 4: E = 0, 0, 1, 1, 2.
    let curve = RiskCoverage::new(&points(&[(0.6, false), (0.9, true), (0.8, false), (0.7, true)]));
    let risks: Vec<f64> = curve.curve().into_iter().map(|(_, risk)| risk).collect();
    assert_eq!(risks, [0.0, 0.5, 1.0 / 3.0, 0.5]);
    assert_close(curve.aurc(), (0.5 + 1.0 / 3.0 + 0.5) / 4.0, 1e-12);
    // Trapezia of 0, 0, 1, 1, 2 over 16: (0 + 0.5 + 1 + 1.5) / 16.
    assert_close(curve.augrc(), 3.0 / 16.0, 1e-12);
    // The oracle errs at ranks 3 and 4: risks 0, 0, 1/3, 1/2; half the squared error rate.
    assert_close(curve.oracle().aurc(), (1.0 / 3.0 + 0.5) / 4.0, 1e-12);
    assert_close(curve.oracle().augrc(), 0.125, 1e-12);
    assert_eq!(curve.error_rate(), 0.5);
    // A constant confidence is the random reference itself, in any order.
    let constant = RiskCoverage::new(&points(&[(0.5, false), (0.5, true), (0.5, true), (0.5, true)]));
    assert_close(constant.aurc(), 0.25, 1e-12);
    assert_close(constant.augrc(), 0.125, 1e-12);
    let nothing = RiskCoverage::new(&[]);
    assert_eq!((nothing.aurc(), nothing.augrc(), nothing.error_rate()), (0.0, 0.0, 0.0));
}

#[test]
fn gate_by_hand() {
    let outcome = |gold, predicted, local| Outcome { gold, predicted, probabilities: None, local };
    let outcomes = [
        outcome(0, 0, true),
        outcome(0, 0, false),
        outcome(1, 0, true),
        outcome(1, 1, false),
        outcome(0, 1, false),
        outcome(1, 0, false),
    ];
    let counts = GateCounts::new(&outcomes, &[false, true]);
    assert_eq!(counts.coverage(), Some(2.0 / 6.0));
    assert_eq!(counts.selective_accuracy(), Some(0.5));
    assert_eq!(counts.unsafe_local_rate(), Some(1.0 / 3.0));
    assert_eq!(counts.over_escalation(), Some(2.0 / 3.0));
    let nothing = GateCounts::new(&outcomes[..0], &[false, true]);
    assert_eq!(
        (nothing.coverage(), nothing.selective_accuracy(), nothing.unsafe_local_rate()),
        (None, None, None)
    );
}

#[test]
fn scikit_learn_agrees() {
    let fixture = fixture("metrics_sklearn.json");
    let cases = fixture["cases"].as_array().unwrap();
    assert_eq!(cases.len(), 3);
    for case in cases {
        let gold: Vec<usize> = case["gold"]
            .as_array()
            .unwrap()
            .iter()
            .map(|v| usize::try_from(v.as_u64().unwrap()).unwrap())
            .collect();
        let p: Vec<Vec<f64>> = case["probabilities"].as_array().unwrap().iter().map(floats).collect();
        let outcomes: Vec<Outcome> = gold
            .iter()
            .zip(&p)
            .map(|(gold, p)| {
                let best = (0..p.len()).rev().max_by(|a, b| p[*a].total_cmp(&p[*b])).unwrap();
                Outcome { gold: *gold, predicted: best, probabilities: Some(p.clone()), local: false }
            })
            .collect();
        let expected = &case["expected"];
        let close = |actual: f64, name: &str| {
            let expected = expected[name].as_f64().unwrap();
            assert!((actual - expected).abs() < 1e-9, "{name}: {actual}, expected {expected}");
        };
        let confusion = Confusion::new(6, outcomes.iter().map(|o| (o.gold, o.predicted)));
        let counts = serde_json::to_value(confusion.counts()).unwrap();
        assert_eq!(counts, expected["confusion"]);
        close(confusion.accuracy(), "accuracy");
        close(confusion.macro_f1(), "macro_f1");
        for (class, scores) in confusion.per_class().iter().enumerate() {
            assert_close(scores.precision, floats(&expected["precision"])[class], 1e-12);
            assert_close(scores.recall, floats(&expected["recall"])[class], 1e-12);
            assert_close(scores.f1, floats(&expected["f1"])[class], 1e-12);
            assert_eq!(scores.support as u64, expected["support"][class].as_u64().unwrap());
        }
        let pairs = || outcomes.iter().map(|o| (o.gold, o.probabilities.as_deref().unwrap()));
        close(brier(pairs()).unwrap(), "brier");
        close(nll(pairs()).unwrap(), "nll");
        let points: Vec<Point> = outcomes.iter().map(Outcome::point).collect();
        let bins = bins(&points, 15);
        close(ece(&bins), "ece");
        // The reference integrates numerically.
        assert_close(ece_debiased(&bins), expected["ece_debiased"].as_f64().unwrap(), 1e-5);
        close(RiskCoverage::new(&points).aurc(), "aurc");
        close(RiskCoverage::new(&points).augrc(), "augrc");
    }
}

#[test]
fn scipy_agrees_on_binomial_bounds() {
    let fixture = fixture("metrics_sklearn.json");
    for case in fixture["binomial"].as_array().unwrap() {
        let field = |name: &str| case[name].as_f64().unwrap();
        let [k, n] = ["k", "n"].map(|name| usize::try_from(case[name].as_u64().unwrap()).unwrap());
        let interval = clopper_pearson(k, n, 0.95);
        assert_close(interval.low, field("low"), 1e-9);
        assert_close(interval.high, field("high"), 1e-9);
        assert_close(upper_bound(k, n, 0.05), field("upper_one_sided"), 1e-9);
    }
    // The rule of three, exactly: nothing in n leaves 1 - alpha^(1/n).
    assert_close(upper_bound(0, 100, 0.05), 1.0 - 0.05f64.powf(0.01), 1e-12);
    assert_eq!(upper_bound(0, 0, 0.05), 1.0);
}

#[test]
fn bootstrap_intervals_repeat_and_know_groups() {
    let values = [1.0, 0.0, 1.0, 1.0, 0.0, 1.0, 1.0, 1.0, 0.0, 1.0];
    let mean = |indices: &[usize]| [indices.iter().map(|i| values[*i]).sum::<f64>() / indices.len() as f64];
    let single: Vec<Vec<usize>> = (0..10).map(|i| vec![i]).collect();
    let bootstrap = Bootstrap::default();
    let [interval] = bootstrap.intervals(&single, mean);
    let interval = interval.unwrap();
    assert_eq!(bootstrap.intervals(&single, mean), [Some(interval)]);
    // Binomial(10, 0.7) / 10: 2.5% quantile 0.4; above 0.9 lie 2.8%, too near 2.5% for 2,000 draws to tell.
    assert_eq!(interval.low, 0.4);
    assert!([0.9, 1.0].contains(&interval.high), "{interval:?}");
    // Two groups that agree in themselves leave only three outcomes.
    let groups = vec![vec![0, 2, 3, 5, 6], vec![1, 4, 8]];
    let [grouped] = bootstrap.intervals(&groups, mean);
    assert_eq!(grouped.map(|i| (i.low, i.high)), Some((0.0, 1.0)));
    let [undefined] = bootstrap.intervals(&single, |_| [f64::NAN]);
    assert_eq!(undefined, None);
    assert_eq!((quantile(&[1.0, 2.0, 4.0], 0.75), quantile(&[], 0.5)), (Some(3.0), None));
}

fn scores(p: &[f64]) -> Scores {
    #[expect(clippy::cast_possible_truncation, reason = "scores are single precision")]
    let log_probabilities = p.iter().map(|p| p.ln() as f32).collect();
    Scores { log_probabilities, token_confidence: None }
}

#[test]
fn the_temperature_is_the_best_one() {
    // Says 0.9 and is right in 7 of 10: ln(0.7/0.3) = ln(0.9/0.1) / T.
    let sure = scores(&[0.9, 0.1]);
    let scored: Vec<(&Scores, usize)> = (0..10).map(|i| (&sure, usize::from(i >= 7))).collect();
    let temperature = f64::from(fit_temperature(&scored).unwrap());
    assert_close(temperature, 9f64.ln() / (7.0f64 / 3.0).ln(), 1e-4);
    let best = negative_log_likelihood(&scored, temperature);
    for other in [0.97, 1.03] {
        assert!(negative_log_likelihood(&scored, temperature * other) > best);
    }
    let right: Vec<(&Scores, usize)> = vec![(&sure, 0); 5];
    for undetermined in [&right[..], &[]] {
        let error = fit_temperature(undetermined).unwrap_err();
        assert!(error.to_string().contains("temperature"), "{error}");
    }
}

#[test]
fn a_guaranteed_threshold_holds_its_promise() {
    let target = RiskTarget { risk: 0.1, delta: 0.1 };
    // 300 right above 0.8, 100 of which half are wrong below.
    let mut data: Vec<(f64, bool)> = (0..300).map(|i| (0.8 + f64::from(i) / 2_000.0, true)).collect();
    data.extend((0..100).map(|i| (0.5 + f64::from(i) / 1_000.0, i % 2 == 0)));
    let found = guarantee_risk(&points(&data), target).unwrap();
    assert!(found.bound <= 0.1 && found.accepted >= 280 && found.threshold < 0.82, "{found:?}");
    // By the definition: the bound of what is accepted at delta / ceil(log2 400).
    let wrong = data.iter().filter(|(c, right)| *c >= found.threshold && !right).count();
    assert_close(found.bound, upper_bound(wrong, found.accepted, 0.1 / 9.0), 1e-12);
    // Ten right answers promise nothing.
    assert_eq!(guarantee_risk(&points(&data[..10]), target), None);
    assert_eq!(guarantee_risk(&[], target), None);
    for (risk, delta) in [(0.0, 0.1), (1.0, 0.1), (f64::NAN, 0.1), (0.1, 0.0)] {
        let error = RiskTarget { risk, delta }.check().unwrap_err();
        assert!(matches!(error, IntentError::InvalidArgument { .. }));
    }
}

#[test]
fn guaranteed_thresholds_fail_no_oftener_than_promised() {
    // Confidence c is right with probability c; risk of accepting above t is (1 - t) / 2.
    let target = RiskTarget { risk: 0.15, delta: 0.1 };
    let mut random = fastrand::Rng::with_seed(3);
    let (mut broken, mut found) = (0, 0);
    for _ in 0..200 {
        let drawn: Vec<(f64, bool)> = (0..2_000)
            .map(|_| {
                let confidence = random.f64();
                (confidence, random.f64() < confidence)
            })
            .collect();
        if let Some(chosen) = guarantee_risk(&points(&drawn), target) {
            found += 1;
            broken += usize::from((1.0 - chosen.threshold) / 2.0 > target.risk);
        }
    }
    assert!(found > 150, "{found}");
    assert!(broken <= 20, "{broken} of 200");
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

fn evaluated(set: &EvalSet) -> relayops_intent::eval::Evaluation {
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
    assert_eq!((e.n, e.units, e.unscored), (8, 8, 2));
    assert_eq!(
        e.unscored_reasons.iter().map(|(r, n)| (r.as_str(), *n)).collect::<Vec<_>>(),
        [("error:inference", 1), ("too_long", 1)]
    );
    // A failure is answered `unknown`, which here is right; the long one is wrong.
    assert_close(e.labels.accuracy, 5.0 / 8.0, 1e-12);
    assert_close(e.gate.coverage, 3.0 / 8.0, 1e-12);
    assert_close(e.gate.selective_accuracy.unwrap(), 1.0 / 3.0, 1e-12);
    assert_eq!((e.gate.unsafe_local, e.gate.must_escalate), (2, 5));
    assert_close(e.gate.unsafe_local_rate.unwrap(), 0.4, 1e-12);
    assert_close(e.gate.unsafe_local_upper.unwrap(), upper_bound(2, 5, 0.05), 1e-12);
    assert_close(e.gate.over_escalation.unwrap(), 2.0 / 3.0, 1e-12);
    let near = e.near_out_of_scope.unwrap();
    assert_eq!((near.n, near.recall, near.escalated), (2, 0.5, 0.5));
    let far = e.far_out_of_scope.unwrap();
    assert_eq!((far.n, far.recall, far.escalated), (2, 1.0, 1.0));
    // Errors above 0.9 among the scored ones: one of two.
    assert_close(e.calibration.confident_error_share.unwrap(), 0.5, 1e-12);
    let errors: Vec<(&str, Option<f64>)> =
        e.errors.iter().map(|m| (m.predicted.as_str(), m.confidence.map(|c| (c * 100.0).round()))).collect();
    assert_eq!(errors, [("device_faq", Some(95.0)), ("reset_device", Some(80.0)), ("unknown", None)]);
    let slices: Vec<(&str, usize)> = e.slices.iter().map(|(name, slice)| (name.as_str(), slice.n)).collect();
    assert_eq!(slices, [("core", 3), ("far_oos", 2), ("long", 1), ("near_oos", 2)]);
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
    let temperature = evaluator.calibrate(&messages.messages).unwrap();
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
    worse.outcomes[0].predicted = 5;
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
    let (dev, calibration) = (BuiltIn::Dev.load().unwrap(), calibration_half().unwrap());
    assert!(dev.messages.len() + calibration.len() >= 400);
    let texts: std::collections::HashSet<&str> = calibration.iter().map(|m| m.text.as_str()).collect();
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
