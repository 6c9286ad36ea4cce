//! A tiny Qwen2 with random weights, and adapters for it.

use std::path::{Path, PathBuf};

use candle_core::quantized::GgmlDType;
use candle_core::{DType, Device, Tensor};
use relayops_intent::adapter::Projection;
use relayops_intent::train::Weights;
use relayops_intent::train::lora::{Base, Example, Examples, default_config};
use relayops_intent::train::qwen2::{Composed, Network, Paths, Products};
use relayops_testkit::TinyQwen2;

pub(crate) const MESSAGES: [&str; 5] = [
    "my internet is down",
    "why was I charged twice",
    "is my modem online",
    "how do I restart the router",
    "hello there, thanks",
];

/// Narrow, so that double precision is fast.
pub(crate) fn model() -> TinyQwen2 {
    TinyQwen2 { hidden: 64, feed_forward: 96, layers: 3, ..TinyQwen2::uniform(GgmlDType::F32) }
}

/// Writes a model to a folder.
pub(crate) fn file(folder: &Path, model: &TinyQwen2) -> PathBuf {
    let path = folder.join("tiny.gguf");
    model.write_file(&path).unwrap();
    path
}

/// All paths, of that rank.
pub(crate) fn all(rank: usize) -> Paths {
    Paths { rank, scale: 1.5, projections: Projection::ALL.to_vec(), first_layer: 0 }
}

/// Numbers in -1..1 from a linear congruential generator.
pub(crate) fn random(seed: u64, shape: [usize; 2]) -> Tensor {
    let mut state = seed.wrapping_mul(0x9E37_79B9_7F4A_7C15).wrapping_add(1);
    let values: Vec<f64> = (0..shape[0] * shape[1])
        .map(|_| {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            f64::from(u32::try_from(state >> 40).unwrap()) / f64::from(1 << 23) - 1.0
        })
        .collect();
    Tensor::from_vec(values, (shape[0], shape[1]), &Device::Cpu).unwrap()
}

/// Random matrices in the place of trained ones.
pub(crate) fn weights(network: &Network, dtype: DType) -> Weights {
    let tensor = |(number, (name, shape)): (u64, (String, [usize; 2]))| {
        let tensor = (random(number + 3, shape) * 0.15).unwrap();
        (name, tensor.to_dtype(dtype).unwrap())
    };
    (0..).zip(network.parameters()).map(tensor).collect()
}

/// A network with its prompt and examples of the first labels.
pub(crate) struct Case {
    pub(crate) network: Network,
    pub(crate) examples: Examples,
    pub(crate) messages: Vec<Example>,
}

/// Reads the model at `path`; `exact` computes in double precision with candle's operations.
pub(crate) fn case(path: &Path, paths: Paths, exact: bool, smoothing: f64) -> Case {
    let mut base = Base::read(path).unwrap();
    let mut network = Network::new(&mut base.gguf, base.sizes, paths, &Device::Cpu, Products::F32).unwrap();
    if exact {
        network = network.with(Box::new(Composed), DType::F64).unwrap();
    }
    let config = default_config();
    let examples = Examples::new(&network, &base.tokenizer, &config).unwrap();
    let labels = config.labels.len();
    let message = |(number, text): (usize, &&str)| {
        let each = smoothing / labels as f64;
        let wanted = (0..labels).map(|label| each + if label == number { 1.0 - smoothing } else { 0.0 });
        Example { tokens: base.tokenizer.encode(text).unwrap(), wanted: wanted.collect() }
    };
    let messages = MESSAGES.iter().enumerate().map(message).collect();
    Case { network, examples, messages }
}
