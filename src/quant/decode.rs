//! From the bytes of a block format to integers and scales.
//!
//! Every quantized format becomes the same thing, a [`Tile`]: 16-bit quants and, for each run of [`BLOCK`] values, a
//! scale and a minimum, so that `w = scale * quant - minimum`. The integer sub-scales of the K formats are
//! multiplied into the quants (at most 32 * 128 in size), which is exact; so one dot kernel serves them all.

use half::f16;

use super::tile::{Lanes, Pairs, Quants, TILE_ROWS, Tile};
use super::{BLOCK, Format, QuantMatrix};

/// One decoded tile: the scratch of a product.
pub struct DecodedTile {
    /// Values a row.
    cols: usize,
    /// Rows one after the other, as they are decoded: `[TILE_ROWS, cols]`.
    rows: Vec<i16>,
    scales: Vec<f32>,
    minima: Vec<f32>,
    /// The same in a tile's order.
    quants: Vec<Pairs<i16>>,
    tile_scales: Vec<Lanes>,
    /// Empty where the format has no minima.
    tile_minima: Vec<Lanes>,
}

impl DecodedTile {
    /// Room for a tile of `matrix`.
    #[must_use]
    pub fn for_matrix(matrix: &QuantMatrix) -> Self {
        let cols = matrix.cols();
        let blocks = cols / BLOCK;
        let minima = if matrix.format() == Format::Q4K { blocks } else { 0 };
        Self {
            cols,
            rows: vec![0; TILE_ROWS * cols],
            scales: vec![0.0; TILE_ROWS * blocks],
            minima: vec![0.0; TILE_ROWS * minima],
            quants: vec![[[0; 2]; TILE_ROWS]; cols / 2],
            tile_scales: vec![[0.0; TILE_ROWS]; blocks],
            tile_minima: vec![[0.0; TILE_ROWS]; minima],
        }
    }

    /// Decodes the tile from row `first` of `matrix`, which must be quantized. Rows past the matrix's end are zeros.
    pub fn load(&mut self, matrix: &QuantMatrix, first: usize) -> Tile<'_> {
        let count = TILE_ROWS.min(matrix.rows() - first);
        self.decode(matrix, first, count);
        let end = count * self.cols;
        self.rows[end..].fill(0);
        let blocks = self.cols / BLOCK;
        self.scales[count * blocks..].fill(0.0);
        interleave(&self.rows, &mut self.quants);
        transpose(&self.scales, &mut self.tile_scales);
        if !self.minima.is_empty() {
            self.minima[count * blocks..].fill(0.0);
            transpose(&self.minima, &mut self.tile_minima);
        }
        Tile { quants: Quants::Wide(&self.quants), scales: &self.tile_scales, minima: &self.tile_minima }
    }

    fn decode(&mut self, matrix: &QuantMatrix, first: usize, count: usize) {
        let blocks = self.cols / BLOCK;
        let data = matrix.row_data(first, count);
        let quants = &mut self.rows[..count * self.cols];
        let scales = &mut self.scales[..count * blocks];
        match matrix.format() {
            Format::Q4_0 => each_block(data, quants, scales, q4_0),
            Format::Q5_0 => each_block(data, quants, scales, q5_0),
            Format::Q8_0 => each_block(data, quants, scales, q8_0),
            Format::Q6K => {
                let blocks =
                    data.chunks_exact(210).zip(quants.chunks_exact_mut(256)).zip(scales.chunks_exact_mut(8));
                for ((block, q), s) in blocks {
                    s.fill(q6_k(block, q));
                }
            }
            Format::Q4K => {
                let blocks =
                    data.chunks_exact(144).zip(quants.chunks_exact_mut(256)).zip(scales.chunks_exact_mut(8));
                for (((block, q), s), m) in blocks.zip(self.minima.chunks_exact_mut(8)) {
                    q4_k(block, q, s, m);
                }
            }
            Format::F32 | Format::F16 => unreachable!("float rows are not decoded to integers"),
        }
    }
}

