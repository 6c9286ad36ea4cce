//! The CPU: SIMD by dispatch, threads by [`parallel`].
//!
//! After warm-up the steps of a forward pass allocate nothing: activations are [`Buffer`]s, each thread keeps what its
//! tasks need beside their operands, and a cache has room for the messages before. What a message still takes from the
//! allocator does not grow with a model's layers or widths: its tokens, the lists that describe a batch (a number or a
//! range a row), log-probabilities of the labels, the result's texts, and what the tokenizer's library takes for itself;
//! natively also rayon's queue, a block for every 63 products that are asked for from outside of its threads. Not meant are
//! `token_confidence`, whose logits are over the whole vocabulary, and messages of hundreds of words, of which only as
//! much is kept as [`Buffer`] and `SPARE_SLOTS` say. `tests/allocations.rs` counts.

mod attention;
mod elementwise;
mod low_rank;
pub mod math;

use super::{Backend, Buffer, Heads, RopeTable, Taken, Visible};
use crate::quant::tile::TiledMatrix;
use crate::quant::{self, Product, QuantMatrix, Weights};
use crate::{IntentError, Result, parallel};
pub use low_rank::LowRank;

/// Slots that a KV cache keeps room for when it is cut back.
const SPARE_SLOTS: usize = 512;

/// The CPU backend.
#[derive(Debug, Clone, Copy, Default)]
pub struct Cpu {
    order: Order,
}

/// How weights are kept.
#[derive(Debug, Clone, Copy, Default)]
enum Order {
    #[default]
    Stored,
    Tiled,
    Exact,
}

/// A weight matrix, as this backend keeps it.
pub enum Matrix {
    /// In the bytes of its format.
    Stored(QuantMatrix),
    /// The same, multiplied as floats with activations as they are.
    Exact(QuantMatrix),
    /// In the kernels' order.
    Tiled(TiledMatrix),
}

impl Matrix {
    fn weights(&self) -> Weights<'_> {
        match self {
            Self::Stored(matrix) => Weights::Stored(matrix),
            Self::Exact(matrix) => Weights::Exact(matrix),
            Self::Tiled(matrix) => Weights::Tiled(matrix),
        }
    }

    fn rows(&self) -> usize {
        match self {
            Self::Stored(matrix) | Self::Exact(matrix) => matrix.rows(),
            Self::Tiled(matrix) => matrix.rows(),
        }
    }
}

impl Cpu {
    /// Multiplies weights as floats with activations as they are: slow, the reference that rounding is measured against.
    #[must_use]
    pub fn exact() -> Self {
        Self { order: Order::Exact }
    }

    /// Puts weights into the kernels' order at load, where their format allows: a byte a weight and somewhat more, but
    /// nothing to decode for each message. For small models.
    #[must_use]
    pub fn tiled(self) -> Self {
        match self.order {
            Order::Stored => Self { order: Order::Tiled },
            Order::Tiled | Order::Exact => self,
        }
    }

    /// Whether products round nothing.
    #[must_use]
    pub fn is_exact(self) -> bool {
        matches!(self.order, Order::Exact)
    }
}

/// Activations `[rows, cols]`, row-major.
#[derive(Debug, Clone)]
pub struct Tensor {
    rows: usize,
    cols: usize,
    values: Buffer,
}

impl Tensor {
    /// Values to be overwritten.
    fn new(rows: usize, cols: usize) -> Self {
        Self { rows, cols, values: Buffer::new(rows * cols) }
    }

    /// Each row of this with the row of another of the same shape.
    fn rows_with<'a>(&'a self, other: &'a mut Self) -> impl Iterator<Item = (&'a [f32], &'a mut [f32])> {
        self.values.chunks_exact(self.cols).zip(other.values.chunks_exact_mut(self.cols))
    }
}

/// One layer's keys and values, `[slots, width]` each.
#[derive(Debug, Clone, Default)]
pub struct KvLayer {
    keys: Vec<f32>,
    values: Vec<f32>,
}

impl Backend for Cpu {
    type Tensor = Tensor;
    type Matrix = Matrix;
    type Vector = Vec<f32>;
    type KvLayer = KvLayer;
    type LowRank = LowRank;
    type Angles = RopeTable;
    type Mask = Visible;
    type Reading = Buffer;

    fn name(&self) -> String {
        format!("cpu-{}", quant::dot::best().name())
    }

    fn threads(&self) -> usize {
        parallel::threads()
    }

    fn matrix(&self, matrix: QuantMatrix) -> Result<Matrix> {
        Ok(match self.order {
            Order::Stored => Matrix::Stored(matrix),
            Order::Exact => Matrix::Exact(matrix),
            Order::Tiled => match TiledMatrix::new(&matrix, quant::dot::best().layout()) {
                Some(tiled) => Matrix::Tiled(tiled),
                None => Matrix::Stored(matrix),
            },
        })
    }

    fn vector(&self, vector: Vec<f32>) -> Result<Vec<f32>> {
        Ok(vector)
    }

    fn tensor(&self, rows: usize, cols: usize, values: Buffer) -> Result<Tensor> {
        if rows.checked_mul(cols) != Some(values.len()) {
            return Err(IntentError::argument(
                "values",
                format!("{} values are not [{rows}, {cols}]", values.len()),
            ));
        }
        Ok(Tensor { rows, cols, values })
    }

