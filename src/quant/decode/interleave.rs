//! Rows of bytes into the order of a tile.

use crate::quant::tile::{Fours, Pairs, TILE_ROWS};

/// `rows`, `[TILE_ROWS, cols]`, into groups of four columns, `[cols / 4]`.
pub(super) fn fours(rows: &[u8], out: &mut [Fours]) {
    let rows = split(rows).map(|row| row.as_chunks::<4>().0);
    for (index, groups) in out.iter_mut().enumerate() {
        groups.iter_mut().zip(&rows).for_each(|(group, row)| *group = row[index]);
    }
}

/// `rows` less `offset`, `[TILE_ROWS, cols]`, into groups of two columns, `[cols / 2]`.
pub(super) fn pairs(rows: &[u8], offset: u8, out: &mut [Pairs]) {
    let rows = split(rows).map(|row| row.as_chunks::<2>().0);
    for (index, groups) in out.iter_mut().enumerate() {
        for (group, row) in groups.iter_mut().zip(&rows) {
            *group = row[index].map(|quant| quant.wrapping_sub(offset).cast_signed());
        }
    }
}

/// The rows by themselves.
fn split(rows: &[u8]) -> [&[u8]; TILE_ROWS] {
    let cols = rows.len() / TILE_ROWS;
    std::array::from_fn(|row| &rows[row * cols..][..cols])
}
