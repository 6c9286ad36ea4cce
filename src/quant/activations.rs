//! Activations rounded to 8 bits, the other operand of the integer dot.

use super::BLOCK;

/// Columns that the K formats give a sub-scale.
pub const HALF: usize = BLOCK / 2;

/// Negated sums of a block's integers, of the first two and the last two of every four columns apart: over the whole block
/// and over each [`HALF`]. Times a format's offset they are where sums of 16 bits start, so that they end as those of
/// weights around zero. On the way they may pass the 16 bits and wrap; the end is in range: `32 * 2^(bits - 1) * 127 / 2`
/// for up to five bits, half as many columns for six.
pub type Corrections = [[i16; 2]; 3];

/// Activation rows `[rows, cols]` in blocks of [`BLOCK`]: `x = scale * quant`, quants in -127..=127
/// (ggml's Q8_0 rounding).
#[derive(Default)]
pub struct QuantizedActivations {
    /// Tokens.
    pub rows: usize,
    /// Features, a multiple of [`BLOCK`].
    pub cols: usize,
    /// `[rows, cols]`, in 16 bits for kernels that multiply pairs of 16 bits.
    pub wide: Vec<i16>,
    /// The same in 8 bits.
    pub bytes: Vec<i8>,
    /// `[rows, cols / BLOCK]`.
    pub scales: Vec<f32>,
    /// `[rows, cols / BLOCK]`, for weights that count from an offset.
    pub corrections: Vec<Corrections>,
    /// `[rows, cols / BLOCK]`: the sum of each rounded block, for formats with minima.
    pub sums: Vec<f32>,
}

impl QuantizedActivations {
    /// Rounds `x`, `[rows, cols]`.
    ///
    /// # Panics
    /// As [`round`](Self::round).
    #[must_use]
    pub fn new(x: &[f32], rows: usize, cols: usize) -> Self {
        let mut this = Self::default();
        this.round(x, rows, cols);
        this
    }

    /// Rounds `x`, `[rows, cols]`, into the room that is here.
    ///
    /// # Panics
    /// Where the sizes do not agree or `cols` is not a multiple of [`BLOCK`]; models are checked for that at load.
    pub fn round(&mut self, x: &[f32], rows: usize, cols: usize) {
        assert!(x.len() == rows * cols && cols.is_multiple_of(BLOCK), "activations are whole blocks");
        let blocks = x.len() / BLOCK;
        (self.rows, self.cols) = (rows, cols);
        self.wide.resize(x.len(), 0);
        self.bytes.resize(x.len(), 0);
        self.scales.resize(blocks, 0.0);
        self.corrections.resize(blocks, [[0; 2]; 3]);
        self.sums.resize(blocks, 0.0);
        let (wide, _) = self.wide.as_chunks_mut::<BLOCK>();
        let (bytes, _) = self.bytes.as_chunks_mut::<BLOCK>();
        let further = self.scales.iter_mut().zip(&mut self.corrections).zip(&mut self.sums);
        let blocks = x.as_chunks::<BLOCK>().0.iter().zip(wide).zip(bytes).zip(further);
        for (((x, wide), bytes), ((scale, corrections), sum)) in blocks {
            #[cfg(target_arch = "wasm32")]
            let rounded = simd128::quantize_block(x, wide, bytes);
            #[cfg(not(target_arch = "wasm32"))]
            let rounded = quantize_block(x, wide, bytes);
            (*scale, *corrections) = rounded;
            *sum = *scale * -f32::from(corrections[0][0].wrapping_add(corrections[0][1]));
        }
    }
}

/// They wrap where the block has a NaN, of which any 16 bits may have come.
fn corrections(quants: &[i16; BLOCK]) -> Corrections {
    let (halves, _) = quants.as_chunks::<HALF>();
    let less = |sum: i16, two: &[i16]| two.iter().fold(sum, |sum, quant| sum.wrapping_sub(*quant));
    let half = |half: &[i16; HALF]| {
        let fours = half.as_chunks::<4>().0;
        fours.iter().fold([0; 2], |[a, b], four| [less(a, &four[..2]), less(b, &four[2..])])
    };
    let [first, second] = [half(&halves[0]), half(&halves[1])];
    [[first[0].wrapping_add(second[0]), first[1].wrapping_add(second[1])], first, second]
}

