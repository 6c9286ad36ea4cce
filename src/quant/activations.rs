//! Activations rounded to 8 bits, the other operand of the integer dot.

use super::BLOCK;

/// Activation rows `[rows, cols]` in blocks of [`BLOCK`]: `x = scale * quant`, quants in -127..=127
/// (ggml's Q8_0 rounding), kept in 16 bits because that is what the dot kernels multiply.
pub struct QuantizedActivations {
    /// Tokens.
    pub rows: usize,
    /// Features, a multiple of [`BLOCK`].
    pub cols: usize,
    /// `[rows, cols]`.
    pub quants: Vec<i16>,
    /// `[rows, cols / BLOCK]`.
    pub scales: Vec<f32>,
    /// `[rows, cols / BLOCK]`: the sum of each rounded block, for formats with minima.
    pub sums: Vec<f32>,
}

impl QuantizedActivations {
    /// Rounds `x`, `[rows, cols]`.
    ///
    /// # Panics
    /// Where the sizes do not agree or `cols` is not a multiple of [`BLOCK`]; models are checked for that at load.
    #[must_use]
    pub fn new(x: &[f32], rows: usize, cols: usize) -> Self {
        assert!(x.len() == rows * cols && cols.is_multiple_of(BLOCK), "activations are whole blocks");
        let blocks = x.len() / BLOCK;
        let mut this =
            Self { rows, cols, quants: vec![0; x.len()], scales: vec![0.0; blocks], sums: vec![0.0; blocks] };
        let (x, _) = x.as_chunks::<BLOCK>();
        let (quants, _) = this.quants.as_chunks_mut::<BLOCK>();
        for (((x, q), scale), sum) in x.iter().zip(quants).zip(&mut this.scales).zip(&mut this.sums) {
            (*scale, *sum) = quantize_block(x, q);
        }
        this
    }
}

/// Returns the block's scale and the sum of its rounded values. A block with a value that is not finite gets a
/// scale that is not finite, so that the fault reaches the scores, where it is caught, and is not rounded away.
#[inline]
fn quantize_block(x: &[f32; BLOCK], quants: &mut [i16; BLOCK]) -> (f32, f32) {
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
    // A block of values near the smallest floats has no finite inverse; it rounds to zero.
    let inverse = 1.0 / scale;
    let inverse = if inverse.is_finite() { inverse } else { 0.0 };
    let mut sum = 0i32;
    for (quant, value) in quants.iter_mut().zip(x) {
        // In -127..=127 by construction. Adding 1.5 * 2^23 rounds half to even, and the integer stands in the lowest
        // bits: unlike a cast, that vectorizes. What a NaN becomes does not matter, see above.
        let q = (value * inverse + 12_582_912.0).to_bits() as i16;
        *quant = q;
        sum += i32::from(q);
    }
    let scale = scale + poison.iter().sum::<f32>();
    (scale, scale * sum as f32)
}
