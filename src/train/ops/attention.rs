//! Self-attention over packed messages: each token sees its own message, all of it.

use std::ops::Range;
use std::sync::Arc;

use candle_core::{CpuStorage, CustomOp1, Layout, Result, Shape, Tensor, bail};
use rayon::prelude::*;

use super::dropout::Dropout;
use super::{math, values, with_all};

/// Where each message of a packed batch begins and ends.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Bounds(Arc<[usize]>);

impl Bounds {
    /// Messages of these lengths, one after the other.
    pub fn new(lengths: impl IntoIterator<Item = usize>) -> Self {
        let mut bounds = vec![0];
        let mut end = 0usize;
        for length in lengths {
            end = end.saturating_add(length);
            bounds.push(end);
        }
        Self(bounds.into())
    }

    /// The tokens of each message.
    pub fn ranges(&self) -> impl Iterator<Item = Range<usize>> {
        self.0.windows(2).map(|pair| pair[0]..pair[1])
    }

    /// Tokens in all.
    #[must_use]
    pub fn tokens(&self) -> usize {
        self.0.last().copied().unwrap_or_default()
    }

    /// Messages.
    #[must_use]
    pub fn messages(&self) -> usize {
        self.0.len().saturating_sub(1)
    }

    /// Cuts `rows` of `width` into the messages' parts.
    fn cut<'a>(&self, mut rows: &'a mut [f32], width: usize) -> Vec<(Range<usize>, &'a mut [f32])> {
        let cut = |range: Range<usize>| {
            let (part, rest) = std::mem::take(&mut rows).split_at_mut(range.len() * width);
            rows = rest;
            (range, part)
        };
        self.ranges().map(cut).collect()
    }
}

/// Operand `[tokens, 3 * width]`, the queries, keys and values of all heads in a row; result `[tokens, width]`.
/// Softmax of scaled dot products (Vaswani et al. 2017).
#[derive(Clone)]
pub struct Attention {
    /// Heads; a divisor of the width.
    pub heads: usize,
    /// Bounds of the messages.
    pub bounds: Bounds,
    /// Dropout of the attention weights.
    pub dropout: Dropout,
}

/// One head of one message: queries, keys and values, each `[n, d]`, and two of them transposed, `[d, n]`.
struct Head {
    n: usize,
    d: usize,
    queries: Vec<f32>,
    keys: Vec<f32>,
    values: Vec<f32>,
    keys_t: Vec<f32>,
    values_t: Vec<f32>,
    scale: f32,
}

impl Head {
    fn read(rows: &[f32], width: usize, head: usize, d: usize) -> Self {
        let n = rows.len() / (3 * width);
        let part = |part: usize| {
            let mut out = Vec::with_capacity(n * d);
            for row in rows.chunks_exact(3 * width) {
                out.extend_from_slice(&row[part * width + head * d..][..d]);
            }
            out
        };
        let (queries, keys, values) = (part(0), part(1), part(2));
        let (keys_t, values_t) = (transposed(&keys, d), transposed(&values, d));
        #[expect(clippy::cast_precision_loss, reason = "a head's width")]
        let scale = 1.0 / (d as f32).sqrt();
        Self { n, d, queries, keys, values, keys_t, values_t, scale }
    }

    /// Attention weights of token `i` before dropout, into `row`.
    fn weights(&self, i: usize, row: &mut [f32]) {
        row.fill(0.0);
        for (q, keys) in self.queries[i * self.d..][..self.d].iter().zip(self.keys_t.chunks_exact(self.n)) {
            math::add_scaled(row, q * self.scale, keys);
        }
        math::softmax(row);
    }
}

fn transposed(rows: &[f32], d: usize) -> Vec<f32> {
    let n = rows.len() / d;
    let mut out = vec![0.0; rows.len()];
    for (i, row) in rows.chunks_exact(d).enumerate() {
        row.iter().enumerate().for_each(|(c, x)| out[c * n + i] = *x);
    }
    out
}

impl Attention {
    /// Applies it.
    ///
    /// # Errors
    /// Where the shapes do not fit.
    pub fn apply(self, qkv: &Tensor) -> Result<Tensor> {
        qkv.apply_op1(self)
    }

    /// Width of the result.
    fn width(&self, shape: &Shape) -> Result<usize> {
        let (tokens, width) = shape.dims2()?;
        let unit = 3 * self.heads;
        if unit == 0 || width == 0 || width % unit != 0 || tokens != self.bounds.tokens() {
            bail!("attention: {tokens}x{width} for {} heads, {} tokens", self.heads, self.bounds.tokens());
        }
        Ok(width / 3)
    }

