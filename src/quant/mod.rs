//! Quantized matrices and the one matrix product that runs on them.
//!
//! Weights stay in the bytes of the file, or are put into the kernels' order once at load ([`tile`]). A product of the
//! former decodes a few weight rows at a time into a scratch that stays in the nearest caches ([`decode`]), which costs
//! next to nothing beside the product and no memory; either is multiplied with activations rounded to 8 bits
//! ([`activations`]) by the best integer dot kernel of this machine ([`dot`]). Each weight is decoded once per product, however many activation rows there are, and nothing is
//! requantized: the only rounding beside the file's own is that of the activations.

pub mod activations;
pub mod decode;
pub mod dot;
mod matmul;
pub mod tile;

pub use matmul::{Product, Weights, matmul, multiply, multiply_all};

use crate::{IntentError, Result};

/// Weights, activations and their scales come in runs of this many values along a row.
pub const BLOCK: usize = 32;

/// Dot product of two float rows of one length, in eight partial sums so that it vectorizes on every target.
#[must_use]
pub fn dot_f32(a: &[f32], b: &[f32]) -> f32 {
    let (a_chunks, a_tail) = a.as_chunks::<8>();
    let (b_chunks, b_tail) = b.as_chunks::<8>();
    let mut sums = [0f32; 8];
    for (a, b) in a_chunks.iter().zip(b_chunks) {
        for lane in 0..8 {
            sums[lane] += a[lane] * b[lane];
        }
    }
    let tail: f32 = a_tail.iter().zip(b_tail).map(|(a, b)| a * b).sum();
    sums.iter().sum::<f32>() + tail
}

/// How a matrix's weights are stored; the layouts are ggml's (`ggml-common.h`).
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Format {
    /// 4-byte floats.
    F32,
    /// 2-byte floats.
    F16,
    /// 32 values: f16 scale, 4-bit quants centred on 8.
    Q4_0,
    /// 32 values: f16 scale, 5-bit quants centred on 16.
    Q5_0,
    /// 32 values: f16 scale, signed 8-bit quants.
    Q8_0,
    /// 256 values: f16 scale and minimum, eight 6-bit sub-scales and sub-minima, 4-bit quants.
    Q4K,
    /// 256 values: f16 scale, sixteen signed 8-bit sub-scales, 6-bit quants centred on 32.
    Q6K,
}

impl Format {
    /// Every format there is.
    pub const ALL: [Self; 7] =
        [Self::F32, Self::F16, Self::Q4_0, Self::Q5_0, Self::Q8_0, Self::Q4K, Self::Q6K];

    /// Values a block holds; a row is a whole number of blocks.
    #[must_use]
    pub const fn block_len(self) -> usize {
        match self {
            Self::F32 | Self::F16 => 1,
            Self::Q4_0 | Self::Q5_0 | Self::Q8_0 => 32,
            Self::Q4K | Self::Q6K => 256,
        }
    }

    /// Bytes a block takes.
    #[must_use]
    pub const fn block_bytes(self) -> usize {
        match self {
            Self::F32 => 4,
            Self::F16 => 2,
            Self::Q4_0 => 18,
            Self::Q5_0 => 22,
            Self::Q8_0 => 34,
            Self::Q4K => 144,
            Self::Q6K => 210,
        }
    }

    /// Bits of a stored integer; 0 for floats.
    #[must_use]
    pub const fn bits(self) -> u32 {
        match self {
            Self::F32 | Self::F16 => 0,
            Self::Q4_0 | Self::Q4K => 4,
            Self::Q5_0 => 5,
            Self::Q6K => 6,
            Self::Q8_0 => 8,
        }
    }

    /// What is taken off a stored integer to have the one that is multiplied.
    #[must_use]
    pub const fn offset(self) -> i32 {
        match self {
            Self::F32 | Self::F16 | Self::Q4K | Self::Q8_0 => 0,
            Self::Q4_0 => 8,
            Self::Q5_0 => 16,
            Self::Q6K => 32,
        }
    }

    /// True where weights are floats, which are multiplied as they are.
    #[must_use]
    pub const fn is_float(self) -> bool {
        matches!(self, Self::F32 | Self::F16)
    }

    /// Bytes of a row of `cols` values, or `None` where `cols` is not a whole number of blocks or the size overflows.
    #[must_use]
    pub fn row_bytes(self, cols: usize) -> Option<usize> {
        cols.is_multiple_of(self.block_len())
            .then(|| (cols / self.block_len()).checked_mul(self.block_bytes()))?
    }
}

/// A weight matrix `[rows, cols]`, row-major, in the bytes of its [`Format`].
pub struct QuantMatrix {
    format: Format,
    rows: usize,
    cols: usize,
    row_bytes: usize,
    data: Vec<u8>,
}

impl QuantMatrix {
    /// Wraps `data`, which must be exactly `rows` rows of `cols` values.
    ///
    /// # Errors
    /// `invalid_argument` where the sizes do not agree.
    pub fn new(format: Format, rows: usize, cols: usize, data: Vec<u8>) -> Result<Self> {
        let row_bytes = format.row_bytes(cols).ok_or_else(|| {
            IntentError::argument("cols", format!("{cols} is not a whole number of {format:?} blocks"))
        })?;
        if row_bytes.checked_mul(rows) != Some(data.len()) {
            let detail = format!("{} bytes are not {rows} rows of {row_bytes} bytes", data.len());
            return Err(IntentError::argument("data", detail));
        }
        Ok(Self { format, rows, cols, row_bytes, data })
    }

    /// A matrix of floats, `values` row-major.
    ///
    /// # Errors
    /// `invalid_argument` where `values` is not `rows * cols` long.
    pub fn from_f32(rows: usize, cols: usize, values: &[f32]) -> Result<Self> {
        Self::new(Format::F32, rows, cols, values.iter().flat_map(|v| v.to_le_bytes()).collect())
    }

    /// Storage format.
    #[must_use]
    pub fn format(&self) -> Format {
        self.format
    }

    /// Output features.
    #[must_use]
    pub fn rows(&self) -> usize {
        self.rows
    }

    /// Input features.
    #[must_use]
    pub fn cols(&self) -> usize {
        self.cols
    }

    /// Size of the stored weights in bytes.
    #[must_use]
    pub fn bytes(&self) -> usize {
        self.data.len()
    }

    /// The stored bytes.
    #[must_use]
    pub fn data(&self) -> &[u8] {
        &self.data
    }

    /// Bytes of a row.
    fn row_bytes(&self) -> usize {
        self.row_bytes
    }

    /// The stored bytes of rows `first .. first + count`.
    fn row_data(&self, first: usize, count: usize) -> &[u8] {
        &self.data[first * self.row_bytes..(first + count) * self.row_bytes]
    }

    /// Rows `first .. first + count` by themselves.
    ///
    /// # Errors
    /// None for rows that there are.
    #[cfg(not(target_arch = "wasm32"))]
    pub(crate) fn rows_of(&self, first: usize, count: usize) -> Result<Self> {
        Self::new(self.format, count, self.cols, self.row_data(first, count).to_vec())
    }

    /// Writes row `row` as floats into `out` (`[cols]`), exactly as the format defines them.
    ///
    /// # Panics
    /// Where `row` is not a row or `out` is not `cols` long: both are the engine's own arithmetic.
    pub fn dequantize_row(&self, row: usize, out: &mut [f32]) {
        assert_eq!(out.len(), self.cols, "a row has `cols` values");
        decode::dequantize(self.format, self.row_data(row, 1), out);
    }
}
