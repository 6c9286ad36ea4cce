//! The tensors of a pack: names, formats, bytes, and what rounding cost.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::io::Cursor;
use std::str::FromStr;

use candle_core::Device;
use candle_core::quantized::gguf_file::{self, Value};
use candle_core::quantized::{GgmlDType, QStorage, QTensor};

use super::base::{Base, Vocabulary};
use super::encode::encode;
use crate::model::bert::POOLING_MEAN;
use crate::quant::{Format, QuantMatrix};
use crate::tokenizer::word_piece::gguf_spelling;
use crate::tokenizer::{CONTROL, NORMAL};
use crate::{IntentError, Result};

/// Tensors that share a format.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Group {
    /// The token embedding.
    Embedding,
    /// Position and token type embeddings.
    Positions,
    /// q, k, v and output projections.
    Attention,
    /// Both matrices of the feed-forward layers.
    FeedForward,
    /// The matrix over the labels.
    Head,
    /// Norms and biases, always floats.
    Vectors,
}

impl Group {
    /// Every group.
    pub const ALL: [Self; 6] =
        [Self::Embedding, Self::Positions, Self::Attention, Self::FeedForward, Self::Head, Self::Vectors];

    /// Name, as the command line has it.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Embedding => "embedding",
            Self::Positions => "positions",
            Self::Attention => "attention",
            Self::FeedForward => "feed-forward",
            Self::Head => "head",
            Self::Vectors => "vectors",
        }
    }
}

/// Name of a format, as the command line has it.
#[must_use]
pub const fn format_name(format: Format) -> &'static str {
    match format {
        Format::F32 => "f32",
        Format::F16 => "f16",
        Format::Q4_0 => "q4_0",
        Format::Q5_0 => "q5_0",
        Format::Q8_0 => "q8_0",
        Format::Q4K => "q4_k",
        Format::Q6K => "q6_k",
    }
}

/// The format of each group.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Formats(BTreeMap<Group, Format>);

impl Default for Formats {
    /// 4 bits where most weights are, more where they are few and matter more.
    fn default() -> Self {
        use Format::{F32, Q4_0, Q5_0, Q8_0};
        Self(BTreeMap::from([
            (Group::Embedding, Q4_0),
            (Group::Positions, Q8_0),
            (Group::Attention, Q5_0),
            (Group::FeedForward, Q4_0),
            (Group::Head, F32),
            (Group::Vectors, F32),
        ]))
    }
}

impl Formats {
    /// All groups as floats: nothing is lost.
    #[must_use]
    pub fn exact() -> Self {
        Self(Group::ALL.into_iter().map(|group| (group, Format::F32)).collect())
    }

    fn of(&self, group: Group) -> Format {
        self.0.get(&group).copied().unwrap_or(Format::F32)
    }
}

impl FromStr for Formats {
    type Err = IntentError;

    /// `group=format,group=format`; groups that are not named keep their default. `f32` alone is [`Formats::exact`].
    fn from_str(text: &str) -> Result<Self> {
        let fault = |detail: String| IntentError::argument("--quant", detail);
        if text == "f32" {
            return Ok(Self::exact());
        }
        let mut formats = Self::default();
        for part in text.split(',') {
            let (group, format) =
                part.split_once('=').ok_or_else(|| fault(format!("{part:?} is not GROUP=FORMAT")))?;
            let group = Group::ALL
                .into_iter()
                .find(|known| known.name() == group && *known != Group::Vectors)
                .ok_or_else(|| fault(format!("{group:?} is no group of tensors")))?;
            let format = [Format::F32, Format::F16, Format::Q4_0, Format::Q5_0, Format::Q8_0]
                .into_iter()
                .find(|known| format_name(*known) == format)
                .ok_or_else(|| fault(format!("{format:?} is not f32, f16, q4_0, q5_0 or q8_0")))?;
            formats.0.insert(group, format);
        }
        Ok(formats)
    }
}

/// What became of one group.
#[derive(Debug, Clone, PartialEq)]
pub struct GroupReport {
    /// The group.
    pub group: Group,
    /// Its format.
    pub format: Format,
    /// Weights.
    pub weights: u64,
    /// Bytes they take.
    pub bytes: u64,
    /// Root of the mean squared rounding error.
    pub rmse: f64,
    /// That error over the root of the mean squared weight.
    pub relative: f64,
}

struct Named {
    name: String,
    shape: Vec<usize>,
    matrix: QuantMatrix,
}

/// Sums for a [`GroupReport`].
#[derive(Default, Clone, Copy)]
struct Sums {
    weights: u64,
    bytes: u64,
    error: f64,
    square: f64,
}

