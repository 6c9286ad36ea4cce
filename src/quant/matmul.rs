//! The matrix product over all formats.

use std::cell::Cell;
use std::marker::PhantomData;
use std::ops::{DerefMut, Range};

use super::activations::QuantizedActivations;
use super::decode::DecodedTile;
use super::dot;
use super::tile::{Lanes, TILE_ROWS, TiledMatrix};
use super::{QuantMatrix, dot_f32};
use crate::parallel;

/// Multiplications a task takes at least: some ten microseconds of a core, many times what handing it over costs.
const TASK_MULTIPLICATIONS: usize = 1 << 18;

/// Tasks for each thread: enough that all end together, few enough that each is worth its scratch.
const TASKS_A_THREAD: usize = 6;

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
    /// Output features.
    #[must_use]
    pub fn rows(&self) -> usize {
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

    fn takes_floats(&self) -> bool {
        match self {
            Self::Stored(w) => w.format().is_float(),
            Self::Exact(_) => true,
            Self::Tiled(_) => false,
        }
    }
}

/// One of several products with the same left operand.
pub struct Product<'a, O> {
    /// `[n, k]`.
    pub weights: Weights<'a>,
    /// `[n]`, added to each row of the result.
    pub bias: Option<&'a [f32]>,
    /// `[m, n]`, row-major, to be overwritten.
    pub out: O,
}

/// [`multiply`] with weights as they are stored.
///
/// # Panics
/// As [`multiply_all`].
pub fn matmul(x: &[f32], m: usize, w: &QuantMatrix, out: &mut [f32]) {
    multiply(x, m, Weights::Stored(w), out);
}

/// `out[m][n] = sum over k of x[m][k] * w[n][k]`: `x` is `[m, k]`, `w` is `[n, k]`, `out` is `[m, n]`, all
/// row-major. Quantized weights multiply activations rounded to 8 bits; float weights multiply them as they are.
///
/// # Panics
/// As [`multiply_all`].
pub fn multiply(x: &[f32], m: usize, w: Weights<'_>, out: &mut [f32]) {
    multiply_all(x, m, &mut [Product { weights: w, bias: None, out }]);
}

/// Several products of one `x`, which is rounded once, shared out to all threads together.
///
/// # Panics
/// Where the sizes do not agree: they are the engine's own arithmetic, checked when a model is loaded.
pub fn multiply_all<O: DerefMut<Target = [f32]>, const N: usize>(
    x: &[f32],
    m: usize,
    products: &mut [Product<'_, O>; N],
) {
    for product in &*products {
        let (rows, cols) = (product.weights.rows(), product.weights.cols());
        assert!(x.len() == m * cols && product.out.len() == m * rows, "shapes of a product agree");
        assert!(product.bias.is_none_or(|bias| bias.len() == rows), "a bias has a value a row");
    }
    let Some(cols) = products.first().map(|product| product.weights.cols()).filter(|_| m > 0) else { return };
    let mut rounded = ROUNDED.take();
    if products.iter().any(|product| !product.weights.takes_floats()) {
        rounded.round(x, m, cols);
    }
    let left = Left { x, m, rounded };
    share_out(&left, TILE_ROWS * cols * m, &products.each_mut().map(Job::new));
    if x.len() <= MOST_ROUNDED {
        ROUNDED.set(left.rounded);
    }
}

/// Does all jobs, on all threads where that is worth it. A tile of weights takes `tile_multiplications`.
fn share_out(left: &Left<'_>, tile_multiplications: usize, jobs: &[Job<'_>]) {
    let tiles: usize = jobs.iter().map(|job| job.tiles).sum();
    let threads = parallel::threads();
    let task_tiles =
        TASK_MULTIPLICATIONS.div_ceil(tile_multiplications).max(tiles.div_ceil(threads * TASKS_A_THREAD));
    if threads == 1 || tiles <= task_tiles {
        jobs.iter().for_each(|job| job.run(left, 0..job.tiles));
        return;
    }
    let tasks = jobs.iter().map(|job| job.tasks(task_tiles)).sum();
    parallel::for_each(tasks, &|mut index| {
        for job in jobs {
            if index < job.tasks(task_tiles) {
                let first = index * task_tiles;
                return job.run(left, first..job.tiles.min(first + task_tiles));
            }
            index -= job.tasks(task_tiles);
        }
    });
}

/// Activations whose rounded form is kept at most: 230 rows of the 1.5B's feed-forward layer. What a very long message takes
/// goes back.
const MOST_ROUNDED: usize = 2 << 20;

