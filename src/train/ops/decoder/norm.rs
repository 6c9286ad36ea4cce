//! Root mean square normalisation (Zhang and Sennrich 2019, arXiv 1910.07467).

use rayon::prelude::*;

use super::super::ROWS;
use super::super::math::{sum, sum2};

/// `x / rms(x) * weight`, row by row.
pub(in crate::train) struct RmsNorm<'a> {
    /// `[width]`
    pub(in crate::train) weight: &'a [f32],
    /// Added to the mean square.
    pub(in crate::train) epsilon: f32,
}

impl RmsNorm<'_> {
    /// `1 / rms(x)` and the mean square's share of a value.
    fn scale(&self, row: &[f32]) -> (f32, f32) {
        #[expect(clippy::cast_precision_loss, reason = "a model's width")]
        let share = 1.0 / row.len() as f32;
        (1.0 / (sum(row, |x| x * x) * share + self.epsilon).sqrt(), share)
    }

    /// `[rows, width]`
    pub(in crate::train) fn forward(&self, x: &[f32]) -> Vec<f32> {
        let width = self.weight.len();
        let mut out = vec![0.0; x.len()];
        out.par_chunks_mut(ROWS * width).zip(x.par_chunks(ROWS * width)).for_each(|(out, x)| {
            for (out, x) in out.chunks_exact_mut(width).zip(x.chunks_exact(width)) {
                let (scale, _) = self.scale(x);
                for ((out, x), weight) in out.iter_mut().zip(x).zip(self.weight) {
                    *out = x * scale * weight;
                }
            }
        });
        out
    }

    /// Gradient of `x` added to `of_x`; all are `[rows, width]`.
    pub(in crate::train) fn backward(&self, x: &[f32], gradient: &[f32], of_x: &mut [f32]) {
        let width = self.weight.len();
        let piece = ROWS * width;
        let pieces = of_x.par_chunks_mut(piece).zip(x.par_chunks(piece)).zip(gradient.par_chunks(piece));
        pieces.for_each(|((of_x, x), gradient)| {
            let rows = of_x.chunks_exact_mut(width).zip(x.chunks_exact(width));
            let mut weighted = vec![0.0; width];
            for ((of_x, x), gradient) in rows.zip(gradient.chunks_exact(width)) {
                let (scale, share) = self.scale(x);
                for ((weighted, gradient), weight) in weighted.iter_mut().zip(gradient).zip(self.weight) {
                    *weighted = gradient * weight;
                }
                // d(1 / rms) / dx = -x / (n rms^3)
                let common = sum2(&weighted, x, |g, x| g * x) * scale * scale * scale * share;
                for ((of_x, weighted), x) in of_x.iter_mut().zip(&weighted).zip(x) {
                    *of_x += weighted * scale - x * common;
                }
            }
        });
    }
}
