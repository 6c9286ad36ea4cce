//! The weights of a GGUF file as the network takes them.

use candle_core::{Device, Tensor};
use rayon::prelude::*;

use super::kernels::{Frozen, Part, Values, Weight};
use super::{GROUPS, Layer, Paths, Products};
use crate::adapter::Projection;
use crate::gguf::Gguf;
use crate::model::qwen2::Qwen2Config;
use crate::quant::QuantMatrix;
use crate::train::failed;
use crate::train::ops::decoder::Tiles;

/// Takes a layer's weights.
pub(super) fn read_layer(
    gguf: &mut Gguf,
    config: &Qwen2Config,
    paths: &Paths,
    layer: usize,
    (device, products): (&Device, Products),
) -> crate::Result<Layer> {
    let block = |name: &str| format!("blk.{layer}.{name}");
    let trained = layer >= paths.first_layer;
    let mut group = |(_, members): (&str, &[Projection])| {
        let names: Vec<String> = members.iter().map(|p| block(p.gguf_name())).collect();
        let shapes: Vec<[usize; 2]> = members.iter().map(|p| p.shape(config)).collect();
        let weight = matrix(gguf, &names, &shapes, (device, products))?;
        let biased = members.contains(&Projection::Query);
        let biases: Vec<String> = names.iter().map(|name| name.replace(".weight", ".bias")).collect();
        let out = shapes.iter().map(|shape| shape[0]).sum();
        let bias = if biased { Some(vector(gguf, &biases, out, device)?) } else { None };
        Ok(Frozen { weight, bias, parts: if trained { parts(config, paths, members) } else { Vec::new() } })
    };
    let [a, b, c, d] = GROUPS;
    let groups = [group(a)?, group(b)?, group(c)?, group(d)?];
    let mut norm = |name: &str| vector(gguf, &[block(name)], config.hidden, device);
    Ok(Layer { attn_norm: norm("attn_norm.weight")?, ffn_norm: norm("ffn_norm.weight")?, groups })
}

/// The low-rank paths of a group.
fn parts(config: &Qwen2Config, paths: &Paths, members: &[Projection]) -> Vec<Part> {
    let (mut parts, mut column, mut row) = (Vec::new(), 0, 0);
    for member in members {
        let out = member.shape(config)[0];
        if paths.projections.contains(member) {
            let rank = parts.len() * paths.rank;
            parts.push(Part {
                ranks: rank..rank + paths.rank,
                rows: row..row + out,
                columns: column..column + out,
            });
            row += out;
        }
        column += out;
    }
    parts
}

/// Matrices under each other.
fn matrix(
    gguf: &mut Gguf,
    names: &[String],
    shapes: &[[usize; 2]],
    (device, products): (&Device, Products),
) -> crate::Result<Weight> {
    let width = shapes.first().map_or(0, |shape| shape[1]);
    let out: usize = shapes.iter().map(|shape| shape[0]).sum();
    let mut values = vec![0.0; out * width];
    let mut rest = &mut *values;
    for (name, [rows, columns]) in names.iter().zip(shapes) {
        let matrix = gguf.take(name, *rows, *columns)?;
        let (part, behind) = rest.split_at_mut(rows * columns);
        let fill = |(row, values): (usize, &mut [f32])| matrix.dequantize_row(row, values);
        part.par_chunks_mut(*columns).enumerate().for_each(fill);
        rest = behind;
    }
    if products == Products::Bf16 && device.is_cpu() {
        return Ok(Weight(Values::Tiles(Tiles::new(&values, width))));
    }
    let tensor = Tensor::from_vec(values, (out, width), &Device::Cpu).and_then(|m| m.to_device(device));
    tensor.map(|tensor| Weight(Values::Floats(tensor))).map_err(failed)
}

/// Vectors behind each other; `len` in all.
pub(super) fn vector(
    gguf: &mut Gguf,
    names: &[String],
    len: usize,
    device: &Device,
) -> crate::Result<Tensor> {
    let mut values = Vec::with_capacity(len);
    for name in names {
        let rows = gguf.tensors.get(name).map_or(len, QuantMatrix::cols);
        values.extend(gguf.take_vector(name, rows)?);
    }
    Tensor::from_vec(values, len, &Device::Cpu).and_then(|v| v.to_device(device)).map_err(failed)
}
