//! A tiny BERT classifier, as a GGUF file and as a folder in the hub's layout.

use std::collections::HashMap;
use std::io::Cursor;
use std::path::Path;

use candle_core::quantized::gguf_file::{self, Value};
use candle_core::quantized::{GgmlDType, QTensor};
use candle_core::{Device, Result, Tensor};
use serde_json::json;

use super::SplitMix;

/// The labels of today's taxonomy.
pub const LABELS: [&str; 6] =
    ["reset_device", "device_status", "device_faq", "billing", "greeting", "unknown"];

/// Pieces beside the letters, digits and marks.
const WORDS: &str = "my internet is down the why was i charged twice modem on ##line router re ##start ##ed hello \
                     thanks bill ##ing \u{e9} \u{431} ##\u{431} \u{4e16} \u{1f600} \u{3b1}\u{3b2} caf\u{e9} \u{20ac}";

/// A model to be written.
#[derive(Debug, Clone)]
pub struct TinyBert {
    /// Seed of the weights.
    pub seed: u64,
    /// Layers.
    pub layers: usize,
    /// Width, a multiple of 32.
    pub hidden: usize,
    /// Width of the feed-forward layer, a multiple of 32.
    pub feed_forward: usize,
    /// Attention heads.
    pub heads: usize,
    /// Positions.
    pub positions: usize,
    /// Labels.
    pub labels: Vec<String>,
    /// Formats of the GGUF file's matrices, taken in turn.
    pub formats: Vec<GgmlDType>,
    /// Metadata keys of the GGUF file to change or, with `None`, to leave out.
    pub metadata: Vec<(String, Option<Value>)>,
    /// Tensors of the GGUF file to leave out.
    pub without: Vec<String>,
    /// Tensors of the GGUF file to add or replace, with their shapes.
    pub with: Vec<(String, Vec<usize>)>,
}

impl Default for TinyBert {
    fn default() -> Self {
        Self {
            seed: 17,
            layers: 2,
            hidden: 64,
            feed_forward: 128,
            heads: 4,
            positions: 48,
            labels: LABELS.map(str::to_owned).to_vec(),
            formats: vec![GgmlDType::F32],
            metadata: Vec::new(),
            without: Vec::new(),
            with: Vec::new(),
        }
    }
}

