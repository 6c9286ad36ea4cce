//! The dot tile with AVX2. Products and sums of floats are rounded one by one, not fused: so every kernel gives the same
//! bits, and a page the same answers as a server.

use std::arch::x86_64::{
    __m256i, _mm_loadu_si128, _mm256_add_epi32, _mm256_add_ps, _mm256_cvtepi8_epi16, _mm256_cvtepi32_ps,
    _mm256_loadu_ps, _mm256_loadu_si256, _mm256_madd_epi16, _mm256_mul_ps, _mm256_set1_epi32, _mm256_set1_ps,
    _mm256_setzero_ps, _mm256_setzero_si256, _mm256_storeu_ps,
};

use super::{DotKernel, subtract_minima};
use crate::quant::BLOCK;
use crate::quant::activations::QuantizedActivations;
use crate::quant::tile::{Lanes, Pairs, Quants, Tile};

/// Holding one proves that the processor has AVX2.
pub struct Avx2(());

impl Avx2 {
    /// `None` where the processor lacks AVX2.
    #[must_use]
    pub fn new() -> Option<Self> {
        is_x86_feature_detected!("avx2").then_some(Self(()))
    }
}

impl DotKernel for Avx2 {
    fn name(&self) -> &'static str {
        "avx2"
    }

    fn dot(&self, weights: Tile<'_>, x: &QuantizedActivations, out: &mut [Lanes]) {
        // SAFETY: `self` exists only where `new` saw AVX2.
        unsafe { dot(weights, x, out) };
        subtract_minima(weights, x, out);
    }
}

#[target_feature(enable = "avx2")]
fn dot(weights: Tile<'_>, x: &QuantizedActivations, out: &mut [Lanes]) {
    match weights.quants {
        Quants::Wide(quants) => {
            let load = |pairs: &Pairs<i16>| {
                // SAFETY: a pair of columns is 32 bytes; the load needs no alignment.
                unsafe { _mm256_loadu_si256(pairs.as_ptr().cast()) }
            };
            rows(quants, load, weights.scales, x, out);
        }
        Quants::Narrow(quants) => {
            let load = |pairs: &Pairs<i8>| {
                // SAFETY: a pair of columns is 16 bytes; the load needs no alignment.
                _mm256_cvtepi8_epi16(unsafe { _mm_loadu_si128(pairs.as_ptr().cast()) })
            };
            rows(quants, load, weights.scales, x, out);
        }
    }
}

/// Six tokens at a time: with their sums they fill the sixteen registers.
#[target_feature(enable = "avx2")]
#[inline]
fn rows<P>(
    quants: &[P],
    load: impl Fn(&P) -> __m256i + Copy,
    scales: &[Lanes],
    x: &QuantizedActivations,
    out: &mut [Lanes],
) {
    let mut token = 0;
    while token + 6 <= out.len() {
        tokens::<P, 6>(quants, load, scales, x, token, out);
        token += 6;
    }
    match out.len() - token {
        0 => {}
        1 => tokens::<P, 1>(quants, load, scales, x, token, out),
        2 => tokens::<P, 2>(quants, load, scales, x, token, out),
        3 => tokens::<P, 3>(quants, load, scales, x, token, out),
        4 => tokens::<P, 4>(quants, load, scales, x, token, out),
        _ => tokens::<P, 5>(quants, load, scales, x, token, out),
    }
}

/// A tile times `T` activation rows from `token`.
#[target_feature(enable = "avx2")]
#[inline]
fn tokens<P, const T: usize>(
    quants: &[P],
    load: impl Fn(&P) -> __m256i,
    scales: &[Lanes],
    x: &QuantizedActivations,
    token: usize,
    out: &mut [Lanes],
) {
    let (cols, blocks) = (x.cols, x.cols / BLOCK);
    let q: [&[[i16; BLOCK]]; T] =
        std::array::from_fn(|t| x.quants[(token + t) * cols..][..cols].as_chunks::<BLOCK>().0);
    let xs: [&[f32]; T] = std::array::from_fn(|t| &x.scales[(token + t) * blocks..][..blocks]);
    let mut sums = [_mm256_setzero_ps(); T];
    let weights = quants.as_chunks::<{ BLOCK / 2 }>().0.iter().zip(scales);
    for (b, (pairs, scales)) in weights.enumerate() {
        let mut dots = [_mm256_setzero_si256(); T];
        let q: [&[i16; BLOCK]; T] = std::array::from_fn(|t| &q[t][b]);
        for (pair, weights) in pairs.iter().enumerate() {
            let weights = load(weights);
            for t in 0..T {
                // SAFETY: pair `pair` of a block are 4 of its bytes; the read needs no alignment.
                let x = unsafe { q[t].as_ptr().cast::<i32>().add(pair).read_unaligned() };
                let products = _mm256_madd_epi16(weights, _mm256_set1_epi32(x));
                dots[t] = _mm256_add_epi32(dots[t], products);
            }
        }
        // SAFETY: the lanes are 32 bytes; the load needs no alignment.
        let scales = unsafe { _mm256_loadu_ps(scales.as_ptr()) };
        for t in 0..T {
            let scale = _mm256_mul_ps(scales, _mm256_set1_ps(xs[t][b]));
            sums[t] = _mm256_add_ps(sums[t], _mm256_mul_ps(_mm256_cvtepi32_ps(dots[t]), scale));
        }
    }
    for (sum, out) in sums.iter().zip(&mut out[token..]) {
        // SAFETY: the lanes are 32 bytes; the store needs no alignment.
        unsafe { _mm256_storeu_ps(out.as_mut_ptr(), *sum) };
    }
}
