//! A tiny encoder with random weights, in a folder like a real one.

use std::collections::{BTreeMap, HashMap};
use std::path::Path;

use candle_core::{Device, Tensor};
use relayops_intent::train::Weights;
use relayops_intent::train::base::Base;
use relayops_intent::train::bert::{BertConfig, weights};
use serde_json::json;

/// Numbers in -1..1 from a linear congruential generator.
pub(crate) fn random(seed: u64, shape: &[usize], scale: f64) -> Tensor {
    let mut state = seed.wrapping_mul(0x9E37_79B9_7F4A_7C15).wrapping_add(1);
    let count: usize = shape.iter().product();
    let values: Vec<f32> = (0..count)
        .map(|_| {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            let unit = f64::from(u32::try_from(state >> 40).unwrap()) / f64::from(1 << 24);
            ((2.0 * unit - 1.0) * scale) as f32
        })
        .collect();
    Tensor::from_vec(values, shape, &Device::Cpu).unwrap()
}

/// Words of the vocabulary beside letters: enough for the labels to differ.
const WORDS: [&str; 24] = [
    "restart", "reboot", "reset", "router", "modem", "device", "status", "online", "is", "my", "the", "bill",
    "charge", "pay", "hello", "hi", "thanks", "how", "do", "i", "what", "why", "password", "internet",
];

fn vocabulary() -> Vec<String> {
    let letters: Vec<String> = (b'a'..=b'z').chain(b'0'..=b'9').map(|c| char::from(c).to_string()).collect();
    let specials = ["[PAD]", "[UNK]", "[CLS]", "[SEP]"].map(str::to_owned);
    let inner = letters.iter().map(|letter| format!("##{letter}"));
    let marks = ["?", ".", ",", "!", "'", "-"].map(str::to_owned);
    let words = WORDS.iter().filter(|word| word.len() > 1).map(|word| (*word).to_owned());
    specials.into_iter().chain(letters.clone()).chain(inner).chain(marks).chain(words).collect()
}

fn tokenizer() -> serde_json::Value {
    let vocabulary = vocabulary();
    let ids: BTreeMap<&str, usize> =
        vocabulary.iter().enumerate().map(|(id, token)| (&**token, id)).collect();
    let special = |id: usize| {
        json!({"id": id, "content": vocabulary[id], "special": true, "single_word": false, "lstrip": false,
               "rstrip": false, "normalized": false})
    };
    json!({
        "version": "1.0",
        "truncation": {"max_length": 128, "strategy": "LongestFirst", "stride": 0, "direction": "Right"},
        "padding": {"strategy": {"Fixed": 128}, "direction": "Right", "pad_to_multiple_of": null, "pad_id": 0,
                    "pad_type_id": 0, "pad_token": "[PAD]"},
        "added_tokens": [special(0), special(1), special(2), special(3)],
        "normalizer": {"type": "BertNormalizer", "clean_text": true, "handle_chinese_chars": true,
                       "strip_accents": null, "lowercase": true},
        "pre_tokenizer": {"type": "BertPreTokenizer"},
        "post_processor": {"type": "TemplateProcessing",
            "single": [{"SpecialToken": {"id": "[CLS]", "type_id": 0}}, {"Sequence": {"id": "A", "type_id": 0}},
                       {"SpecialToken": {"id": "[SEP]", "type_id": 0}}],
            "pair": [],
            "special_tokens": {"[CLS]": {"id": "[CLS]", "ids": [2], "tokens": ["[CLS]"]},
                               "[SEP]": {"id": "[SEP]", "ids": [3], "tokens": ["[SEP]"]}}},
        "decoder": {"type": "WordPiece", "prefix": "##", "cleanup": true},
        "model": {"type": "WordPiece", "unk_token": "[UNK]", "continuing_subword_prefix": "##",
                  "max_input_chars_per_word": 100, "vocab": ids}
    })
}

/// Its `config.json`.
pub(crate) fn config_json(hidden: usize, layers: usize) -> serde_json::Value {
    json!({
        "architectures": ["BertModel"], "model_type": "bert", "hidden_act": "gelu", "hidden_size": hidden,
        "intermediate_size": 2 * hidden, "num_hidden_layers": layers, "num_attention_heads": 4,
        "max_position_embeddings": 64, "type_vocab_size": 2, "vocab_size": vocabulary().len(),
        "layer_norm_eps": 1e-12, "hidden_dropout_prob": 0.1, "initializer_range": 0.02, "pad_token_id": 0
    })
}

/// Random weights of that shape; norms are near the identity.
pub(crate) fn random_weights(config: &BertConfig, seed: u64) -> Weights {
    let tensor = |(number, (name, shape)): (u64, (String, Vec<usize>))| {
        let random = random(seed * 1000 + number, &shape, 0.3);
        let is_scale = name.ends_with("LayerNorm.weight");
        (name, if is_scale { (random + 1.0).unwrap() } else { random })
    };
    (0..).zip(weights::shapes(config)).map(tensor).collect()
}

/// Writes the folder.
pub(crate) fn write(folder: &Path, hidden: usize, layers: usize) {
    std::fs::create_dir_all(folder).unwrap();
    let config = config_json(hidden, layers);
    std::fs::write(folder.join("config.json"), config.to_string()).unwrap();
    std::fs::write(folder.join("tokenizer.json"), tokenizer().to_string()).unwrap();
    let config = BertConfig::from_json(&config.to_string(), "config.json").unwrap();
    let mut weights = random_weights(&config, 5);
    // A tensor that training has no use for is handed on.
    weights.insert("pooler.dense.bias".to_owned(), random(77, &[hidden], 1.0));
    let weights: HashMap<String, Tensor> = weights.into_iter().collect();
    candle_core::safetensors::save(&weights, folder.join("model.safetensors")).unwrap();
}

/// Writes and reads it.
pub(crate) fn base(folder: &Path, hidden: usize, layers: usize) -> Base {
    let folder = folder.join("tiny-bert");
    write(&folder, hidden, layers);
    Base::read(&folder, 48).unwrap()
}
