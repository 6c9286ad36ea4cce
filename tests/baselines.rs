//! The baselines: against scikit-learn, and good enough to be worth beating.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test fails by panicking")]

use relayops_intent::baselines::{Baseline, ComplementNb, Keyword, keyword};
use relayops_intent::classifier::{ClassifyOptions, LabelModel};
use relayops_intent::dataset;
use relayops_intent::eval::cross_validation::{Run, SEEDS, Spread, cross_validate};
use relayops_intent::eval::identity::{Origin, TrainedOn};
use relayops_intent::eval::sets::BuiltIn;
use relayops_intent::eval::{Evaluation, Options, evaluate};
use relayops_intent::pack::IntentConfig;
use serde_json::Value;

fn labels() -> Vec<String> {
    IntentConfig::default().labels
}

fn on(baseline: Baseline, set: BuiltIn) -> Evaluation {
    let set = set.load().unwrap();
    let mut evaluator = baseline.evaluator().unwrap();
    evaluator.read(&set.messages, || ()).unwrap();
    evaluate(&evaluator, &set, Options::default()).unwrap()
}

#[test]
fn complement_nb_is_scikit_learns() {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/fixtures/complement_nb_sklearn.json");
    let fixture: Value = serde_json::from_str(&std::fs::read_to_string(path).unwrap()).unwrap();
    let text = |value: &Value| value.as_str().unwrap().to_owned();
    let labels: Vec<String> = fixture["labels"].as_array().unwrap().iter().map(text).collect();
    let train: Vec<(String, String)> =
        fixture["train"].as_array().unwrap().iter().map(|pair| (text(&pair[0]), text(&pair[1]))).collect();
    let model = ComplementNb::fit(&labels, train.iter().map(|(t, i)| (t.as_str(), i.as_str()))).unwrap();
    assert_eq!(model.vocabulary() as u64, fixture["features"].as_u64().unwrap());
    let queries = fixture["queries"].as_array().unwrap();
    assert!(queries.len() >= 12);
    for (query, joint) in queries.iter().zip(fixture["joint"].as_array().unwrap()) {
        let sums = model.sums(query.as_str().unwrap()).unwrap();
        for (sum, expected) in sums.iter().zip(joint.as_array().unwrap()) {
            let scaled = sum / model.vocabulary() as f64;
            assert!((scaled - expected.as_f64().unwrap()).abs() < 1e-12, "{query}: {scaled} {expected}");
        }
    }
}

#[test]
fn complement_nb_by_hand() {
    let labels = ["a".to_owned(), "b".to_owned()];
    let model = ComplementNb::fit(&labels, [("x x", "a"), ("y", "b")]).unwrap();
    // Features x (twice in a), "x x" (a), y (b). Complement counts plus one: of a (that is b): 1, 1, 2 of 4;
    // of b: 3, 2, 1 of 6.
    let a = [0.25f64, 0.25, 0.5].map(f64::ln);
    let b = [3.0f64 / 6.0, 2.0 / 6.0, 1.0 / 6.0].map(f64::ln);
    let sums = model.sums("x").unwrap();
    assert!((sums[0] - 3.0 * a[0] / a.iter().sum::<f64>()).abs() < 1e-12);
    assert!((sums[1] - 3.0 * b[0] / b.iter().sum::<f64>()).abs() < 1e-12);
    assert!(sums[0] > sums[1]);
    assert_eq!(model.sums("z"), None);
    assert!(ComplementNb::fit(&labels, [("x", "c")]).is_err());
    assert!(ComplementNb::fit(&labels, []).is_err());
}

#[test]
fn a_message_of_unknown_words_is_unknown_and_token_confidence_is_refused() {
    let mut model = ComplementNb::fit(&labels(), [("router", "reset_device")]).unwrap();
    let scores = model.score("zzgrmpf", false).unwrap();
    let p: Vec<f32> = scores.log_probabilities.iter().map(|l| l.exp()).collect();
    assert!(p[..5].iter().all(|other| *other < p[5] && p[5] - other < 1e-3), "{p:?}");
    assert!((p.iter().sum::<f32>() - 1.0).abs() < 1e-6, "{p:?}");
    let mut keyword = Keyword::new(&labels()).unwrap();
    for error in [model.score("router", true), keyword.score("router", true)] {
        assert_eq!(error.unwrap_err().code(), "unavailable");
    }
    assert!(Keyword::new(&["a".to_owned(), "b".to_owned()]).is_err());
}

