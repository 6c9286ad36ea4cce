//! The Gaussian error linear unit (Hendrycks and Gimpel 2016), exact form: `x Φ(x)`.

use candle_core::{CpuStorage, CustomOp1, Layout, Result, Shape, Tensor};
use rayon::prelude::*;

use super::{math, values, with_all};

/// Elements that one piece of work takes.
const PIECE: usize = 16 * 1024;

/// `x Φ(x)`, element by element, to an absolute error below `3e-7 |x|`.
pub struct Gelu;

impl Gelu {
    /// Applies it.
    ///
    /// # Errors
    /// Where `x` is not contiguous.
    pub fn apply(x: &Tensor) -> Result<Tensor> {
        x.apply_op1(Self)
    }
}

/// `Φ(x)` and `e^(-x²/2)`.
#[inline(always)]
fn normal(x: f32) -> (f32, f32) {
    let (erf, bell) = math::erf(x * std::f32::consts::FRAC_1_SQRT_2);
    (0.5 * (1.0 + erf), bell)
}

impl CustomOp1 for Gelu {
    fn name(&self) -> &'static str {
        "gelu"
    }

    fn cpu_fwd(&self, x: &CpuStorage, layout: &Layout) -> Result<(CpuStorage, Shape)> {
        let x = values(x, layout, "gelu")?;
        let mut out = vec![0.0; x.len()];
        out.par_chunks_mut(PIECE).zip(x.par_chunks(PIECE)).for_each(|(out, x)| {
            out.iter_mut().zip(x).for_each(|(out, x)| *out = x * normal(*x).0);
        });
        Ok((CpuStorage::F32(out), layout.shape().clone()))
    }

    fn bwd(&self, x: &Tensor, _result: &Tensor, gradient: &Tensor) -> Result<Option<Tensor>> {
        let gradient = gradient.contiguous()?;
        let out = with_all([x, &gradient], "gelu", |[x, gradient]| Ok(backward(x, gradient)))?;
        Tensor::from_vec(out, x.shape(), x.device()).map(Some)
    }
}

fn backward(x: &[f32], gradient: &[f32]) -> Vec<f32> {
    /// `1 / sqrt(2 π)`
    const DENSITY: f32 = 0.398_942_3;
    let mut out = vec![0.0; x.len()];
    let pieces = out.par_chunks_mut(PIECE).zip(x.par_chunks(PIECE)).zip(gradient.par_chunks(PIECE));
    pieces.for_each(|((out, x), gradient)| {
        for ((out, x), gradient) in out.iter_mut().zip(x).zip(gradient) {
            let (phi, e) = normal(*x);
            *out = gradient * (phi + x * e * DENSITY);
        }
    });
    out
}
