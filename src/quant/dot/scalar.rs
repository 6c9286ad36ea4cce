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
        for r in 0..TILE_ROWS {
            let row: Vec<i32> = (0..x.cols).map(|k| weights.subscale(r, k) * weights.quant(r, k)).collect();
            for (m, out) in out.iter_mut().enumerate() {
                let tokens = x.bytes[m * x.cols..][..x.cols].as_chunks::<BLOCK>().0;
                let mut sum = 0.0;
                for (b, (w, x_block)) in row.as_chunks::<BLOCK>().0.iter().zip(tokens).enumerate() {
                    let dot: i32 = w.iter().zip(x_block).map(|(w, x)| w * i32::from(*x)).sum();
                    sum += dot as f32 * (weights.scales[b][r] * x.scales[m * blocks + b]);
                }
                out[r] = sum;
            }
        }
        subtract_minima(weights, x, out);
    }
}
