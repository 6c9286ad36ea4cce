//! A fine-tuned encoder in the layout of the Hugging Face hub: `config.json`, `tokenizer.json`, `model.safetensors`,
//! and beside them `intent.json` with what the task adds.

use std::collections::HashMap;
use std::path::Path;

use candle_core::{DType, Device, Tensor};
use serde::Deserialize;
use serde_json::Value;

use crate::gate::Policy;
use crate::pack::IntentConfig;
use crate::pack::manifest::Origin;
use crate::tokenizer::word_piece::MAX_WORD_CHARS;
use crate::train::bert::BertConfig;
use crate::{IntentError, Result};

/// `intent.json`: what training adds to the base.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
struct Intent {
    labels: Vec<String>,
    temperature: f32,
    threshold: f32,
    policy: Option<Policy>,
    #[serde(default)]
    training: Value,
    origin: Option<Origin>,
}

/// The vocabulary: pieces by id, as BERT spells them (`word`, `##piece`, `[CLS]`).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Vocabulary {
    /// Pieces by id.
    pub pieces: Vec<String>,
    /// Ids of control tokens, ascending.
    pub control: Vec<usize>,
    /// Id of the token for what has no pieces.
    pub unknown: usize,
    /// Id of the token before every text.
    pub cls: usize,
    /// Id of the token behind every text.
    pub sep: usize,
    /// Id of the filling token.
    pub pad: usize,
}

/// A base folder, read and checked.
pub struct Base {
    /// Sizes.
    pub sizes: BertConfig,
    /// Vocabulary.
    pub vocabulary: Vocabulary,
    /// Labels, temperature, threshold, policy.
    pub config: IntentConfig,
    /// What training says of itself.
    pub training: Value,
    /// Where the weights come from, if the folder says so.
    pub origin: Option<Origin>,
    tensors: HashMap<String, Tensor>,
}

impl Base {
    /// Reads a folder.
    ///
    /// # Errors
    /// `io`, `invalid_data` naming file and field, and as [`BertConfig::from_json`].
    pub fn read(folder: &Path) -> Result<Self> {
        let path = folder.join("config.json");
        let sizes = BertConfig::from_json(&text(&path)?, &path.display().to_string())?;
        let vocabulary = Vocabulary::read(&folder.join("tokenizer.json"))?;
        let intent: Intent = json(&folder.join("intent.json"))?;
        let config = IntentConfig {
            labels: intent.labels,
            prompt: None,
            temperature: intent.temperature,
            threshold: intent.threshold,
            policy: intent.policy.unwrap_or_else(|| IntentConfig::default().policy),
            cascade: None,
        };
        let place = folder.join("intent.json");
        config.check().map_err(|error| IntentError::data(place.display().to_string(), error))?;
        let path = folder.join("model.safetensors");
        let bytes = std::fs::read(&path).map_err(|error| IntentError::io(path.display(), error))?;
        let fault = |error| IntentError::data(path.display().to_string(), error);
        let tensors = candle_core::safetensors::load_buffer(&bytes, &Device::Cpu).map_err(fault)?;
        // Models with a head keep the encoder under a name of its own.
        let plain = |(name, tensor): (String, Tensor)| match name.strip_prefix("bert.") {
            Some(rest) => (rest.to_owned(), tensor),
            None => (name, tensor),
        };
        let tensors = tensors.into_iter().map(plain).collect();
        Ok(Self { sizes, vocabulary, config, training: intent.training, origin: intent.origin, tensors })
    }

    /// The values of tensor `name` (without `bert.`), row-major, which must have this shape.
    ///
    /// # Errors
    /// `invalid_data` naming the tensor.
    pub fn tensor(&self, name: &str, shape: &[usize]) -> Result<Vec<f32>> {
        let place = || format!("model.safetensors: {name}");
        let tensor = self.tensors.get(name).ok_or_else(|| IntentError::data(place(), "is missing"))?;
        if tensor.dims() != shape {
            let detail = format!("shape {:?}, expected {shape:?}", tensor.dims());
            return Err(IntentError::data(place(), detail));
        }
        let values = tensor.to_dtype(DType::F32).and_then(|tensor| tensor.flatten_all()?.to_vec1());
        values.map_err(|error| IntentError::data(place(), error))
    }
}

