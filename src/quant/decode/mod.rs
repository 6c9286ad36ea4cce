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

/// Room for the integers in both layouts, of which one is in use.
struct Scratch {
    layout: Layout,
    /// `[cols / 2]`, where that is the layout.
    pairs: Vec<Pairs>,
    /// `[cols / 4]`, where that is the layout.
    fours: Vec<Fours>,
}

/// Where a row's scales go: lane `lane` of each.
struct RowScales<'a> {
    lane: usize,
    scales: &'a mut [Lanes],
    subscales: &'a mut [SubLanes],
    minima: &'a mut [Lanes],
}

impl Default for DecodedTile {
    /// No room yet.
    fn default() -> Self {
        Self {
            format: Format::F32,
            cols: 0,
            rows: Vec::new(),
            quants: Scratch { layout: Layout::Pairs, pairs: Vec::new(), fours: Vec::new() },
            scales: Vec::new(),
            subscales: Vec::new(),
            minima: Vec::new(),
        }
    }
}

impl DecodedTile {
    /// Room for a tile of `matrix`. Formats that do not fit [`Layout::Fours`] get [`Layout::Pairs`].
    #[must_use]
    pub fn for_matrix(matrix: &QuantMatrix, layout: Layout) -> Self {
        let mut this = Self::default();
        this.fit(matrix, layout);
        this
    }

    /// Makes this room for a tile of another matrix, with what is there where it is enough.
    pub fn fit(&mut self, matrix: &QuantMatrix, layout: Layout) {
        let (cols, format) = (matrix.cols(), matrix.format());
        (self.cols, self.format) = (cols, format);
        match layout {
            Layout::Fours if format.bits() <= 6 => {
                self.quants.layout = Layout::Fours;
                self.quants.fours.resize(cols / 4, [[0; 4]; TILE_ROWS]);
            }
            Layout::Fours | Layout::Pairs => {
                self.quants.layout = Layout::Pairs;
                self.quants.pairs.resize(cols / 2, [[0; 2]; TILE_ROWS]);
            }
        }
        let subscales = if format == Format::Q6K { cols / HALF } else { 0 };
        let minima = if format == Format::Q4K { cols / BLOCK } else { 0 };
        self.rows.resize(TILE_ROWS * cols, 0);
        self.scales.resize(cols / BLOCK, [0.0; TILE_ROWS]);
        self.subscales.resize(subscales, [[0; 2]; TILE_ROWS]);
        self.minima.resize(minima, [0.0; TILE_ROWS]);
    }

    /// The layout that the tiles have.
    #[must_use]
    pub fn layout(&self) -> Layout {
        self.quants.layout
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
        let Scratch { layout, pairs, fours } = &mut self.quants;
        match layout {
            Layout::Fours => interleave::fours(&self.rows, fours),
            Layout::Pairs => interleave::pairs(&self.rows, self.format.offset() as u8, pairs),
        }
        self.tile()
    }

    fn tile(&self) -> Tile<'_> {
        Tile {
            format: self.format,
            quants: match self.quants.layout {
                Layout::Fours => Quants::Fours(&self.quants.fours),
                Layout::Pairs => Quants::Pairs(&self.quants.pairs),
            },
            scales: &self.scales,
            subscales: &self.subscales,
            minima: &self.minima,
        }
    }
}