struct Writer<'a> {
    base: &'a Base,
    formats: &'a Formats,
    tensors: Vec<Named>,
    sums: BTreeMap<Group, Sums>,
}

impl Writer<'_> {
    /// Takes tensor `source` over as `name`; `shape` has one or two dimensions.
    fn take(&mut self, name: String, source: &str, group: Group, shape: &[usize]) -> Result<()> {
        let values = self.base.tensor(source, shape)?;
        self.add(name, group, shape, &values)
    }

    fn add(&mut self, name: String, group: Group, shape: &[usize], values: &[f32]) -> Result<()> {
        let cols = shape.last().copied().unwrap_or(1);
        let rows = values.len() / cols;
        let matrix = encode(self.formats.of(group), rows, cols, values)
            .map_err(|error| IntentError::data(format!("model.safetensors: {name}"), error))?;
        let sums = self.sums.entry(group).or_default();
        sums.weights += values.len() as u64;
        sums.bytes += matrix.bytes() as u64;
        let mut row = vec![0.0; cols];
        for (r, values) in values.chunks_exact(cols).enumerate() {
            matrix.dequantize_row(r, &mut row);
            for (stored, value) in row.iter().zip(values) {
                sums.error += f64::from(stored - value).powi(2);
                sums.square += f64::from(*value).powi(2);
            }
        }
        self.tensors.push(Named { name, shape: shape.to_vec(), matrix });
        Ok(())
    }

    fn linear(&mut self, name: &str, source: &str, group: Group, rows: usize, cols: usize) -> Result<()> {
        self.take(format!("{name}.weight"), &format!("{source}.weight"), group, &[rows, cols])?;
        self.take(format!("{name}.bias"), &format!("{source}.bias"), Group::Vectors, &[rows])
    }

    fn norm(&mut self, name: &str, source: &str, width: usize) -> Result<()> {
        for part in ["weight", "bias"] {
            self.take(format!("{name}.{part}"), &format!("{source}.{part}"), Group::Vectors, &[width])?;
        }
        Ok(())
    }

    fn layer(&mut self, layer: usize) -> Result<()> {
        let (h, f) = (self.base.sizes.hidden_size, self.base.sizes.intermediate_size);
        let to = |part: &str| format!("blk.{layer}.{part}");
        let from = |part: &str| format!("encoder.layer.{layer}.{part}");
        for (name, source) in [("attn_q", "query"), ("attn_k", "key"), ("attn_v", "value")] {
            let source = from(&format!("attention.self.{source}"));
            self.linear(&to(name), &source, Group::Attention, h, h)?;
        }
        self.linear(&to("attn_output"), &from("attention.output.dense"), Group::Attention, h, h)?;
        self.norm(&to("attn_output_norm"), &from("attention.output.LayerNorm"), h)?;
        self.linear(&to("ffn_up"), &from("intermediate.dense"), Group::FeedForward, f, h)?;
        self.linear(&to("ffn_down"), &from("output.dense"), Group::FeedForward, h, f)?;
        self.norm(&to("layer_output_norm"), &from("output.LayerNorm"), h)
    }
}

/// The GGUF file of `base` with the rows `kept` of its embedding, which are `vocabulary`'s pieces, and what rounding
/// cost.
///
/// # Errors
/// `invalid_data` naming the tensor that is missing, has another shape or does not fit its format.
pub(super) fn gguf(
    base: &Base,
    name: &str,
    vocabulary: &Vocabulary,
    kept: &[usize],
    formats: &Formats,
) -> Result<(Vec<u8>, Vec<GroupReport>)> {
    let sizes = &base.sizes;
    let h = sizes.hidden_size;
    let mut writer = Writer { base, formats, tensors: Vec::new(), sums: BTreeMap::new() };
    let embedding = base.tensor("embeddings.word_embeddings.weight", &[base.vocabulary.pieces.len(), h])?;
    let rows: Vec<f32> = kept.iter().flat_map(|id| &embedding[id * h..][..h]).copied().collect();
    writer.add("token_embd.weight".to_owned(), Group::Embedding, &[kept.len(), h], &rows)?;
    for (name, source, rows) in [
        ("position_embd", "position_embeddings", sizes.max_position_embeddings),
        ("token_types", "token_type_embeddings", sizes.type_vocab_size),
    ] {
        let source = format!("embeddings.{source}.weight");
        writer.take(format!("{name}.weight"), &source, Group::Positions, &[rows, h])?;
    }
    writer.norm("token_embd_norm", "embeddings.LayerNorm", h)?;
    for layer in 0..sizes.num_hidden_layers {
        writer.layer(layer)?;
    }
    writer.linear("cls.output", "classifier", Group::Head, base.config.labels.len(), h)?;
    let reports = writer.reports();
    let metadata = metadata(base, name, vocabulary)?;
    Ok((write(&metadata, &writer.tensors)?, reports))
}

