//! The dot tile with AVX2. Products and sums of floats are rounded one by one, not fused: so every kernel gives the same
//! bits, and a page the same answers as a server.

use std::arch::x86_64::{
    __m256i, _mm_loadu_si128, _mm256_add_epi16, _mm256_add_epi32, _mm256_add_ps, _mm256_cvtepi8_epi16,
    _mm256_cvtepi32_ps, _mm256_loadu_ps, _mm256_loadu_si256, _mm256_madd_epi16, _mm256_maddubs_epi16,
    _mm256_mul_ps, _mm256_mullo_epi16, _mm256_mullo_epi32, _mm256_set1_epi16, _mm256_set1_epi32,
    _mm256_set1_ps, _mm256_setzero_ps, _mm256_setzero_si256, _mm256_srai_epi32, _mm256_storeu_ps,
};

use super::{DotKernel, subtract_minima};
use crate::quant::activations::{HALF, QuantizedActivations};
use crate::quant::tile::{Fours, Lanes, Layout, Pairs, Quants, SubLanes, Tile};
use crate::quant::{BLOCK, Format};

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

    fn layout(&self) -> Layout {
        Layout::Fours
    }

    fn dot(&self, weights: Tile<'_>, x: &QuantizedActivations, out: &mut [Lanes]) {
        // SAFETY: `self` exists only where `new` saw AVX2.
        unsafe { dot(weights, x, out) };
        subtract_minima(weights, x, out);
    }
}

#[target_feature(enable = "avx2")]
fn dot(weights: Tile<'_>, x: &QuantizedActivations, out: &mut [Lanes]) {
    match (weights.quants, weights.format) {
        (Quants::Pairs(quants), _) => rows(Wide(quants), weights, x, out),
        (Quants::Fours(quants), Format::Q4_0) => rows(Narrow::<8>(quants), weights, x, out),
        (Quants::Fours(quants), Format::Q5_0) => rows(Narrow::<16>(quants), weights, x, out),
        (Quants::Fours(quants), Format::Q4K) => rows(Narrow::<0>(quants), weights, x, out),
        (Quants::Fours(quants), _) => rows(Narrow::<32>(quants), weights, x, out),
    }
}

/// A block's dot products in whole numbers.
trait Integers: Copy {
    /// Of block `b` with the block of each of `T` tokens from `token`.
    ///
    /// # Safety
    /// The processor has AVX2.
    unsafe fn columns<const T: usize, const FROM: usize, const TO: usize>(
        self,
        x: &QuantizedActivations,
        token: usize,
        b: usize,
    ) -> [__m256i; T];
}

/// Pairs, multiplied in 16 bits.
#[derive(Clone, Copy)]
struct Wide<'a>(&'a [Pairs]);

impl Integers for Wide<'_> {
    #[target_feature(enable = "avx2")]
    #[inline]
    unsafe fn columns<const T: usize, const FROM: usize, const TO: usize>(
        self,
        x: &QuantizedActivations,
        token: usize,
        b: usize,
    ) -> [__m256i; T] {
        let q: [&[i16]; T] = std::array::from_fn(|t| &x.wide[(token + t) * x.cols + b * BLOCK..][..BLOCK]);
        let mut dots = [_mm256_setzero_si256(); T];
        for (pair, weights) in self.0[b * BLOCK / 2..][..BLOCK / 2][FROM / 2..TO / 2].iter().enumerate() {
            // SAFETY: a pair of columns is 16 bytes; the load needs no alignment.
            let weights = _mm256_cvtepi8_epi16(unsafe { _mm_loadu_si128(weights.as_ptr().cast()) });
            for t in 0..T {
                // SAFETY: columns `FROM + 2 * pair` and the next are 4 bytes of the block; no alignment is needed.
                let x = unsafe { q[t].as_ptr().add(FROM + 2 * pair).cast::<i32>().read_unaligned() };
                let products = _mm256_madd_epi16(weights, _mm256_set1_epi32(x));
                dots[t] = _mm256_add_epi32(dots[t], products);
            }
        }
        dots
    }
}

/// Fours that count from `OFFSET`, multiplied in 8 bits. A block is summed in 16 bits, which may wrap on the way but not
/// at the end (see [`Corrections`](crate::quant::activations::Corrections)), then widened.
#[derive(Clone, Copy)]
struct Narrow<'a, const OFFSET: i16>(&'a [Fours]);

