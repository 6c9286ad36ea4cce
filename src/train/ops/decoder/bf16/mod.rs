//! Products with a frozen matrix in bf16, sums in f32.
//!
//! Training in mixed precision (Micikevicius et al. 2018, arXiv 1710.03740; bf16: Kalamkar et al. 2019, arXiv
//! 1905.12322): the frozen matrices and what they are multiplied with are rounded, everything that is trained is not.
//! Matrix units compute this several times as fast as f32, AVX-512's dot products up to twice as fast.

#[cfg(all(target_os = "linux", target_arch = "x86_64"))]
mod amx;
#[cfg(target_arch = "x86_64")]
mod avx512;
mod scalar;

use half::bf16;
use half::slice::HalfFloatSliceExt;
use rayon::prelude::*;

/// Rows of a tile; also its columns of sums.
const TILE: usize = 16;
/// Values that a tile's row holds: the depth of one step.
const DEPTH: usize = 32;
/// Values of a tile.
const TILE_VALUES: usize = TILE * DEPTH;
/// Rows and columns of one block of sums.
const BLOCK: usize = 2 * TILE;
/// Sums of a block, row-major.
type Sums = [f32; BLOCK * BLOCK];

/// What computes blocks of sums.
trait Unit: Sync {
    /// All blocks of rows of `left` times one column of blocks, `give(first row, sums)` one after the other. `tiles` are
    /// its two columns of tiles, one behind the other.
    fn column(&self, left: &Left, tiles: &[bf16], give: &mut dyn FnMut(usize, &Sums));
}

/// What this machine has, the fastest last.
fn units() -> Vec<&'static dyn Unit> {
    let mut all: Vec<&'static dyn Unit> = vec![&scalar::Scalar];
    #[cfg(target_arch = "x86_64")]
    if avx512::available() {
        all.push(&avx512::Avx512);
    }
    #[cfg(all(target_os = "linux", target_arch = "x86_64"))]
    if amx::available() {
        all.push(&amx::Amx);
    }
    all
}

/// Whether this machine computes such products faster than those of f32.
#[must_use]
pub(in crate::train) fn is_fast() -> bool {
    units().len() > 1
}

/// The right-hand side of a product, `[depth, width]`, in the order in which a unit reads it.
struct Packed {
    depth: usize,
    width: usize,
    /// Tiles by `[column of tiles][step of depth]`; a tile is 16 rows of 16 pairs, a pair being two neighbours in depth.
    tiles: Vec<bf16>,
}

impl Packed {
    /// Packs the matrix whose value at (`d`, `w`) is `value(d, w)`.
    fn new(depth: usize, width: usize, value: impl Fn(usize, usize) -> f32 + Sync) -> Self {
        let steps = depth.div_ceil(DEPTH);
        let columns = width.next_multiple_of(BLOCK) / TILE;
        let mut tiles = vec![bf16::ZERO; columns * steps * TILE_VALUES];
        tiles.par_chunks_mut((steps * TILE_VALUES).max(1)).enumerate().for_each(|(column, tiles)| {
            for (index, slot) in tiles.iter_mut().enumerate() {
                let (step, index) = (index / TILE_VALUES, index % TILE_VALUES);
                let (row, pair) = (index / DEPTH, index % DEPTH);
                let (d, w) = (step * DEPTH + 2 * row + pair % 2, column * TILE + pair / 2);
                if d < depth && w < width {
                    *slot = bf16::from_f32(value(d, w));
                }
            }
        });
        Self { depth, width, tiles }
    }

    /// `x` times the matrix: `[rows, depth]` gives `[rows, width]`. The order of additions does not depend on the number
    /// of threads.
    fn product(&self, unit: &dyn Unit, x: &[f32]) -> Vec<f32> {
        assert!(self.depth > 0 && x.len().is_multiple_of(self.depth), "whole rows");
        let rows = x.len() / self.depth;
        let steps = self.depth.div_ceil(DEPTH);
        let left = Left::new(x, rows, self.depth, steps);
        let mut out = vec![0.0; rows * self.width];
        let shared = Shared(out.as_mut_ptr());
        let columns = self.tiles.par_chunks(2 * steps * TILE_VALUES).enumerate();
        columns.for_each(|(column, tiles)| {
            let wide = BLOCK.min(self.width - column * BLOCK);
            unit.column(&left, tiles, &mut |first, sums| {
                for (row, sums) in (first..rows.min(first + BLOCK)).zip(sums.chunks_exact(BLOCK)) {
                    // SAFETY: `row` and the columns lie inside `out`, and no other task writes these columns.
                    let out = unsafe { shared.slice(row * self.width + column * BLOCK, wide) };
                    out.copy_from_slice(&sums[..wide]);
                }
            });
        });
        out
    }
}

/// The left-hand side: bf16, filled up with zeros to whole blocks of rows and whole steps.
struct Left {
    rows: usize,
    steps: usize,
    /// `[rows, steps * DEPTH]`
    values: Vec<bf16>,
}

