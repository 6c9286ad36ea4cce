//! Loops over slices, written so that the compiler turns them into vector instructions.

pub(super) use crate::backend::cpu::math::{erf, exp};

/// Partial sums that are kept apart, so that a sum is not one chain of dependent additions.
const LANES: usize = 16;

/// `to += from`
pub(super) fn add(to: &mut [f32], from: &[f32]) {
    to.iter_mut().zip(from).for_each(|(to, from)| *to += from);
}

/// `to += factor * from`
pub(super) fn add_scaled(to: &mut [f32], factor: f32, from: &[f32]) {
    to.iter_mut().zip(from).for_each(|(to, from)| *to += factor * from);
}

/// Sum of `f` over pairs of elements.
#[inline(always)]
pub(super) fn sum2(a: &[f32], b: &[f32], f: impl Fn(f32, f32) -> f32) -> f32 {
    let mut lanes = [0.0f32; LANES];
    let (a_chunks, b_chunks) = (a.chunks_exact(LANES), b.chunks_exact(LANES));
    let (a_rest, b_rest) = (a_chunks.remainder(), b_chunks.remainder());
    for (a, b) in a_chunks.zip(b_chunks) {
        for ((lane, a), b) in lanes.iter_mut().zip(a).zip(b) {
            *lane += f(*a, *b);
        }
    }
    let rest: f32 = a_rest.iter().zip(b_rest).map(|(a, b)| f(*a, *b)).sum();
    lanes.iter().sum::<f32>() + rest
}

/// Sum of `f` over elements.
#[inline(always)]
pub(super) fn sum(a: &[f32], f: impl Fn(f32) -> f32) -> f32 {
    sum2(a, a, |a, _| f(a))
}

/// Softmax in place.
pub(super) fn softmax(row: &mut [f32]) {
    let largest = row.iter().copied().fold(f32::NEG_INFINITY, f32::max);
    row.iter_mut().for_each(|x| *x = exp(*x - largest));
    let scale = 1.0 / sum(row, |x| x);
    row.iter_mut().for_each(|x| *x *= scale);
}

/// A hash of a counter, uniform in `0.0..1.0`: the finalizer of SplitMix64.
#[inline(always)]
#[expect(clippy::cast_precision_loss, reason = "24 bits are exact")]
pub(super) fn uniform(seed: u64, counter: u64) -> f32 {
    let mut z = seed.wrapping_add(counter.wrapping_mul(0x9E37_79B9_7F4A_7C15));
    z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
    ((z ^ (z >> 31)) >> 40) as f32 / 16_777_216.0
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn uniform_numbers_are_uniform() {
        let n = 100_000u32;
        let draws: Vec<f32> = (0..n).map(|i| uniform(13, u64::from(i))).collect();
        assert!(draws.iter().all(|x| (0.0..1.0).contains(x)));
        let mean = draws.iter().map(|x| f64::from(*x)).sum::<f64>() / f64::from(n);
        assert!((mean - 0.5).abs() < 0.005, "{mean}");
        let low = draws.iter().filter(|x| **x < 0.1).count();
        assert!(low.abs_diff(10_000) < 400, "{low}");
    }

    #[test]
    fn sums_take_every_element() {
        for n in [0usize, 1, 15, 16, 17, 384] {
            let ones = vec![1.0; n];
            #[expect(clippy::cast_precision_loss, reason = "small")]
            let expected = n as f32;
            assert_eq!(sum(&ones, |x| x), expected);
            assert_eq!(sum2(&ones, &ones, |a, b| a * b), expected);
        }
    }
}
