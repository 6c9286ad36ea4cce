//! A GGUF file, from its first byte to the answer of the model in it.
//!
//! The first byte says how the rest arrives: its lowest bit whether the length is known beforehand, the others the size of
//! the chunks.

use relayops_intent::Result;
use relayops_intent::classifier::{Classifier, ClassifyOptions};
use relayops_intent::gguf::GgufStream;
use relayops_intent::loader::Loader;
use relayops_intent::pack::IntentConfig;

/// Labels and prompt of the seeds' models; short, because the prefix is computed at each load.
pub const CONFIG: &str = r#"{
    "labels": ["no", "yes"],
    "prompt": {
        "system": "",
        "pieces": [{"control": "<|im_start|>"}, "message", {"control": "<|im_end|>"}],
        "answer": {"open": "{", "close": "}"}
    },
    "temperature": 1.0,
    "threshold": 0.55,
    "policy": {"always_escalate": ["no"], "patterns": []}
}"#;

/// Reads the file in both ways, builds the model and asks it.
pub fn take(data: &[u8]) -> bool {
    let Some((way, file)) = data.split_first() else { return false };
    let total = (way & 1 == 1).then_some(file.len() as u64);
    let at_once = read(file, usize::MAX, total);
    let in_chunks = read(file, 1 + usize::from(way >> 1) * 61, total);
    assert_eq!(at_once.is_ok(), in_chunks.is_ok(), "{at_once:?} at once, {in_chunks:?} in chunks");
    let Ok(mut classifier) = load(file, total) else { return false };
    assert!(at_once.is_ok(), "the loader took what the reader refuses: {at_once:?}");
    match classifier.classify("is it on", ClassifyOptions { threshold: None, token_confidence: false }) {
        Ok(result) => assert!(result.confidence.is_none_or(|share| (0.0..=1.0).contains(&share))),
        Err(error) => panic!("{error}: failures of a model are answers"),
    }
    true
}

fn read(file: &[u8], chunk: usize, total: Option<u64>) -> Result<usize> {
    let mut stream = GgufStream::new("fuzz.gguf", total);
    for chunk in file.chunks(chunk) {
        stream.push(chunk)?;
    }
    let gguf = stream.finish()?;
    for tensor in gguf.tensors.values() {
        let mut row = vec![0.0; tensor.cols()];
        tensor.dequantize_row(tensor.rows() - 1, &mut row);
    }
    Ok(gguf.tensors.len())
}

fn load(file: &[u8], total: Option<u64>) -> Result<Classifier> {
    let mut loader = Loader::new("fuzz.gguf", total, IntentConfig::from_json(CONFIG)?)?;
    loader.push(file)?;
    loader.finish()
}
