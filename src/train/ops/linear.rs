//! `x W' + b` without a copy of the transposed matrix, forwards or backwards.

use candle_core::backend::BackendStorage;
use candle_core::{CpuStorage, CustomOp1, Layout, Result, Shape, Storage, Tensor, bail};
use rayon::prelude::*;

use super::{ROWS, Sink, column_sums, math, with_values};

/// Operand `[rows, in]`, result `[rows, out]`.
pub struct Linear {
    /// `[out, in]`
    pub weight: Tensor,
    /// `[out]`
    pub bias: Tensor,
    /// Where the parameters' gradients go.
    pub sink: Sink,
}

impl Linear {
    /// Applies it.
    ///
    /// # Errors
    /// Where the shapes do not fit.
    pub fn apply(self, x: &Tensor) -> Result<Tensor> {
        x.apply_op1(self)
    }
}

impl CustomOp1 for Linear {
    fn name(&self) -> &'static str {
        "linear"
    }

    fn cpu_fwd(&self, x: &CpuStorage, layout: &Layout) -> Result<(CpuStorage, Shape)> {
        let (rows, width) = layout.shape().dims2()?;
        let (out, inner) = self.weight.dims2()?;
        if inner != width || self.bias.dims1()? != out {
            bail!("linear: {rows}x{width} by {out}x{inner} plus {:?}", self.bias.dims());
        }
        let (weight, weight_layout) = self.weight.storage_and_layout();
        let Storage::Cpu(weight) = &*weight else { bail!("linear: weights not in main memory") };
        let transposed = weight_layout.transpose(0, 1)?;
        let mut result = x.matmul(weight, (1, rows, out, width), layout, &transposed)?;
        let CpuStorage::F32(sums) = &mut result else { bail!("linear: not 32-bit floats") };
        with_values(&self.bias, "linear's bias", |bias| {
            let add = |rows: &mut [f32]| rows.chunks_exact_mut(out).for_each(|row| math::add(row, bias));
            sums.par_chunks_mut((ROWS * out).max(1)).for_each(add);
            Ok(())
        })?;
        Ok((result, (rows, out).into()))
    }

    fn bwd(&self, x: &Tensor, _result: &Tensor, gradient: &Tensor) -> Result<Option<Tensor>> {
        let gradient = gradient.contiguous()?;
        self.sink.add(&self.weight, gradient.t()?.matmul(&x.detach())?)?;
        let out = self.bias.dims1()?;
        let sums = with_values(&gradient, "linear", |values| Ok(column_sums(values, out)))?;
        self.sink.add(&self.bias, Tensor::from_vec(sums, out, x.device())?)?;
        gradient.matmul(&self.weight.detach()).map(Some)
    }
}
