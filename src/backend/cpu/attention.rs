//! Attention over the cache, one query row and head at a time.

use std::ops::Range;

use super::{elementwise, math};
use crate::backend::{Buffer, Heads, Visible};
use crate::parallel;
use crate::quant::dot_f32;

/// Multiplications a task takes at least.
const TASK_MULTIPLICATIONS: usize = 1 << 16;

/// `q` is `[rows, query heads * dim]`, `keys` and `values` are `[slots, kv heads * dim]`; returns the shape of `q`.
pub(super) fn attention(q: &[f32], keys: &[f32], values: &[f32], visible: &Visible, heads: Heads) -> Buffer {
    let mut out = Buffer::new(q.len());
    let width = heads.query * heads.dim;
    // Together, where the whole is too little to be worth handing over.
    let slots = keys.len() / (heads.kv * heads.dim).max(1);
    let least = (TASK_MULTIPLICATIONS / (2 * slots * width).max(1)).max(1);
    parallel::for_each_chunk(&mut out, least * width, |task, out| {
        let mut weights = Buffer::new(slots);
        for (row, out) in (task * least..).zip(out.chunks_exact_mut(width)) {
            let q = q[row * width..][..width].chunks_exact(heads.dim);
            for (head, (out, q)) in out.chunks_exact_mut(heads.dim).zip(q).enumerate() {
                let offset = head / (heads.query / heads.kv) * heads.dim;
                head_attention(
                    out,
                    q,
                    keys,
                    values,
                    visible.row(row),
                    heads.kv * heads.dim,
                    offset,
                    &mut weights,
                );
            }
        }
    });
    out
}

/// One head of one row: `out = softmax(q k / sqrt(dim)) v` over the visible slots; `weights` is room for one a slot.
#[expect(clippy::too_many_arguments, reason = "a kernel over plain slices")]
fn head_attention(
    out: &mut [f32],
    q: &[f32],
    keys: &[f32],
    values: &[f32],
    visible: &[Range<usize>],
    stride: usize,
    offset: usize,
    weights: &mut [f32],
) {
    let scale = 1.0 / (q.len() as f32).sqrt();
    let head = |cache: &'_ [f32], slot: usize| -> Range<usize> {
        let start = slot * stride + offset;
        debug_assert!(start + q.len() <= cache.len());
        start..start + q.len()
    };
    let slots = || visible.iter().cloned().flatten();
    let weights = &mut weights[..visible.iter().map(ExactSizeIterator::len).sum()];
    for (weight, slot) in weights.iter_mut().zip(slots()) {
        *weight = scale * dot_f32(q, &keys[head(keys, slot)]);
    }
    let largest = elementwise::largest(weights);
    weights.iter_mut().for_each(|weight| *weight = math::exp(*weight - largest));
    let sum = elementwise::sum(weights);
    out.fill(0.0);
    for (weight, slot) in weights.iter().zip(slots()) {
        let weight = weight / sum;
        out.iter_mut().zip(&values[head(values, slot)]).for_each(|(out, value)| *out += weight * value);
    }
}