#[test]
fn keyword_follows_its_rules_in_order() {
    let mut classifier = Baseline::Keyword.classifier().unwrap();
    for (text, intent) in [
        ("please restart my router", "reset_device"),
        ("restart it, but don\u{2019}t touch my bill", "billing"),
        ("is my modem online right now?", "device_status"),
        ("should I restart it?", "device_faq"),
        ("I FORGOT MY PASSWORD", "unknown"),
        ("hello there", "greeting"),
        ("qwertz", "unknown"),
    ] {
        assert_eq!(classifier.classify(text, ClassifyOptions::default()).unwrap().intent, intent, "{text}");
    }
    assert!(keyword::RULES.iter().all(|(intent, confidence, _)| {
        labels().iter().any(|label| label == intent) && (0.2..1.0).contains(confidence)
    }));
}

/// The dataset, the split, the rules and the fit are fixed, and so are the counts. If one of these changed on purpose:
/// the new counts belong here, and the README's rows with them.
#[test]
fn the_baselines_figures_are_the_published_ones() {
    let counts = |baseline, set| {
        let e = on(baseline, set);
        let right = e.outcomes.iter().filter(|outcome| outcome.correct()).count();
        let local = e.outcomes.iter().filter(|outcome| outcome.local).count();
        (e.n, right, local, e.gate.unsafe_local, e.gate.must_escalate)
    };
    for (baseline, set, expected) in [
        (Baseline::Keyword, BuiltIn::HeldOut, (720, 442, 18, 2, 240)),
        (Baseline::Keyword, BuiltIn::Adversarial, (550, 257, 6, 1, 262)),
        (Baseline::ComplementNb, BuiltIn::HeldOut, (720, 490, 307, 34, 240)),
        (Baseline::ComplementNb, BuiltIn::Adversarial, (550, 290, 175, 36, 262)),
    ] {
        assert_eq!(counts(baseline, set), expected, "{baseline} on {}", set.name());
    }
}

#[test]
fn baselines_say_what_they_were_fitted_on() {
    let on = "dev.jsonl, ids 0 modulo 4".to_owned();
    for (baseline, data, temperature) in [
        (Baseline::Keyword, "nothing, its rules are written by hand", 1.710_1),
        (Baseline::ComplementNb, "1428 messages: the train part for seed 13", 0.034_69),
    ] {
        let evaluator = baseline.evaluator().unwrap();
        let identity = evaluator.identity();
        assert_eq!((&identity.file, identity.configuration.as_deref()), (&None, Some("built in")));
        assert_eq!(identity.trained_on, Some(TrainedOn { data: data.to_owned(), extra: false }));
        assert_eq!(evaluator.temperature_from(), &Origin::Fitted { on: on.clone(), n: 145 });
        let fitted = evaluator.config().temperature;
        assert!((fitted / temperature - 1.0).abs() < 1e-3, "{baseline}: {fitted}");
    }
}

#[test]
fn fitting_repeats_to_the_bit() {
    let ask = || {
        let mut classifier = Baseline::ComplementNb.classifier().unwrap();
        let result = classifier.classify("my wifi is dead, fix it", ClassifyOptions::default()).unwrap();
        (classifier.config().temperature, result.probabilities)
    };
    assert_eq!(ask(), ask());
}

#[test]
fn cross_validation_fits_each_split_anew() {
    let mut sizes = Vec::new();
    let results = cross_validate("complement-nb", |train| {
        sizes.push(train.len());
        Baseline::ComplementNb.fit(train)
    })
    .unwrap();
    assert_eq!((sizes.len(), results.len()), (SEEDS.len(), 2));
    let [held_out, adversarial] = &results[..] else { panic!("two sets") };
    assert_eq!((held_out.set.as_str(), adversarial.set.as_str()), ("held-out", "adversarial"));
    assert_eq!(held_out.runs.iter().map(|run| run.seed).collect::<Vec<_>>(), SEEDS);
    let right = |run: &Run| (run.accuracy * 720.0).round();
    assert_eq!(held_out.runs.iter().map(right).collect::<Vec<_>>(), [490.0, 477.0, 472.0, 466.0, 466.0]);
    let mean = held_out.runs.iter().map(|run| run.accuracy / 5.0).sum::<f64>();
    assert!(held_out.accuracy.sd > 0.0 && (held_out.accuracy.mean - mean).abs() < 1e-12);
    // The first split is the one that everything else is measured on.
    let single = on(Baseline::ComplementNb, BuiltIn::HeldOut);
    assert_eq!(held_out.runs[0].accuracy, single.labels.accuracy);
    assert_eq!(sizes[0], dataset::split(&dataset::build().unwrap(), 13).train.len());
}

#[test]
fn spread_by_hand() {
    let spread = Spread::of(&[1.0, 2.0, 3.0, 6.0]).unwrap();
    assert_eq!((spread.mean, spread.min, spread.max), (3.0, 1.0, 6.0));
    assert!((spread.sd - (14.0f64 / 3.0).sqrt()).abs() < 1e-12);
    assert_eq!(Spread::of(&[0.5]).unwrap().sd, 0.0);
    assert_eq!(Spread::of(&[]), None);
}
