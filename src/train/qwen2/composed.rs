//! The same operations composed of candle's: for other devices, and in double precision what [`Fused`](super::Fused) is
//! tested against.

use candle_core::{D, DType, Device, Result, Tensor};

use super::kernels::{Frozen, Kernels, LowRank, OfLinear, Tree};
use crate::backend::Heads;

/// Operations composed of candle's, on any device and in any floating type.
pub struct Composed;

impl LowRank {
    /// What dropout multiplies `x` by.
    fn mask(&self, x: &Tensor) -> Result<Option<Tensor>> {
        if self.dropout.rate <= 0.0 {
            return Ok(None);
        }
        let mask = self.dropout.apply(&Tensor::ones(x.shape(), DType::F32, &Device::Cpu)?)?;
        mask.to_dtype(x.dtype())?.to_device(x.device()).map(Some)
    }

    /// `dropout(x)` and `dropout(x) A'`, `[rows, parts * rank]`.
    fn inner(&self, x: &Tensor) -> Result<(Tensor, Tensor)> {
        let seen = match self.mask(x)? {
            Some(mask) => (x * mask)?,
            None => x.clone(),
        };
        let inner = seen.matmul(&self.a.t()?)?;
        Ok((seen, inner))
    }
}

impl Kernels for Composed {
    fn linear(&self, frozen: &Frozen, low: Option<&LowRank>, x: &Tensor) -> Result<Tensor> {
        let mut result = x.matmul(&frozen.weight.floats()?.t()?)?;
        if let Some(bias) = &frozen.bias {
            result = result.broadcast_add(bias)?;
        }
        let Some(low) = low else { return Ok(result) };
        let (_, inner) = low.inner(x)?;
        let (rows, out) = result.dims2()?;
        let zeros = |columns: usize| Tensor::zeros((rows, columns), x.dtype(), x.device());
        let (mut pieces, mut column) = (Vec::new(), 0);
        for part in &frozen.parts {
            if part.columns.start > column {
                pieces.push(zeros(part.columns.start - column)?);
            }
            let inner = inner.narrow(1, part.ranks.start, part.ranks.len())?.contiguous()?;
            let b = low.b.narrow(0, part.rows.start, part.rows.len())?;
            pieces.push((inner.matmul(&b.t()?)? * low.scale)?);
            column = part.columns.end;
        }
        if column < out {
            pieces.push(zeros(out - column)?);
        }
        result + Tensor::cat(&pieces, 1)?
    }

    fn linear_backward(
        &self,
        frozen: &Frozen,
        low: Option<&LowRank>,
        x: &Tensor,
        gradient: &Tensor,
        of_x: bool,
    ) -> Result<OfLinear> {
        let mut of = if of_x { Some(gradient.matmul(frozen.weight.floats()?)?) } else { None };
        let Some(low) = low else { return Ok(OfLinear { x: of, low: None }) };
        let (seen, inner) = low.inner(x)?;
        let (mut of_inner, mut of_b) = (Vec::new(), Vec::new());
        for part in &frozen.parts {
            let gradient = gradient.narrow(1, part.columns.start, part.columns.len())?.contiguous()?;
            let b = low.b.narrow(0, part.rows.start, part.rows.len())?;
            let inner = inner.narrow(1, part.ranks.start, part.ranks.len())?.contiguous()?;
            of_inner.push((gradient.matmul(&b)? * low.scale)?);
            of_b.push((gradient.t()?.matmul(&inner)? * low.scale)?);
        }
        let of_inner = Tensor::cat(&of_inner, 1)?;
        let of_a = of_inner.t()?.matmul(&seen)?;
        if let Some(sum) = &mut of {
            let mut share = of_inner.matmul(&low.a)?;
            if let Some(mask) = low.mask(x)? {
                share = (share * mask)?;
            }
            *sum = (&*sum + share)?;
        }
        Ok(OfLinear { x: of, low: Some([of_a, Tensor::cat(&of_b, 0)?]) })
    }

    fn rms_norm(&self, x: &Tensor, weight: &Tensor, epsilon: f64) -> Result<Tensor> {
        x.broadcast_mul(&inverse_rms(x, epsilon)?)?.broadcast_mul(weight)
    }