impl Vocabulary {
    /// Reads a `tokenizer.json` of uncased BERT's kind.
    fn read(path: &Path) -> Result<Self> {
        let spec: Value = json(path)?;
        check_preparation(path, &spec)?;
        let fault =
            |field: &str, detail: &str| IntentError::data(format!("{}: {field}", path.display()), detail);
        let part = |pointer: &str| spec.pointer(pointer).cloned().unwrap_or_default();
        let vocab: HashMap<String, usize> = serde_json::from_value(part("/model/vocab"))
            .map_err(|error| fault("/model/vocab", &error.to_string()))?;
        let mut pieces = vec![None; vocab.len()];
        for (piece, id) in &vocab {
            match pieces.get_mut(*id) {
                Some(slot @ None) => *slot = Some(piece.clone()),
                _ => return Err(fault("/model/vocab", "the ids are not 0, 1, 2 and so on")),
            }
        }
        let added: Vec<Added> = serde_json::from_value(part("/added_tokens"))
            .map_err(|error| fault("/added_tokens", &error.to_string()))?;
        if let Some(token) = added.iter().find(|token| vocab.get(&token.content) != Some(&token.id)) {
            return Err(fault("/added_tokens", &format!("{:?} is not in the vocabulary", token.content)));
        }
        let mut control: Vec<usize> = added.into_iter().map(|token| token.id).collect();
        control.sort_unstable();
        let special = |spelling: &str| {
            let id = vocab.get(spelling).copied().filter(|id| control.contains(id));
            id.ok_or_else(|| fault("/added_tokens", &format!("{spelling} is missing")))
        };
        Ok(Self {
            unknown: special(part("/model/unk_token").as_str().unwrap_or("[UNK]"))?,
            cls: special("[CLS]")?,
            sep: special("[SEP]")?,
            pad: special("[PAD]")?,
            pieces: pieces.into_iter().flatten().collect(),
            control,
        })
    }
}

/// Refuses other preparations of the text than uncased BERT's: a GGUF file has no place to say so.
fn check_preparation(path: &Path, spec: &Value) -> Result<()> {
    for (pointer, allowed) in [
        ("/model/type", vec![Value::from("WordPiece"), Value::Null]),
        ("/model/continuing_subword_prefix", vec![Value::from("##")]),
        ("/model/max_input_chars_per_word", vec![Value::from(MAX_WORD_CHARS)]),
        ("/normalizer/type", vec![Value::from("BertNormalizer")]),
        ("/normalizer/clean_text", vec![Value::from(true)]),
        ("/normalizer/handle_chinese_chars", vec![Value::from(true)]),
        ("/normalizer/lowercase", vec![Value::from(true)]),
        ("/normalizer/strip_accents", vec![Value::Null, Value::from(true)]),
        ("/pre_tokenizer/type", vec![Value::from("BertPreTokenizer")]),
    ] {
        let value = spec.pointer(pointer).unwrap_or(&Value::Null);
        if !allowed.contains(value) {
            let place = format!("{}: {pointer}", path.display());
            return Err(IntentError::data(place, format!("{value} is not uncased BERT's")));
        }
    }
    Ok(())
}

#[derive(Deserialize)]
struct Added {
    id: usize,
    content: String,
}

fn text(path: &Path) -> Result<String> {
    std::fs::read_to_string(path).map_err(|error| IntentError::io(path.display(), error))
}

fn json<T: serde::de::DeserializeOwned>(path: &Path) -> Result<T> {
    serde_json::from_str(&text(path)?).map_err(|error| IntentError::data(path.display().to_string(), error))
}