    fn angles(&self, table: RopeTable) -> Result<RopeTable> {
        Ok(table)
    }

    fn mask(&self, rows: Visible) -> Result<Visible> {
        Ok(rows)
    }

    fn read(&self, x: &Tensor) -> Result<Buffer> {
        Ok(x.values.clone())
    }

    fn take(&self, reading: &mut Buffer) -> Result<Taken> {
        Ok(Taken::Values(std::mem::take(reading)))
    }

    fn is_golden_order(&self) -> bool {
        !matches!(self.order, Order::Exact)
    }

    fn for_small_model(self) -> Self {
        self.tiled()
    }

    fn linears<const N: usize>(&self, x: &Tensor, parts: [(&Matrix, Option<&Vec<f32>>); N]) -> [Tensor; N] {
        let mut products = parts.map(|(w, bias)| Product {
            weights: w.weights(),
            bias: bias.map(Vec::as_slice),
            out: Buffer::new(x.rows * w.rows()),
        });
        quant::multiply_all(&x.values, x.rows, &mut products);
        products.map(|product| Tensor { rows: x.rows, cols: product.weights.rows(), values: product.out })
    }

    fn low_rank(&self, rank: usize, a: &[f32], b: &[f32], scale: f32) -> Result<LowRank> {
        if rank == 0 || !a.len().is_multiple_of(rank) || !b.len().is_multiple_of(rank) {
            let detail = format!("{} and {} values are not of rank {rank}", a.len(), b.len());
            return Err(IntentError::argument("low-rank path", detail));
        }
        LowRank::new(rank, a, b, scale)
    }

    fn add_low_rank(&self, y: &mut Tensor, x: &Tensor, path: &LowRank) {
        path.add(&x.values, &mut y.values);
    }

    fn rms_norm(&self, x: &Tensor, weight: &Vec<f32>, eps: f32) -> Tensor {
        let mut out = Tensor::new(x.rows, x.cols);
        x.rows_with(&mut out).for_each(|(row, out)| elementwise::rms_norm(row, weight, eps, out));
        out
    }

    fn layer_norm(&self, x: &Tensor, weight: &Vec<f32>, bias: &Vec<f32>, eps: f32) -> Tensor {
        let mut out = Tensor::new(x.rows, x.cols);
        x.rows_with(&mut out).for_each(|(row, out)| elementwise::layer_norm(row, weight, bias, eps, out));
        out
    }

    fn rope(&self, x: &mut Tensor, table: &RopeTable) {
        let angles = table.cos.chunks_exact(table.half).zip(table.sin.chunks_exact(table.half));
        for (row, (cos, sin)) in x.values.chunks_exact_mut(x.cols).zip(angles) {
            for head in row.chunks_exact_mut(2 * table.half) {
                elementwise::rotate(head, cos, sin);
            }
        }
    }

    fn silu_mul(&self, gate: &mut Tensor, up: &Tensor) {
        elementwise::silu_mul(&mut gate.values, &up.values);
    }

    fn gelu(&self, x: &mut Tensor) {
        elementwise::gelu(&mut x.values);
    }

    fn mean_rows(&self, x: &Tensor) -> Tensor {
        let mut mean = Tensor::new(1, x.cols);
        mean.values.fill(0.0);
        for row in x.values.chunks_exact(x.cols) {
            mean.values.iter_mut().zip(row).for_each(|(sum, value)| *sum += value);
        }
        mean.values.iter_mut().for_each(|sum| *sum /= x.rows as f32);
        mean
    }

    fn add(&self, x: &mut Tensor, y: &Tensor) {
        x.values.iter_mut().zip(y.values.iter()).for_each(|(x, y)| *x += y);
    }

    fn select_rows(&self, x: &Tensor, rows: &[usize]) -> Tensor {
        let mut out = Tensor::new(rows.len(), x.cols);
        for (row, out) in rows.iter().zip(out.values.chunks_exact_mut(x.cols)) {
            out.copy_from_slice(&x.values[row * x.cols..][..x.cols]);
        }
        out
    }

    fn kv_layer(&self) -> KvLayer {
        KvLayer::default()
    }

    fn kv_truncate(&self, layer: &mut KvLayer, slots: usize, heads: Heads) {
        let width = heads.kv * heads.dim;
        for cache in [&mut layer.keys, &mut layer.values] {
            cache.truncate(slots * width);
            // Room for usual messages stays; what one very long message took goes back.
            cache.shrink_to((slots + SPARE_SLOTS) * width);
        }
    }

    fn kv_append(&self, layer: &mut KvLayer, k: &Tensor, v: &Tensor) -> Result<()> {
        for (cache, new) in [(&mut layer.keys, k), (&mut layer.values, v)] {
            cache.try_reserve_exact(new.values.len()).map_err(|_| IntentError::OutOfMemory {
                what: "the KV cache".to_owned(),
                bytes: 4 * new.values.len() as u64,
            })?;
            cache.extend_from_slice(&new.values);
        }
        Ok(())
    }

    fn attention(&self, q: &Tensor, layer: &KvLayer, mask: &Visible, heads: Heads) -> Tensor {
        let values = attention::attention(&q.values, &layer.keys, &layer.values, mask, heads);
        Tensor { rows: q.rows, cols: q.cols, values }
    }
}
