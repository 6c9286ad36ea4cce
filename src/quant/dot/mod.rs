//! Integer dot kernels: tiles of weights times 8-bit activation rows.
//!
//! [`scalar`] is the definition; every other kernel must give the same bits, which `tests/kernel_suite` checks natively
//! and in wasm. Lanes are rows of weights, so all of them add in one order.

pub mod scalar;

#[cfg(target_arch = "x86_64")]
pub mod avx2;
#[cfg(target_arch = "wasm32")]
mod lanes;
#[cfg(all(target_arch = "wasm32", feature = "relaxed-simd"))]
pub mod relaxed_simd;
#[cfg(target_arch = "wasm32")]
pub mod simd128;

use std::sync::OnceLock;

use super::activations::QuantizedActivations;
use super::tile::{Lanes, Layout, TILE_ROWS, Tile};

/// One implementation of the dot tile.
pub trait DotKernel: Sync {
    /// The instruction set, as results report it.
    fn name(&self) -> &'static str;

    /// The order of weights that it is fastest with; it multiplies any.
    fn layout(&self) -> Layout;

    /// `out[m][r] = sum over k of w[r][k] * x[m][k]`, `out` being `[x.rows]`; both have the same `cols`.
    fn dot(&self, weights: Tile<'_>, x: &QuantizedActivations, out: &mut [Lanes]);
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
    #[cfg(all(target_arch = "wasm32", feature = "relaxed-simd"))]
    kernels.push(&relaxed_simd::RelaxedSimd);
    kernels
}

/// The kernel that [`super::matmul`] uses.
#[must_use]
pub fn best() -> &'static dyn DotKernel {
    static BEST: OnceLock<&'static dyn DotKernel> = OnceLock::new();
    *BEST.get_or_init(|| available().pop().unwrap_or(&scalar::Scalar))
}

/// Takes the minima's share, `sum over blocks of minimum * sum of the block's activations`, off `out`.
fn subtract_minima(weights: Tile<'_>, x: &QuantizedActivations, out: &mut [Lanes]) {
    if weights.minima.is_empty() {
        return;
    }
    for (sums, out) in x.sums.chunks_exact(weights.minima.len()).zip(out) {
        let mut taken: Lanes = [0.0; TILE_ROWS];
        for (minima, sum) in weights.minima.iter().zip(sums) {
            taken.iter_mut().zip(minima).for_each(|(taken, minimum)| *taken += minimum * sum);
        }
        out.iter_mut().zip(taken).for_each(|(out, taken)| *out -= taken);
    }
}
