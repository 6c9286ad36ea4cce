//! The definition of the dot tile, one multiplication at a time.

use super::{DotKernel, subtract_minima};
use crate::quant::BLOCK;
use crate::quant::activations::QuantizedActivations;
use crate::quant::tile::{Lanes, Layout, Tile};

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
        for (m, out) in out.iter_mut().enumerate() {
            for (r, out) in out.iter_mut().enumerate() {
                let mut sum = 0.0;
                for b in 0..blocks {
                    let product = |k: usize| {
                        weights.subscale(r, k) * weights.quant(r, k) * i32::from(x.bytes[m * x.cols + k])
                    };
                    let dot: i32 = (b * BLOCK..(b + 1) * BLOCK).map(product).sum();
                    sum += dot as f32 * (weights.scales[b][r] * x.scales[m * blocks + b]);
                }
                *out = sum;
            }
        }
        subtract_minima(weights, x, out);
    }
}