impl Left {
    fn new(x: &[f32], rows: usize, depth: usize, steps: usize) -> Self {
        let padded = rows.next_multiple_of(BLOCK);
        let mut values = vec![bf16::ZERO; padded * steps * DEPTH];
        let rows = values.par_chunks_mut(steps * DEPTH).zip(x.par_chunks(depth));
        rows.for_each(|(values, x)| values[..depth].convert_from_f32_slice(x));
        Self { rows: padded, steps, values }
    }

    /// The values of the block of rows from `first` on.
    fn block(&self, first: usize) -> &[bf16] {
        let width = self.steps * DEPTH;
        &self.values[first * width..(first + BLOCK) * width]
    }
}

/// A result that tasks write different columns of.
struct Shared(*mut f32);

// SAFETY: only `slice` reads the pointer, and its callers keep their ranges apart.
unsafe impl Sync for Shared {}

impl Shared {
    /// # Safety
    /// The range lies inside the allocation, and nobody else uses it while the slice lives.
    #[expect(clippy::mut_from_ref, reason = "the callers' ranges do not meet")]
    unsafe fn slice(&self, start: usize, len: usize) -> &mut [f32] {
        // SAFETY: as the caller promises.
        unsafe { std::slice::from_raw_parts_mut(self.0.add(start), len) }
    }
}

/// A frozen matrix, `[out, in]`, for products with it and with its transpose.
pub(in crate::train) struct Tiles {
    transposed: Packed,
    plain: Packed,
    unit: &'static dyn Unit,
}

impl Tiles {
    /// Packs `values`, `[out, width]`.
    pub(in crate::train) fn new(values: &[f32], width: usize) -> Self {
        let out = values.len() / width.max(1);
        let unit = units().pop().unwrap_or(&scalar::Scalar);
        Self {
            transposed: Packed::new(width, out, |d, w| values[w * width + d]),
            plain: Packed::new(out, width, |d, w| values[d * width + w]),
            unit,
        }
    }

    /// Rows and columns.
    pub(in crate::train) fn shape(&self) -> (usize, usize) {
        (self.plain.depth, self.plain.width)
    }

    /// `x W'`: `[rows, in]` gives `[rows, out]`.
    pub(super) fn forward(&self, x: &[f32]) -> Vec<f32> {
        self.transposed.product(self.unit, x)
    }

    /// `g W`: `[rows, out]` gives `[rows, in]`.
    pub(super) fn backward(&self, gradient: &[f32]) -> Vec<f32> {
        self.plain.product(self.unit, gradient)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Numbers of both signs that bf16 holds exactly in part only.
    fn numbers(count: usize, step: usize) -> Vec<f32> {
        (0..count).map(|i| f32::from(u8::try_from((i * step) % 251).unwrap()) / 83.0 - 1.5).collect()
    }

    fn rounded(value: f32) -> f64 {
        f64::from(bf16::from_f32(value).to_f32())
    }

    /// Against the product of the rounded operands in double precision: what is left is f32's rounding of sums.
    #[test]
    fn every_unit_computes_the_product_of_rounded_operands() {
        // The 0.5B's own shapes, and tails in every dimension.
        let shapes = [
            (1, 1, 1),
            (3, 33, 31),
            (32, 32, 32),
            (33, 65, 100),
            (77, 896, 1152),
            (40, 4864, 70),
            (5, 896, 896),
        ];
        for (rows, depth, width) in shapes {
            let (x, w) = (numbers(rows * depth, 7), numbers(width * depth, 11));
            let packed = Packed::new(depth, width, |d, c| w[c * depth + d]);
            for (number, unit) in units().into_iter().enumerate() {
                let found = packed.product(unit, &x);
                assert_eq!(found.len(), rows * width);
                for (at, found) in found.iter().enumerate() {
                    let (row, column) = (at / width, at % width);
                    let terms =
                        || (0..depth).map(|d| rounded(x[row * depth + d]) * rounded(w[column * depth + d]));
                    let (sum, size): (f64, f64) = (terms().sum(), terms().map(f64::abs).sum());
                    let error = (f64::from(*found) - sum).abs();
                    assert!(
                        error <= 1e-6 * size + 1e-9,
                        "unit {number}, {rows}x{depth}x{width} at {at}: {found} for {sum}",
                    );
                }
            }
        }
    }

    #[test]
    fn a_matrix_is_multiplied_from_both_sides() {
        let (out, width) = (48, 40);
        let w: Vec<f32> =
            numbers(out * width, 5).iter().map(|value| bf16::from_f32(*value).to_f32()).collect();
        let tiles = Tiles::new(&w, width);
        assert_eq!(tiles.shape(), (out, width));
        let mut one = vec![0.0; width];
        one[7] = 1.0;
        let column: Vec<f32> = (0..out).map(|row| w[row * width + 7]).collect();
        assert_eq!(tiles.forward(&one), column);
        let mut one = vec![0.0; out];
        one[9] = 1.0;
        assert_eq!(tiles.backward(&one), w[9 * width..10 * width]);
    }
}