    fn rms_norm_backward(
        &self,
        x: &Tensor,
        weight: &Tensor,
        epsilon: f64,
        gradient: &Tensor,
        plus: &Tensor,
    ) -> Result<Tensor> {
        let inverse = inverse_rms(x, epsilon)?;
        let weighted = gradient.broadcast_mul(weight)?;
        let mean = (&weighted * x)?.mean_keepdim(D::Minus1)?;
        let common = ((mean * &inverse)? * inverse.sqr()?)?;
        plus + (weighted.broadcast_mul(&inverse)? - x.broadcast_mul(&common)?)?
    }

    fn swiglu(&self, gate_up: &Tensor) -> Result<Tensor> {
        let halves = gate_up.chunk(2, D::Minus1)?;
        (&halves[0] * sigmoid(&halves[0])?)? * &halves[1]
    }

    fn swiglu_backward(&self, gate_up: &Tensor, gradient: &Tensor) -> Result<Tensor> {
        let halves = gate_up.chunk(2, D::Minus1)?;
        let (gate, up) = (&halves[0], &halves[1]);
        let s = sigmoid(gate)?;
        let slope = (&s * ((gate * s.affine(-1.0, 1.0)?)? + 1.0)?)?;
        let of_gate = ((gradient * up)? * slope)?;
        let of_up = ((gradient * gate)? * s)?;
        Tensor::cat(&[of_gate, of_up], D::Minus1)
    }

    fn attention(&self, qkv: &Tensor, tree: &Tree, heads: Heads) -> Result<Tensor> {
        let dense = Dense::new(qkv, tree, heads)?;
        dense.joined(&dense.weights()?.matmul(&dense.values)?)
    }

    fn attention_backward(
        &self,
        qkv: &Tensor,
        tree: &Tree,
        heads: Heads,
        gradient: &Tensor,
    ) -> Result<Tensor> {
        let dense = Dense::new(qkv, tree, heads)?;
        let weights = dense.weights()?;
        let gradient = apart(gradient, heads.query)?;
        let of_weights = gradient.matmul(&dense.values.t()?.contiguous()?)?;
        let mean = (&weights * &of_weights)?.sum_keepdim(D::Minus1)?;
        let of_scores = ((&weights * of_weights.broadcast_sub(&mean)?)? * dense.scale())?;
        let of_queries = of_scores.matmul(&dense.keys)?;
        let of_scores_t = of_scores.transpose(1, 2)?.contiguous()?;
        let of_keys = dense.shared(&of_scores_t.matmul(&dense.queries)?)?;
        let of_values = dense.shared(&weights.transpose(1, 2)?.contiguous()?.matmul(&gradient)?)?;
        let parts = [dense.rotated(&of_queries, true)?, dense.rotated(&of_keys, true)?, of_values];
        let parts = parts.iter().map(|part| dense.joined(part)).collect::<Result<Vec<_>>>()?;
        Tensor::cat(&parts, D::Minus1)
    }

    fn add(&self, x: &Tensor, y: &Tensor) -> Result<Tensor> {
        x + y
    }
}

fn inverse_rms(x: &Tensor, epsilon: f64) -> Result<Tensor> {
    (x.sqr()?.mean_keepdim(D::Minus1)? + epsilon)?.sqrt()?.recip()
}

fn sigmoid(x: &Tensor) -> Result<Tensor> {
    (x.neg()?.exp()? + 1.0)?.recip()
}

/// `[heads, rows, dim]` of `[rows, heads * dim]`.
fn apart(x: &Tensor, heads: usize) -> Result<Tensor> {
    let (rows, width) = x.dims2()?;
    x.reshape((rows, heads, width / heads.max(1)))?.transpose(0, 1)?.contiguous()
}

/// All heads with all rows: `[query heads, rows, dim]` each, keys and values repeated.
struct Dense {
    heads: Heads,
    queries: Tensor,
    keys: Tensor,
    values: Tensor,
    cos: Tensor,
    sin: Tensor,
    /// `[rows, rows]`, 0 where visible and minus infinity elsewhere.
    mask: Tensor,
}