impl TinyBert {
    /// Pieces by id, as BERT spells them; the first five are control tokens.
    #[must_use]
    pub fn pieces() -> Vec<String> {
        let mut pieces: Vec<String> =
            ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "[unused0]"].map(str::to_owned).to_vec();
        let characters = ('!'..='@').chain('['..='`').chain('a'..='~');
        pieces.extend(characters.flat_map(|c| [c.to_string(), format!("##{c}")]));
        for word in WORDS.split_whitespace() {
            if !pieces.iter().any(|piece| piece == word) {
                pieces.push(word.to_owned());
            }
        }
        pieces
    }

    /// The weights by the names that the hub's models have.
    ///
    /// # Errors
    /// None that sizes can bring about.
    pub fn tensors(&self) -> Result<Vec<(String, Tensor)>> {
        let (h, f) = (self.hidden, self.feed_forward);
        let mut shapes = vec![
            ("embeddings.word_embeddings.weight".to_owned(), vec![Self::pieces().len(), h]),
            ("embeddings.position_embeddings.weight".to_owned(), vec![self.positions, h]),
            ("embeddings.token_type_embeddings.weight".to_owned(), vec![2, h]),
            ("embeddings.LayerNorm.weight".to_owned(), vec![h]),
            ("embeddings.LayerNorm.bias".to_owned(), vec![h]),
        ];
        for layer in 0..self.layers {
            for (name, rows, cols) in [
                ("attention.self.query", h, h),
                ("attention.self.key", h, h),
                ("attention.self.value", h, h),
                ("attention.output.dense", h, h),
                ("intermediate.dense", f, h),
                ("output.dense", h, f),
            ] {
                shapes.push((format!("encoder.layer.{layer}.{name}.weight"), vec![rows, cols]));
                shapes.push((format!("encoder.layer.{layer}.{name}.bias"), vec![rows]));
            }
            for name in ["attention.output.LayerNorm", "output.LayerNorm"] {
                shapes.push((format!("encoder.layer.{layer}.{name}.weight"), vec![h]));
                shapes.push((format!("encoder.layer.{layer}.{name}.bias"), vec![h]));
            }
        }
        let mut random = SplitMix(self.seed);
        let tensor = |(name, shape): (String, Vec<usize>)| {
            let tensor = random.tensor(&name, &shape, GgmlDType::F32)?.dequantize(&Device::Cpu)?;
            Ok((name, tensor))
        };
        let mut tensors = shapes.into_iter().map(tensor).collect::<Result<Vec<_>>>()?;
        tensors.extend(head(self.seed, self.labels.len(), h)?);
        Ok(tensors)
    }

    /// The bytes of the GGUF file, its names and keys as llama.cpp's converter writes them.
    ///
    /// # Errors
    /// Where a tensor can't be quantized as asked.
    pub fn bytes(&self) -> Result<Vec<u8>> {
        let mut random = SplitMix(self.seed ^ 1);
        let mut formats = self.formats.iter().cycle();
        let mut tensors = Vec::new();
        for (name, tensor) in self.tensors()? {
            let name = gguf_name(&name);
            if self.without.contains(&name) || self.with.iter().any(|(with, _)| *with == name) {
                continue;
            }
            let matrix = tensor.dims().len() == 2 && !name.starts_with("cls");
            let format = if matrix { *formats.next().unwrap_or(&GgmlDType::F32) } else { GgmlDType::F32 };
            tensors.push((name, QTensor::quantize(&tensor, format)?));
        }
        for (name, shape) in &self.with {
            tensors.push((name.clone(), random.tensor(name, shape, GgmlDType::F32)?));
        }
        let metadata = self.metadata();
        let metadata: Vec<(&str, &Value)> =
            metadata.iter().map(|(key, value)| (key.as_str(), value)).collect();
        let tensors: Vec<(&str, &QTensor)> =
            tensors.iter().map(|(name, tensor)| (name.as_str(), tensor)).collect();
        let mut bytes = Cursor::new(Vec::new());
        gguf_file::write(&mut bytes, &metadata, &tensors)?;
        Ok(bytes.into_inner())
    }

    fn metadata(&self) -> Vec<(String, Value)> {
        let size = |value: usize| Value::U32(u32::try_from(value).unwrap_or(u32::MAX));
        let text = |value: &str| Value::String(value.to_owned());
        let spelled = |(id, piece): (usize, String)| match piece.strip_prefix("##") {
            _ if id < 5 => Value::String(piece),
            Some(rest) => Value::String(rest.to_owned()),
            None => Value::String(format!("\u{2581}{piece}")),
        };
        let tokens: Vec<Value> = Self::pieces().into_iter().enumerate().map(spelled).collect();
        let types = (0..tokens.len()).map(|id| Value::I32(if id < 5 { 3 } else { 1 })).collect();
        let mut metadata = vec![
            ("general.architecture", text("bert")),
            ("general.name", text("tiny random BERT")),
            ("bert.block_count", size(self.layers)),
            ("bert.context_length", size(self.positions)),
            ("bert.embedding_length", size(self.hidden)),
            ("bert.feed_forward_length", size(self.feed_forward)),
            ("bert.attention.head_count", size(self.heads)),
            ("bert.attention.layer_norm_epsilon", Value::F32(1e-12)),
            ("bert.attention.causal", Value::Bool(false)),
            ("bert.pooling_type", size(1)),
            (
                "bert.classifier.output_labels",
                Value::Array(self.labels.iter().map(|label| text(label)).collect()),
            ),
            ("tokenizer.ggml.model", text("bert")),
            ("tokenizer.ggml.token_type_count", size(2)),
            ("tokenizer.ggml.tokens", Value::Array(tokens)),
            ("tokenizer.ggml.token_type", Value::Array(types)),
            ("tokenizer.ggml.padding_token_id", size(0)),
            ("tokenizer.ggml.unknown_token_id", size(1)),
            ("tokenizer.ggml.cls_token_id", size(2)),
            ("tokenizer.ggml.seperator_token_id", size(3)),
            ("tokenizer.ggml.mask_token_id", size(4)),
        ]
        .into_iter()
        .map(|(key, value)| (key.to_owned(), value))
        .collect::<Vec<_>>();
        for (key, value) in &self.metadata {
            metadata.retain(|(known, _)| known != key);
            metadata.extend(value.iter().map(|value| (key.clone(), value.clone())));
        }
        metadata
    }

    /// `config.json`.
    #[must_use]
    pub fn config(&self) -> serde_json::Value {
        json!({
            "model_type": "bert", "hidden_act": "gelu", "hidden_size": self.hidden,
            "num_hidden_layers": self.layers, "num_attention_heads": self.heads,
            "intermediate_size": self.feed_forward, "max_position_embeddings": self.positions,
            "type_vocab_size": 2, "layer_norm_eps": 1e-12, "vocab_size": Self::pieces().len(),
            "hidden_dropout_prob": 0.1, "initializer_range": 0.02, "pad_token_id": 0,
        })
    }

    /// `intent.json`.
    #[must_use]
    pub fn intent(&self) -> serde_json::Value {
        json!({
            "labels": self.labels, "temperature": 1.25, "threshold": 0.6,
            "training": { "command": "none: random weights", "seed": self.seed },
            "origin": {
                "base": "tiny random BERT", "sha256": "0".repeat(64), "licence": "MIT OR Apache-2.0",
                "notices": "none",
            },
        })
    }

    /// Writes the folder.
    ///
    /// # Errors
    /// Where a file can't be written.
    pub fn write_folder(&self, folder: &Path) -> Result<()> {
        let vocab: serde_json::Map<String, serde_json::Value> =
            Self::pieces().into_iter().enumerate().map(|(id, piece)| (piece, id.into())).collect();
        let added: Vec<_> = Self::pieces()
            .into_iter()
            .take(5)
            .enumerate()
            .map(|(id, c)| json!({"id": id, "content": c}))
            .collect();
        let tokenizer = json!({
            "added_tokens": added,
            "normalizer": {
                "type": "BertNormalizer", "clean_text": true, "handle_chinese_chars": true,
                "strip_accents": null, "lowercase": true,
            },
            "pre_tokenizer": { "type": "BertPreTokenizer" },
            "model": {
                "type": "WordPiece", "unk_token": "[UNK]", "continuing_subword_prefix": "##",
                "max_input_chars_per_word": 100, "vocab": vocab,
            },
        });
        std::fs::create_dir_all(folder)?;
        std::fs::write(folder.join("config.json"), self.config().to_string())?;
        std::fs::write(folder.join("intent.json"), self.intent().to_string())?;
        std::fs::write(folder.join("tokenizer.json"), tokenizer.to_string())?;
        // As models with a head come, under a name of the encoder's own.
        let prefixed = |(name, tensor): (String, Tensor)| match name.strip_prefix("classifier") {
            Some(_) => (name, tensor),
            None => (format!("bert.{name}"), tensor),
        };
        let tensors: HashMap<String, Tensor> = self.tensors()?.into_iter().map(prefixed).collect();
        candle_core::safetensors::save(&tensors, folder.join("model.safetensors"))
    }
}

