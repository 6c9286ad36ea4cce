//! Dropout (Srivastava et al. 2014) whose mask is a function of a seed and the element's number: the same in every
//! run, on any number of threads, with no state to keep.

use candle_core::{CpuStorage, CustomOp1, Layout, Result, Shape, Tensor};
use rayon::prelude::*;

use super::{math, values, with_values};

const PIECE: usize = 16 * 1024;

/// Zeroes elements with probability `rate` and scales the others by `1 / (1 - rate)`.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Dropout {
    /// Share of elements, in `0.0..1.0`.
    pub rate: f32,
    /// Another for each place in the network and each step.
    pub seed: u64,
}

impl Dropout {
    /// Applies it; at rate 0 it is the identity.
    ///
    /// # Errors
    /// Where `x` is not contiguous.
    pub fn apply(self, x: &Tensor) -> Result<Tensor> {
        if self.rate > 0.0 { x.apply_op1(self) } else { Ok(x.clone()) }
    }

    /// The factor of element `number`.
    #[inline(always)]
    pub(super) fn factor(self, number: u64) -> f32 {
        if math::uniform(self.seed, number) < self.rate { 0.0 } else { 1.0 / (1.0 - self.rate) }
    }

    fn mask(self, x: &[f32]) -> Vec<f32> {
        let mut out = vec![0.0; x.len()];
        let pieces = out.par_chunks_mut(PIECE).zip(x.par_chunks(PIECE)).enumerate();
        pieces.for_each(|(piece, (out, x))| {
            let first = piece as u64 * PIECE as u64;
            for ((out, x), number) in out.iter_mut().zip(x).zip(first..) {
                *out = x * self.factor(number);
            }
        });
        out
    }
}

impl CustomOp1 for Dropout {
    fn name(&self) -> &'static str {
        "dropout"
    }

    fn cpu_fwd(&self, x: &CpuStorage, layout: &Layout) -> Result<(CpuStorage, Shape)> {
        Ok((CpuStorage::F32(self.mask(values(x, layout, "dropout")?)), layout.shape().clone()))
    }

    fn bwd(&self, x: &Tensor, _result: &Tensor, gradient: &Tensor) -> Result<Option<Tensor>> {
        let gradient = gradient.contiguous()?;
        let out = with_values(&gradient, "dropout", |gradient| Ok(self.mask(gradient)))?;
        Tensor::from_vec(out, x.shape(), x.device()).map(Some)
    }
}
