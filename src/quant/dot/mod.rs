//! Integer dot kernels: decoded weight rows times 8-bit activation rows.
//!
//! [`scalar`] is the definition; every other kernel must agree with it to the rounding of the final float
//! sum, which `tests/kernel_suite` checks natively and in wasm.

pub mod scalar;

#[cfg(target_arch = "x86_64")]
pub mod avx2;
#[cfg(target_arch = "wasm32")]
pub mod simd128;

use std::sync::OnceLock;

use super::activations::QuantizedActivations;
use super::decode::DecodedRows;

/// Weight rows decoded at once: 7 KiB at a width of 896, 70 KiB at 8,960; they stay in the first or second cache.
pub const TILE_ROWS: usize = 4;

/// One implementation of the dot tile.
pub trait DotKernel: Sync {
    /// The instruction set, as results report it.
    fn name(&self) -> &'static str;

    /// `out[r][m] = sum over k of w[r][k] * x[m][k]`, `out` being `[weights.rows, x.rows]`; both have the same `cols`.
    fn dot(&self, weights: &DecodedRows, x: &QuantizedActivations, out: &mut [f32]);
}

/// The kernels that this machine runs, the best last.
#[must_use]
pub fn available() -> Vec<&'static dyn DotKernel> {
    #[cfg_attr(not(any(target_arch = "x86_64", target_arch = "wasm32")), expect(unused_mut))]
    let mut kernels: Vec<&'static dyn DotKernel> = vec![&scalar::Scalar];
    #[cfg(target_arch = "x86_64")]
    if let Some(kernel) = avx2::Avx2::new() {
        kernels.push(Box::leak(Box::new(kernel)));
    }
    #[cfg(target_arch = "wasm32")]
    kernels.push(&simd128::Simd128);
    kernels
}

/// The kernel that [`super::matmul`] uses.
#[must_use]
pub fn best() -> &'static dyn DotKernel {
    static BEST: OnceLock<&'static dyn DotKernel> = OnceLock::new();
    *BEST.get_or_init(|| available().pop().unwrap_or(&scalar::Scalar))
}

/// Takes the minima's share, `sum over blocks of minimum * sum of the block's activations`, off `out`.
fn subtract_minima(weights: &DecodedRows, x: &QuantizedActivations, out: &mut [f32]) {
    if weights.minima.is_empty() {
        return;
    }
    let blocks = weights.cols / super::BLOCK;
    for (minima, out) in weights.minima.chunks_exact(blocks).zip(out.chunks_exact_mut(x.rows)) {
        for (sums, out) in x.sums.chunks_exact(blocks).zip(out) {
            *out -= crate::quant::dot_f32(minima, sums);
        }
    }
}
