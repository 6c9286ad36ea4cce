//! Elementary functions without branches, so that loops over them vectorize on every target. `tests/kernel_suite` compares
//! them with others on each.

use std::f32::consts::{FRAC_1_SQRT_2, LOG2_E};

/// `e^x`, to 2e-7 of its size; outside -87..88, where floats end, the value at the end. A NaN stays one.
#[inline(always)]
#[must_use]
pub fn exp(x: f32) -> f32 {
    // ln 2 in two parts, the first short enough for exact products with small integers (Cody and Waite 1980).
    const LN2_HIGH: f32 = 0.693_359_4;
    const LN2_LOW: f32 = -2.121_944_4e-4;
    // Adding 1.5 * 2^23 rounds to an integer, which then stands in the lowest bits.
    const ROUND: f32 = 12_582_912.0;
    let x = x.clamp(-87.0, 88.0);
    let shifted = x * LOG2_E + ROUND;
    let n = shifted - ROUND;
    let r = x - n * LN2_HIGH - n * LN2_LOW;
    // Taylor's series: the first term left out is below 6e-9 for |r| <= ln(2) / 2.
    let tail = 1.0 / 120.0 + r * (1.0 / 720.0 + r * (1.0 / 5040.0));
    let series = 1.0 + r * (1.0 + r * (0.5 + r * (1.0 / 6.0 + r * (1.0 / 24.0 + r * tail))));
    let power = f32::from_bits((shifted.to_bits() << 23).wrapping_add(0x3f80_0000));
    series * power
}

/// The error function, to 5e-7 (Abramowitz and Stegun 1964, 7.1.26: 1.5e-7, the rest is the rounding of floats), and
/// `e^(-x^2)`, which it is made of and its derivative is proportional to.
#[inline(always)]
#[must_use]
pub fn erf(x: f32) -> (f32, f32) {
    let size = x.abs();
    let t = 1.0 / (1.0 + 0.327_591_1 * size);
    let series = 0.254_829_6 + t * (-0.284_496_73 + t * (1.421_413_7 + t * (-1.453_152 + t * 1.061_405_4)));
    let bell = exp(-size * size);
    ((1.0 - t * series * bell).copysign(x), bell)
}

/// `x / 2 * (1 + erf(x / sqrt(2)))`.
#[inline(always)]
#[must_use]
pub fn gelu(x: f32) -> f32 {
    0.5 * x * (1.0 + erf(x * FRAC_1_SQRT_2).0)
}
