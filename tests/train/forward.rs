//! The differentiable encoder against candle-transformers, and its gradients against finite differences.

use std::path::Path;

use candle_core::{DType, Device, Tensor, Var};
use candle_nn::VarBuilder;
use candle_transformers::models::bert::{BertModel, Config};
use relayops_intent::train::Weights;
use relayops_intent::train::base::Base;
use relayops_intent::train::bert::weights::{HEAD_BIAS, HEAD_WEIGHT, joined, parted};
use relayops_intent::train::bert::{Batch, BertConfig, Noise, forward};
use relayops_intent::train::loss;
use relayops_intent::train::ops::Sink;
use relayops_testkit::real_model;

use super::tiny;

const TEXTS: [&str; 5] = [
    "restart my router please",
    "is it up?",
    "Hello!",
    "my internet's been dead since this morning and I have tried turning the modem off and on, why is it so slow",
    "x",
];

/// Means over the tokens of each message, by candle-transformers on a padded batch.
fn oracle(folder: &Path, messages: &[Vec<u32>]) -> Vec<Vec<f32>> {
    let config: Config = serde_json::from_slice(&std::fs::read(folder.join("config.json")).unwrap()).unwrap();
    let weights = std::fs::read(folder.join("model.safetensors")).unwrap();
    let builder = VarBuilder::from_buffered_safetensors(weights, DType::F32, &Device::Cpu).unwrap();
    let model = BertModel::load(builder, &config).unwrap();
    let longest = messages.iter().map(Vec::len).max().unwrap();
    let padded = |message: &Vec<u32>| {
        let mut ids = message.clone();
        ids.resize(longest, 0);
        ids
    };
    let ids: Vec<Vec<u32>> = messages.iter().map(padded).collect();
    let mask: Vec<Vec<u32>> =
        messages.iter().map(|m| (0..longest).map(|i| u32::from(i < m.len())).collect()).collect();
    let (ids, mask) = (Tensor::new(ids, &Device::Cpu).unwrap(), Tensor::new(mask, &Device::Cpu).unwrap());
    let hidden = model.forward(&ids, &ids.zeros_like().unwrap(), Some(&mask)).unwrap();
    let hidden: Vec<Vec<Vec<f32>>> = hidden.to_vec3().unwrap();
    let mean = |(rows, message): (&Vec<Vec<f32>>, &Vec<u32>)| {
        let count = message.len() as f32;
        let width = rows[0].len();
        (0..width).map(|i| rows[..message.len()].iter().map(|row| row[i]).sum::<f32>() / count).collect()
    };
    hidden.iter().zip(messages).map(mean).collect()
}

fn all_weights(base: &Base) -> Weights {
    let rows: Vec<u32> = (0..u32::try_from(base.config.vocab_size).unwrap()).collect();
    let mut weights: Weights = joined(&base.weights, &base.config, &rows).unwrap().into_iter().collect();
    weights.insert(HEAD_WEIGHT.to_owned(), tiny::random(1, &[6, base.config.hidden_size], 0.5));
    weights.insert(HEAD_BIAS.to_owned(), tiny::random(2, &[6], 0.5));
    weights
}

fn compare(folder: &Path) {
    let base = Base::read(folder, 64).unwrap();
    let messages: Vec<Vec<u32>> = TEXTS.iter().map(|text| base.encode(text).unwrap()).collect();
    assert!(messages.iter().all(|m| m.len() >= 3 && m.first() == messages[0].first()));
    let expected = oracle(folder, &messages);
    let batch = Batch::new(messages.iter().map(Vec::as_slice));
    let output = forward(&base.config, &all_weights(&base), &batch, Noise::OFF, &Sink::default()).unwrap();
    let ours: Vec<Vec<f32>> = output.pooled.to_vec2().unwrap();
    for (text, (ours, theirs)) in TEXTS.iter().zip(ours.iter().zip(&expected)) {
        let worst = ours.iter().zip(theirs).map(|(a, b)| (a - b).abs()).fold(0.0, f32::max);
        assert!(worst < 1e-4, "{text}: {worst}");
    }
    assert_eq!(output.logits.dims(), [TEXTS.len(), 6]);
}

#[test]
fn the_forward_pass_is_candle_transformers_on_random_weights() {
    let folder = tempfile::tempdir().unwrap();
    tiny::write(folder.path(), 32, 3);
    compare(folder.path());
}

