//! What `eval --record` writes into an adapter.

use std::path::Path;

use relayops_intent::adapter::{AdapterFiles, Intent};
use relayops_intent::loader::PackLoader;

use super::apply::{Trained, printed};
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