impl Dense {
    fn new(qkv: &Tensor, tree: &Tree, heads: Heads) -> Result<Self> {
        let Heads { query, kv, dim } = heads;
        let rows = tree.rows();
        let table = |values: &[f32]| {
            Tensor::from_slice(values, (1, rows, dim / 2), &Device::Cpu)?
                .to_dtype(qkv.dtype())?
                .to_device(qkv.device())
        };
        let part = |first: usize, count: usize| {
            apart(&qkv.narrow(D::Minus1, first * dim, count * dim)?.contiguous()?, count)
        };
        let empty = Tensor::zeros(0, qkv.dtype(), qkv.device())?;
        let mask = mask(tree)?.to_dtype(qkv.dtype())?.to_device(qkv.device())?;
        let (cos, sin) = (table(&tree.table.cos)?, table(&tree.table.sin)?);
        let mut dense =
            Self { heads, queries: empty.clone(), keys: empty.clone(), values: empty, cos, sin, mask };
        dense.queries = dense.rotated(&part(0, query)?, false)?;
        dense.keys = dense.repeated(&dense.rotated(&part(query, kv)?, false)?)?;
        dense.values = dense.repeated(&part(query + kv, kv)?)?;
        Ok(dense)
    }

    #[expect(clippy::cast_precision_loss, reason = "a head's width")]
    fn scale(&self) -> f64 {
        1.0 / (self.heads.dim as f64).sqrt()
    }

    /// Rotates `[heads, rows, dim]`, or back.
    fn rotated(&self, x: &Tensor, back: bool) -> Result<Tensor> {
        let halves = x.chunk(2, D::Minus1)?;
        let sin = if back { self.sin.neg()? } else { self.sin.clone() };
        let low = (halves[0].broadcast_mul(&self.cos)? - halves[1].broadcast_mul(&sin)?)?;
        let high = (halves[1].broadcast_mul(&self.cos)? + halves[0].broadcast_mul(&sin)?)?;
        Tensor::cat(&[low, high], D::Minus1)
    }

    /// One for each query head.
    fn repeated(&self, x: &Tensor) -> Result<Tensor> {
        let (kv, rows, dim) = x.dims3()?;
        let group = self.heads.query / kv;
        x.unsqueeze(1)?.broadcast_as((kv, group, rows, dim))?.contiguous()?.reshape((kv * group, rows, dim))
    }

    /// The reverse of [`repeated`](Self::repeated) for gradients: sums over those that share one.
    fn shared(&self, x: &Tensor) -> Result<Tensor> {
        let (query, rows, dim) = x.dims3()?;
        x.reshape((self.heads.kv, query / self.heads.kv, rows, dim))?.sum(1)
    }

    /// `[rows, heads * dim]` of `[heads, rows, dim]`.
    fn joined(&self, x: &Tensor) -> Result<Tensor> {
        let (heads, rows, dim) = x.dims3()?;
        x.transpose(0, 1)?.contiguous()?.reshape((rows, heads * dim))
    }

    /// `[query heads, rows, rows]`
    fn weights(&self) -> Result<Tensor> {
        let scores = (self.queries.matmul(&self.keys.transpose(1, 2)?.contiguous()?)? * self.scale())?;
        let scores = scores.broadcast_add(&self.mask)?;
        let weights = scores.broadcast_sub(&scores.max_keepdim(D::Minus1)?)?.exp()?;
        weights.broadcast_div(&weights.sum_keepdim(D::Minus1)?)
    }
}

fn mask(tree: &Tree) -> Result<Tensor> {
    let rows = tree.rows();
    let mut mask = vec![f32::NEG_INFINITY; rows * rows];
    for block in &tree.blocks {
        for (row, visible) in block.rows.clone().zip(block.visible.chunks_exact(block.rows.len())) {
            let row = &mut mask[row * rows..][..rows];
            if block.rows.start >= tree.prefix {
                row[..tree.prefix].fill(0.0);
            }
            for (cell, visible) in row[block.rows.clone()].iter_mut().zip(visible) {
                if *visible {
                    *cell = 0.0;
                }
            }
        }
    }
    Tensor::from_vec(mask, (rows, rows), &Device::Cpu)
}
