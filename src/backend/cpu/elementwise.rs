//! Normalisation, rotation and activation of single rows.

use super::math;
use crate::parallel;
use crate::quant::dot_f32;

/// Values a task takes.
const TASK: usize = 4_096;

/// `out = row / sqrt(mean(row^2) + eps) * weight`.
pub(super) fn rms_norm(row: &[f32], weight: &[f32], eps: f32, out: &mut [f32]) {
    let mean = dot_f32(row, row) / row.len() as f32;
    let scale = 1.0 / (mean + eps).sqrt();
    for ((out, value), weight) in out.iter_mut().zip(row).zip(weight) {
        *out = value * (scale * weight);
    }
}

/// `out = (row - mean) / sqrt(variance + eps) * weight + bias`.
pub(super) fn layer_norm(row: &[f32], weight: &[f32], bias: &[f32], eps: f32, out: &mut [f32]) {
    let count = row.len() as f32;
    let mean = sum(row) / count;
    out.iter_mut().zip(row).for_each(|(out, value)| *out = value - mean);
    let scale = 1.0 / (dot_f32(out, out) / count + eps).sqrt();
    for ((value, weight), bias) in out.iter_mut().zip(weight).zip(bias) {
        *value = *value * scale * weight + bias;
    }
}

/// The sum in eight parts, so that it vectorizes.
pub(super) fn sum(values: &[f32]) -> f32 {
    let (chunks, tail) = values.as_chunks::<8>();
    let mut sums = [0f32; 8];
    for chunk in chunks {
        sums.iter_mut().zip(chunk).for_each(|(sum, value)| *sum += value);
    }
    sums.iter().sum::<f32>() + tail.iter().sum::<f32>()
}

/// The largest value, NaNs aside; by comparisons, because `max` is a call on wasm.
pub(super) fn largest(values: &[f32]) -> f32 {
    values.iter().fold(f32::NEG_INFINITY, |a, b| if *b > a { *b } else { a })
}

/// [`math::gelu`], in place.
pub(super) fn gelu(values: &mut [f32]) {
    parallel::for_each_chunk(values, TASK, |_, values| {
        values.iter_mut().for_each(|value| *value = math::gelu(*value));
    });
}

/// Rotates value `i` of `head` with value `i + half`.
pub(super) fn rotate(head: &mut [f32], cos: &[f32], sin: &[f32]) {
    let (low, high) = head.split_at_mut(cos.len());
    for (((low, high), cos), sin) in low.iter_mut().zip(high).zip(cos).zip(sin) {
        (*low, *high) = (*low * cos - *high * sin, *high * cos + *low * sin);
    }
}

/// `gate = gate / (1 + exp(-gate)) * up`.
pub(super) fn silu_mul(gate: &mut [f32], up: &[f32]) {
    parallel::for_each_chunk(gate, TASK, |task, gate| {
        gate.iter_mut()
            .zip(&up[task * TASK..])
            .for_each(|(gate, up)| *gate *= up / (1.0 + math::exp(-*gate)));
    });
}
