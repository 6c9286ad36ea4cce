//! `x W' + b` without a copy of the transposed matrix, forwards or backwards.

use candle_core::backend::BackendStorage;
use candle_core::{CpuStorage, CustomOp3, Layout, Result, Shape, Tensor, bail};
use rayon::prelude::*;

use super::{ROWS, column_sums, math, values, with_values};

/// Operands: `x` `[rows, in]`, `weight` `[out, in]`, `bias` `[out]`; result `[rows, out]`.
pub struct Linear;

impl Linear {
    /// Applies it.
    ///
    /// # Errors
    /// Where the shapes do not fit.
    pub fn apply(x: &Tensor, weight: &Tensor, bias: &Tensor) -> Result<Tensor> {
        x.apply_op3(weight, bias, Self)
    }
}

impl CustomOp3 for Linear {
    fn name(&self) -> &'static str {
        "linear"
    }

    fn cpu_fwd(
        &self,
        x: &CpuStorage,
        x_layout: &Layout,
        weight: &CpuStorage,
        weight_layout: &Layout,
        bias: &CpuStorage,
        bias_layout: &Layout,
    ) -> Result<(CpuStorage, Shape)> {
        let (rows, width) = x_layout.shape().dims2()?;
        let (out, inner) = weight_layout.shape().dims2()?;
        let bias = values(bias, bias_layout, "bias")?;
        if inner != width || bias.len() != out {
            bail!("linear: {rows}x{width} by {out}x{inner} plus {}", bias.len());
        }
        let transposed = weight_layout.transpose(0, 1)?;
        let mut result = x.matmul(weight, (1, rows, out, width), x_layout, &transposed)?;
        let CpuStorage::F32(sums) = &mut result else { bail!("linear: not 32-bit floats") };
        if out > 0 {
            let add = |rows: &mut [f32]| rows.chunks_exact_mut(out).for_each(|row| math::add(row, bias));
            sums.par_chunks_mut(ROWS * out).for_each(add);
        }
        Ok((result, (rows, out).into()))
    }

    fn bwd(
        &self,
        x: &Tensor,
        weight: &Tensor,
        bias: &Tensor,
        _result: &Tensor,
        gradient: &Tensor,
    ) -> Result<(Option<Tensor>, Option<Tensor>, Option<Tensor>)> {
        let gradient = gradient.contiguous()?;
        let of_x = gradient.matmul(&weight.detach())?;
        let of_weight = gradient.t()?.matmul(&x.detach())?;
        let out = bias.dims1()?;
        let sums = with_values(&gradient, "linear", |values| Ok(column_sums(values, out)))?;
        let of_bias = Tensor::from_vec(sums, out, bias.device())?;
        Ok((Some(of_x), Some(of_weight), Some(of_bias)))
    }
}
