//! Between the names of Hugging Face's files and the tensors that are trained.
//!
//! Queries, keys and values of a layer are trained as one matrix, `qkv`, one product instead of three. Of the word
//! embedding only the rows that occur are trained, `words`: the others have no gradient. The names are otherwise those
//! of the files.

use candle_core::{DType, Tensor};

use super::BertConfig;
use crate::train::{Weights, failed};
use crate::{IntentError, Result};

/// Name of the word embedding in files.
pub const WORDS: &str = "embeddings.word_embeddings.weight";
/// Name of the head's matrix, `[labels, width]`.
pub const HEAD_WEIGHT: &str = "classifier.weight";
/// Name of the head's bias, `[labels]`.
pub const HEAD_BIAS: &str = "classifier.bias";
/// Names of the three projections in files.
const PROJECTIONS: [&str; 3] = ["query", "key", "value"];

/// Names and shapes of an encoder's tensors in files, without the pooler, in the network's order.
#[must_use]
pub fn shapes(config: &BertConfig) -> Vec<(String, Vec<usize>)> {
    let (width, inner) = (config.hidden_size, config.intermediate_size);
    let mut all = vec![
        (WORDS.to_owned(), vec![config.vocab_size, width]),
        ("embeddings.position_embeddings.weight".to_owned(), vec![config.max_position_embeddings, width]),
        ("embeddings.token_type_embeddings.weight".to_owned(), vec![config.type_vocab_size, width]),
    ];
    let mut add = |name: String, out: usize, from: Option<usize>| {
        let weight = from.map_or_else(|| vec![out], |from| vec![out, from]);
        all.push((format!("{name}.weight"), weight));
        all.push((format!("{name}.bias"), vec![out]));
    };
    add("embeddings.LayerNorm".to_owned(), width, None);
    for layer in 0..config.num_hidden_layers {
        let layer = format!("encoder.layer.{layer}");
        for projection in PROJECTIONS {
            add(format!("{layer}.attention.self.{projection}"), width, Some(width));
        }
        add(format!("{layer}.attention.output.dense"), width, Some(width));
        add(format!("{layer}.attention.output.LayerNorm"), width, None);
        add(format!("{layer}.intermediate.dense"), inner, Some(width));
        add(format!("{layer}.output.dense"), width, Some(inner));
        add(format!("{layer}.output.LayerNorm"), width, None);
    }
    all
}

/// Checks that a file has the encoder's tensors in their shapes, in a floating type.
///
/// # Errors
/// `invalid_tensor` naming `file` and tensor.
pub fn check(weights: &Weights, config: &BertConfig, file: &str) -> Result<()> {
    for (name, shape) in shapes(config) {
        let invalid = |detail: String| IntentError::InvalidTensor {
            file: file.to_owned(),
            tensor: name.clone(),
            detail,
        };
        let tensor = weights.get(&name).ok_or_else(|| invalid("is missing".to_owned()))?;
        if tensor.dims() != shape {
            return Err(invalid(format!("has shape {:?}, expected {shape:?}", tensor.dims())));
        }
        if !tensor.dtype().is_float() {
            return Err(invalid(format!("has type {:?}, expected a floating one", tensor.dtype())));
        }
    }
    Ok(())
}

/// The tensors that are trained, in the network's order: 32-bit floats, projections joined, of the word embedding the
/// rows `rows`.
///
/// # Errors
/// `training` where memory runs out, `invalid_tensor` where one is missing.
pub fn joined(file: &Weights, config: &BertConfig, rows: &[u32]) -> Result<Vec<(String, Tensor)>> {
    let get = |name: &str| {
        let tensor = file.get(name).ok_or_else(|| failed(format!("{name} is missing")))?;
        tensor.to_dtype(DType::F32).map_err(failed)
    };
    let mut all = Vec::new();
    for (name, _) in shapes(config) {
        if name == WORDS {
            let rows = Tensor::new(rows, &candle_core::Device::Cpu).map_err(failed)?;
            all.push((name.clone(), get(&name)?.index_select(&rows, 0).map_err(failed)?));
        } else if let Some((before, kind)) = name.split_once(".self.query.") {
            let parts = PROJECTIONS.map(|part| get(&format!("{before}.self.{part}.{kind}")));
            let parts = parts.into_iter().collect::<Result<Vec<_>>>()?;
            all.push((format!("{before}.self.qkv.{kind}"), Tensor::cat(&parts, 0).map_err(failed)?));
        } else if !name.contains(".self.") {
            all.push((name.clone(), get(&name)?));
        }
    }
    Ok(all)
}

/// The reverse of [`joined`]: `file` with the trained tensors in the place of its own, and the head's beside them.
///
/// # Errors
/// `training` where memory runs out.
pub fn parted(trained: &Weights, mut file: Weights, rows: &[u32]) -> Result<Weights> {
    for (name, tensor) in trained {
        if name == WORDS {
            let words = file.get(WORDS).ok_or_else(|| failed(format!("{WORDS} is missing")))?;
            let words = words.to_dtype(DType::F32).map_err(failed)?;
            file.insert(name.clone(), with_rows(&words, tensor, rows).map_err(failed)?);
        } else if let Some((before, kind)) = name.split_once(".self.qkv.") {
            let parts = tensor.chunk(3, 0).map_err(failed)?;
            for (part, tensor) in PROJECTIONS.into_iter().zip(parts) {
                let tensor = tensor.contiguous().map_err(failed)?;
                file.insert(format!("{before}.self.{part}.{kind}"), tensor);
            }
        } else {
            file.insert(name.clone(), tensor.clone());
        }
    }
    Ok(file)
}

/// `table` with `new` in the place of `rows`.
fn with_rows(table: &Tensor, new: &Tensor, rows: &[u32]) -> candle_core::Result<Tensor> {
    let (count, width) = table.dims2()?;
    let mut values = table.flatten_all()?.to_vec1::<f32>()?;
    for (row, new) in rows.iter().zip(new.to_vec2::<f32>()?) {
        match values.get_mut(*row as usize * width..).and_then(|values| values.get_mut(..width)) {
            Some(values) => values.copy_from_slice(&new),
            None => candle_core::bail!("row {row} of {count}"),
        }
    }
    Tensor::from_vec(values, (count, width), table.device())
}