impl<const OFFSET: i16> Integers for Narrow<'_, OFFSET> {
    #[target_feature(enable = "avx2")]
    #[inline]
    unsafe fn columns<const T: usize, const FROM: usize, const TO: usize>(
        self,
        x: &QuantizedActivations,
        token: usize,
        b: usize,
    ) -> [__m256i; T] {
        let q: [&[i8]; T] = std::array::from_fn(|t| &x.bytes[(token + t) * x.cols + b * BLOCK..][..BLOCK]);
        let part = if TO - FROM == BLOCK { 0 } else { 1 + FROM / HALF };
        let mut sums: [__m256i; T] = std::array::from_fn(|t| {
            let correction = x.corrections[(token + t) * (x.cols / BLOCK) + b][part];
            let both =
                u32::from(correction[0].cast_unsigned()) | u32::from(correction[1].cast_unsigned()) << 16;
            _mm256_mullo_epi16(_mm256_set1_epi32(both.cast_signed()), _mm256_set1_epi16(OFFSET))
        });
        let groups = &self.0[b * BLOCK / 4..][..BLOCK / 4][FROM / 4..TO / 4];
        for (group, weights) in groups.iter().enumerate() {
            // SAFETY: a group of columns is 32 bytes; the load needs no alignment.
            let weights = unsafe { _mm256_loadu_si256(weights.as_ptr().cast()) };
            for t in 0..T {
                // SAFETY: four columns are 4 bytes of the block; the read needs no alignment.
                let x = unsafe { q[t].as_ptr().add(FROM + 4 * group).cast::<i32>().read_unaligned() };
                let products = _mm256_maddubs_epi16(weights, _mm256_set1_epi32(x));
                sums[t] = _mm256_add_epi16(sums[t], products);
            }
        }
        sums.map(|sums| _mm256_madd_epi16(sums, _mm256_set1_epi16(1)))
    }
}

/// Six tokens at a time: with their sums they fill the sixteen registers.
#[target_feature(enable = "avx2")]
fn rows<I: Integers>(quants: I, weights: Tile<'_>, x: &QuantizedActivations, out: &mut [Lanes]) {
    let mut token = 0;
    while token + 6 <= out.len() {
        tokens::<I, 6>(quants, weights, x, token, out);
        token += 6;
    }
    match out.len() - token {
        0 => {}
        1 => tokens::<I, 1>(quants, weights, x, token, out),
        2 => tokens::<I, 2>(quants, weights, x, token, out),
        3 => tokens::<I, 3>(quants, weights, x, token, out),
        4 => tokens::<I, 4>(quants, weights, x, token, out),
        _ => tokens::<I, 5>(quants, weights, x, token, out),
    }
}

/// A tile times `T` activation rows from `token`.
#[target_feature(enable = "avx2")]
#[inline]
fn tokens<I: Integers, const T: usize>(
    quants: I,
    weights: Tile<'_>,
    x: &QuantizedActivations,
    token: usize,
    out: &mut [Lanes],
) {
    let blocks = x.cols / BLOCK;
    let xs: [&[f32]; T] = std::array::from_fn(|t| &x.scales[(token + t) * blocks..][..blocks]);
    let (subscales, _) = weights.subscales.as_chunks::<2>();
    let mut sums = [_mm256_setzero_ps(); T];
    for (b, scales) in weights.scales.iter().enumerate() {
        let dots: [__m256i; T] = match subscales.get(b) {
            // SAFETY: this function has AVX2.
            None => unsafe { quants.columns::<T, 0, BLOCK>(x, token, b) },
            Some(by) => {
                let by = by.each_ref().map(|by| _mm256_srai_epi32(load_sub_lanes(by), 16));
                // SAFETY: this function has AVX2.
                let first = unsafe { quants.columns::<T, 0, HALF>(x, token, b) };
                // SAFETY: this function has AVX2.
                let second = unsafe { quants.columns::<T, HALF, BLOCK>(x, token, b) };
                std::array::from_fn(|t| {
                    let (first, second) =
                        (_mm256_mullo_epi32(first[t], by[0]), _mm256_mullo_epi32(second[t], by[1]));
                    _mm256_add_epi32(first, second)
                })
            }
        };
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

#[target_feature(enable = "avx2")]
#[inline]
fn load_sub_lanes(lanes: &SubLanes) -> __m256i {
    // SAFETY: the lanes are 32 bytes; the load needs no alignment.
    unsafe { _mm256_loadu_si256(lanes.as_ptr().cast()) }
}
