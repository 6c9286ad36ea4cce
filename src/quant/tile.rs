//! Weights in the order in which the dot kernels read them.
//!
//! A tile is [`TILE_ROWS`] weight rows, interleaved by pairs of columns: one vector register holds one pair of each row,
//! is multiplied with one pair of a token, and adds up one sum a row, so that nothing is added across a register. Tiles
//! are decoded for each product ([`DecodedTile`]), or once at load ([`TiledMatrix`]) for
//! models that are small enough to take a byte a weight.

use super::decode::DecodedTile;
use super::{BLOCK, Format, QuantMatrix};

/// Rows of a tile.
pub const TILE_ROWS: usize = 8;

/// Two neighbouring columns of all rows of a tile.
pub type Pairs<T> = [[T; 2]; TILE_ROWS];

/// A number for each row of a tile.
pub type Lanes = [f32; TILE_ROWS];

/// The integers of a tile, `[cols / 2]`.
#[derive(Debug, Clone, Copy)]
pub enum Quants<'a> {
    /// In 16 bits.
    Wide(&'a [Pairs<i16>]),
    /// In 8 bits.
    Narrow(&'a [Pairs<i8>]),
}

/// [`TILE_ROWS`] weight rows, `w = scale * quant - minimum`.
#[derive(Debug, Clone, Copy)]
pub struct Tile<'a> {
    /// The integers.
    pub quants: Quants<'a>,
    /// `[cols / BLOCK]`.
    pub scales: &'a [Lanes],
    /// `[cols / BLOCK]`; empty where the format has no minima.
    pub minima: &'a [Lanes],
}

impl Tile<'_> {
    /// The integer of a row and column: for definitions and tests, not for speed.
    #[must_use]
    pub fn quant(&self, row: usize, col: usize) -> i16 {
        match self.quants {
            Quants::Wide(quants) => quants[col / 2][row][col % 2],
            Quants::Narrow(quants) => i16::from(quants[col / 2][row][col % 2]),
        }
    }
}

/// A weight matrix `[rows, cols]` that is tiled once: a byte a weight, and a float scale for each [`BLOCK`] of a row.
pub struct TiledMatrix {
    rows: usize,
    cols: usize,
    /// `[tiles, cols / 2]`; rows past the end are zeros.
    quants: Vec<Pairs<i8>>,
    /// `[tiles, cols / BLOCK]`.
    scales: Vec<Lanes>,
}

impl TiledMatrix {
    /// Tiles `matrix`, exactly; nothing where its format does not fit 8 bits and one scale a block.
    #[must_use]
    pub fn new(matrix: &QuantMatrix) -> Option<Self> {
        if !matches!(matrix.format(), Format::Q4_0 | Format::Q5_0 | Format::Q8_0) {
            return None;
        }
        let (mut quants, mut scales) = (Vec::new(), Vec::new());
        let mut scratch = DecodedTile::for_matrix(matrix);
        for first in (0..matrix.rows()).step_by(TILE_ROWS) {
            let tile = scratch.load(matrix, first);
            if let Quants::Wide(wide) = tile.quants {
                // Formats of up to 8 bits: nothing is cut off.
                quants.extend(wide.iter().map(|pairs| pairs.map(|pair| pair.map(|quant| quant as i8))));
            }
            scales.extend_from_slice(tile.scales);
        }
        Some(Self { rows: matrix.rows(), cols: matrix.cols(), quants, scales })
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

    /// Tile number `index`.
    #[must_use]
    pub fn tile(&self, index: usize) -> Tile<'_> {
        let (pairs, blocks) = (self.cols / 2, self.cols / BLOCK);
        Tile {
            quants: Quants::Narrow(&self.quants[index * pairs..][..pairs]),
            scales: &self.scales[index * blocks..][..blocks],
            minima: &[],
        }
    }
}
