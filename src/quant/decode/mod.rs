//! From the bytes of a block format to integers and scales.
//!
//! Every quantized format becomes the same thing, a [`Tile`]: a byte a weight and, for each run of [`BLOCK`] values, a
//! scale and a minimum. Q4_K's sub-scales are multiplied into its scales, which is exact: a half-precision float times
//! six bits. Q6_K's, of which a block has two, stay integers. Decoding runs over whole rows in the order of the file
//! (`blocks`); then the rows are interleaved (`interleave`). In WebAssembly both happen at once, in registers
//! (`simd128`), with the same result.

mod blocks;
mod interleave;
#[cfg(target_arch = "wasm32")]
mod simd128;

pub(super) use blocks::dequantize;

use super::activations::HALF;
use super::tile::{Fours, Lanes, Layout, Pairs, Quants, SubLanes, TILE_ROWS, Tile};
use super::{BLOCK, Format, QuantMatrix};

/// One decoded tile: the scratch of a product.
pub struct DecodedTile {
    format: Format,
    /// Values a row.
    cols: usize,
    /// Rows one after the other, as they are decoded: `[TILE_ROWS, cols]`, counted from the format's offset.
    rows: Vec<u8>,
    quants: Scratch,
    /// `[cols / BLOCK]`.
    scales: Vec<Lanes>,
    /// `[cols / HALF]`; empty where the format has none.
    subscales: Vec<SubLanes>,
    /// `[cols / BLOCK]`; empty where the format has none.
    minima: Vec<Lanes>,
}

enum Scratch {
    Pairs(Vec<Pairs>),
    Fours(Vec<Fours>),
}

/// Where a row's scales go: lane `lane` of each.
struct RowScales<'a> {
    lane: usize,
    scales: &'a mut [Lanes],
    subscales: &'a mut [SubLanes],
    minima: &'a mut [Lanes],
}

impl DecodedTile {
    /// Room for a tile of `matrix`. Formats that do not fit [`Layout::Fours`] get [`Layout::Pairs`].
    #[must_use]
    pub fn for_matrix(matrix: &QuantMatrix, layout: Layout) -> Self {
        let (cols, format) = (matrix.cols(), matrix.format());
        let blocks = cols / BLOCK;
        let quants = match layout {
            Layout::Fours if format.bits() <= 6 => Scratch::Fours(vec![[[0; 4]; TILE_ROWS]; cols / 4]),
            Layout::Fours | Layout::Pairs => Scratch::Pairs(vec![[[0; 2]; TILE_ROWS]; cols / 2]),
        };
        let subscales = if format == Format::Q6K { cols / HALF } else { 0 };
        let minima = if format == Format::Q4K { blocks } else { 0 };
        Self {
            format,
            cols,
            rows: vec![0; TILE_ROWS * cols],
            quants,
            scales: vec![[0.0; TILE_ROWS]; blocks],
            subscales: vec![[[0; 2]; TILE_ROWS]; subscales],
            minima: vec![[0.0; TILE_ROWS]; minima],
        }
    }

    /// The layout that the tiles have.
    #[must_use]
    pub fn layout(&self) -> Layout {
        match self.quants {
            Scratch::Pairs(_) => Layout::Pairs,
            Scratch::Fours(_) => Layout::Fours,
        }
    }

    /// Decodes the tile from row `first` of `matrix`, which must be the one that this was made for, or one like it.
    /// Rows past the matrix's end count for nothing.
    pub fn load(&mut self, matrix: &QuantMatrix, first: usize) -> Tile<'_> {
        #[cfg(target_arch = "wasm32")]
        if matrix.rows() - first >= TILE_ROWS {
            simd128::decode(matrix.row_data(first, TILE_ROWS), self);
            return self.tile();
        }
        self.load_by_rows(matrix, first)
    }

    /// The same, a row at a time: the definition.
    pub fn load_by_rows(&mut self, matrix: &QuantMatrix, first: usize) -> Tile<'_> {
        let count = TILE_ROWS.min(matrix.rows() - first);
        if count < TILE_ROWS {
            self.scales.fill([0.0; TILE_ROWS]);
            self.subscales.fill([[0; 2]; TILE_ROWS]);
            self.minima.fill([0.0; TILE_ROWS]);
        }
        let row_bytes = matrix.row_data(first, count).chunks_exact(matrix.row_bytes());
        for (lane, (data, quants)) in row_bytes.zip(self.rows.chunks_exact_mut(self.cols)).enumerate() {
            let scales = RowScales {
                lane,
                scales: &mut self.scales,
                subscales: &mut self.subscales,
                minima: &mut self.minima,
            };
            blocks::decode_row(self.format, data, quants, scales);
        }
        match &mut self.quants {
            Scratch::Fours(fours) => interleave::fours(&self.rows, fours),
            Scratch::Pairs(pairs) => interleave::pairs(&self.rows, self.format.offset() as u8, pairs),
        }
        self.tile()
    }

    fn tile(&self) -> Tile<'_> {
        Tile {
            format: self.format,
            quants: match &self.quants {
                Scratch::Fours(fours) => Quants::Fours(fours),
                Scratch::Pairs(pairs) => Quants::Pairs(pairs),
            },
            scales: &self.scales,
            subscales: &self.subscales,
            minima: &self.minima,
        }
    }
}
