//! An adapter: `adapter_config.json`, `intent.json` and `adapter_model.safetensors`, in this order in one input, the
//! lengths of the first two before them as little-endian 16-bit numbers. Without `intent.json` it is one from elsewhere.

use std::sync::LazyLock;

use relayops_intent::adapter::{Adapter, AdapterFiles, Precision};
use relayops_intent::backend::Heads;
use relayops_intent::model::qwen2::Qwen2Config;
use relayops_intent::pack::IntentConfig;

/// The model beside which the adapters of `tests/fixtures/peft` run.
const SIZES: Qwen2Config = Qwen2Config {
    layers: 2,
    hidden: 32,
    feed_forward: 64,
    heads: Heads { query: 4, kv: 2, dim: 8 },
    context: 4096,
    rope_base: 1e6,
    rms_eps: 1e-6,
    vocab: 1831,
    label_rows: None,
};

/// What an adapter from elsewhere is asked; its patterns are compiled once.
static CONFIG: LazyLock<IntentConfig> = LazyLock::new(IntentConfig::default);

/// Puts three files into one input.
#[must_use]
pub fn input(config: &str, intent: &str, tensors: &[u8]) -> Vec<u8> {
    let length = |text: &str| u16::try_from(text.len()).expect("a small file").to_le_bytes();
    [&length(config)[..], &length(intent), config.as_bytes(), intent.as_bytes(), tensors].concat()
}

fn parts(data: &[u8]) -> Option<[&[u8]; 3]> {
    let (lengths, rest) = data.split_at_checked(4)?;
    let length = |at: usize| usize::from(u16::from_le_bytes([lengths[at], lengths[at + 1]]));
    let (config, rest) = rest.split_at(length(0).min(rest.len()));
    let (intent, tensors) = rest.split_at(length(2).min(rest.len()));
    Some([config, intent, tensors])
}

/// Reads an adapter, and reads again what is written of it.
pub fn take(data: &[u8]) -> bool {
    let Some([config, intent, tensors]) = parts(data) else { return false };
    let (Ok(config), Ok(intent)) = (std::str::from_utf8(config), std::str::from_utf8(intent)) else {
        return false;
    };
    // Each file gets its turn, whatever the others are like.
    let adapter = Adapter::read(config, tensors, &SIZES);
    let files = match intent {
        "" => AdapterFiles::from_elsewhere(CONFIG.clone(), config.to_owned(), tensors.to_vec()),
        intent => AdapterFiles::new(intent, config.to_owned(), tensors.to_vec()),
    };
    let Ok(adapter) = adapter else { return false };
    let numbers =
        || adapter.paths.values().flat_map(|path| path.a.iter().chain(&path.b).chain([&path.scale]));
    assert!(numbers().all(|number| number.is_finite()), "a number that is not finite");
    let written = adapter.to_safetensors(Precision::F32).expect("an adapter can be written");
    assert_eq!(Adapter::read(config, &written, &SIZES).as_ref().ok(), Some(&adapter));
    files.is_ok()
}
