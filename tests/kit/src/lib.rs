//! Tiny models with random weights and real or plain vocabularies, for tests that run in seconds.

mod bert;
mod real;

pub use bert::{LABELS, TinyBert, head};
pub use real::{MINILM, QWEN_05B, QWEN_15B, not_run, real_folder, real_model};

use std::io::{Seek, Write};
use std::path::Path;

use candle_core::quantized::gguf_file::{self, Value};
use candle_core::quantized::{GgmlDType, QTensor};
use candle_core::{Device, Result, Tensor};
use serde_json::Value as Json;

/// A real tokenizer cut down to a few thousand tokens (see `tests/fixtures/README.md`).
const TOKENIZER: &str = include_str!("../../fixtures/qwen2_5_tokenizer_subset.json");

/// A model to be written.
#[derive(Debug, Clone)]
pub struct TinyQwen2 {
    /// Seed of the weights.
    pub seed: u64,
    /// Layers.
    pub layers: usize,
    /// Width; a multiple of 256 where K formats are used.
    pub hidden: usize,
    /// Width of the feed-forward layer.
    pub feed_forward: usize,
    /// Query heads.
    pub heads: usize,
    /// Key/value heads.
    pub kv_heads: usize,
    /// Formats of the matrices, taken in turn.
    pub formats: Vec<GgmlDType>,
    /// Whether there is an output matrix beside the embedding.
    pub output: bool,
    /// Metadata keys to change or, with `None`, to leave out.
    pub metadata: Vec<(String, Option<Value>)>,
    /// Tensors to leave out.
    pub without: Vec<String>,
    /// Tensors to add or replace, with their shapes.
    pub with: Vec<(String, Vec<usize>, GgmlDType)>,
}

impl Default for TinyQwen2 {
    /// Two layers, every format that Qwen2.5's files use.
    fn default() -> Self {
        use GgmlDType::{F16, Q4_0, Q4K, Q5_0, Q6K, Q8_0};
        Self {
            seed: 13,
            layers: 2,
            hidden: 256,
            feed_forward: 512,
            heads: 4,
            kv_heads: 2,
            formats: vec![Q5_0, Q8_0, Q4K, Q6K, Q4_0, F16],
            output: true,
            metadata: Vec::new(),
            without: Vec::new(),
            with: Vec::new(),
        }
    }
}

impl TinyQwen2 {
    /// All matrices in one format.
    #[must_use]
    pub fn uniform(format: GgmlDType) -> Self {
        Self { formats: vec![format], ..Self::default() }
    }

    /// Writes the file to `path`.
    ///
    /// # Errors
    /// Where the file can't be written.
    pub fn write_file(&self, path: &Path) -> Result<()> {
        self.write(&mut std::fs::File::create(path)?)
    }

    /// The bytes of the file.
    ///
    /// # Errors
    /// Where a tensor can't be quantized as asked.
    pub fn bytes(&self) -> Result<Vec<u8>> {
        let mut bytes = std::io::Cursor::new(Vec::new());
        self.write(&mut bytes)?;
        Ok(bytes.into_inner())
    }

    fn write(&self, out: &mut (impl Write + Seek)) -> Result<()> {
        let tokenizer: Json = serde_json::from_str(TOKENIZER).map_err(candle_core::Error::wrap)?;
        let metadata = self.metadata(&tokenizer);
        let vocab = tokenizer["tokens"].as_array().map_or(0, Vec::len);
        let tensors = self.tensors(vocab)?;
        let metadata: Vec<(&str, &Value)> =
            metadata.iter().map(|(key, value)| (key.as_str(), value)).collect();
        let tensors: Vec<(&str, &QTensor)> =
            tensors.iter().map(|(name, tensor)| (name.as_str(), tensor)).collect();
        gguf_file::write(out, &metadata, &tensors)
    }

