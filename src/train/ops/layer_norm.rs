//! Layer normalisation (Ba, Kiros and Hinton 2016).

use candle_core::{CpuStorage, CustomOp3, Layout, Result, Shape, Tensor, bail};
use rayon::prelude::*;

use super::math::{sum, sum2};
use super::{ROWS, total, values, with_values};

/// Operands: `x` `[rows, width]`, `scale` `[width]`, `shift` `[width]`; result `[rows, width]`.
pub struct LayerNorm {
    /// Added to the variance.
    pub epsilon: f32,
}

impl LayerNorm {
    /// Applies it.
    ///
    /// # Errors
    /// Where the shapes do not fit.
    pub fn apply(self, x: &Tensor, scale: &Tensor, shift: &Tensor) -> Result<Tensor> {
        x.apply_op3(scale, shift, self)
    }

    /// Mean and reciprocal of the standard deviation.
    fn moments(&self, row: &[f32]) -> (f32, f32) {
        #[expect(clippy::cast_precision_loss, reason = "a model's width")]
        let n = row.len() as f32;
        let mean = sum(row, |x| x) / n;
        let variance = sum(row, |x| (x - mean) * (x - mean)) / n;
        (mean, 1.0 / (variance + self.epsilon).sqrt())
    }

    /// Gradients of the operands.
    fn backward(&self, x: &[f32], scale: &[f32], gradient: &[f32]) -> [Vec<f32>; 3] {
        let width = scale.len();
        let piece = ROWS * width;
        let mut of_x = vec![0.0; x.len()];
        let pieces = of_x.par_chunks_mut(piece).zip(x.par_chunks(piece)).zip(gradient.par_chunks(piece));
        let partials: Vec<(Vec<f32>, Vec<f32>)> =
            pieces.map(|((of_x, x), gradient)| self.backward_rows(of_x, x, scale, gradient)).collect();
        let (scales, shifts): (Vec<_>, Vec<_>) = partials.into_iter().unzip();
        [of_x, total(scales, width), total(shifts, width)]
    }

    fn backward_rows(
        &self,
        of_x: &mut [f32],
        x: &[f32],
        scale: &[f32],
        gradient: &[f32],
    ) -> (Vec<f32>, Vec<f32>) {
        let width = scale.len();
        #[expect(clippy::cast_precision_loss, reason = "a model's width")]
        let n = width as f32;
        let (mut of_scale, mut of_shift) = (vec![0.0; width], vec![0.0; width]);
        let mut normal = vec![0.0; width];
        let rows = of_x.chunks_exact_mut(width).zip(x.chunks_exact(width)).zip(gradient.chunks_exact(width));
        for ((of_x, x), gradient) in rows {
            let (mean, inverse) = self.moments(x);
            normal.iter_mut().zip(x).for_each(|(normal, x)| *normal = (x - mean) * inverse);
            for i in 0..width {
                of_shift[i] += gradient[i];
                of_scale[i] += gradient[i] * normal[i];
                of_x[i] = gradient[i] * scale[i];
            }
            let (first, second) = (sum(of_x, |g| g) / n, sum2(of_x, &normal, |g, x| g * x) / n);
            of_x.iter_mut().zip(&normal).for_each(|(g, x)| *g = inverse * (*g - first - x * second));
        }
        (of_scale, of_shift)
    }
}

impl CustomOp3 for LayerNorm {
    fn name(&self) -> &'static str {
        "layer-norm"
    }

    fn cpu_fwd(
        &self,
        x: &CpuStorage,
        x_layout: &Layout,
        scale: &CpuStorage,
        scale_layout: &Layout,
        shift: &CpuStorage,
        shift_layout: &Layout,
    ) -> Result<(CpuStorage, Shape)> {
        let (_, width) = x_layout.shape().dims2()?;
        let x = values(x, x_layout, "layer norm")?;
        let scale = values(scale, scale_layout, "layer norm's scale")?;
        let shift = values(shift, shift_layout, "layer norm's shift")?;
        if width == 0 || scale.len() != width || shift.len() != width {
            bail!("layer norm: width {width}, scale {}, shift {}", scale.len(), shift.len());
        }
        let mut out = vec![0.0; x.len()];
        out.par_chunks_mut(ROWS * width).zip(x.par_chunks(ROWS * width)).for_each(|(out, x)| {
            for (out, x) in out.chunks_exact_mut(width).zip(x.chunks_exact(width)) {
                let (mean, inverse) = self.moments(x);
                for i in 0..width {
                    out[i] = (x[i] - mean) * inverse * scale[i] + shift[i];
                }
            }
        });
        Ok((CpuStorage::F32(out), x_layout.shape().clone()))
    }

    fn bwd(
        &self,
        x: &Tensor,
        scale: &Tensor,
        _shift: &Tensor,
        _result: &Tensor,
        gradient: &Tensor,
    ) -> Result<(Option<Tensor>, Option<Tensor>, Option<Tensor>)> {
        let gradient = gradient.contiguous()?;
        let [of_x, of_scale, of_shift] = with_values(x, "layer norm", |x| {
            with_values(scale, "layer norm's scale", |scale| {
                with_values(&gradient, "layer norm", |gradient| Ok(self.backward(x, scale, gradient)))
            })
        })?;
        let device = x.device();
        let of_x = Tensor::from_vec(of_x, x.shape(), device)?;
        let of_scale = Tensor::from_vec(of_scale, scale.shape(), device)?;
        let of_shift = Tensor::from_vec(of_shift, scale.shape(), device)?;
        Ok((Some(of_x), Some(of_scale), Some(of_shift)))
    }
}
