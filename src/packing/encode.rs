//! Rounding weights to a block format, each block with the scale that fits it best.
//!
//! ggml's own rounding maps a block's largest value to the end of the range; a slightly smaller or larger scale often
//! leaves less squared error. Here some dozens of scales are tried a block, in half precision as they are stored, each
//! refined once by least squares. Deterministic: the same weights give the same bytes.

use half::f16;

use crate::quant::{BLOCK, Format, QuantMatrix};
use crate::{IntentError, Result};

/// How many steps of the range the largest value may lie off its end, in either direction, in [`STEP`]s.
const TRIES: i16 = 16;
/// Fraction of a step between two tries.
const STEP: f32 = 0.1;

/// Rounds `values`, row-major `[rows, cols]`, to `format`.
///
/// # Errors
/// `invalid_argument` for a format that is not written, sizes that do not agree, or values that are not finite.
pub fn encode(format: Format, rows: usize, cols: usize, values: &[f32]) -> Result<QuantMatrix> {
    if let Some(index) = values.iter().position(|value| !value.is_finite()) {
        return Err(IntentError::argument("values", format!("value {index} is {}", values[index])));
    }
    let data = match format {
        Format::F32 => values.iter().flat_map(|value| value.to_le_bytes()).collect(),
        Format::F16 => values.iter().flat_map(|value| f16::from_f32(*value).to_le_bytes()).collect(),
        Format::Q4_0 => blocks(values, Range { low: -8, high: 7 }, pack_4),
        Format::Q5_0 => blocks(values, Range { low: -16, high: 15 }, pack_5),
        Format::Q8_0 => blocks(values, Range { low: -127, high: 127 }, pack_8),
        Format::Q4K | Format::Q6K => {
            return Err(IntentError::argument(
                "format",
                format!("{format:?} is read, not written; take q4_0, q5_0 or q8_0"),
            ));
        }
    };
    QuantMatrix::new(format, rows, cols, data)
}

/// The integers of a format.
#[derive(Clone, Copy)]
struct Range {
    low: i16,
    high: i16,
}

fn blocks(values: &[f32], range: Range, pack: impl Fn(f16, &[i16; BLOCK], &mut Vec<u8>)) -> Vec<u8> {
    let mut data = Vec::new();
    for block in values.as_chunks::<BLOCK>().0 {
        let (scale, quants) = fit(block, range);
        pack(scale, &quants, &mut data);
    }
    data
}

/// The best of all tried scales, with the integers it rounds `block` to.
fn fit(block: &[f32; BLOCK], range: Range) -> (f16, [i16; BLOCK]) {
    let largest = block.iter().fold(0f32, |a, b| if b.abs() > a.abs() { *b } else { a });
    let mut best = (f32::INFINITY, f16::ZERO, [0; BLOCK]);
    if largest == 0.0 {
        return (best.1, best.2);
    }
    for end in [range.low, range.high] {
        for step in -TRIES..=TRIES {
            let scale = largest / (f32::from(end) + STEP * f32::from(step));
            let Some(first) = rounded(block, scale, range) else { continue };
            let refined = rounded(block, least_squares(block, &first.2), range);
            for candidate in std::iter::once(first).chain(refined) {
                if candidate.0 < best.0 {
                    best = candidate;
                }
            }
        }
    }
    (best.1, best.2)
}

/// Squared error, stored scale and integers of `block` at `scale`; nothing where the scale does not fit a half.
fn rounded(block: &[f32; BLOCK], scale: f32, range: Range) -> Option<(f32, f16, [i16; BLOCK])> {
    let stored = f16::from_f32(scale);
    let scale = stored.to_f32();
    let inverse = 1.0 / scale;
    if !(scale.is_finite() && inverse.is_finite()) {
        return None;
    }
    let (low, high) = (f32::from(range.low), f32::from(range.high));
    let mut quants = [0; BLOCK];
    let mut error = 0.0;
    for (quant, value) in quants.iter_mut().zip(block) {
        let rounded = (value * inverse).round_ties_even().clamp(low, high);
        let missed = rounded * scale - value;
        error += missed * missed;
        #[expect(clippy::cast_possible_truncation, reason = "clamped to the range")]
        let integer = rounded as i16;
        *quant = integer;
    }
    Some((error, stored, quants))
}

/// The scale that leaves the least squared error for these integers.
fn least_squares(block: &[f32; BLOCK], quants: &[i16; BLOCK]) -> f32 {
    let (mut product, mut square) = (0.0, 0.0);
    for (value, quant) in block.iter().zip(quants) {
        product += value * f32::from(*quant);
        square += f32::from(*quant) * f32::from(*quant);
    }
    product / square
}

/// `quant` counted from the format's lowest integer, `-zero`.
fn offset(quant: i16, zero: i16) -> u8 {
    u8::try_from(quant + zero).unwrap_or(0)
}

/// ggml's `block_q4_0`.
fn pack_4(scale: f16, quants: &[i16; BLOCK], data: &mut Vec<u8>) {
    data.extend(scale.to_le_bytes());
    data.extend((0..BLOCK / 2).map(|j| offset(quants[j], 8) | offset(quants[j + BLOCK / 2], 8) << 4));
}

/// ggml's `block_q5_0`: the fifth bits of all values come first.
fn pack_5(scale: f16, quants: &[i16; BLOCK], data: &mut Vec<u8>) {
    data.extend(scale.to_le_bytes());
    let fifth = (0..BLOCK).fold(0u32, |bits, j| bits | u32::from(offset(quants[j], 16) >> 4) << j);
    data.extend(fifth.to_le_bytes());
    let low = |j: usize| offset(quants[j], 16) & 15;
    data.extend((0..BLOCK / 2).map(|j| low(j) | low(j + BLOCK / 2) << 4));
}

/// ggml's `block_q8_0`.
fn pack_8(scale: f16, quants: &[i16; BLOCK], data: &mut Vec<u8>) {
    data.extend(scale.to_le_bytes());
    data.extend(quants.iter().flat_map(|quant| i8::try_from(*quant).unwrap_or(0).to_le_bytes()));
}