    fn metadata(&self, tokenizer: &Json) -> Vec<(String, Value)> {
        let size = |value: usize| Value::U32(u32::try_from(value).unwrap_or(u32::MAX));
        let list = |field: &str| tokenizer[field].as_array().cloned().unwrap_or_default();
        let texts = |field: &str| {
            let text = |value: &Json| Value::String(value.as_str().unwrap_or_default().to_owned());
            Value::Array(list(field).iter().map(text).collect())
        };
        let types = list("token_types");
        let types =
            types.iter().map(|kind| Value::I32(kind.as_i64().and_then(|k| k.try_into().ok()).unwrap_or(0)));
        let mut metadata = vec![
            ("general.architecture", Value::String("qwen2".to_owned())),
            ("general.name", Value::String("tiny random Qwen2".to_owned())),
            ("qwen2.block_count", size(self.layers)),
            ("qwen2.context_length", size(4096)),
            ("qwen2.embedding_length", size(self.hidden)),
            ("qwen2.feed_forward_length", size(self.feed_forward)),
            ("qwen2.attention.head_count", size(self.heads)),
            ("qwen2.attention.head_count_kv", size(self.kv_heads)),
            ("qwen2.rope.freq_base", Value::F32(1e6)),
            ("qwen2.attention.layer_norm_rms_epsilon", Value::F32(1e-6)),
            ("tokenizer.ggml.model", Value::String("gpt2".to_owned())),
            ("tokenizer.ggml.pre", Value::String("qwen2".to_owned())),
            ("tokenizer.ggml.tokens", texts("tokens")),
            ("tokenizer.ggml.token_type", Value::Array(types.collect())),
            ("tokenizer.ggml.merges", texts("merges")),
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

    fn tensors(&self, vocab: usize) -> Result<Vec<(String, QTensor)>> {
        let (h, f) = (self.hidden, self.feed_forward);
        let kv = h / self.heads * self.kv_heads;
        let mut shapes = vec![("token_embd.weight".to_owned(), vec![vocab, h])];
        if self.output {
            shapes.push(("output.weight".to_owned(), vec![vocab, h]));
        }
        for layer in 0..self.layers {
            let layer_shapes = [
                ("attn_norm.weight", vec![h]),
                ("attn_q.weight", vec![h, h]),
                ("attn_q.bias", vec![h]),
                ("attn_k.weight", vec![kv, h]),
                ("attn_k.bias", vec![kv]),
                ("attn_v.weight", vec![kv, h]),
                ("attn_v.bias", vec![kv]),
                ("attn_output.weight", vec![h, h]),
                ("ffn_norm.weight", vec![h]),
                ("ffn_gate.weight", vec![f, h]),
                ("ffn_up.weight", vec![f, h]),
                ("ffn_down.weight", vec![h, f]),
            ];
            shapes.extend(layer_shapes.map(|(name, shape)| (format!("blk.{layer}.{name}"), shape)));
        }
        shapes.push(("output_norm.weight".to_owned(), vec![h]));
        shapes.retain(|(name, _)| {
            !self.without.contains(name) && self.with.iter().all(|(with, ..)| with != name)
        });
        let mut random = SplitMix(self.seed);
        let mut formats = self.formats.iter().cycle();
        let mut tensors = Vec::new();
        for (name, shape) in shapes {
            let format =
                if shape.len() == 1 { GgmlDType::F32 } else { *formats.next().unwrap_or(&GgmlDType::F32) };
            tensors.push((name.clone(), random.tensor(&name, &shape, format)?));
        }
        for (name, shape, format) in &self.with {
            tensors.push((name.clone(), random.tensor(name, shape, *format)?));
        }
        Ok(tensors)
    }
}

/// SplitMix64 (Steele, Lea and Flood 2014): the same weights on every platform.
struct SplitMix(u64);

impl SplitMix {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// Uniform in -1..1.
    fn unit(&mut self) -> f32 {
        // 24 bits are exact in an f32.
        (self.next() >> 40) as f32 / (1u64 << 23) as f32 - 1.0
    }

    /// Norm weights around 1, the rest scaled so that activations keep their size from layer to layer.
    fn tensor(&mut self, name: &str, shape: &[usize], format: GgmlDType) -> Result<QTensor> {
        let count = shape.iter().product();
        let spread = shape.last().map_or(1.0, |width| (3.0 / *width as f32).sqrt());
        let value = |random: &mut Self| match name {
            _ if name.ends_with("norm.weight") || name.ends_with("LayerNorm.weight") => {
                1.0 + 0.1 * random.unit()
            }
            _ if name.ends_with("bias") => 0.1 * random.unit(),
            _ if name.starts_with("token_embd") => random.unit(),
            // Logits some units apart, so that distributions are neither flat nor degenerate.
            _ if name.starts_with("output") => 3.0 * spread * random.unit(),
            _ => spread * random.unit(),
        };
        let values: Vec<f32> = (0..count).map(|_| value(self)).collect();
        QTensor::quantize(&Tensor::from_vec(values, shape, &Device::Cpu)?, format)
    }
}
