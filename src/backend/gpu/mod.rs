//! Any GPU, by WebGPU.
//!
//! Weights stay in the precision of their format and are turned into floats in the shaders; activations are floats and are
//! added up as such. Everything of a pass stays on the device but the embedded tokens, which come from the host, and what is
//! read at its end: the labels' logits. For token confidence these are hidden states: the whole output matrix, which logits of
//! the answer's tokens take, is too large for a binding and stays on the host.
//!
//! # What bounds each operation
//! Of M rows (20 to 40 for a message) with the sizes of the 0.5B: hidden 896, feed-forward 4,864, 24 layers, 358 million
//! weights outside the embedding.
//!
//! | operation | arithmetic | bytes | bound |
//! |---|---|---|---|
//! | products | 2 M a weight: 23 GFLOP at M = 32 | 0.63 (Q4_0), 0.75 (Q5_0), 1.13 (Q8_0) a weight: 220 to 400 MB | see below |
//! | attention | 4 x 896 a row and slot | keys and values, 1 KB a slot and layer, once a row and query head, from cache | latency |
//! | norms, rotation, activation, sums | a few a value | 8 to 12 a value, at most 1.2 MB an operation | latency of the dispatch |
//!
//! A workgroup of 64 threads makes 32 x 32 values, so that a product has a workgroup for 32 of its outputs and 32 rows. Each
//! reads its weights once and all of its rows of `x`, which the others read too: from cache, where 32 rows have 115 or 623 KB.
//! At M = 32, weights in Q4_0:
//!
//! | product, outputs x width | workgroups | weights | `x`, all workgroups | multiplications a thread |
//! |---|---|---|---|---|
//! | query, attention output: 896 x 896 | 28 | 0.5 MB | 3.2 MB | 14,336 |
//! | key, value: 128 x 896 | 4 | 0.07 MB | 0.5 MB | 14,336 |
//! | gate, up: 4,864 x 896 | 152 | 2.7 MB | 17.4 MB | 14,336 |
//! | down: 896 x 4,864 | 28 | 2.7 MB | 17.4 MB | 77,824 |
//!
//! - On weights alone that is 57 (Q8_0) to 102 (Q4_0) operations a byte, and a GPU of 1 TFLOPS and 50 GB/s balances at 20: their
//!   bandwidth binds below M = 6 (Q4_0) or 11 (Q8_0). `x` is 1.4 GB a message out of cache, three to seven times the weights.
//! - A device that runs a few workgroups at a time (8 units of 64 lanes, some 1.5 TFLOPS) is bound by arithmetic in gate, up and
//!   down, which are nine tenths of it: 23 GFLOP divided by what the kernel reaches of its rate.
//! - A device with room for more than 28 workgroups of 64 threads is not filled by any product but gate and up: the others take
//!   as long as one thread, however many units there are. At one multiplication a clock and 1.5 GHz these are 10 µs, of down 52
//!   µs: 0.11 ms a layer, 2.7 ms a message, as if the device had 8.5 TFLOPS. Splitting the width of down, and of query, key and
//!   value, over several workgroups would be what helps there.
//!
//! A message of one pass is 411 dispatches (17 a layer; the rows that are read, their norm, the labels' logits) and one a
//! submission that counts it, 420 in all, of some microseconds each where they are shorter than that. An adapter on all
//! projections adds 14 a layer. These are expectations: no GPU in hardware has been measured, which the page `www/gpu.html` is
//! for.
//!
//! Neither subgroups nor `shader-f16` are used, though a device may offer them. The products, which take nearly all of the time,
//! add up in the registers of one thread and have nothing to exchange: subgroups could replace the sums through workgroup
//! memory in the norms and in the attention, which wait for their dispatch more than for these. They have 8 threads on lavapipe
//! and 4 on SwiftShader in Chromium, the two drivers that the shaders are tested on, and 16 to 64 on GPUs in hardware: they
//! would be tested in another shape than they run in, for a gain that nobody has measured. Halves lavapipe has and SwiftShader
//! has not; they would round activations, which are floats everywhere here. Both are left out until there is a GPU in hardware
//! to measure them and test them on.

mod device;
mod pipelines;
mod read;
mod recorder;
#[cfg_attr(target_arch = "wasm32", path = "uncaptured_web.rs")]
mod uncaptured;
mod weights;

use std::sync::Arc;

use super::{Backend, Buffer, Heads, RopeTable, Signal, Taken, Visible};
use crate::memory::room;
use crate::quant::{Format, QuantMatrix};
use crate::{IntentError, Result};
use device::Room;
use pipelines::{COMMON, Op};
pub use read::Reading;
pub use recorder::DeviceBuffer;
use recorder::Shared;
use weights::{Split, TILE};

