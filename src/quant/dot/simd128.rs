//! The dot tile with WebAssembly's 128-bit SIMD (no relaxed instructions).

use std::arch::wasm32::{
    f32x4_add, f32x4_convert_i32x4, f32x4_extract_lane, f32x4_mul, f32x4_splat, i32x4_add, i32x4_dot_i16x8,
    v128, v128_load,
};

use super::{DotKernel, subtract_minima};
use crate::quant::BLOCK;
use crate::quant::activations::QuantizedActivations;
use crate::quant::decode::DecodedRows;

/// The whole binary is built with `simd128`, so an engine that runs it has the instructions.
pub struct Simd128;

impl DotKernel for Simd128 {
    fn name(&self) -> &'static str {
        "simd128"
    }

    fn dot(&self, weights: &DecodedRows, x: &QuantizedActivations, out: &mut [f32]) {
        let mut row = 0;
        while row + 2 <= weights.rows {
            rows::<2>(weights, row, x, out);
            row += 2;
        }
        if row < weights.rows {
            rows::<1>(weights, row, x, out);
        }
        subtract_minima(weights, x, out);
    }
}

fn rows<const R: usize>(weights: &DecodedRows, row: usize, x: &QuantizedActivations, out: &mut [f32]) {
    let mut token = 0;
    while token + 2 <= x.rows {
        tile::<R, 2>(weights, row, x, token, out);
        token += 2;
    }
    if token < x.rows {
        tile::<R, 1>(weights, row, x, token, out);
    }
}

/// `R` weight rows from `row` times `T` activation rows from `token`.
#[inline]
fn tile<const R: usize, const T: usize>(
    weights: &DecodedRows,
    row: usize,
    x: &QuantizedActivations,
    token: usize,
    out: &mut [f32],
) {
    let (cols, blocks) = (weights.cols, weights.cols / BLOCK);
    let w: [&[[i16; BLOCK]]; R] =
        std::array::from_fn(|r| weights.quants[(row + r) * cols..][..cols].as_chunks::<BLOCK>().0);
    let q: [&[[i16; BLOCK]]; T] =
        std::array::from_fn(|t| x.quants[(token + t) * cols..][..cols].as_chunks::<BLOCK>().0);
    let ws: [&[f32]; R] = std::array::from_fn(|r| &weights.scales[(row + r) * blocks..][..blocks]);
    let xs: [&[f32]; T] = std::array::from_fn(|t| &x.scales[(token + t) * blocks..][..blocks]);
    let mut sums = [[f32x4_splat(0.0); T]; R];
    for b in 0..blocks {
        let mut dots = [[f32x4_splat(0.0); T]; R];
        for step in 0..BLOCK / 8 {
            let x: [v128; T] = std::array::from_fn(|t| load(&q[t][b], step));
            for r in 0..R {
                let w = load(&w[r][b], step);
                for t in 0..T {
                    dots[r][t] = i32x4_add(dots[r][t], i32x4_dot_i16x8(w, x[t]));
                }
            }
        }
        for r in 0..R {
            for t in 0..T {
                let scale = f32x4_splat(ws[r][b] * xs[t][b]);
                sums[r][t] = f32x4_add(sums[r][t], f32x4_mul(f32x4_convert_i32x4(dots[r][t]), scale));
            }
        }
    }
    for r in 0..R {
        for t in 0..T {
            let v = sums[r][t];
            out[(row + r) * x.rows + token + t] = (f32x4_extract_lane::<0>(v) + f32x4_extract_lane::<1>(v))
                + (f32x4_extract_lane::<2>(v) + f32x4_extract_lane::<3>(v));
        }
    }
}

/// Values `8 * step ..` of a block.
#[inline]
fn load(block: &[i16; BLOCK], step: usize) -> v128 {
    let eight = &block.as_chunks::<8>().0[step];
    // SAFETY: `eight` is 16 readable bytes; v128 loads need no alignment.
    unsafe { v128_load(eight.as_ptr().cast()) }
}
