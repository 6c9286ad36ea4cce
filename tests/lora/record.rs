//! What `eval --record` writes into an adapter.

use std::path::Path;

use candle_core::quantized::GgmlDType;
use relayops_intent::adapter::{AdapterFiles, Asked, Intent};
use relayops_intent::loader::PackLoader;
use relayops_testkit::TinyQwen2;

use super::apply::{Trained, command, printed};
use super::tiny::{self, MESSAGES};

fn intent(folder: &str) -> Intent {
    AdapterFiles::read(Path::new(folder)).unwrap().intent().unwrap().clone()
}

#[test]
fn thresholds_of_a_cascade_stay_with_the_adapter() {
    let trained = Trained::new(&tiny::model());
    let (model, first) = trained.paths();
    let before = intent(&first);
    let cascade = ["--model", "cascade", "--then", &model, "--adapter", &first, "--json"];
    // Any share may be unsafe, so that there are such thresholds.
    let eval = ["eval", "--set", "dev", "--max-unsafe", "1", "--record"];
    let result = printed(&[&eval[..], &cascade].concat());
    let chosen = |stage: usize| result["cascade"]["stages"][stage]["threshold"].clone();

    let recorded = intent(&first);
    let thresholds = recorded.config.cascade.as_ref().unwrap();
    let compact =
        std::fs::read(Path::new(env!("CARGO_MANIFEST_DIR")).join("models/compact/pack.json")).unwrap();
    assert_eq!(thresholds.first, PackLoader::new(&compact).unwrap().identity());
    let expected: [f32; 2] = serde_json::from_value(serde_json::json!([chosen(0), chosen(1)])).unwrap();
    assert_eq!(thresholds.thresholds, expected);
    assert_eq!(recorded.config.threshold, before.config.threshold, "its own stays");
    assert_eq!(recorded.figures, before.figures);

    // They hold from now on; the message is nothing that compact knows.
    let said = printed(&[&["classify"][..], &cascade, &[MESSAGES[0]]].concat());
    let in_force: Vec<_> =
        said["stages"].as_array().unwrap().iter().map(|stage| stage["threshold"].clone()).collect();
    assert_eq!(in_force, [chosen(0), chosen(1)][..in_force.len()]);
    // The caller's go before.
    let given = [&["classify", "--threshold", "0.25,0.5"][..], &cascade, &[MESSAGES[0]]].concat();
    assert_eq!(printed(&given)["stages"][0]["threshold"], 0.25);
}

#[test]
fn golden_answers_are_taken_anew() {
    let trained = Trained::new(&tiny::model());
    let (model, first) = trained.paths();
    let path = Path::new(&first).join("intent.json");
    let before = intent(&first);
    let mut untrue = before.clone();
    untrue.golden.tolerance = 100.0;
    for vector in &mut untrue.golden.vectors {
        vector.log_probabilities.iter_mut().for_each(|value| *value -= 1.0);
    }
    std::fs::write(&path, untrue.to_json().unwrap()).unwrap();
    printed(&["eval", "--model", &model, "--adapter", &first, "--set", "dev", "--json", "--record"]);
    assert_eq!(intent(&first).golden, before.golden);
}

/// Golden answers are those of rounded activations, to a thousandth; what rounds otherwise is held to the other tolerance.
#[test]
fn golden_answers_know_what_rounds_otherwise() {
    let quantized =
        TinyQwen2 { hidden: 64, feed_forward: 96, layers: 3, ..TinyQwen2::uniform(GgmlDType::Q8_0) };
    let trained = Trained::new(&quantized);
    let (model, first) = trained.paths();
    let mut files = AdapterFiles::read(Path::new(&first)).unwrap();
    let golden = &files.intent().unwrap().golden;
    let other = golden.tolerance_other_order.unwrap();
    assert!(golden.tolerance <= 1e-3 && other >= 0.05, "{} and {other}", golden.tolerance);
    for exact in [false, true] {
        trained.base(exact).set_adapter(Some(&files), false).unwrap();
    }
    let messages = Path::new(&first).with_file_name("messages.jsonl");
    std::fs::write(&messages, "{\"text\": \"is it up?\"}\n").unwrap();
    let bench = ["bench", "--rounds", "1", "--model", &model, "--adapter", &first, "--flips"];
    let (code, out, error) = command(&[&bench[..], &[messages.to_str().unwrap()]].concat());
    assert!(code == Some(0) && out.contains("exact weights"), "{out}{error}");

    let Asked::Intent(intent) = &mut files.asked else { panic!("it has an intent.json") };
    intent.golden.tolerance_other_order = Some(1e-5);
    trained.base(false).set_adapter(Some(&files), false).unwrap();
    let error = trained.base(true).set_adapter(Some(&files), false).unwrap_err();
    assert_eq!(error.code(), "golden_mismatch");
}

#[test]
fn thresholds_of_a_cascade_are_for_the_calibration_that_is_recorded() {
    let trained = Trained::new(&tiny::model());
    let (model, first) = trained.paths();
    let cascade = ["eval", "--model", "cascade", "--then", &model, "--adapter", &first, "--set", "dev"];
    let both = [&cascade[..], &["--max-unsafe", "1", "--record", "--calibrate"]].concat();
    let (code, _, error) = command(&both);
    assert!(code == Some(2) && error.contains("--calibrate"), "{error}");
    printed(&[&cascade[..], &["--max-unsafe", "1", "--record", "--json"]].concat());
    assert!(intent(&first).config.cascade.is_some());
    let alone = ["eval", "--model", &model, "--adapter", &first, "--set", "dev", "--json", "--record"];
    printed(&alone);
    assert!(intent(&first).config.cascade.is_some(), "nothing that they rest on was changed");
    let (code, _, error) = command(&[&alone[..], &["--threshold", "0.7"]].concat());
    assert!(code == Some(0) && error.contains("thresholds of a cascade are removed"), "{error}");
    assert!(intent(&first).config.cascade.is_none());
}
