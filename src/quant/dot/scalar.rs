//! The definition of the dot tile, one multiplication at a time.

use super::{DotKernel, subtract_minima};
use crate::quant::BLOCK;
use crate::quant::activations::QuantizedActivations;
use crate::quant::decode::DecodedRows;

/// Runs anywhere.
pub struct Scalar;

impl DotKernel for Scalar {
    fn name(&self) -> &'static str {
        "scalar"
    }

    fn dot(&self, weights: &DecodedRows, x: &QuantizedActivations, out: &mut [f32]) {
        let blocks = weights.cols / BLOCK;
        for r in 0..weights.rows {
            for m in 0..x.rows {
                let mut sum = 0.0;
                for b in 0..blocks {
                    let w = &weights.quants[r * weights.cols + b * BLOCK..][..BLOCK];
                    let q = &x.quants[m * x.cols + b * BLOCK..][..BLOCK];
                    let dot: i32 = w.iter().zip(q).map(|(w, q)| i32::from(*w) * i32::from(*q)).sum();
                    sum += dot as f32 * (weights.scales[r * blocks + b] * x.scales[m * blocks + b]);
                }
                out[r * x.rows + m] = sum;
            }
        }
        subtract_minima(weights, x, out);
    }
}
