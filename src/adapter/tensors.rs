//! `adapter_model.safetensors`, as PEFT writes it.

use std::collections::{BTreeMap, HashMap};

use half::{bf16, f16};
use safetensors::tensor::TensorView;
use safetensors::{Dtype, SafeTensors};

use super::{Adapter, AdapterConfig, Path, Projection, TENSORS};
use crate::memory::room;
use crate::model::qwen2::Qwen2Config;
use crate::{IntentError, Result};

/// How numbers are written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Precision {
    /// 2-byte floats.
    F16,
    /// 4-byte floats.
    F32,
}

/// Which of a path's two matrices.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Side {
    A,
    B,
}

fn invalid(tensor: &str, detail: impl ToString) -> IntentError {
    IntentError::InvalidTensor {
        file: TENSORS.to_owned(),
        tensor: tensor.to_owned(),
        detail: detail.to_string(),
    }
}

/// What a tensor's name stands for:
/// `base_model.model.model.layers.N.self_attn.q_proj.lora_A.weight`, where the name of the adapter may stand before
/// `weight`.
fn place(name: &str) -> Option<(usize, Projection, Side)> {
    let rest = name.strip_prefix("base_model.model.")?;
    let rest = rest.strip_prefix("model.").unwrap_or(rest).strip_prefix("layers.")?;
    let (layer, rest) = rest.split_once('.')?;
    let (module, rest) = rest.split_once(".lora_")?;
    let projection = Projection::ALL.into_iter().find(|p| p.module() == module)?;
    let side = match rest {
        "A.weight" | "A.default.weight" => Side::A,
        "B.weight" | "B.default.weight" => Side::B,
        _ => return None,
    };
    // Not "+3" or "03": each place has one name.
    let canonical = !layer.is_empty() && layer.bytes().all(|b| b.is_ascii_digit());
    let layer = layer.parse().ok().filter(|_| canonical && (layer == "0" || !layer.starts_with('0')))?;
    Some((layer, projection, side))
}

pub(super) fn read(bytes: &[u8], config: &AdapterConfig, sizes: &Qwen2Config) -> Result<Adapter> {
    let scales = config.scales()?;
    let file = SafeTensors::deserialize(bytes).map_err(|error| IntentError::config(TENSORS, error))?;
    let mut matrices: BTreeMap<(usize, Projection, Side), Vec<f32>> = BTreeMap::new();
    for (name, tensor) in file.iter() {
        let place = place(name).ok_or_else(|| {
            invalid(
                name,
                "is no low-rank matrix beside a projection of a Qwen2 layer, and nothing else is run",
            )
        })?;
        let (layer, projection, side) = place;
        if layer >= sizes.layers {
            return Err(invalid(name, format!("the model has {} layers", sizes.layers)));
        }
        let (rank, _) = scales.path(layer, projection)?;
        let [out, width] = projection.shape(sizes);
        if rank > out.min(width) {
            return Err(invalid(name, format!("rank {rank} beside a matrix of {out} times {width}")));
        }
        let expected = match side {
            Side::A => [rank, width],
            Side::B => [out, rank],
        };
        if tensor.shape() != expected {
            return Err(invalid(name, format!("shape {:?}, expected {expected:?}", tensor.shape())));
        }
        if matrices.insert(place, floats(name, &tensor)?).is_some() {
            return Err(invalid(name, "stands twice, with and without the adapter's name"));
        }
    }
    let mut adapter = Adapter::default();
    while let Some(((layer, projection, side), a)) = matrices.pop_first() {
        let b = matrices.remove(&(layer, projection, Side::B)).filter(|_| side == Side::A);
        let Some(b) = b else {
            let name = name(layer, projection, if side == Side::A { Side::B } else { Side::A });
            return Err(invalid(&name, "is missing"));
        };
        let (rank, scale) = scales.path(layer, projection)?;
        adapter.paths.insert((layer, projection), Path { rank, scale, a, b });
    }
    Ok(adapter)
}

/// A tensor's numbers.
fn floats(name: &str, tensor: &TensorView) -> Result<Vec<f32>> {
    let data = tensor.data();
    let mut values: Vec<f32> = room(tensor.shape().iter().product(), &format!("{TENSORS}: {name}"))?;
    match tensor.dtype() {
        Dtype::F32 => values.extend(data.as_chunks().0.iter().map(|bytes| f32::from_le_bytes(*bytes))),
        Dtype::F16 => {
            values.extend(data.as_chunks().0.iter().map(|bytes| f16::from_le_bytes(*bytes).to_f32()));
        }
        Dtype::BF16 => {
            values.extend(data.as_chunks().0.iter().map(|bytes| bf16::from_le_bytes(*bytes).to_f32()));
        }
        other => return Err(invalid(name, format!("type {other:?}; read are F32, F16 and BF16"))),
    }
    match values.iter().all(|value| value.is_finite()) {
        true => Ok(values),
        false => Err(invalid(name, "holds numbers that are not finite")),
    }
}

fn name(layer: usize, projection: Projection, side: Side) -> String {
    let side = if side == Side::A { "A" } else { "B" };
    format!("base_model.model.model.layers.{layer}.{}.lora_{side}.weight", projection.module())
}

pub(super) fn write(adapter: &Adapter, precision: Precision) -> Result<Vec<u8>> {
    let mut data: Vec<(String, Vec<usize>, Vec<u8>)> = Vec::new();
    for ((layer, projection), path) in &adapter.paths {
        for (side, values) in [(Side::A, &path.a), (Side::B, &path.b)] {
            let name = name(*layer, *projection, side);
            if path.rank == 0 || !values.len().is_multiple_of(path.rank) {
                return Err(invalid(&name, format!("{} numbers for rank {}", values.len(), path.rank)));
            }
            let other = values.len() / path.rank;
            let shape = if side == Side::A { vec![path.rank, other] } else { vec![other, path.rank] };
            data.push((name, shape, bytes(values, precision)));
        }
    }
    let dtype = match precision {
        Precision::F16 => Dtype::F16,
        Precision::F32 => Dtype::F32,
    };
    let views = data.iter().map(|(name, shape, bytes)| {
        TensorView::new(dtype, shape.clone(), bytes).map(|view| (name.clone(), view))
    });
    let views = views
        .collect::<std::result::Result<Vec<_>, _>>()
        .map_err(|error| IntentError::config(TENSORS, error))?;
    // What PEFT's loader looks for.
    let metadata = HashMap::from([("format".to_owned(), "pt".to_owned())]);
    safetensors::serialize(views, Some(metadata)).map_err(|error| IntentError::config(TENSORS, error))
}

fn bytes(values: &[f32], precision: Precision) -> Vec<u8> {
    match precision {
        Precision::F16 => values.iter().flat_map(|value| f16::from_f32(*value).to_le_bytes()).collect(),
        Precision::F32 => values.iter().flat_map(|value| value.to_le_bytes()).collect(),
    }
}
