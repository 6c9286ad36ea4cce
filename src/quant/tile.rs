//! Weights in the order in which the dot kernels read them.
//!
//! A tile is [`TILE_ROWS`] weight rows, interleaved by two or four columns: one vector register holds the same columns of
//! several rows, is multiplied with those columns of a token, and adds up one sum a row, so that nothing is added across
//! a register. Tiles are decoded for each product ([`DecodedTile`]), or once at load ([`TiledMatrix`]) for models that
//! are small enough to take a byte a weight.

use super::activations::HALF;
use super::decode::DecodedTile;
use super::{BLOCK, Format, QuantMatrix};

/// Rows of a tile.
pub const TILE_ROWS: usize = 8;

/// Two neighbouring columns of all rows of a tile, signed.
pub type Pairs = [[i8; 2]; TILE_ROWS];

/// Four neighbouring columns of all rows of a tile, counted from the format's [`Format::offset`].
pub type Fours = [[u8; 4]; TILE_ROWS];

/// A number for each row of a tile.
pub type Lanes = [f32; TILE_ROWS];

/// A sub-scale for each row of a tile, twice, as the kernels multiply it.
pub type SubLanes = [[i16; 2]; TILE_ROWS];

/// How a tile's integers lie.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Layout {
    /// [`Pairs`], for multiplications in 16 bits; any format.
    Pairs,
    /// [`Fours`], for multiplications of 7 bits with 8; formats of up to 6 bits.
    Fours,
}

/// The integers of a tile.
#[derive(Debug, Clone, Copy)]
pub enum Quants<'a> {
    /// `[cols / 2]`.
    Pairs(&'a [Pairs]),
    /// `[cols / 4]`.
    Fours(&'a [Fours]),
}

/// [`TILE_ROWS`] weight rows, `w = scale * sub-scale * quant - minimum`.
#[derive(Debug, Clone, Copy)]
pub struct Tile<'a> {
    /// What the integers are of: their bits and offset.
    pub format: Format,
    /// The integers.
    pub quants: Quants<'a>,
    /// `[cols / BLOCK]`.
    pub scales: &'a [Lanes],
    /// `[cols / HALF]`; empty where the format has no sub-scales of its own.
    pub subscales: &'a [SubLanes],
    /// `[cols / BLOCK]`; empty where the format has no minima.
    pub minima: &'a [Lanes],
}

impl Tile<'_> {
    /// The integer of a row and column: for definitions and tests, not for speed.
    #[must_use]
    pub fn quant(&self, row: usize, col: usize) -> i32 {
        match self.quants {
            Quants::Pairs(quants) => i32::from(quants[col / 2][row][col % 2]),
            Quants::Fours(quants) => i32::from(quants[col / 4][row][col % 4]) - self.format.offset(),
        }
    }

    /// The sub-scale of a row and column: 1 where the format has none.
    #[must_use]
    pub fn subscale(&self, row: usize, col: usize) -> i32 {
        self.subscales.get(col / HALF).map_or(1, |lanes| i32::from(lanes[row][0]))
    }
}

/// A weight matrix `[rows, cols]` that is tiled once: a byte a weight, and a float scale for each [`BLOCK`] of a row.
pub struct TiledMatrix {
    format: Format,
    rows: usize,
    cols: usize,
    quants: Owned,
    /// `[tiles, cols / BLOCK]`.
    scales: Vec<Lanes>,
}

/// `[tiles, cols / columns of a group]`; rows past the end count for nothing, because their scales are zeros.
enum Owned {
    Pairs(Vec<Pairs>),
    Fours(Vec<Fours>),
}

impl TiledMatrix {
    /// Tiles `matrix`, exactly; nothing where its format has more than one scale a block. Formats that do not fit
    /// [`Layout::Fours`] are laid out as [`Layout::Pairs`] all the same.
    #[must_use]
    pub fn new(matrix: &QuantMatrix, layout: Layout) -> Option<Self> {
        if !matches!(matrix.format(), Format::Q4_0 | Format::Q5_0 | Format::Q8_0) {
            return None;
        }
        let mut scratch = DecodedTile::for_matrix(matrix, layout);
        let mut quants = match scratch.layout() {
            Layout::Pairs => Owned::Pairs(Vec::new()),
            Layout::Fours => Owned::Fours(Vec::new()),
        };
        let mut scales = Vec::new();
        for first in (0..matrix.rows()).step_by(TILE_ROWS) {
            let tile = scratch.load(matrix, first);
            match (&mut quants, tile.quants) {
                (Owned::Pairs(all), Quants::Pairs(tile)) => all.extend_from_slice(tile),
                (Owned::Fours(all), Quants::Fours(tile)) => all.extend_from_slice(tile),
                (Owned::Pairs(_), Quants::Fours(_)) | (Owned::Fours(_), Quants::Pairs(_)) => {
                    unreachable!("one scratch has one layout")
                }
            }
            scales.extend_from_slice(tile.scales);
        }
        Some(Self { format: matrix.format(), rows: matrix.rows(), cols: matrix.cols(), quants, scales })
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
        let (pairs, fours, blocks) = (self.cols / 2, self.cols / 4, self.cols / BLOCK);
        Tile {
            format: self.format,
            quants: match &self.quants {
                Owned::Pairs(quants) => Quants::Pairs(&quants[index * pairs..][..pairs]),
                Owned::Fours(quants) => Quants::Fours(&quants[index * fours..][..fours]),
            },
            scales: &self.scales[index * blocks..][..blocks],
            subscales: &[],
            minima: &[],
        }
    }
}