/// Threads of a workgroup of the operations on single values.
const GROUP: usize = 64;
/// Slots by which a KV cache grows at least.
const SLOTS: usize = 256;
/// Widest head that the attention's shader takes.
const MAX_HEAD: usize = 256;

/// The WebGPU backend: one device.
#[derive(Clone)]
pub struct Gpu(Arc<Shared>);

/// A weight matrix `[rows, cols]` on the device.
pub struct Matrix {
    format: Format,
    rows: usize,
    cols: usize,
    quants: DeviceBuffer,
    scales: DeviceBuffer,
    high: DeviceBuffer,
}

/// Activations `[rows, cols]` on the device.
pub struct Tensor {
    rows: usize,
    cols: usize,
    slot: DeviceBuffer,
}

/// One layer's keys and values, `[capacity, width]` each.
#[derive(Default)]
pub struct KvLayer {
    slots: usize,
    capacity: usize,
    buffers: Option<[DeviceBuffer; 2]>,
}

/// A low-rank path: `a` `[rank, in]` and `scale * b` `[out, rank]`.
pub struct LowRank {
    a: Matrix,
    b: Matrix,
}

/// Rotary angles, `[2, rows, half]`: cosines, then sines.
pub struct Angles {
    half: usize,
    slot: DeviceBuffer,
}

fn word(value: usize) -> u32 {
    // Sizes of a model's tensors: they are checked at load, and what binds them is smaller.
    u32::try_from(value).unwrap_or(u32::MAX)
}

impl Gpu {
    /// Shaders that every model needs; those of the products are compiled when a matrix of their format is taken over.
    pub const SHADERS: usize = COMMON;

    /// Opens the fastest adapter there is, with room for larger matrices than WebGPU's defaults where it offers that.
    ///
    /// # Errors
    /// `unavailable` where there is none, or it gives no device.
    pub async fn open() -> Result<Self> {
        Ok(Self(Arc::new(Shared::new(device::open(Room::Offered).await?))))
    }

    /// The same within WebGPU's default limits, which every device has: for tests that they suffice.
    ///
    /// # Errors
    /// As [`open`](Self::open).
    pub async fn open_within_defaults() -> Result<Self> {
        Ok(Self(Arc::new(Shared::new(device::open(Room::Default).await?))))
    }

    /// Compiles shader number `index` of [`SHADERS`](Self::SHADERS) now; otherwise each is when it is first needed.
    pub fn compile(&self, index: usize) {
        if index < Self::SHADERS {
            self.0.pipeline(index);
        }
    }

    /// The adapter, in its driver's words.
    #[must_use]
    pub fn adapter(&self) -> String {
        let info = &self.0.info;
        format!("{} ({:?}, {:?})", info.name, info.backend, info.device_type)
    }

    /// Buffers that were created on the device so far.
    #[must_use]
    pub fn buffers(&self) -> u64 {
        self.0.created()
    }

    /// What went wrong first, if anything did. Nothing can be read of the device any more from then on: a new one must be
    /// opened.
    #[must_use]
    pub fn fault(&self) -> Option<String> {
        self.0.faults.describe()
    }

    /// Gives back all that is on the device, whoever still holds it; to them it is lost, as when a driver crashes.
    pub fn destroy(&self) {
        self.0.faults.lost("it was destroyed");
        self.0.device.destroy();
    }

    /// Has the device refuse the next buffer that it is asked for: for tests of what happens then.
    pub fn refuse_next_buffer(&self) {
        self.0.refuse_next_buffer();
    }

    fn empty(&self, rows: usize, cols: usize) -> Tensor {
        Tensor { rows, cols, slot: self.0.scratch(4 * rows * cols) }
    }

    /// One invocation a value, at `x + 64 * y * (workgroups in x)`.
    fn each(&self, op: Op, params: &[u32], buffers: &[&DeviceBuffer], count: usize) {
        let [width, lines] = self.0.lines(count.div_ceil(GROUP));
        self.0.run(op, params, buffers, [width, lines, 1]);
    }

    fn multiply(&self, x: &Tensor, w: &Matrix, bias: Option<&DeviceBuffer>, y: &Tensor, accumulate: bool) {
        debug_assert_eq!(x.cols, w.cols, "a product's widths");
        let params = [x.rows, w.rows, w.cols, usize::from(bias.is_some()), usize::from(accumulate)].map(word);
        let buffers = [&x.slot, &w.quants, &w.scales, &w.high, bias.unwrap_or(&w.scales), &y.slot];
        self.0.run(
            Op::Matmul(w.format),
            &params,
            &buffers,
            [w.rows.div_ceil(TILE), x.rows.div_ceil(TILE), 1],
        );
    }

