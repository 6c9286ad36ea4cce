//! The matrix product over all formats.

use rayon::prelude::*;

use super::activations::QuantizedActivations;
use super::decode::DecodedTile;
use super::dot::{self, DotKernel};
use super::tile::{Lanes, TILE_ROWS, TiledMatrix};
use super::{QuantMatrix, dot_f32};

/// Multiplications a task takes at least: handing one over costs some microseconds, and a core does these in twenty.
const TASK_MULTIPLICATIONS: usize = 1 << 20;

/// The right operand of a product.
#[derive(Clone, Copy)]
pub enum Weights<'a> {
    /// In the bytes of its format, decoded for each product.
    Stored(&'a QuantMatrix),
    /// The same, multiplied as floats with activations as they are.
    Exact(&'a QuantMatrix),
    /// Tiled at load.
    Tiled(&'a TiledMatrix),
}

impl Weights<'_> {
    fn rows(&self) -> usize {
        match self {
            Self::Stored(w) | Self::Exact(w) => w.rows(),
            Self::Tiled(w) => w.rows(),
        }
    }

    fn cols(&self) -> usize {
        match self {
            Self::Stored(w) | Self::Exact(w) => w.cols(),
            Self::Tiled(w) => w.cols(),
        }
    }
}

/// [`multiply`] with weights as they are stored.
///
/// # Panics
/// As [`multiply`].
pub fn matmul(x: &[f32], m: usize, w: &QuantMatrix, out: &mut [f32]) {
    multiply(x, m, Weights::Stored(w), out);
}

/// `out[m][n] = sum over k of x[m][k] * w[n][k]`: `x` is `[m, k]`, `w` is `[n, k]`, `out` is `[m, n]`, all
/// row-major. Quantized weights multiply activations rounded to 8 bits; float weights multiply them as they are.
///
/// # Panics
/// Where the sizes do not agree: they are the engine's own arithmetic, checked when a model is loaded.
pub fn multiply(x: &[f32], m: usize, w: Weights<'_>, out: &mut [f32]) {
    let (rows, cols) = (w.rows(), w.cols());
    assert!(x.len() == m * cols && out.len() == m * rows, "shapes of a product agree");
    if m == 0 {
        return;
    }
    // Tasks own whole tiles of output columns, one after the other, so that they share nothing.
    let mut tiles = vec![[0.0; TILE_ROWS]; rows.div_ceil(TILE_ROWS) * m];
    let task_tiles = TASK_MULTIPLICATIONS.div_ceil(TILE_ROWS * cols * m);
    let task = |first: usize, out: &mut [Lanes], run: &dyn Fn(usize, &mut [Lanes])| {
        out.chunks_exact_mut(m).enumerate().for_each(|(tile, out)| run(first + tile, out));
    };
    let floats = |w: &QuantMatrix, tiles: &mut [Lanes]| {
        share(tiles, m, task_tiles, |first, out| task(first, out, &|tile, out| float_tile(x, w, tile, out)));
    };
    match w {
        Weights::Exact(w) => floats(w, &mut tiles),
        Weights::Stored(w) if w.format().is_float() => floats(w, &mut tiles),
        Weights::Stored(w) => {
            let x = QuantizedActivations::new(x, m, cols);
            share(&mut tiles, m, task_tiles, |first, out| stored_tiles(dot::best(), &x, w, first, out));
        }
        Weights::Tiled(w) => {
            let x = QuantizedActivations::new(x, m, cols);
            share(&mut tiles, m, task_tiles, |first, out| {
                task(first, out, &|tile, out| dot::best().dot(w.tile(tile), &x, out));
            });
        }
    }
    for (index, tile) in tiles.chunks_exact(m).enumerate() {
        let first = index * TILE_ROWS;
        let count = TILE_ROWS.min(rows - first);
        for (lanes, out) in tile.iter().zip(out.chunks_exact_mut(rows)) {
            out[first..first + count].copy_from_slice(&lanes[..count]);
        }
    }
}

/// Calls `run` with the number of the first tile and the tiles of each task, on all threads if there is enough to do.
fn share(tiles: &mut [Lanes], m: usize, task_tiles: usize, run: impl Fn(usize, &mut [Lanes]) + Sync) {
    if tiles.len() <= task_tiles * m || rayon::current_num_threads() == 1 {
        run(0, tiles);
    } else {
        let tasks = tiles.par_chunks_mut(task_tiles * m).enumerate();
        tasks.for_each(|(task, tiles)| run(task * task_tiles, tiles));
    }
}

fn stored_tiles(
    kernel: &dyn DotKernel,
    x: &QuantizedActivations,
    w: &QuantMatrix,
    first: usize,
    out: &mut [Lanes],
) {
    let mut scratch = DecodedTile::for_matrix(w);
    for (tile, out) in out.chunks_exact_mut(x.rows).enumerate() {
        kernel.dot(scratch.load(w, (first + tile) * TILE_ROWS), x, out);
    }
}

fn float_tile(x: &[f32], w: &QuantMatrix, tile: usize, out: &mut [Lanes]) {
    let mut row = vec![0.0; w.cols()];
    let first = tile * TILE_ROWS;
    for lane in 0..TILE_ROWS.min(w.rows() - first) {
        w.dequantize_row(first + lane, &mut row);
        for (x, out) in x.chunks_exact(w.cols()).zip(&mut *out) {
            out[lane] = dot_f32(x, &row);
        }
    }
}
