//! The definition of the dot tile, one row and one token at a time.

use super::{DotKernel, subtract_minima};
use crate::quant::BLOCK;
use crate::quant::activations::QuantizedActivations;
use crate::quant::tile::{Lanes, Layout, TILE_ROWS, Tile};

/// Runs anywhere.
pub struct Scalar;

impl DotKernel for Scalar {
    fn name(&self) -> &'static str {
        "scalar"
    }

    fn layout(&self) -> Layout {
        Layout::Pairs
    }

    fn dot(&self, weights: Tile<'_>, x: &QuantizedActivations, out: &mut [Lanes]) {
        let blocks = x.cols / BLOCK;
        out.fill([0.0; TILE_ROWS]);
        for r in 0..TILE_ROWS {
            for b in 0..blocks {
                let weight = |k: usize| weights.subscale(r, k) * weights.quant(r, k);
                let row: [i32; BLOCK] = std::array::from_fn(|k| weight(b * BLOCK + k));
                for (m, out) in out.iter_mut().enumerate() {
                    let tokens = &x.bytes[m * x.cols + b * BLOCK..][..BLOCK];
                    let dot: i32 = row.iter().zip(tokens).map(|(w, x)| w * i32::from(*x)).sum();
                    out[r] += dot as f32 * (weights.scales[b][r] * x.scales[m * blocks + b]);
                }
            }
        }
        subtract_minima(weights, x, out);
    }
}