/// Rows `[TILE_ROWS, cols]` into pairs of columns, all rows of a pair together.
fn interleave(rows: &[i16], quants: &mut [Pairs<i16>]) {
    let cols = rows.len() / TILE_ROWS;
    let rows: [&[[i16; 2]]; TILE_ROWS] = std::array::from_fn(|r| rows[r * cols..][..cols].as_chunks::<2>().0);
    for (index, pairs) in quants.iter_mut().enumerate() {
        for (pair, row) in pairs.iter_mut().zip(&rows) {
            *pair = row[index];
        }
    }
}

/// `[TILE_ROWS, blocks]` into `[blocks, TILE_ROWS]`.
fn transpose(values: &[f32], out: &mut [Lanes]) {
    let blocks = values.len() / TILE_ROWS;
    for (block, lanes) in out.iter_mut().enumerate() {
        *lanes = std::array::from_fn(|r| values[r * blocks + block]);
    }
}

fn each_block<const BYTES: usize>(
    data: &[u8],
    quants: &mut [i16],
    scales: &mut [f32],
    decode: impl Fn(&[u8; BYTES], &mut [i16; BLOCK]) -> f32,
) {
    let (data, _) = data.as_chunks::<BYTES>();
    let (quants, _) = quants.as_chunks_mut::<BLOCK>();
    for ((block, q), s) in data.iter().zip(quants).zip(scales) {
        *s = decode(block, q);
    }
}

#[inline]
fn half_at(block: &[u8], at: usize) -> f32 {
    f16::from_le_bytes([block[at], block[at + 1]]).to_f32()
}

#[inline]
fn q4_0(block: &[u8; 18], quants: &mut [i16; BLOCK]) -> f32 {
    for j in 0..16 {
        let byte = block[2 + j];
        quants[j] = i16::from(byte & 15) - 8;
        quants[j + 16] = i16::from(byte >> 4) - 8;
    }
    half_at(block, 0)
}

/// `HIGH_BIT[byte][j]` is 0 where bit `j` of `byte` is set, else -16: the fifth bit and the centring in one addend.
static HIGH_BIT: [[i16; 8]; 256] = {
    let mut table = [[0; 8]; 256];
    let mut byte = 0;
    while byte < 256 {
        let mut bit = 0;
        while bit < 8 {
            table[byte][bit] = if byte >> bit & 1 == 1 { 0 } else { -16 };
            bit += 1;
        }
        byte += 1;
    }
    table
};

#[inline]
fn q5_0(block: &[u8; 22], quants: &mut [i16; BLOCK]) -> f32 {
    for half in 0..2 {
        let low = &HIGH_BIT[usize::from(block[2 + half])];
        let high = &HIGH_BIT[usize::from(block[4 + half])];
        for j in 0..8 {
            let byte = block[6 + 8 * half + j];
            quants[8 * half + j] = i16::from(byte & 15) + low[j];
            quants[16 + 8 * half + j] = i16::from(byte >> 4) + high[j];
        }
    }
    half_at(block, 0)
}

#[inline]
fn q8_0(block: &[u8; 34], quants: &mut [i16; BLOCK]) -> f32 {
    for j in 0..BLOCK {
        quants[j] = i16::from(block[2 + j].cast_signed());
    }
    half_at(block, 0)
}

/// The 6-bit sub-scale and sub-minimum `j` of a Q4_K block's 12 packed bytes.
#[inline]
fn q4_k_scale_min(packed: &[u8], j: usize) -> (u8, u8) {
    if j < 4 {
        (packed[j] & 63, packed[j + 4] & 63)
    } else {
        ((packed[j + 4] & 15) | (packed[j - 4] >> 6 << 4), (packed[j + 4] >> 4) | (packed[j] >> 6 << 4))
    }
}

