//! The dot tile with WebAssembly's 128-bit SIMD (no relaxed instructions): pairs of 16 bits.

use std::arch::wasm32::{
    i16x8_load_extend_i8x8, i32x4_add, i32x4_dot_i16x8, i32x4_mul, i32x4_shr, i32x4_splat, v128,
    v128_load32_splat,
};

use super::lanes::{Sums, load_sub_lanes};
use super::{DotKernel, scalar::Scalar, subtract_minima};
use crate::quant::BLOCK;
use crate::quant::activations::{HALF, QuantizedActivations};
use crate::quant::tile::{Lanes, Layout, Pairs, Quants, SubLanes, Tile};

/// The whole binary is built with `simd128`, so an engine that runs it has the instructions.
pub struct Simd128;

impl DotKernel for Simd128 {
    fn name(&self) -> &'static str {
        "simd128"
    }

    fn layout(&self) -> Layout {
        Layout::Pairs
    }

    fn dot(&self, weights: Tile<'_>, x: &QuantizedActivations, out: &mut [Lanes]) {
        match weights.quants {
            Quants::Pairs(quants) => pairs(quants, weights, x, out),
            Quants::Fours(_) => return Scalar.dot(weights, x, out),
        }
        subtract_minima(weights, x, out);
    }
}

pub(super) fn pairs(quants: &[Pairs], weights: Tile<'_>, x: &QuantizedActivations, out: &mut [Lanes]) {
    if weights.subscales.is_empty() {
        rows::<false>(quants, weights, x, out);
    } else {
        rows::<true>(quants, weights, x, out);
    }
}

/// Four tokens at a time: more accumulators than an engine keeps in registers would be written back and forth.
fn rows<const HALVES: bool>(
    quants: &[Pairs],
    weights: Tile<'_>,
    x: &QuantizedActivations,
    out: &mut [Lanes],
) {
    let mut token = 0;
    while token + 4 <= out.len() {
        tokens::<4, HALVES>(quants, weights, x, token, out);
        token += 4;
    }
    match out.len() - token {
        0 => {}
        1 => tokens::<1, HALVES>(quants, weights, x, token, out),
        2 => tokens::<2, HALVES>(quants, weights, x, token, out),
        _ => tokens::<3, HALVES>(quants, weights, x, token, out),
    }
}

/// A tile times `T` activation rows from `token`.
#[inline(always)]
fn tokens<const T: usize, const HALVES: bool>(
    quants: &[Pairs],
    weights: Tile<'_>,
    x: &QuantizedActivations,
    token: usize,
    out: &mut [Lanes],
) {
    let (cols, blocks) = (x.cols, x.cols / BLOCK);
    let q: [&[[i16; BLOCK]]; T] =
        std::array::from_fn(|t| x.wide[(token + t) * cols..][..cols].as_chunks::<BLOCK>().0);
    let xs: [&[f32]; T] = std::array::from_fn(|t| &x.scales[(token + t) * blocks..][..blocks]);
    let (subscales, _) = weights.subscales.as_chunks::<2>();
    let mut sums = Sums::<T>::default();
    let blocks = quants.as_chunks::<{ BLOCK / 2 }>().0.iter().zip(weights.scales);
    for (b, (pairs, scales)) in blocks.enumerate() {
        let q: [&[i16; BLOCK]; T] = std::array::from_fn(|t| &q[t][b]);
        let dots = if HALVES { block_of_halves(pairs, q, &subscales[b]) } else { block(pairs, q) };
        sums.add(dots, scales, std::array::from_fn(|t| xs[t][b]));
    }
    sums.store(&mut out[token..]);
}

/// The block's dot products: rows 0 to 3 and 4 to 7 of each token.
#[inline(always)]
fn block<const T: usize>(pairs: &[Pairs; BLOCK / 2], q: [&[i16; BLOCK]; T]) -> [[v128; 2]; T] {
    let mut dots = [[i32x4_splat(0); 2]; T];
    steps::<T, 0, BLOCK>(pairs, q, &mut dots);
    dots
}

/// The same where the block has two sub-scales.
#[inline(always)]
fn block_of_halves<const T: usize>(
    pairs: &[Pairs; BLOCK / 2],
    q: [&[i16; BLOCK]; T],
    subscales: &[SubLanes; 2],
) -> [[v128; 2]; T] {
    let (mut first, mut second) = ([[i32x4_splat(0); 2]; T], [[i32x4_splat(0); 2]; T]);
    steps::<T, 0, HALF>(pairs, q, &mut first);
    steps::<T, HALF, BLOCK>(pairs, q, &mut second);
    let by = subscales.each_ref().map(|by| load_sub_lanes(by).map(|by| i32x4_shr(by, 16)));
    std::array::from_fn(|t| {
        std::array::from_fn(|half| {
            i32x4_add(i32x4_mul(first[t][half], by[0][half]), i32x4_mul(second[t][half], by[1][half]))
        })
    })
}

/// Adds columns `FROM..TO` of a block. Pairs whose addresses differ by constants: engines compute all others one by one.
#[inline(always)]
fn steps<const T: usize, const FROM: usize, const TO: usize>(
    pairs: &[Pairs; BLOCK / 2],
    q: [&[i16; BLOCK]; T],
    dots: &mut [[v128; 2]; T],
) {
    #[expect(clippy::needless_range_loop, reason = "bounds known at compile time, so that it unrolls")]
    for pair in FROM / 2..TO / 2 {
        let at = pairs[pair].as_ptr().cast::<i8>();
        // SAFETY: a pair of columns is 16 bytes; the loads need no alignment.
        let weights = unsafe { [i16x8_load_extend_i8x8(at), i16x8_load_extend_i8x8(at.add(8))] };
        for t in 0..T {
            // SAFETY: columns `2 * pair` and the next are 4 bytes of the block; the load needs no alignment.
            let x = unsafe { v128_load32_splat(q[t].as_ptr().add(2 * pair).cast()) };
            for half in 0..2 {
                dots[t][half] = i32x4_add(dots[t][half], i32x4_dot_i16x8(weights[half], x));
            }
        }
    }
}