#[test]
fn the_forward_pass_is_candle_transformers_on_the_real_weights() {
    let test = "the_forward_pass_is_candle_transformers_on_the_real_weights";
    if let Some(weights) = real_model(test, "all-MiniLM-L6-v2/model.safetensors") {
        compare(weights.parent().unwrap());
    }
}

/// Weighted sum of logits and pooled values, in double precision.
fn score(config: &BertConfig, weights: &Weights, batch: &Batch, noise: Noise) -> f64 {
    let output = forward(config, weights, batch, noise, &Sink::default()).unwrap();
    total(&output.logits, 7) + total(&output.pooled, 8)
}

fn total(tensor: &Tensor, seed: u64) -> f64 {
    let of = |tensor: &Tensor| tensor.flatten_all().unwrap().to_vec1::<f32>().unwrap();
    let weights = of(&tiny::random(seed, tensor.dims(), 1.0));
    of(tensor).iter().zip(weights).map(|(a, b)| f64::from(*a) * f64::from(b)).sum()
}

#[test]
fn gradients_of_all_parameters_are_finite_differences() {
    let folder = tempfile::tempdir().unwrap();
    let base = tiny::base(folder.path(), 16, 2);
    let messages: Vec<Vec<u32>> = TEXTS.iter().map(|text| base.encode(text).unwrap()).collect();
    let batch = Batch::new(messages.iter().map(Vec::as_slice));
    for noise in [Noise::OFF, Noise { rate: 0.2, seed: 3 }] {
        let weights: Weights = all_weights(&base)
            .into_iter()
            .map(|(name, tensor)| (name, Var::from_tensor(&tensor).unwrap().into_inner()))
            .collect();
        let sink = Sink::default();
        let output = forward(&base.config, &weights, &batch, noise, &sink).unwrap();
        let weigh = |tensor: &Tensor, seed| {
            (tensor * tiny::random(seed, tensor.dims(), 1.0)).unwrap().sum_all().unwrap()
        };
        let loss = (weigh(&output.logits, 7) + weigh(&output.pooled, 8)).unwrap();
        let mut store = loss.backward().unwrap();
        for (number, (name, tensor)) in (100..).zip(&weights) {
            let gradient = store.remove(tensor).or_else(|| sink.take(tensor));
            let gradient = gradient.unwrap_or_else(|| panic!("{name} has no gradient"));
            // Along a random direction, and along the gradient itself.
            for direction in [tiny::random(number, tensor.dims(), 1.0), gradient.detach()] {
                let length =
                    f64::from(direction.sqr().unwrap().sum_all().unwrap().to_scalar::<f32>().unwrap());
                let unit = (direction / length.sqrt().max(1e-9)).unwrap();
                let along = |step: f64| {
                    let mut changed = weights.clone();
                    changed.insert(name.clone(), (tensor.detach() + (&unit * step).unwrap()).unwrap());
                    score(&base.config, &changed, &batch, noise)
                };
                let expected = (along(0.01) - along(-0.01)) / 0.02;
                let found =
                    f64::from((&gradient * &unit).unwrap().sum_all().unwrap().to_scalar::<f32>().unwrap());
                let error = (found - expected).abs();
                assert!(error < 0.01 * expected.abs().max(0.5), "{name}: {found} against {expected}");
            }
        }
    }
}

#[test]
fn tensors_go_to_training_and_back() {
    let folder = tempfile::tempdir().unwrap();
    let base = tiny::base(folder.path(), 16, 2);
    let rows = [2u32, 3, 9, 40];
    let trained: Weights = joined(&base.weights, &base.config, &rows).unwrap().into_iter().collect();
    assert_eq!(trained["embeddings.word_embeddings.weight"].dims(), [4, 16]);
    assert_eq!(trained["encoder.layer.1.attention.self.qkv.weight"].dims(), [48, 16]);
    let back = parted(&trained, base.weights.clone(), &rows).unwrap();
    assert_eq!(back.len(), base.weights.len());
    for (name, tensor) in &base.weights {
        let of = |tensor: &Tensor| tensor.flatten_all().unwrap().to_vec1::<f32>().unwrap();
        assert_eq!(of(tensor), of(&back[name]), "{name}");
    }
}

#[test]
fn log_softmax_is_a_distribution() {
    let x = (tiny::random(4, &[3, 6], 50.0) + 1000.0).unwrap();
    let sums = loss::log_softmax(&x).unwrap().exp().unwrap().sum(1).unwrap().to_vec1::<f32>().unwrap();
    assert!(sums.iter().all(|sum| (sum - 1.0).abs() < 1e-5), "{sums:?}");
}