fn q4_k(block: &[u8], quants: &mut [i16], scales: &mut [f32], minima: &mut [f32]) {
    let (scale, minimum) = (half_at(block, 0), half_at(block, 2));
    scales.fill(scale);
    for pair in 0..4 {
        let (low_scale, low_min) = q4_k_scale_min(&block[4..16], 2 * pair);
        let (high_scale, high_min) = q4_k_scale_min(&block[4..16], 2 * pair + 1);
        minima[2 * pair] = minimum * f32::from(low_min);
        minima[2 * pair + 1] = minimum * f32::from(high_min);
        let bytes = &block[16 + 32 * pair..][..32];
        let (low, high) = quants[64 * pair..][..64].split_at_mut(32);
        for ((byte, low), high) in bytes.iter().zip(low).zip(high) {
            *low = i16::from(byte & 15) * i16::from(low_scale);
            *high = i16::from(byte >> 4) * i16::from(high_scale);
        }
    }
}

fn q6_k(block: &[u8], quants: &mut [i16]) -> f32 {
    let (low, rest) = block.split_at(128);
    let (high, scales) = rest.split_at(64);
    for (half, quants) in quants.chunks_exact_mut(128).enumerate() {
        let (low, high, scales) =
            (&low[64 * half..][..64], &high[32 * half..][..32], &scales[8 * half..][..8]);
        for group in 0..2 {
            let scale = |quarter: usize| i16::from(scales[2 * quarter + group].cast_signed());
            let scale = [scale(0), scale(1), scale(2), scale(3)];
            for l in 16 * group..16 * (group + 1) {
                let (a, b, h) = (low[l], low[l + 32], high[l]);
                let q = [
                    a & 15 | (h & 3) << 4,
                    b & 15 | (h >> 2 & 3) << 4,
                    a >> 4 | (h >> 4 & 3) << 4,
                    b >> 4 | h >> 6 << 4,
                ];
                for quarter in 0..4 {
                    quants[l + 32 * quarter] = (i16::from(q[quarter]) - 32) * scale[quarter];
                }
            }
        }
    }
    half_at(block, 208)
}

/// Writes the values of `data`, one row in `format`, into `out`.
pub(super) fn dequantize(format: Format, data: &[u8], out: &mut [f32]) {
    match format {
        Format::F32 => {
            for (value, bytes) in out.iter_mut().zip(data.as_chunks::<4>().0) {
                *value = f32::from_le_bytes(*bytes);
            }
        }
        Format::F16 => {
            for (value, bytes) in out.iter_mut().zip(data.as_chunks::<2>().0) {
                *value = f16::from_le_bytes(*bytes).to_f32();
            }
        }
        Format::Q4_0 => dequantize_blocks(data, out, q4_0),
        Format::Q5_0 => dequantize_blocks(data, out, q5_0),
        Format::Q8_0 => dequantize_blocks(data, out, q8_0),
        Format::Q4K => {
            let (mut quants, mut scales, mut minima) = ([0; 256], [0.0; 8], [0.0; 8]);
            for (block, out) in data.chunks_exact(144).zip(out.chunks_exact_mut(256)) {
                q4_k(block, &mut quants, &mut scales, &mut minima);
                for (j, (value, quant)) in out.iter_mut().zip(quants).enumerate() {
                    *value = scales[j / BLOCK] * f32::from(quant) - minima[j / BLOCK];
                }
            }
        }
        Format::Q6K => {
            let mut quants = [0; 256];
            for (block, out) in data.chunks_exact(210).zip(out.chunks_exact_mut(256)) {
                let scale = q6_k(block, &mut quants);
                for (value, quant) in out.iter_mut().zip(quants) {
                    *value = scale * f32::from(quant);
                }
            }
        }
    }
}

fn dequantize_blocks<const BYTES: usize>(
    data: &[u8],
    out: &mut [f32],
    decode: impl Fn(&[u8; BYTES], &mut [i16; BLOCK]) -> f32,
) {
    let mut quants = [0; BLOCK];
    for (block, out) in data.as_chunks::<BYTES>().0.iter().zip(out.chunks_exact_mut(BLOCK)) {
        let scale = decode(block, &mut quants);
        for (value, quant) in out.iter_mut().zip(quants) {
            *value = scale * f32::from(quant);
        }
    }
}
