//! The dot tile with WebAssembly's 128-bit SIMD (no relaxed instructions).

use std::arch::wasm32::{
    f32x4_add, f32x4_convert_i32x4, f32x4_mul, f32x4_splat, i16x8_load_extend_i8x8, i32x4_add,
    i32x4_dot_i16x8, i32x4_splat, v128, v128_load, v128_load32_splat, v128_store,
};

use super::{DotKernel, subtract_minima};
use crate::quant::BLOCK;
use crate::quant::activations::QuantizedActivations;
use crate::quant::tile::{Lanes, Pairs, Quants, Tile};

/// The whole binary is built with `simd128`, so an engine that runs it has the instructions.
pub struct Simd128;

impl DotKernel for Simd128 {
    fn name(&self) -> &'static str {
        "simd128"
    }

    fn dot(&self, weights: Tile<'_>, x: &QuantizedActivations, out: &mut [Lanes]) {
        match weights.quants {
            Quants::Wide(quants) => rows(quants, load_wide, weights.scales, x, out),
            Quants::Narrow(quants) => rows(quants, load_narrow, weights.scales, x, out),
        }
        subtract_minima(weights, x, out);
    }
}

/// Rows 0 to 3 and 4 to 7 of a pair of columns.
#[inline(always)]
fn load_wide(pairs: &Pairs<i16>) -> [v128; 2] {
    let at = pairs.as_ptr().cast::<v128>();
    // SAFETY: a pair of columns is 32 bytes; v128 loads need no alignment.
    unsafe { [v128_load(at), v128_load(at.add(1))] }
}

/// Rows 0 to 3 and 4 to 7 of a pair of columns, widened.
#[inline(always)]
fn load_narrow(pairs: &Pairs<i8>) -> [v128; 2] {
    let at = pairs.as_ptr().cast::<i8>();
    // SAFETY: a pair of columns is 16 bytes; the loads need no alignment.
    unsafe { [i16x8_load_extend_i8x8(at), i16x8_load_extend_i8x8(at.add(8))] }
}

/// Pairs of columns whose addresses differ by constants: engines compute all others one by one.
const STEP: usize = 4;

/// Four tokens at a time: more accumulators than an engine keeps in registers would be written back and forth.
#[inline(always)]
fn rows<P>(
    quants: &[P],
    load: impl Fn(&P) -> [v128; 2] + Copy,
    scales: &[Lanes],
    x: &QuantizedActivations,
    out: &mut [Lanes],
) {
    let mut token = 0;
    while token + 4 <= out.len() {
        tokens::<P, 4>(quants, load, scales, x, token, out);
        token += 4;
    }
    match out.len() - token {
        0 => {}
        1 => tokens::<P, 1>(quants, load, scales, x, token, out),
        2 => tokens::<P, 2>(quants, load, scales, x, token, out),
        _ => tokens::<P, 3>(quants, load, scales, x, token, out),
    }
}

/// A tile times `T` activation rows from `token`.
#[inline(always)]
fn tokens<P, const T: usize>(
    quants: &[P],
    load: impl Fn(&P) -> [v128; 2],
    scales: &[Lanes],
    x: &QuantizedActivations,
    token: usize,
    out: &mut [Lanes],
) {
    let (cols, blocks) = (x.cols, x.cols / BLOCK);
    let q: [&[[i16; BLOCK]]; T] =
        std::array::from_fn(|t| x.quants[(token + t) * cols..][..cols].as_chunks::<BLOCK>().0);
    let xs: [&[f32]; T] = std::array::from_fn(|t| &x.scales[(token + t) * blocks..][..blocks]);
    let mut sums = [[f32x4_splat(0.0); 2]; T];
    let weights = quants.as_chunks::<{ BLOCK / 2 }>().0.iter().zip(scales);
    for (b, (pairs, scales)) in weights.enumerate() {
        let mut dots = [[i32x4_splat(0); 2]; T];
        let q: [&[[i16; 2]; BLOCK / 2]; T] = std::array::from_fn(|t| pairs_of(&q[t][b]));
        for (step, pairs) in pairs.as_chunks::<STEP>().0.iter().enumerate() {
            for (pair, weights) in pairs.iter().enumerate() {
                let weights = load(weights);
                for t in 0..T {
                    let x = splat(&q[t][step * STEP + pair]);
                    for half in 0..2 {
                        dots[t][half] = i32x4_add(dots[t][half], i32x4_dot_i16x8(weights[half], x));
                    }
                }
            }
        }
        let scales = load_lanes(scales);
        for t in 0..T {
            let x = f32x4_splat(xs[t][b]);
            for half in 0..2 {
                let scaled = f32x4_mul(f32x4_convert_i32x4(dots[t][half]), f32x4_mul(scales[half], x));
                sums[t][half] = f32x4_add(sums[t][half], scaled);
            }
        }
    }
    for (sums, out) in sums.iter().zip(&mut out[token..]) {
        let at = out.as_mut_ptr().cast::<v128>();
        // SAFETY: the lanes are 32 bytes; v128 stores need no alignment.
        unsafe {
            v128_store(at, sums[0]);
            v128_store(at.add(1), sums[1]);
        }
    }
}

/// A block of activations as pairs of columns.
#[inline(always)]
fn pairs_of(block: &[i16; BLOCK]) -> &[[i16; 2]; BLOCK / 2] {
    // SAFETY: both are the same 32 values of 16 bits.
    unsafe { &*block.as_ptr().cast() }
}

/// One pair of columns in all lanes.
#[inline(always)]
fn splat(pair: &[i16; 2]) -> v128 {
    // SAFETY: a pair is 4 bytes; the load needs no alignment.
    unsafe { v128_load32_splat(pair.as_ptr().cast()) }
}

#[inline(always)]
fn load_lanes(lanes: &Lanes) -> [v128; 2] {
    let at = lanes.as_ptr().cast::<v128>();
    // SAFETY: the lanes are 32 bytes; v128 loads need no alignment.
    unsafe { [v128_load(at), v128_load(at.add(1))] }
}