thread_local! {
    /// Room for rounded activations, kept from one product to the next.
    static ROUNDED: Cell<QuantizedActivations> = Cell::default();
    /// Room for tasks, kept from one to the next.
    static SCRATCH: Cell<Scratch> = Cell::default();
}

/// What a task needs beside its operands.
#[derive(Default)]
struct Scratch {
    /// A tile's columns of the result, `[m]`.
    sums: Vec<Lanes>,
    /// A tile of weights.
    tile: DecodedTile,
    /// A row of weights as floats.
    row: Vec<f32>,
}

/// The left operand.
struct Left<'a> {
    x: &'a [f32],
    m: usize,
    /// `x` rounded, where a product wants it.
    rounded: QuantizedActivations,
}

/// A product whose result several threads write.
struct Job<'a> {
    weights: Weights<'a>,
    bias: Option<&'a [f32]>,
    tiles: usize,
    out: Columns<'a>,
}

impl<'a> Job<'a> {
    fn new<O: DerefMut<Target = [f32]>>(product: &'a mut Product<'_, O>) -> Self {
        let rows = product.weights.rows();
        Self {
            weights: product.weights,
            bias: product.bias,
            tiles: rows.div_ceil(TILE_ROWS),
            out: Columns {
                start: product.out.as_mut_ptr(),
                len: product.out.len(),
                stride: rows,
                borrowed: PhantomData,
            },
        }
    }

    /// How many tasks of so many tiles it is.
    fn tasks(&self, tiles: usize) -> usize {
        self.tiles.div_ceil(tiles)
    }

    /// Computes the columns of the result that are `tiles` of the weights.
    fn run(&self, left: &Left<'_>, tiles: Range<usize>) {
        let mut scratch = SCRATCH.take();
        let Scratch { sums, tile, row } = &mut scratch;
        sums.resize(left.m, [0.0; TILE_ROWS]);
        match self.weights {
            Weights::Tiled(w) => {
                for index in tiles {
                    dot::best().dot(w.tile(index), &left.rounded, sums);
                    self.store(index, sums);
                }
            }
            Weights::Stored(w) if !w.format().is_float() => {
                tile.fit(w, dot::best().layout());
                for index in tiles {
                    dot::best().dot(tile.load(w, index * TILE_ROWS), &left.rounded, sums);
                    self.store(index, sums);
                }
            }
            Weights::Stored(w) | Weights::Exact(w) => {
                row.resize(w.cols(), 0.0);
                for index in tiles {
                    float_tile(left.x, w, index, row, sums);
                    self.store(index, sums);
                }
            }
        }
        SCRATCH.set(scratch);
    }

    fn store(&self, tile: usize, sums: &[Lanes]) {
        let first = tile * TILE_ROWS;
        let count = TILE_ROWS.min(self.out.stride - first);
        let bias = self.bias.map_or([0.0; TILE_ROWS], |bias| {
            std::array::from_fn(|lane| bias.get(first + lane).copied().unwrap_or(0.0))
        });
        for (row, sums) in sums.iter().enumerate() {
            let lanes: Lanes = std::array::from_fn(|lane| sums[lane] + bias[lane]);
            // SAFETY: each tile is in one task, so nobody else writes these columns.
            unsafe { self.out.write(row, first, &lanes[..count]) };
        }
    }
}

/// A row-major matrix of which threads write different columns.
struct Columns<'a> {
    start: *mut f32,
    len: usize,
    stride: usize,
    borrowed: PhantomData<&'a mut [f32]>,
}

// SAFETY: `write`'s callers see to it that no two threads write the same place, and nothing is read.
unsafe impl Sync for Columns<'_> {}

impl Columns<'_> {
    /// Writes `values` to row `row` from column `first` on.
    ///
    /// # Safety
    /// Nobody else writes there meanwhile.
    unsafe fn write(&self, row: usize, first: usize, values: &[f32]) {
        let at = row * self.stride + first;
        assert!(at + values.len() <= self.len, "a tile is inside the result");
        // SAFETY: inside the slice that is borrowed as long as this lives, and nobody else's.
        unsafe { std::ptr::copy_nonoverlapping(values.as_ptr(), self.start.add(at), values.len()) };
    }
}

/// `row` is room for a row of the weights.
fn float_tile(x: &[f32], w: &QuantMatrix, tile: usize, row: &mut [f32], out: &mut [Lanes]) {
    let first = tile * TILE_ROWS;
    for lane in 0..TILE_ROWS.min(w.rows() - first) {
        w.dequantize_row(first + lane, row);
        for (x, out) in x.chunks_exact(w.cols()).zip(&mut *out) {
            out[lane] = dot_f32(x, row);
        }
    }
}