/// A random head: `classifier.weight`, `classifier.bias`.
///
/// # Errors
/// None that sizes can bring about.
pub fn head(seed: u64, labels: usize, hidden: usize) -> Result<Vec<(String, Tensor)>> {
    let mut random = SplitMix(seed.wrapping_add(77));
    let mut tensor = |name: &str, shape: &[usize], size: f64| -> Result<(String, Tensor)> {
        let tensor = random.tensor(name, shape, GgmlDType::F32)?.dequantize(&Device::Cpu)?;
        Ok((name.to_owned(), (tensor * size)?))
    };
    Ok(vec![tensor("classifier.weight", &[labels, hidden], 4.0)?, tensor("classifier.bias", &[labels], 1.0)?])
}

fn gguf_name(name: &str) -> String {
    let mut name = name.replace("encoder.layer.", "blk.");
    for (from, to) in [
        ("embeddings.word_embeddings", "token_embd"),
        ("embeddings.position_embeddings", "position_embd"),
        ("embeddings.token_type_embeddings", "token_types"),
        ("embeddings.LayerNorm", "token_embd_norm"),
        ("attention.self.query", "attn_q"),
        ("attention.self.key", "attn_k"),
        ("attention.self.value", "attn_v"),
        ("attention.output.dense", "attn_output"),
        ("attention.output.LayerNorm", "attn_output_norm"),
        ("intermediate.dense", "ffn_up"),
        ("output.dense", "ffn_down"),
        ("output.LayerNorm", "layer_output_norm"),
        ("classifier", "cls.output"),
    ] {
        name = name.replace(from, to);
    }
    name
}
