//! The dot tile with WebAssembly's relaxed SIMD: fours of 7 bits times 8 bits.
//!
//! The instruction leaves to the engine what happens where the second operand has an eighth bit and where a sum of two
//! products passes 16 bits. Neither can happen here: weights have at most six bits and activations are -127 to 127, so
//! the result is exact and the same everywhere. A block is summed in 16 bits, which may wrap on the way but not at the
//! end (see [`Corrections`](crate::quant::activations::Corrections)), then widened.

use std::arch::wasm32::{
    i16x8_add, i16x8_relaxed_dot_i8x16_i7x16, i16x8_shl, i16x8_splat, i32x4_add, i32x4_dot_i16x8,
    i32x4_extadd_pairwise_i16x8, v128, v128_load, v128_load32_splat,
};

use super::lanes::{Sums, load_sub_lanes};
use super::{DotKernel, simd128, subtract_minima};
use crate::quant::activations::{Corrections, QuantizedActivations};
use crate::quant::tile::{Fours, Lanes, Layout, Quants, SubLanes, Tile};
use crate::quant::{BLOCK, Format};

/// The binary of a build with the feature `relaxed-simd` has the instructions, so an engine that runs it has them too.
pub struct RelaxedSimd;

impl DotKernel for RelaxedSimd {
    fn name(&self) -> &'static str {
        "relaxed-simd"
    }

    fn layout(&self) -> Layout {
        Layout::Fours
    }

    fn dot(&self, weights: Tile<'_>, x: &QuantizedActivations, out: &mut [Lanes]) {
        match weights.quants {
            Quants::Pairs(quants) => simd128::pairs(quants, weights, x, out),
            Quants::Fours(quants) => fours(quants, weights, x, out),
        }
        subtract_minima(weights, x, out);
    }
}

#[target_feature(enable = "relaxed-simd")]
fn fours(quants: &[Fours], weights: Tile<'_>, x: &QuantizedActivations, out: &mut [Lanes]) {
    match weights.format {
        Format::Q4_0 => rows::<4, 8, false>(quants, weights, x, out),
        Format::Q5_0 => rows::<4, 16, false>(quants, weights, x, out),
        Format::Q4K => rows::<4, 0, false>(quants, weights, x, out),
        // Two sub-scales a block: twice the accumulators.
        _ => rows::<2, 32, true>(quants, weights, x, out),
    }
}

/// `M` tokens at a time, of weights that count from `OFFSET` and have two sub-scales a block where `HALVES`: more accumulators than an engine keeps in registers would be written back and forth.
#[target_feature(enable = "relaxed-simd")]
fn rows<const M: usize, const OFFSET: i16, const HALVES: bool>(
    quants: &[Fours],
    weights: Tile<'_>,
    x: &QuantizedActivations,
    out: &mut [Lanes],
) {
    let mut token = 0;
    while token + M <= out.len() {
        tokens::<M, OFFSET, HALVES>(quants, weights, x, token, out);
        token += M;
    }
    match out.len() - token {
        0 => {}
        1 => tokens::<1, OFFSET, HALVES>(quants, weights, x, token, out),
        2 => tokens::<2, OFFSET, HALVES>(quants, weights, x, token, out),
        _ => tokens::<3, OFFSET, HALVES>(quants, weights, x, token, out),
    }
}

/// A tile times `T` activation rows from `token`.
#[target_feature(enable = "relaxed-simd")]
#[inline]
fn tokens<const T: usize, const OFFSET: i16, const HALVES: bool>(
    quants: &[Fours],
    weights: Tile<'_>,
    x: &QuantizedActivations,
    token: usize,
    out: &mut [Lanes],
) {
    let (cols, blocks) = (x.cols, x.cols / BLOCK);
    let q: [&[[i8; BLOCK]]; T] =
        std::array::from_fn(|t| x.bytes[(token + t) * cols..][..cols].as_chunks::<BLOCK>().0);
    let xs: [&[f32]; T] = std::array::from_fn(|t| &x.scales[(token + t) * blocks..][..blocks]);
    let corrections: [&[Corrections]; T] =
        std::array::from_fn(|t| &x.corrections[(token + t) * blocks..][..blocks]);
    let (subscales, _) = weights.subscales.as_chunks::<2>();
    let mut sums = Sums::<T>::default();
    let blocks = quants.as_chunks::<{ BLOCK / 4 }>().0.iter().zip(weights.scales);
    for (b, (fours, scales)) in blocks.enumerate() {
        let q: [&[i8; BLOCK]; T] = std::array::from_fn(|t| &q[t][b]);
        let start = |part: usize| std::array::from_fn(|t| start::<OFFSET>(&corrections[t][b][part]));
        let dots = if HALVES {
            let by = &subscales[b];
            let first = scaled(steps::<T, 0, 4>(fours, q, start(1)), &by[0]);
            let second = scaled(steps::<T, 4, 8>(fours, q, start(2)), &by[1]);
            std::array::from_fn(|t| std::array::from_fn(|half| i32x4_add(first[t][half], second[t][half])))
        } else {
            widened(steps::<T, 0, 8>(fours, q, start(0)))
        };
        sums.add(dots, scales, std::array::from_fn(|t| xs[t][b]));
    }
    sums.store(&mut out[token..]);
}

/// Where sums of 16 bits start for weights that count from `OFFSET`, 0 or a power of two.
#[inline(always)]
fn start<const OFFSET: i16>(correction: &[i16; 2]) -> v128 {
    if OFFSET == 0 {
        return i16x8_splat(0);
    }
    // SAFETY: a correction is 4 bytes; the load needs no alignment.
    i16x8_shl(unsafe { v128_load32_splat(correction.as_ptr().cast()) }, OFFSET.trailing_zeros())
}

#[inline(always)]
fn widened<const T: usize>(dots: [[v128; 2]; T]) -> [[v128; 2]; T] {
    dots.map(|dots| dots.map(|dots| i32x4_extadd_pairwise_i16x8(dots)))
}

/// Widened and multiplied at once.
#[inline(always)]
fn scaled<const T: usize>(dots: [[v128; 2]; T], by: &SubLanes) -> [[v128; 2]; T] {
    let by = load_sub_lanes(by);
    dots.map(|[low, high]| [i32x4_dot_i16x8(low, by[0]), i32x4_dot_i16x8(high, by[1])])
}

/// The dot products over groups `FROM..TO` of a block in 16 bits, two sums a row: rows 0 to 3 and 4 to 7 of each token.
#[target_feature(enable = "relaxed-simd")]
#[inline]
fn steps<const T: usize, const FROM: usize, const TO: usize>(
    fours: &[Fours; BLOCK / 4],
    q: [&[i8; BLOCK]; T],
    start: [v128; T],
) -> [[v128; 2]; T] {
    let mut narrow = start.map(|start| [start; 2]);
    #[expect(clippy::needless_range_loop, reason = "bounds known at compile time, so that it unrolls")]
    for group in FROM..TO {
        let at = fours[group].as_ptr().cast::<v128>();
        // SAFETY: a group of columns is 32 bytes; v128 loads need no alignment.
        let weights = unsafe { [v128_load(at), v128_load(at.add(1))] };
        for t in 0..T {
            // SAFETY: columns `4 * group` and on are 4 bytes of the block; the load needs no alignment.
            let x = unsafe { v128_load32_splat(q[t].as_ptr().add(4 * group).cast()) };
            for half in 0..2 {
                let products = i16x8_relaxed_dot_i8x16_i7x16(x, weights[half]);
                narrow[t][half] = i16x8_add(narrow[t][half], products);
            }
        }
    }
    narrow
}
