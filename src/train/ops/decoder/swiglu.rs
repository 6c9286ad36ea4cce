//! `silu(gate) * up` (Shazeer 2020, arXiv 2002.05202).

use rayon::prelude::*;

use super::super::math;

/// Rows of `[gate, up]`, each half `width` wide.
pub(in crate::train) struct SwiGlu {
    /// Width of the result.
    pub(in crate::train) width: usize,
}

/// `1 / (1 + e^-x)`
#[inline(always)]
fn sigmoid(x: f32) -> f32 {
    1.0 / (1.0 + math::exp(-x))
}

impl SwiGlu {
    /// `[rows, width]` of `[rows, 2 * width]`.
    pub(in crate::train) fn forward(&self, gate_up: &[f32]) -> Vec<f32> {
        let mut out = vec![0.0; gate_up.len() / 2];
        let rows = out.par_chunks_mut(self.width).zip(gate_up.par_chunks(2 * self.width));
        rows.for_each(|(out, row)| {
            let (gate, up) = row.split_at(self.width);
            for ((out, gate), up) in out.iter_mut().zip(gate).zip(up) {
                *out = gate * sigmoid(*gate) * up;
            }
        });
        out
    }

    /// Gradient of the operand, `[rows, 2 * width]`, of that of the result.
    pub(in crate::train) fn backward(&self, gate_up: &[f32], gradient: &[f32]) -> Vec<f32> {
        let mut out = vec![0.0; gate_up.len()];
        let rows = out.par_chunks_mut(2 * self.width).zip(gate_up.par_chunks(2 * self.width));
        rows.zip(gradient.par_chunks(self.width)).for_each(|((out, row), gradient)| {
            let (gate, up) = row.split_at(self.width);
            let (of_gate, of_up) = out.split_at_mut(self.width);
            let outs = of_gate.iter_mut().zip(of_up);
            for (((of_gate, of_up), (gate, up)), g) in outs.zip(gate.iter().zip(up)).zip(gradient) {
                let s = sigmoid(*gate);
                *of_gate = g * up * s * (1.0 + gate * (1.0 - s));
                *of_up = g * gate * s;
            }
        });
        out
    }
}
