//! The tensors of an encoder's pack: names, formats, bytes, and what rounding cost.

use std::borrow::Cow;
use std::io::Cursor;

use candle_core::Device;
use candle_core::quantized::gguf_file::{self, Value};
use candle_core::quantized::{QStorage, QTensor};

use super::base::{Base, Vocabulary};
use super::encode::encode;
use super::formats::{Account, Formats, Group, GroupReport, Sums};
use crate::gguf::write::dtype;
use crate::model::bert::POOLING_MEAN;
use crate::quant::QuantMatrix;
use crate::tokenizer::word_piece::gguf_spelling;
use crate::tokenizer::{CONTROL, NORMAL};
use crate::{IntentError, Result};

struct Named {
    name: String,
    shape: Vec<usize>,
    matrix: QuantMatrix,
}

struct Writer<'a> {
    base: &'a Base,
    formats: &'a Formats,
    tensors: Vec<Named>,
    account: Account,
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
        let format = self.formats.of(group, cols);
        let matrix = encode(format, rows, cols, values)
            .map_err(|error| IntentError::data(format!("model.safetensors: {name}"), error))?;
        self.account.add(group, format, Sums::of(&matrix, values));
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
    let mut writer = Writer { base, formats, tensors: Vec::new(), account: Account::default() };
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
    let reports = writer.account.reports();
    let metadata = metadata(base, name, vocabulary)?;
    Ok((write(&metadata, &writer.tensors)?, reports))
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