    /// Number of the attention weight of `token` (in the batch) in `head` to the `j`-th of its message.
    fn number(&self, token: usize, head: usize) -> u64 {
        ((token * self.heads + head) as u64) << 16
    }

    /// Puts dropout on the weights of `token`.
    fn drop(&self, token: usize, head: usize, row: &mut [f32]) {
        if self.dropout.rate > 0.0 {
            let first = self.number(token, head);
            row.iter_mut().zip(first..).for_each(|(p, number)| *p *= self.dropout.factor(number));
        }
    }

    fn forward_message(&self, range: &Range<usize>, rows: &[f32], out: &mut [f32], width: usize) {
        let d = width / self.heads;
        let mut row = vec![0.0; range.len()];
        for head in 0..self.heads {
            let parts = Head::read(rows, width, head, d);
            for i in 0..parts.n {
                parts.weights(i, &mut row);
                self.drop(range.start + i, head, &mut row);
                let out = &mut out[i * width + head * d..][..d];
                for (p, value) in row.iter().zip(parts.values.chunks_exact(d)) {
                    math::add_scaled(out, *p, value);
                }
            }
        }
    }

    fn backward_message(
        &self,
        range: &Range<usize>,
        rows: &[f32],
        gradient: &[f32],
        out: &mut [f32],
        width: usize,
    ) {
        let d = width / self.heads;
        let n = range.len();
        let (mut weights, mut kept, mut of_weights) = (vec![0.0; n], vec![0.0; n], vec![0.0; n]);
        let (mut of_keys, mut of_values) = (vec![0.0; n * d], vec![0.0; n * d]);
        for head in 0..self.heads {
            let parts = Head::read(rows, width, head, d);
            of_keys.fill(0.0);
            of_values.fill(0.0);
            for i in 0..n {
                let gradient = &gradient[i * width + head * d..][..d];
                parts.weights(i, &mut weights);
                kept.copy_from_slice(&weights);
                self.drop(range.start + i, head, &mut kept);
                of_weights.fill(0.0);
                for (g, values) in gradient.iter().zip(parts.values_t.chunks_exact(n)) {
                    math::add_scaled(&mut of_weights, *g, values);
                }
                self.drop(range.start + i, head, &mut of_weights);
                let mean = math::sum2(&weights, &of_weights, |p, g| p * g);
                let query = &parts.queries[i * d..][..d];
                let of_query = &mut out[i * 3 * width + head * d..][..d];
                for j in 0..n {
                    let of_score = weights[j] * (of_weights[j] - mean) * parts.scale;
                    math::add_scaled(of_query, of_score, &parts.keys[j * d..][..d]);
                    math::add_scaled(&mut of_keys[j * d..][..d], of_score, query);
                    math::add_scaled(&mut of_values[j * d..][..d], kept[j], gradient);
                }
            }
            for j in 0..n {
                let row = &mut out[j * 3 * width..][..3 * width];
                row[width + head * d..][..d].copy_from_slice(&of_keys[j * d..][..d]);
                row[2 * width + head * d..][..d].copy_from_slice(&of_values[j * d..][..d]);
            }
        }
    }
}

impl CustomOp1 for Attention {
    fn name(&self) -> &'static str {
        "attention"
    }

    fn cpu_fwd(&self, qkv: &CpuStorage, layout: &Layout) -> Result<(CpuStorage, Shape)> {
        let width = self.width(layout.shape())?;
        let qkv = values(qkv, layout, "attention")?;
        let mut out = vec![0.0; self.bounds.tokens() * width];
        self.bounds.cut(&mut out, width).into_par_iter().for_each(|(range, out)| {
            let rows = &qkv[range.start * 3 * width..range.end * 3 * width];
            self.forward_message(&range, rows, out, width);
        });
        Ok((CpuStorage::F32(out), (self.bounds.tokens(), width).into()))
    }

    fn bwd(&self, qkv: &Tensor, _result: &Tensor, gradient: &Tensor) -> Result<Option<Tensor>> {
        let gradient = gradient.contiguous()?;
        let width = self.width(qkv.shape())?;
        let mut out = vec![0.0; qkv.elem_count()];
        with_all([qkv, &gradient], "attention", |[qkv, gradient]| {
            self.bounds.cut(&mut out, 3 * width).into_par_iter().for_each(|(range, out)| {
                let rows = &qkv[range.start * 3 * width..range.end * 3 * width];
                let gradient = &gradient[range.start * width..range.end * width];
                self.backward_message(&range, rows, gradient, out, width);
            });
            Ok(())
        })?;
        Tensor::from_vec(out, qkv.shape(), qkv.device()).map(Some)
    }
}
