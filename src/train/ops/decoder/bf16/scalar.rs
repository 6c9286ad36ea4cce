//! The plain twin: the same blocks, one sum after the other.

use half::bf16;

use super::{BLOCK, DEPTH, Left, Sums, TILE, TILE_VALUES, Unit};

/// Any machine.
pub(super) struct Scalar;

impl Unit for Scalar {
    fn column(&self, left: &Left, tiles: &[bf16], give: &mut dyn FnMut(usize, &Sums)) {
        let width = left.steps * DEPTH;
        for first in (0..left.rows).step_by(BLOCK) {
            let mut sums = [0.0; BLOCK * BLOCK];
            for (row, sums) in left.block(first).chunks_exact(width).zip(sums.chunks_exact_mut(BLOCK)) {
                for (column, sum) in sums.iter_mut().enumerate() {
                    let tiles = &tiles[column / TILE * left.steps * TILE_VALUES..];
                    let weight = |d: usize| {
                        let pair = d % DEPTH / 2 * DEPTH + column % TILE * 2;
                        tiles[d / DEPTH * TILE_VALUES + pair + d % 2].to_f32()
                    };
                    *sum = row.iter().enumerate().map(|(d, x)| x.to_f32() * weight(d)).sum();
                }
            }
            give(first, &sums);
        }
    }
}
