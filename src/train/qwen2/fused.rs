//! Operations on 32-bit floats in main memory.

use candle_core::{DType, Device, Result, Tensor};
use rayon::prelude::*;

use super::kernels::{Frozen, Kernels, LowRank, OfLinear, Tree, Values};
use crate::backend::Heads;
use crate::train::ops::decoder::{self, RmsNorm, SwiGlu};
use crate::train::ops::with_all;

/// Elements that one piece of work takes.
const PIECE: usize = 16 * 1024;

/// Operations on 32-bit floats in main memory, on all threads. Results do not depend on their number.
pub struct Fused;

fn tensor(values: Vec<f32>, width: usize) -> Result<Tensor> {
    let rows = values.len() / width.max(1);
    Tensor::from_vec(values, (rows, width), &Device::Cpu)
}

/// Calls `f` with the matrix and, where there are any, its low-rank paths.
fn with_linear<R>(
    frozen: &Frozen,
    low: Option<&LowRank>,
    f: impl FnOnce(&decoder::Linear, Option<&decoder::LowRank>) -> Result<R>,
) -> Result<R> {
    let (_, width) = frozen.weight.dims2()?;
    // Stands for what there is none of.
    let nothing = Tensor::zeros(0, DType::F32, &Device::Cpu)?;
    let floats = match &frozen.weight.0 {
        Values::Floats(tensor) => tensor,
        Values::Tiles(_) => &nothing,
    };
    let bias = frozen.bias.as_ref().unwrap_or(&nothing);
    let (a, b) = low.map_or((&nothing, &nothing), |low| (&low.a, &low.b));
    with_all([floats, bias, a, b], "linear", |[floats, bias, a, b]| {
        let weight = match &frozen.weight.0 {
            Values::Floats(_) => decoder::Weight::Floats(floats),
            Values::Tiles(tiles) => decoder::Weight::Tiles(tiles),
        };
        let linear = decoder::Linear { weight, bias: frozen.bias.as_ref().map(|_| bias), width };
        #[expect(clippy::cast_possible_truncation, reason = "the arithmetic is single precision")]
        let low = low.map(|low| decoder::LowRank {
            a,
            b,
            rank: low.rank,
            scale: low.scale as f32,
            parts: &frozen.parts,
        });
        f(&linear, low.as_ref())
    })
}

impl Kernels for Fused {
    fn linear(&self, frozen: &Frozen, low: Option<&LowRank>, x: &Tensor) -> Result<Tensor> {
        let (out, _) = frozen.weight.dims2()?;
        let seen = low.map_or_else(|| Ok(x.clone()), |low| low.dropout.apply(x))?;
        let values = with_linear(frozen, low, |linear, low| {
            with_all([x, &seen], "linear", |[x, seen]| Ok(linear.forward(low, x, seen)))
        })?;
        tensor(values, out)
    }

    fn linear_backward(
        &self,
        frozen: &Frozen,
        low: Option<&LowRank>,
        x: &Tensor,
        gradient: &Tensor,
        of_x: bool,
    ) -> Result<OfLinear> {
        let (_, width) = frozen.weight.dims2()?;
        let seen = low.map_or_else(|| Ok(x.clone()), |low| low.dropout.apply(x))?;
        // Through dropout the paths' share of the operand's gradient goes by itself.
        let apart = of_x && low.is_some_and(|low| low.dropout.rate > 0.0);
        let (mut x, share, of_low) = with_linear(frozen, low, |linear, low| {
            with_all([&seen, gradient], "linear", |[seen, gradient]| {
                let mut x = of_x.then(|| linear.backward(gradient));
                let mut share = apart.then(|| vec![0.0; seen.len()]);
                let of_seen = share.as_mut().or(x.as_mut()).map(Vec::as_mut_slice);
                let of_low = low.map(|low| low.backward(seen, width, gradient, of_seen));
                Ok((x, share, of_low))
            })
        })?;
        if let (Some(x), Some(share), Some(low)) = (&mut x, share, low) {
            let share = low.dropout.apply(&tensor(share, width)?)?;
            with_all([&share], "linear", |[share]| {
                x.iter_mut().zip(share).for_each(|(x, share)| *x += share);
                Ok(())
            })?;
        }
        let of_low = match (of_low, low) {
            (Some(of), Some(low)) => Some([
                Tensor::from_vec(of.a, low.a.shape(), &Device::Cpu)?,
                Tensor::from_vec(of.b, low.b.shape(), &Device::Cpu)?,
            ]),
            _ => None,
        };
        Ok(OfLinear { x: x.map(|x| tensor(x, width)).transpose()?, low: of_low })
    }

    fn rms_norm(&self, x: &Tensor, weight: &Tensor, epsilon: f64) -> Result<Tensor> {
        let values = with_all([x, weight], "norm", |[x, weight]| {
            #[expect(clippy::cast_possible_truncation, reason = "the arithmetic is single precision")]
            Ok(RmsNorm { weight, epsilon: epsilon as f32 }.forward(x))
        })?;
        tensor(values, weight.dims1()?)
    }

    fn rms_norm_backward(
        &self,
        x: &Tensor,
        weight: &Tensor,
        epsilon: f64,
        gradient: &Tensor,
        plus: &Tensor,
    ) -> Result<Tensor> {
        let values = with_all([x, weight, gradient, plus], "norm", |[x, weight, gradient, plus]| {
            let mut sum = plus.to_vec();
            #[expect(clippy::cast_possible_truncation, reason = "the arithmetic is single precision")]
            RmsNorm { weight, epsilon: epsilon as f32 }.backward(x, gradient, &mut sum);
            Ok(sum)
        })?;
        tensor(values, weight.dims1()?)
    }

    fn swiglu(&self, gate_up: &Tensor) -> Result<Tensor> {
        let (_, width) = gate_up.dims2()?;
        let op = SwiGlu { width: width / 2 };
        tensor(with_all([gate_up], "swiglu", |[gate_up]| Ok(op.forward(gate_up)))?, width / 2)
    }

    fn swiglu_backward(&self, gate_up: &Tensor, gradient: &Tensor) -> Result<Tensor> {
        let (_, width) = gate_up.dims2()?;
        let op = SwiGlu { width: width / 2 };
        let values = with_all([gate_up, gradient], "swiglu", |[gate_up, g]| Ok(op.backward(gate_up, g)))?;
        tensor(values, width)
    }

    fn attention(&self, qkv: &Tensor, tree: &Tree, heads: Heads) -> Result<Tensor> {
        let values = with_all([qkv], "attention", |[qkv]| Ok(tree.forward(qkv, heads)))?;
        tensor(values, heads.query * heads.dim)
    }

    fn attention_backward(
        &self,
        qkv: &Tensor,
        tree: &Tree,
        heads: Heads,
        gradient: &Tensor,
    ) -> Result<Tensor> {
        let values = with_all([qkv, gradient], "attention", |[qkv, g]| Ok(tree.backward(qkv, g, heads)))?;
        tensor(values, (heads.query + 2 * heads.kv) * heads.dim)
    }

    fn add(&self, x: &Tensor, y: &Tensor) -> Result<Tensor> {
        let (_, width) = x.dims2()?;
        let values = with_all([x, y], "add", |[x, y]| {
            let mut sum = x.to_vec();
            let pieces = sum.par_chunks_mut(PIECE).zip(y.par_chunks(PIECE));
            pieces.for_each(|(sum, y)| sum.iter_mut().zip(y).for_each(|(sum, y)| *sum += y));
            Ok(sum)
        })?;
        tensor(values, width)
    }
}