impl Writer<'_> {
    fn reports(&self) -> Vec<GroupReport> {
        let report = |(group, sums): (&Group, &Sums)| {
            let rmse = (sums.error / sums.weights as f64).sqrt();
            GroupReport {
                group: *group,
                format: self.formats.of(*group),
                weights: sums.weights,
                bytes: sums.bytes,
                rmse,
                relative: if sums.square > 0.0 { (sums.error / sums.square).sqrt() } else { 0.0 },
            }
        };
        self.sums.iter().map(report).collect()
    }
}

fn metadata(base: &Base, name: &str, vocabulary: &Vocabulary) -> Result<Vec<(&'static str, Value)>> {
    let sizes = &base.sizes;
    #[expect(clippy::cast_possible_truncation, reason = "GGUF files have it in single precision")]
    let epsilon = sizes.layer_norm_eps as f32;
    let number = |value: usize| {
        u32::try_from(value).map(Value::U32).map_err(|error| IntentError::data("config.json", error))
    };
    let text = |value: &str| Value::String(value.to_owned());
    let is_control = |id: usize| vocabulary.control.contains(&id);
    let tokens = vocabulary.pieces.iter().enumerate();
    let tokens =
        tokens.map(|(id, piece)| if is_control(id) { text(piece) } else { text(&gguf_spelling(piece)) });
    let types =
        (0..vocabulary.pieces.len()).map(|id| Value::I32(if is_control(id) { CONTROL } else { NORMAL }));
    Ok(vec![
        ("general.architecture", text("bert")),
        ("general.name", text(name)),
        ("bert.block_count", number(sizes.num_hidden_layers)?),
        ("bert.context_length", number(sizes.max_position_embeddings)?),
        ("bert.embedding_length", number(sizes.hidden_size)?),
        ("bert.feed_forward_length", number(sizes.intermediate_size)?),
        ("bert.attention.head_count", number(sizes.num_attention_heads)?),
        ("bert.attention.layer_norm_epsilon", Value::F32(epsilon)),
        ("bert.attention.causal", Value::Bool(false)),
        ("bert.pooling_type", number(POOLING_MEAN)?),
        (
            "bert.classifier.output_labels",
            Value::Array(base.config.labels.iter().map(|label| text(label)).collect()),
        ),
        ("tokenizer.ggml.model", text("bert")),
        ("tokenizer.ggml.token_type_count", number(sizes.type_vocab_size)?),
        ("tokenizer.ggml.tokens", Value::Array(tokens.collect())),
        ("tokenizer.ggml.token_type", Value::Array(types.collect())),
        ("tokenizer.ggml.unknown_token_id", number(vocabulary.unknown)?),
        ("tokenizer.ggml.seperator_token_id", number(vocabulary.sep)?),
        ("tokenizer.ggml.padding_token_id", number(vocabulary.pad)?),
        ("tokenizer.ggml.cls_token_id", number(vocabulary.cls)?),
    ])
}

fn write(metadata: &[(&str, Value)], tensors: &[Named]) -> Result<Vec<u8>> {
    let fault = |error: candle_core::Error| IntentError::data("GGUF", error);
    let mut stored = Vec::new();
    for tensor in tensors {
        let data = tensor.matrix.data();
        let storage = QStorage::from_data(Cow::Borrowed(data), &Device::Cpu, dtype(tensor.matrix.format()));
        stored.push(storage.and_then(|s| QTensor::new(s, tensor.shape.as_slice())).map_err(fault)?);
    }
    let metadata: Vec<(&str, &Value)> = metadata.iter().map(|(key, value)| (*key, value)).collect();
    let named: Vec<(&str, &QTensor)> =
        tensors.iter().map(|tensor| tensor.name.as_str()).zip(&stored).collect();
    let mut bytes = Cursor::new(Vec::new());
    gguf_file::write(&mut bytes, &metadata, &named).map_err(fault)?;
    Ok(bytes.into_inner())
}

fn dtype(format: Format) -> GgmlDType {
    match format {
        Format::F32 => GgmlDType::F32,
        Format::F16 => GgmlDType::F16,
        Format::Q4_0 => GgmlDType::Q4_0,
        Format::Q5_0 => GgmlDType::Q5_0,
        Format::Q8_0 => GgmlDType::Q8_0,
        Format::Q4K => GgmlDType::Q4K,
        Format::Q6K => GgmlDType::Q6K,
    }
}