    /// Moves a layer to buffers of another size.
    fn resize(&self, layer: &mut KvLayer, capacity: usize, width: usize) {
        let buffers = [(); 2].map(|()| self.0.scratch(4 * capacity * width));
        if let Some(old) = &layer.buffers {
            for (from, to) in old.iter().zip(&buffers) {
                let count = layer.slots * width;
                self.each(Op::Copy, &[word(count), 0], &[from, to], count);
            }
        }
        layer.capacity = capacity;
        layer.buffers = Some(buffers);
    }
}

impl Backend for Gpu {
    type Tensor = Tensor;
    type Matrix = Matrix;
    type Vector = DeviceBuffer;
    type KvLayer = KvLayer;
    type LowRank = LowRank;
    type Angles = Angles;
    type Mask = DeviceBuffer;
    type Reading = Reading;

    fn name(&self) -> String {
        "webgpu".to_owned()
    }

    fn threads(&self) -> usize {
        1
    }

    fn is_golden_order(&self) -> bool {
        false
    }

    fn takes_early(&self) -> bool {
        true
    }

    fn matrix(&self, matrix: QuantMatrix) -> Result<Matrix> {
        let (format, rows, cols) = (matrix.format(), matrix.rows(), matrix.cols());
        if !cols.is_multiple_of(4) {
            // A sound model, which other backends run.
            let detail = format!("WebGPU: a matrix of {cols} columns, which are no multiple of 4");
            return Err(IntentError::Unavailable(detail));
        }
        self.0.pipeline(Op::Matmul(format).index());
        let what = format!("a matrix of {rows} rows of {cols} {format:?} values");
        let Split { quants, scales, high } = Split::new(&matrix, &what)?;
        drop(matrix);
        let fixed = |words: &[u32]| self.0.fixed(words, &what);
        Ok(Matrix {
            format,
            rows,
            cols,
            quants: fixed(&quants)?,
            scales: fixed(&scales)?,
            high: fixed(&high)?,
        })
    }

    fn vector(&self, vector: Vec<f32>) -> Result<DeviceBuffer> {
        self.0.fixed(&vector, "a vector of weights")
    }

    fn tensor(&self, rows: usize, cols: usize, values: Buffer) -> Result<Tensor> {
        if rows.checked_mul(cols) != Some(values.len()) {
            let detail = format!("{} values are not [{rows}, {cols}]", values.len());
            return Err(IntentError::argument("values", detail));
        }
        Ok(Tensor { rows, cols, slot: self.0.upload(&values) })
    }

    fn angles(&self, table: RopeTable) -> Result<Angles> {
        Ok(Angles { half: table.half, slot: self.0.upload(&[&table.cos[..], &table.sin[..]].concat()) })
    }

    fn mask(&self, rows: Visible) -> Result<DeviceBuffer> {
        let mut words = vec![0];
        let mut ranges = 0;
        for row in rows.rows() {
            ranges += row.len();
            words.push(word(ranges));
        }
        words.extend(rows.rows().flatten().flat_map(|range| [word(range.start), word(range.end)]));
        Ok(self.0.upload(&words))
    }

    fn read(&self, x: &Tensor) -> Result<Reading> {
        Reading::begin(&self.0, &x.slot, x.rows * x.cols)
    }

    fn take(&self, reading: &mut Reading) -> Result<Taken> {
        reading.take(&self.0)
    }

    fn under_way(&self) -> Option<Signal> {
        self.0.under_way()
    }

    fn linears<const N: usize>(
        &self,
        x: &Tensor,
        parts: [(&Matrix, Option<&DeviceBuffer>); N],
    ) -> [Tensor; N] {
        parts.map(|(w, bias)| {
            let y = self.empty(x.rows, w.rows);
            self.multiply(x, w, bias, &y, false);
            y
        })
    }

    fn low_rank(&self, rank: usize, a: &[f32], b: &[f32], scale: f32) -> Result<LowRank> {
        if rank == 0 || !a.len().is_multiple_of(rank) || !b.len().is_multiple_of(rank) {
            let detail = format!("{} and {} values are not of rank {rank}", a.len(), b.len());
            return Err(IntentError::argument("low-rank path", detail));
        }
        // Widths are multiples of 4; what is added is zero.
        let padded = rank.next_multiple_of(4);
        let (width, out) = (a.len() / rank, b.len() / rank);
        let what = "a low-rank path";
        let mut rows = room(padded * width, what)?;
        rows.extend_from_slice(a);
        rows.resize(padded * width, 0.0);
        let mut columns = room(out * padded, what)?;
        columns.resize(out * padded, 0.0);
        for (to, from) in columns.chunks_exact_mut(padded).zip(b.chunks_exact(rank)) {
            to.iter_mut().zip(from).for_each(|(to, value)| *to = scale * value);
        }
        Ok(LowRank {
            a: self.matrix(QuantMatrix::from_f32(padded, width, &rows)?)?,
            b: self.matrix(QuantMatrix::from_f32(out, padded, &columns)?)?,
        })
    }