/// Returns the block's scale. A block with a value that is not finite gets a scale that is not finite, so that the fault
/// reaches the scores, where it is caught, and is not rounded away.
#[inline]
#[cfg_attr(target_arch = "wasm32", expect(dead_code, reason = "the definition of the one that runs"))]
fn quantize_block(x: &[f32; BLOCK], wide: &mut [i16; BLOCK], bytes: &mut [i8; BLOCK]) -> (f32, Corrections) {
    let mut largest = [0f32; 8];
    let mut poison = [0f32; 8];
    for chunk in x.as_chunks::<8>().0 {
        for lane in 0..8 {
            // A comparison, because `max` is a call on wasm; NaNs are left to `poison` by both.
            let size = chunk[lane].abs();
            largest[lane] = if size > largest[lane] { size } else { largest[lane] };
            poison[lane] += chunk[lane] * 0.0;
        }
    }
    let scale = largest.iter().fold(0f32, |a, b| if *b > a { *b } else { a }) / 127.0;
    let inverse = inverse(scale);
    for ((wide, byte), value) in wide.iter_mut().zip(bytes).zip(x) {
        // In -127..=127 by construction. Adding 1.5 * 2^23 rounds half to even, and the integer stands in the lowest
        // bits: unlike a cast, that vectorizes. What a NaN becomes does not matter, see above.
        *wide = (value * inverse + ROUND).to_bits() as i16;
        *byte = *wide as i8;
    }
    (scale + poison.iter().sum::<f32>(), corrections(wide))
}

/// 1.5 * 2^23.
const ROUND: f32 = 12_582_912.0;

/// A block of values near the smallest floats has no finite inverse; it rounds to zero.
#[inline]
fn inverse(scale: f32) -> f32 {
    let inverse = 1.0 / scale;
    if inverse.is_finite() { inverse } else { 0.0 }
}

/// The same with WebAssembly's 128-bit SIMD.
#[cfg(target_arch = "wasm32")]
mod simd128 {
    use std::arch::wasm32::{
        f32x4_abs, f32x4_add, f32x4_extract_lane, f32x4_mul, f32x4_pmax, f32x4_splat, i8x16_narrow_i16x8,
        i16x8_narrow_i32x4, i16x8_splat, i32x4_add, i32x4_dot_i16x8, i32x4_extract_lane, i32x4_shuffle,
        i32x4_splat, i32x4_sub, v128, v128_load, v128_store,
    };

    use super::{BLOCK, Corrections, ROUND, inverse};

    pub(super) fn quantize_block(
        x: &[f32; BLOCK],
        wide: &mut [i16; BLOCK],
        bytes: &mut [i8; BLOCK],
    ) -> (f32, Corrections) {
        let at = x.as_ptr().cast::<v128>();
        // SAFETY: a block is eight registers; v128 loads need no alignment.
        let x: [v128; 8] = std::array::from_fn(|i| unsafe { v128_load(at.add(i)) });
        let (mut largest, mut poison) = (f32x4_splat(0.0), f32x4_splat(0.0));
        for x in x {
            // `pmax` keeps the first where the second is a NaN.
            largest = f32x4_pmax(largest, f32x4_abs(x));
            poison = f32x4_add(poison, f32x4_mul(x, f32x4_splat(0.0)));
        }
        let largest = f32x4_pmax(largest, i32x4_shuffle::<2, 3, 0, 1>(largest, largest));
        let largest = f32x4_pmax(largest, i32x4_shuffle::<1, 0, 3, 2>(largest, largest));
        let poison = f32x4_add(poison, i32x4_shuffle::<2, 3, 0, 1>(poison, poison));
        let poison = f32x4_extract_lane::<0>(poison) + f32x4_extract_lane::<1>(poison);
        let scale = f32x4_extract_lane::<0>(largest) / 127.0;
        let by = f32x4_splat(inverse(scale));
        let round = |x| {
            i32x4_sub(
                f32x4_add(f32x4_mul(x, by), f32x4_splat(ROUND)),
                i32x4_splat(ROUND.to_bits().cast_signed()),
            )
        };
        let quants = [0, 2, 4, 6].map(|i| i16x8_narrow_i32x4(round(x[i]), round(x[i + 1])));
        let (wide, bytes) = (wide.as_mut_ptr().cast::<v128>(), bytes.as_mut_ptr().cast::<v128>());
        for (i, quants) in quants.iter().enumerate() {
            // SAFETY: a block is four registers of 16 bits; v128 stores need no alignment.
            unsafe { v128_store(wide.add(i), *quants) };
        }
        for i in 0..2 {
            // SAFETY: a block is two registers of 8 bits; v128 stores need no alignment.
            unsafe { v128_store(bytes.add(i), i8x16_narrow_i16x8(quants[2 * i], quants[2 * i + 1])) };
        }
        // Lanes 0 and 2 have the first two of every four columns, 1 and 3 the others.
        let pairs = |quants| i32x4_dot_i16x8(quants, i16x8_splat(-1));
        let first = i32x4_add(pairs(quants[0]), pairs(quants[1]));
        let second = i32x4_add(pairs(quants[2]), pairs(quants[3]));
        let part = |sums| {
            let sums = i32x4_add(sums, i32x4_shuffle::<2, 3, 0, 1>(sums, sums));
            [i32x4_extract_lane::<0>(sums) as i16, i32x4_extract_lane::<1>(sums) as i16]
        };
        (scale + poison, [part(i32x4_add(first, second)), part(first), part(second)])
    }
}
