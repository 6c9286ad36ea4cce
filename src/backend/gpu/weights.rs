//! Weights in the shaders' order.
//!
//! A file's blocks have 18, 22, 34, 144 or 210 bytes, which no array of 4-byte words can index. They are split into arrays
//! of integers, of scales and of upper bits, in tiles of 32 rows, block by block of 32 columns, so that what a workgroup
//! reads at a time lies together: `[tiles, blocks, 32 rows, words]`. Rows and columns that are missing are zeros.

use half::f16;

use crate::Result;
use crate::memory::room;
use crate::quant::{Format, QuantMatrix};

/// Rows of a tile and columns of a block.
pub(super) const TILE: usize = 32;

/// The arrays of a matrix; what the shaders say of each (`shaders/weights_*.wgsl`).
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Split {
    pub(super) quants: Vec<u32>,
    pub(super) scales: Vec<u32>,
    pub(super) high: Vec<u32>,
}

impl Split {
    /// # Errors
    /// `out_of_memory` for `what`.
    pub(super) fn new(matrix: &QuantMatrix, what: &str) -> Result<Self> {
        let (rows, format) = (matrix.rows(), matrix.format());
        let row_bytes = matrix.data().len() / rows.max(1);
        let blocks = matrix.cols().div_ceil(TILE);
        let tiles = rows.div_ceil(TILE);
        let words = Words::of(format);
        let cells = tiles * blocks * TILE;
        let zeros = |count| {
            let mut zeros = room(count, what)?;
            zeros.resize(count, 0);
            Ok(zeros)
        };
        let mut split = Self {
            quants: zeros(cells * words.quants)?,
            // A scale a block, or one for eight of them.
            scales: zeros(cells * words.scales / words.shared)?,
            high: zeros(cells * words.high)?,
        };
        for (row, data) in matrix.data().chunks_exact(row_bytes.max(1)).enumerate() {
            for block in 0..blocks {
                let cell = |blocks: usize, block: usize| (row / TILE * blocks + block) * TILE + row % TILE;
                let at = cell(blocks, block);
                let header = cell(blocks / words.shared, block / words.shared);
                let out = Cell {
                    quants: &mut split.quants[at * words.quants..][..words.quants],
                    scales: &mut split.scales[header * words.scales..][..words.scales],
                    high: &mut split.high[at * words.high..][..words.high],
                };
                out.fill(format, data, block);
            }
        }
        Ok(split)
    }
}

/// Words of a cell, 32 columns of a row.
struct Words {
    quants: usize,
    scales: usize,
    /// Blocks that share their scales.
    shared: usize,
    high: usize,
}

impl Words {
    fn of(format: Format) -> Self {
        let (quants, scales, shared, high) = match format {
            Format::F32 => (32, 0, 1, 0),
            Format::F16 => (16, 0, 1, 0),
            Format::Q4_0 => (4, 1, 1, 0),
            Format::Q5_0 => (4, 1, 1, 1),
            Format::Q8_0 => (8, 1, 1, 0),
            Format::Q4K => (4, 5, 8, 0),
            Format::Q6K => (4, 5, 8, 2),
        };
        Self { quants, scales, shared, high }
    }
}

/// Where a block goes.
struct Cell<'a> {
    quants: &'a mut [u32],
    scales: &'a mut [u32],
    high: &'a mut [u32],
}

impl Cell<'_> {
    /// Takes block `block` of 32 columns from a row's bytes.
    fn fill(self, format: Format, row: &[u8], block: usize) {
        match format {
            Format::F32 => words(self.quants, tail(row, 128 * block)),
            Format::F16 => words(self.quants, tail(row, 64 * block)),
            Format::Q4_0 => {
                let data = &row[18 * block..][..18];
                self.scales[0] = half(data, 0);
                halves_of_bytes(self.quants, &data[2..]);
            }
            Format::Q5_0 => {
                let data = &row[22 * block..][..22];
                self.scales[0] = half(data, 0);
                words(self.high, &data[2..6]);
                halves_of_bytes(self.quants, &data[6..]);
            }
            Format::Q8_0 => {
                let data = &row[34 * block..][..34];
                self.scales[0] = half(data, 0);
                words(self.quants, &data[2..]);
            }
            Format::Q4K => {
                let data = &row[144 * (block / 8)..][..144];
                self.scales[..2].copy_from_slice(&[half(data, 0), half(data, 2)]);
                words(&mut self.scales[2..], &data[4..16]);
                // Two blocks share 32 bytes: the first has their lower halves.
                let bytes = &data[16 + 32 * (block % 8 / 2)..][..32];
                nibbles(self.quants, |k| bytes[k] >> (4 * (block % 2)));
            }
            Format::Q6K => {
                let data = &row[210 * (block / 8)..][..210];
                self.scales[0] = half(data, 208);
                words(&mut self.scales[1..], &data[192..208]);
                // 128 columns are four blocks: of 64 bytes the lower halves, twice 32, then the upper ones; of 32 bytes
                // two bits each.
                let (part, quarter) = (block % 8 / 4, block % 4);
                let low = &data[64 * part + 32 * (quarter % 2)..][..32];
                let high = &data[128 + 32 * part..][..32];
                nibbles(self.quants, |k| low[k] >> (4 * (quarter / 2)));
                for (k, byte) in high.iter().enumerate() {
                    self.high[k / 16] |= u32::from(byte >> (2 * quarter) & 3) << (2 * (k % 16));
                }
            }
        }
    }
}

/// What follows byte `at`; nothing behind the end.
fn tail(row: &[u8], at: usize) -> &[u8] {
    row.get(at..).unwrap_or_default()
}

/// Little-endian words, as many as there are.
fn words(out: &mut [u32], bytes: &[u8]) {
    for (index, byte) in bytes.iter().enumerate().take(4 * out.len()) {
        out[index / 4] |= u32::from(*byte) << (8 * (index % 4));
    }
}

/// The half at byte `at` as the bits of a float.
fn half(data: &[u8], at: usize) -> u32 {
    f16::from_le_bytes([data[at], data[at + 1]]).to_f32().to_bits()
}

/// 16 bytes whose lower halves come before the upper ones.
fn halves_of_bytes(out: &mut [u32], bytes: &[u8]) {
    nibbles(out, |k| bytes[k % 16] >> (4 * (k / 16)));
}

/// The lower halves of 32 bytes, in order.
fn nibbles(out: &mut [u32], byte: impl Fn(usize) -> u8) {
    for k in 0..TILE {
        out[k / 8] |= u32::from(byte(k) & 15) << (4 * (k % 8));
    }
}
