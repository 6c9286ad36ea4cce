//! The dot tile with AVX2 and FMA.

use std::arch::x86_64::{
    __m256, __m256i, _mm_add_ps, _mm_add_ss, _mm_cvtss_f32, _mm_movehdup_ps, _mm_movehl_ps, _mm256_add_epi32,
    _mm256_castps256_ps128, _mm256_cvtepi32_ps, _mm256_extractf128_ps, _mm256_fmadd_ps, _mm256_loadu_si256,
    _mm256_madd_epi16, _mm256_set1_ps, _mm256_setzero_ps,
};

use super::{DotKernel, subtract_minima};
use crate::quant::BLOCK;
use crate::quant::activations::QuantizedActivations;
use crate::quant::decode::DecodedRows;

/// Holding one proves that the processor has AVX2 and FMA.
pub struct Avx2(());

impl Avx2 {
    /// `None` where the processor lacks AVX2 or FMA.
    #[must_use]
    pub fn new() -> Option<Self> {
        (is_x86_feature_detected!("avx2") && is_x86_feature_detected!("fma")).then_some(Self(()))
    }
}

impl DotKernel for Avx2 {
    fn name(&self) -> &'static str {
        "avx2"
    }

    fn dot(&self, weights: &DecodedRows, x: &QuantizedActivations, out: &mut [f32]) {
        // SAFETY: `self` exists only where `new` saw AVX2 and FMA.
        unsafe { dot(weights, x, out) };
        subtract_minima(weights, x, out);
    }
}

#[target_feature(enable = "avx2,fma")]
fn dot(weights: &DecodedRows, x: &QuantizedActivations, out: &mut [f32]) {
    let mut row = 0;
    while row + 2 <= weights.rows {
        rows::<2>(weights, row, x, out);
        row += 2;
    }
    if row < weights.rows {
        rows::<1>(weights, row, x, out);
    }
}

#[target_feature(enable = "avx2,fma")]
fn rows<const R: usize>(weights: &DecodedRows, row: usize, x: &QuantizedActivations, out: &mut [f32]) {
    let mut token = 0;
    while token + 4 <= x.rows {
        tile::<R, 4>(weights, row, x, token, out);
        token += 4;
    }
    match x.rows - token {
        0 => {}
        1 => tile::<R, 1>(weights, row, x, token, out),
        2 => tile::<R, 2>(weights, row, x, token, out),
        _ => tile::<R, 3>(weights, row, x, token, out),
    }
}

/// `R` weight rows from `row` times `T` activation rows from `token`.
#[target_feature(enable = "avx2,fma")]
fn tile<const R: usize, const T: usize>(
    weights: &DecodedRows,
    row: usize,
    x: &QuantizedActivations,
    token: usize,
    out: &mut [f32],
) {
    let (cols, blocks) = (weights.cols, weights.cols / BLOCK);
    let w: [&[i16]; R] = std::array::from_fn(|r| &weights.quants[(row + r) * cols..][..cols]);
    let q: [&[i16]; T] = std::array::from_fn(|t| &x.quants[(token + t) * cols..][..cols]);
    let ws: [&[f32]; R] = std::array::from_fn(|r| &weights.scales[(row + r) * blocks..][..blocks]);
    let xs: [&[f32]; T] = std::array::from_fn(|t| &x.scales[(token + t) * blocks..][..blocks]);
    let mut sums = [[_mm256_setzero_ps(); T]; R];
    for b in 0..blocks {
        let load = |row: &[i16], half: usize| -> __m256i {
            let half: &[i16] = &row[b * BLOCK + 16 * half..][..16];
            // SAFETY: `half` is 16 values of 16 bits, 32 bytes; the load needs no alignment.
            unsafe { _mm256_loadu_si256(half.as_ptr().cast()) }
        };
        let low: [__m256i; R] = std::array::from_fn(|r| load(w[r], 0));
        let high: [__m256i; R] = std::array::from_fn(|r| load(w[r], 1));
        for t in 0..T {
            let (x0, x1) = (load(q[t], 0), load(q[t], 1));
            for r in 0..R {
                let dot = _mm256_add_epi32(_mm256_madd_epi16(low[r], x0), _mm256_madd_epi16(high[r], x1));
                let scale = _mm256_set1_ps(ws[r][b] * xs[t][b]);
                sums[r][t] = _mm256_fmadd_ps(_mm256_cvtepi32_ps(dot), scale, sums[r][t]);
            }
        }
    }
    for r in 0..R {
        for t in 0..T {
            out[(row + r) * x.rows + token + t] = horizontal_sum(sums[r][t]);
        }
    }
}

#[target_feature(enable = "avx2,fma")]
fn horizontal_sum(v: __m256) -> f32 {
    let four = _mm_add_ps(_mm256_castps256_ps128(v), _mm256_extractf128_ps::<1>(v));
    let two = _mm_add_ps(four, _mm_movehl_ps(four, four));
    _mm_cvtss_f32(_mm_add_ss(two, _mm_movehdup_ps(two)))
}
