//! The differentiable forward pass against the engine's.

use std::path::Path;

use candle_core::DType;
use relayops_intent::loader::Loader;
use relayops_intent::train::Weights;
use relayops_intent::train::lora::{Example, default_config};
use relayops_intent::train::qwen2::{Keep, Noise};
use relayops_testkit::{QWEN_05B, TinyQwen2, real_model};

use super::tiny::{self, Case, MESSAGES};

/// Log-probabilities of all messages in one packed batch.
fn trained(case: &Case, weights: &Weights) -> Vec<Vec<f32>> {
    let messages: Vec<&Example> = case.messages.iter().collect();
    let (batch, parted) = case.examples.batch(&messages, |_| true);
    let (hidden, _) = case.network.forward(weights, &batch, Noise::OFF, Keep::Nothing).unwrap();
    let scores = case.examples.scores(&hidden, &parted, messages.len()).unwrap();
    scores.into_iter().map(|scores| scores.log_probabilities).collect()
}

/// Log-probabilities of the engine, message by message, with weights that multiply activations as they are.
fn engine(path: &Path) -> Vec<Vec<f32>> {
    let loader = Loader::read_file(path, default_config()).unwrap().exact();
    let (mut scorer, _) = loader.finish_scorer().unwrap();
    MESSAGES.iter().map(|message| scorer.score(message, false).unwrap().log_probabilities).collect()
}

fn assert_close(a: &[Vec<f32>], b: &[Vec<f32>], tolerance: f32) {
    assert_eq!(a.len(), b.len());
    for ((a, b), message) in a.iter().zip(b).zip(MESSAGES) {
        assert_eq!(a.len(), b.len());
        let worst = a
            .iter()
            .zip(b)
            .map(|(a, b)| (a - b).abs())
            .fold(0f32, |worst, off| if off > worst || off.is_nan() { off } else { worst });
        assert!(worst <= tolerance, "{message}: {worst}");
    }
}

/// New paths add nothing: `B` is zero.
fn untrained(case: &Case) -> Weights {
    let parameters = relayops_intent::train::lora::start(&case.network, 1, 1e-3).unwrap();
    parameters.weights()
}

#[test]
fn the_base_alone_is_the_engines() {
    let folder = tempfile::tempdir().unwrap();
    let quantized = TinyQwen2::default();
    let tied = TinyQwen2 { output: false, ..tiny::model() };
    for model in [tiny::model(), tied, quantized] {
        let path = tiny::file(folder.path(), &model);
        let case = tiny::case(&path, tiny::all(4), false, 0.0);
        // The order of additions alone differs.
        assert_close(&trained(&case, &untrained(&case)), &engine(&path), 1e-4);
    }
}

#[test]
fn both_sets_of_operations_agree() {
    let folder = tempfile::tempdir().unwrap();
    let path = tiny::file(folder.path(), &tiny::model());
    let [fused, composed] = [false, true].map(|exact| {
        let case = tiny::case(&path, tiny::all(4), exact, 0.0);
        trained(&case, &tiny::weights(&case.network, if exact { DType::F64 } else { DType::F32 }))
    });
    assert_close(&fused, &composed, 1e-4);
    let case = tiny::case(&path, tiny::all(4), false, 0.0);
    let base = trained(&case, &untrained(&case));
    let apart = fused.iter().flatten().zip(base.iter().flatten()).any(|(a, b)| (a - b).abs() > 0.1);
    assert!(apart, "the paths change nothing");
}

#[test]
fn the_real_base_alone_is_the_engines() {
    let Some(path) = real_model("the_real_base_alone_is_the_engines", QWEN_05B) else { return };
    let ours = {
        let case = tiny::case(&path, tiny::all(4), false, 0.0);
        trained(&case, &untrained(&case))
    };
    assert_close(&ours, &engine(&path), 2e-3);
}
