//! Rounding weights to a block format, each block with the scale that fits it best.
//!
//! ggml's own rounding maps a block's largest value to the end of the range; a slightly smaller or larger scale often
//! leaves less squared error. Here some dozens of scales are tried a block, in half precision as they are stored, each
//! refined once by least squares. Deterministic: the same weights give the same bytes.

use candle_core::quantized::{GgmlDType, QTensor};
use candle_core::{Device, Tensor};
use half::f16;

use crate::quant::{BLOCK, Format, QuantMatrix};
use crate::{IntentError, Result};

/// How many steps of the range the largest value may lie off its end, in either direction, in [`STEP`]s.
const TRIES: i16 = 16;
/// Fraction of a step between two tries.
const STEP: f32 = 0.1;
/// Scales that are computed side by side.
const LANES: usize = 8;
/// Groups of [`LANES`] that hold the tries of both ends.
const GROUPS: usize = (2 * (2 * TRIES as usize + 1)).div_ceil(LANES);
/// Added and taken away again, it leaves the nearest integer of any number below 2^22, ties to even.
const TO_INTEGER: f32 = 12_582_912.0;

/// Rounds `values`, row-major `[rows, cols]`, to `format`.
///
/// # Errors
/// `invalid_argument` for sizes that do not agree, rows that the format does not divide, or values that are not finite.
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
        Format::Q4K => candle(GgmlDType::Q4K, rows, cols, values)?,
        Format::Q6K => candle(GgmlDType::Q6K, rows, cols, values)?,
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

/// The K formats, whose blocks have minima and scales of their own, by candle's rounding.
fn candle(dtype: GgmlDType, rows: usize, cols: usize, values: &[f32]) -> Result<Vec<u8>> {
    let quantized = Tensor::from_slice(values, (rows, cols), &Device::Cpu)
        .and_then(|tensor| QTensor::quantize(&tensor, dtype))
        .and_then(|tensor| tensor.data().map(std::borrow::Cow::into_owned));
    quantized.map_err(|error| IntentError::argument("values", error))
}

/// The best of all tried scales, with the integers it rounds `block` to.
fn fit(block: &[f32; BLOCK], range: Range) -> (f16, [i16; BLOCK]) {
    let largest = block.iter().fold(0f32, |a, b| if b.abs() > a.abs() { *b } else { a });
    if largest == 0.0 {
        return (f16::ZERO, [0; BLOCK]);
    }
    let ends = [range.low, range.high].into_iter();
    let scales = ends.flat_map(|end| {
        (-TRIES..=TRIES).map(move |step| largest / (f32::from(end) + STEP * f32::from(step)))
    });
    let mut tries = [[f32::NAN; LANES]; GROUPS];
    tries.as_flattened_mut().iter_mut().zip(scales).for_each(|(slot, scale)| *slot = scale);
    let mut best = (f32::INFINITY, f16::ZERO);
    for scales in tries {
        let first = Tried::new(block, scales, range);
        let refined = Tried::new(block, first.least_squares(), range);
        for lane in 0..LANES {
            for tried in [&first, &refined] {
                if tried.errors[lane] < best.0 {
                    best = (tried.errors[lane], tried.stored[lane]);
                }
            }
        }
    }
    if best.1 == f16::ZERO { (f16::ZERO, [0; BLOCK]) } else { (best.1, integers(block, best.1, range)) }
}

/// What a block becomes at several scales at once, each lane one of them.
struct Tried {
    /// The scales as they are stored.
    stored: [f16; LANES],
    /// Squared errors; infinite where the scale does not fit a half.
    errors: [f32; LANES],
    /// Sums of values times integers.
    products: [f32; LANES],
    /// Sums of squared integers.
    squares: [f32; LANES],
}

impl Tried {
    fn new(block: &[f32; BLOCK], scales: [f32; LANES], range: Range) -> Self {
        let stored = scales.map(f16::from_f32);
        let scales = stored.map(f16::to_f32);
        let inverses = scales.map(|scale| 1.0 / scale);
        let (low, high) = (f32::from(range.low), f32::from(range.high));
        let (mut errors, mut products, mut squares) = ([0.0; LANES], [0.0; LANES], [0.0; LANES]);
        for value in block {
            for lane in 0..LANES {
                let rounded = integer(value * inverses[lane], low, high);
                let missed = rounded * scales[lane] - value;
                errors[lane] += missed * missed;
                products[lane] += value * rounded;
                squares[lane] += rounded * rounded;
            }
        }
        for lane in 0..LANES {
            if !(scales[lane].is_finite() && inverses[lane].is_finite()) {
                errors[lane] = f32::INFINITY;
            }
        }
        Self { stored, errors, products, squares }
    }

    /// The scales that leave the least squared error for these integers; not a number where a scale did not fit.
    fn least_squares(&self) -> [f32; LANES] {
        std::array::from_fn(|lane| match self.errors[lane] {
            f32::INFINITY => f32::NAN,
            _ => self.products[lane] / self.squares[lane],
        })
    }
}

/// The nearest integer of the range, ties to even.
#[inline]
fn integer(value: f32, low: f32, high: f32) -> f32 {
    let value = if value < high { value } else { high };
    let value = if value > low { value } else { low };
    (value + TO_INTEGER) - TO_INTEGER
}

/// The integers of `block` at a stored scale.
fn integers(block: &[f32; BLOCK], scale: f16, range: Range) -> [i16; BLOCK] {
    let inverse = 1.0 / scale.to_f32();
    let (low, high) = (f32::from(range.low), f32::from(range.high));
    #[expect(clippy::cast_possible_truncation, reason = "within the range")]
    block.map(|value| integer(value * inverse, low, high) as i16)
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
