//! Elementary functions without branches, so that loops over them vectorize on every target.

use std::f32::consts::{FRAC_1_SQRT_2, LOG2_E};

/// `e^x`, to 2e-7 of its size; outside -87..88, where floats end, the value at the end. A NaN stays one.
#[inline(always)]
pub(crate) fn exp(x: f32) -> f32 {
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
pub(crate) fn erf(x: f32) -> (f32, f32) {
    let size = x.abs();
    let t = 1.0 / (1.0 + 0.327_591_1 * size);
    let series = 0.254_829_6 + t * (-0.284_496_73 + t * (1.421_413_7 + t * (-1.453_152 + t * 1.061_405_4)));
    let bell = exp(-size * size);
    ((1.0 - t * series * bell).copysign(x), bell)
}

/// `x / 2 * (1 + erf(x / sqrt(2)))`.
#[inline(always)]
pub(super) fn gelu(x: f32) -> f32 {
    0.5 * x * (1.0 + erf(x * FRAC_1_SQRT_2).0)
}

#[cfg(test)]
mod tests {
    use super::{erf, exp, gelu};

    /// Many values of both signs, small and large.
    fn samples() -> impl Iterator<Item = f32> {
        (-40_000..=40_000).map(|i| i as f32 / 2_000.0)
    }

    #[test]
    fn exp_is_the_standard_librarys_to_2e_7() {
        for x in samples().map(|x| 4.3 * x) {
            let expected = f64::from(x).exp();
            let error = (f64::from(exp(x)) - expected).abs() / expected;
            assert!(error <= 2e-7, "exp({x}) is off by {error} of its size");
        }
        assert_eq!(exp(0.0), 1.0);
        assert_eq!(exp(-1e30), exp(-87.0));
        assert!(exp(-87.0) > 0.0 && exp(88.0).is_finite() && exp(1e30).is_finite());
        assert!(exp(f32::NAN).is_nan());
    }

    #[test]
    fn erf_and_gelu_are_statrs() {
        for x in samples() {
            let expected = statrs::function::erf::erf(f64::from(x));
            assert!((f64::from(erf(x).0) - expected).abs() <= 5e-7, "erf({x})");
            let expected =
                f64::from(x) / 2.0 * (1.0 + statrs::function::erf::erf(f64::from(x) / 2f64.sqrt()));
            let error = (f64::from(gelu(x)) - expected).abs();
            assert!(error <= 3e-7 * f64::from(x.abs()).max(1e-3), "gelu({x}) is off by {error}");
        }
        assert!(gelu(f32::NAN).is_nan());
    }
}