    fn add_low_rank(&self, y: &mut Tensor, x: &Tensor, path: &LowRank) {
        let inner = self.empty(x.rows, path.a.rows);
        self.multiply(x, &path.a, None, &inner, false);
        self.multiply(&inner, &path.b, None, y, true);
    }

    fn rms_norm(&self, x: &Tensor, weight: &DeviceBuffer, eps: f32) -> Tensor {
        let y = self.empty(x.rows, x.cols);
        self.0.run(Op::RmsNorm, &[word(x.cols), eps.to_bits()], &[&x.slot, weight, &y.slot], [x.rows, 1, 1]);
        y
    }

    fn layer_norm(&self, x: &Tensor, weight: &DeviceBuffer, bias: &DeviceBuffer, eps: f32) -> Tensor {
        let y = self.empty(x.rows, x.cols);
        let buffers = [&x.slot, weight, bias, &y.slot];
        self.0.run(Op::LayerNorm, &[word(x.cols), eps.to_bits()], &buffers, [x.rows, 1, 1]);
        y
    }

    fn rope(&self, x: &mut Tensor, angles: &Angles) {
        let pairs = x.rows * x.cols / 2;
        let params = [pairs, x.cols, angles.half, x.rows].map(word);
        self.each(Op::Rope, &params, &[&angles.slot, &x.slot], pairs);
    }

    fn silu_mul(&self, gate: &mut Tensor, up: &Tensor) {
        let count = gate.rows * gate.cols;
        self.each(Op::SiluMul, &[word(count)], &[&up.slot, &gate.slot], count);
    }

    fn gelu(&self, x: &mut Tensor) {
        let count = x.rows * x.cols;
        self.each(Op::Gelu, &[word(count)], &[&x.slot], count);
    }

    fn mean_rows(&self, x: &Tensor) -> Tensor {
        let y = self.empty(1, x.cols);
        self.each(Op::MeanRows, &[word(x.rows), word(x.cols)], &[&x.slot, &y.slot], x.cols);
        y
    }

    fn add(&self, x: &mut Tensor, y: &Tensor) {
        let count = x.rows * x.cols;
        self.each(Op::Add, &[word(count)], &[&y.slot, &x.slot], count);
    }

    fn select_rows(&self, x: &Tensor, rows: &[usize]) -> Tensor {
        let y = self.empty(rows.len(), x.cols);
        let chosen = self.0.upload(&rows.iter().map(|row| word(*row)).collect::<Vec<_>>());
        let count = rows.len() * x.cols;
        self.each(Op::SelectRows, &[word(count), word(x.cols)], &[&x.slot, &chosen, &y.slot], count);
        y
    }

    fn kv_layer(&self) -> KvLayer {
        KvLayer::default()
    }

    fn kv_truncate(&self, layer: &mut KvLayer, slots: usize, heads: Heads) {
        layer.slots = layer.slots.min(slots);
        // Room for usual messages stays; what one very long message took goes back.
        let keep = (layer.slots + SLOTS).next_multiple_of(SLOTS);
        if layer.capacity > 2 * keep {
            self.resize(layer, keep, heads.kv * heads.dim);
        }
    }

    fn kv_append(&self, layer: &mut KvLayer, k: &Tensor, v: &Tensor) -> Result<()> {
        let needed = layer.slots + k.rows;
        if needed > layer.capacity {
            self.resize(
                layer,
                needed.max(layer.capacity + layer.capacity / 2).next_multiple_of(SLOTS),
                k.cols,
            );
        }
        if let Some(buffers) = &layer.buffers {
            for (from, to) in [k, v].into_iter().zip(buffers) {
                let count = k.rows * k.cols;
                self.each(Op::Copy, &[word(count), word(layer.slots * k.cols)], &[&from.slot, to], count);
            }
        }
        layer.slots = needed;
        Ok(())
    }

    fn attention(&self, q: &Tensor, layer: &KvLayer, mask: &DeviceBuffer, heads: Heads) -> Tensor {
        let y = self.empty(q.rows, q.cols);
        if heads.dim > MAX_HEAD {
            self.0.faults.other(format!("heads of {} values; {MAX_HEAD} are the most", heads.dim));
        } else if let Some([keys, values]) = &layer.buffers {
            let params = [heads.query, heads.kv, heads.dim, q.rows].map(word);
            let buffers = [&q.slot, keys, values, mask, &y.slot];
            self.0.run(Op::Attention, &params, &buffers, [heads.query, q.rows, 1]);
        }
        y
    }
}
