//! The pack that ships: its manifest says what is true of its bytes.

use std::process::Command;

use relayops_intent::builtin;
use relayops_intent::classifier::ClassifyOptions;
use relayops_intent::packing::figures::condense;
use relayops_intent::train::data::Data;
use serde_json::Value;

/// Bytes of the whole pack, its manifest included.
const LIMIT: u64 = 14_000_000;

/// What every pack that ships must reach: set, accuracy, macro-F1. A standard error is 1.3 points on the adversarial set and
/// 0.9 on the held-out part; packs are not chosen by either.
const FLOORS: [(&str, f64, f64); 2] = [("held-out", 0.955, 0.955), ("adversarial", 0.88, 0.88)];

/// Messages that must escalate and stay local all the same, of those that must escalate: the adversarial set and the half
/// of dev.jsonl that thresholds are chosen on together.
const UNSAFE_LOCAL: f64 = 0.02;

/// Equal, numbers but for what another platform's `exp` and `ln` may change.
fn assert_same(at: &str, stated: &Value, printed: &Value) {
    match (stated, printed) {
        (Value::Object(a), Value::Object(b)) => {
            assert_eq!(a.keys().collect::<Vec<_>>(), b.keys().collect::<Vec<_>>(), "{at}");
            a.iter().for_each(|(key, value)| assert_same(&format!("{at}.{key}"), value, &b[key]));
        }
        (Value::Array(a), Value::Array(b)) => {
            assert_eq!(a.len(), b.len(), "{at}");
            let pairs = a.iter().zip(b).enumerate();
            pairs.for_each(|(index, (a, b))| assert_same(&format!("{at}[{index}]"), a, b));
        }
        (Value::Number(a), Value::Number(b)) => {
            let close = matches!((a.as_f64(), b.as_f64()), (Some(a), Some(b)) if (a - b).abs() <= 1e-5);
            assert!(close, "{at}: the manifest says {a}, eval prints {b}");
        }
        _ => assert_eq!(stated, printed, "{at}"),
    }
}

#[test]
fn the_manifests_figures_are_what_eval_prints() {
    let manifest = builtin::compact().unwrap().manifest().clone();
    let sets = manifest.figures.as_array().unwrap();
    let names: Vec<&str> = sets.iter().map(|set| set["set"].as_str().unwrap()).collect();
    assert_eq!(names, ["held-out", "adversarial", "dev", "dev-calibrate"]);
    let output = Command::new(env!("CARGO_BIN_EXE_relayops-intent"))
        .args(["eval", "--json", "--set"])
        .args(&names)
        .output()
        .unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let printed: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_same("figures", &manifest.figures, &condense(&printed));
}

/// Of the figures that the manifest states, which another test has printed again.
#[test]
fn the_pack_reaches_its_floors() {
    let loader = builtin::compact().unwrap();
    let sets = loader.manifest().figures.as_array().unwrap();
    let stated = |name: &str| sets.iter().find(|figures| figures["set"] == name).unwrap();
    for (set, accuracy, macro_f1) in FLOORS {
        for (name, floor) in [("accuracy", accuracy), ("macro_f1", macro_f1)] {
            let value = stated(set)[name].as_f64().unwrap();
            assert!(value >= floor, "{set}: {name} {value} is below {floor}");
        }
    }
    let pooled = ["adversarial", "dev-calibrate"].map(stated);
    let [kept, must] = ["unsafe_local", "must_escalate"]
        .map(|name| pooled.iter().map(|figures| figures[name].as_u64().unwrap()).sum::<u64>());
    assert!(
        kept as f64 <= UNSAFE_LOCAL * must as f64,
        "{kept} of {must} messages that must escalate stay local"
    );
}

#[test]
fn the_pack_is_small_enough_and_says_how_it_was_made() {
    let loader = builtin::compact().unwrap();
    let manifest = loader.manifest();
    let size = manifest.total_bytes() + manifest.to_json().unwrap().len() as u64;
    assert!(size <= LIMIT, "{size} bytes");
    assert!(manifest.command.starts_with("relayops-intent pack "), "{}", manifest.command);
    let training = manifest.training["command"].as_str().unwrap();
    assert!(training.starts_with("relayops-intent train compact "), "{training}");
    let data = Data::read(true, 0).unwrap();
    assert_eq!(manifest.training["data"]["sha256"], data.account.sha256.as_str(), "trained on today's data");
    assert_eq!(manifest.origin.licence, "Apache-2.0");
}

/// What a customer types most must not need a person, and what must go to one must.
#[test]
fn plain_messages_take_the_route_that_anyone_would_expect() {
    let mut classifier = builtin::compact().unwrap().finish().unwrap();
    let local = [
        ("hi", "greeting"),
        ("hello", "greeting"),
        ("good morning", "greeting"),
        ("thank you so much", "greeting"),
        ("bye", "greeting"),
        ("my internet is down", "reset_device"),
        ("please reset the modem", "reset_device"),
        ("restart my router", "reset_device"),
        ("is my router online?", "device_status"),
        ("did the restart work?", "device_status"),
        ("what is the difference between a modem and a router?", "device_faq"),
        ("how do I connect my printer to the wifi?", "device_faq"),
    ];
    for (text, intent) in local {
        let result = classifier.classify(text, ClassifyOptions::default()).unwrap();
        assert_eq!(
            (result.intent.as_str(), result.decision.reason.as_str()),
            (intent, "confident"),
            "{text}"
        );
    }
    for (text, intent) in [("why is my bill so high?", "billing"), ("what is my password?", "unknown")] {
        let result = classifier.classify(text, ClassifyOptions::default()).unwrap();
        assert_eq!(result.decision.reason, format!("intent:{intent}"), "{text}");
    }
}

#[test]
fn compact_is_the_model_where_none_is_named() {
    let run = |arguments: &[&str]| {
        let output = Command::new(env!("CARGO_BIN_EXE_relayops-intent")).args(arguments).output().unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8(output.stdout).unwrap()
    };
    let messages = ["my internet is down", "why was I charged twice"];
    let plain = run(&["classify", messages[0], messages[1]]);
    assert_eq!(plain, "{\"intent\": \"reset_device\"}\n{\"intent\": \"billing\"}\n");
    assert_eq!(plain, run(&["classify", "--model", "compact", messages[0], messages[1]]));
    let whole: Value = serde_json::from_str(&run(&["classify", "--json", messages[0]])).unwrap();
    assert_eq!(whole["stage"], "compact");
}
