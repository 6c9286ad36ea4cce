//! The matrix product over all formats.

use rayon::prelude::*;

use super::activations::QuantizedActivations;
use super::decode::DecodedRows;
use super::dot::{self, DotKernel, TILE_ROWS};
use super::{QuantMatrix, dot_f32};

/// Weight rows a task takes: enough work to be worth handing over, few enough to share evenly.
const TASK_ROWS: usize = 64;

/// `out[m][n] = sum over k of x[m][k] * w[n][k]`: `x` is `[m, k]`, `w` is `[n, k]`, `out` is `[m, n]`, all
/// row-major. Quantized weights multiply activations rounded to 8 bits; float weights multiply them as they are.
///
/// # Panics
/// Where the sizes do not agree: they are the engine's own arithmetic, checked when a model is loaded.
pub fn matmul(x: &[f32], m: usize, w: &QuantMatrix, out: &mut [f32]) {
    matmul_with(dot::best(), x, m, w, out);
}

fn matmul_with(kernel: &dyn DotKernel, x: &[f32], m: usize, w: &QuantMatrix, out: &mut [f32]) {
    assert!(x.len() == m * w.cols() && out.len() == m * w.rows(), "shapes of a product agree");
    if m == 0 {
        return;
    }
    // Tasks own whole output columns; written transposed they are contiguous, so tasks share nothing.
    let mut transposed = vec![0.0; out.len()];
    let tasks = transposed.par_chunks_mut(TASK_ROWS * m).enumerate();
    if w.format().is_float() {
        tasks.for_each(|(task, out)| float_rows(x, w, task * TASK_ROWS, m, out));
    } else {
        let x = QuantizedActivations::new(x, m, w.cols());
        tasks.for_each(|(task, out)| quantized_rows(kernel, &x, w, task * TASK_ROWS, out));
    }
    for (m, row) in out.chunks_exact_mut(w.rows()).enumerate() {
        for (value, column) in row.iter_mut().zip(transposed.chunks_exact(x.len() / w.cols())) {
            *value = column[m];
        }
    }
}

fn quantized_rows(
    kernel: &dyn DotKernel,
    x: &QuantizedActivations,
    w: &QuantMatrix,
    first: usize,
    out: &mut [f32],
) {
    let mut scratch = DecodedRows::for_matrix(w, TILE_ROWS);
    for (tile, out) in out.chunks_mut(TILE_ROWS * x.rows).enumerate() {
        scratch.load(w, first + tile * TILE_ROWS, out.len() / x.rows);
        kernel.dot(&scratch, x, out);
    }
}

fn float_rows(x: &[f32], w: &QuantMatrix, first: usize, m: usize, out: &mut [f32]) {
    let mut row = vec![0.0; w.cols()];
    for (r, out) in out.chunks_exact_mut(m).enumerate() {
        w.dequantize_row(first + r, &mut row);
        for (x, out) in x.chunks_exact(w.cols()).zip(out) {
            *out = dot_f32(x, &row);
        }
    }
}
