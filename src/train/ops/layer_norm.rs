//! Layer normalisation (Ba, Kiros and Hinton 2016), of a tensor or of the sum of two.

use candle_core::{CpuStorage, CustomOp1, CustomOp2, Layout, Result, Shape, Tensor, bail};
use rayon::prelude::*;

use super::math::{sum, sum2};
use super::{ROWS, Sink, math, total, values, with_all};

/// Operands and result `[rows, width]`.
pub struct LayerNorm {
    /// Added to the variance.
    pub epsilon: f32,
    /// `[width]`
    pub scale: Tensor,
    /// `[width]`
    pub shift: Tensor,
    /// Where the parameters' gradients go.
    pub sink: Sink,
}

impl LayerNorm {
    /// Of `x`.
    ///
    /// # Errors
    /// Where the shapes do not fit.
    pub fn apply(self, x: &Tensor) -> Result<Tensor> {
        x.apply_op1(self)
    }

    /// Of `x + residual`.
    ///
    /// # Errors
    /// Where the shapes do not fit.
    pub fn apply_sum(self, x: &Tensor, residual: &Tensor) -> Result<Tensor> {
        x.apply_op2(residual, self)
    }

    fn forward(&self, x: &[f32], residual: Option<&[f32]>, width: usize) -> Result<Vec<f32>> {
        if width == 0 || self.scale.dims() != [width] || self.shift.dims() != [width] {
            bail!("layer norm: width {width}, scale {:?}, shift {:?}", self.scale.dims(), self.shift.dims());
        }
        if residual.is_some_and(|residual| residual.len() != x.len()) {
            bail!("layer norm: the two operands have different shapes");
        }
        let mut out = x.to_vec();
        with_all([&self.scale, &self.shift], "layer norm", |[scale, shift]| {
            out.par_chunks_mut(ROWS * width).enumerate().for_each(|(piece, out)| {
                if let Some(residual) = residual {
                    math::add(out, &residual[piece * ROWS * width..]);
                }
                for row in out.chunks_exact_mut(width) {
                    self.normalise(row);
                    row.iter_mut()
                        .zip(scale)
                        .zip(shift)
                        .for_each(|((x, scale), shift)| *x = *x * scale + shift);
                }
            });
            Ok(())
        })?;
        Ok(out)
    }

    /// Makes a row's mean 0 and its variance 1; returns the reciprocal of what was its standard deviation.
    fn normalise(&self, row: &mut [f32]) -> f32 {
        #[expect(clippy::cast_precision_loss, reason = "a model's width")]
        let n = row.len() as f32;
        let mean = sum(row, |x| x) / n;
        let variance = sum(row, |x| (x - mean) * (x - mean)) / n;
        let inverse = 1.0 / (variance + self.epsilon).sqrt();
        row.iter_mut().for_each(|x| *x = (*x - mean) * inverse);
        inverse
    }

    /// Puts away the parameters' gradients and returns the operands', which have the same.
    fn backward(&self, x: &Tensor, residual: Option<&Tensor>, gradient: &Tensor) -> Result<Tensor> {
        let gradient = gradient.contiguous()?;
        let (_, width) = x.dims2()?;
        // Where there is no second operand this is read as the first and left alone.
        let all = [&self.scale, &gradient, x, residual.unwrap_or(x)];
        let (of_x, partials) = with_all(all, "layer norm", |[scale, gradient, x, other]| {
            let mut of_x = vec![0.0; x.len()];
            let piece = ROWS * width;
            let backward = |(number, of_x): (usize, &mut [f32])| {
                let part = number * piece..number * piece + of_x.len();
                let residual = residual.map(|_| &other[part.clone()]);
                self.backward_rows(&x[part.clone()], residual, scale, &gradient[part], of_x)
            };
            let partials: Vec<_> = of_x.par_chunks_mut(piece).enumerate().map(backward).collect();
            Ok((of_x, partials))
        })?;
        let (scales, shifts): (Vec<_>, Vec<_>) = partials.into_iter().unzip();
        self.sink.add(&self.scale, Tensor::from_vec(total(scales, width), width, x.device())?)?;
        self.sink.add(&self.shift, Tensor::from_vec(total(shifts, width), width, x.device())?)?;
        Tensor::from_vec(of_x, x.shape(), x.device())
    }

    /// Gradients of the operands of some rows into `of_x`; returns those of scale and shift.
    fn backward_rows(
        &self,
        x: &[f32],
        residual: Option<&[f32]>,
        scale: &[f32],
        gradient: &[f32],
        of_x: &mut [f32],
    ) -> (Vec<f32>, Vec<f32>) {
        let width = scale.len();
        #[expect(clippy::cast_precision_loss, reason = "a model's width")]
        let n = width as f32;
        let (mut of_scale, mut of_shift) = (vec![0.0; width], vec![0.0; width]);
        let mut normal = vec![0.0; width];
        let rows = of_x.chunks_exact_mut(width).zip(x.chunks_exact(width)).zip(gradient.chunks_exact(width));
        for (row, ((of_x, x), gradient)) in rows.enumerate() {
            normal.copy_from_slice(x);
            if let Some(residual) = residual {
                math::add(&mut normal, &residual[row * width..][..width]);
            }
            let inverse = self.normalise(&mut normal);
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

impl CustomOp1 for LayerNorm {
    fn name(&self) -> &'static str {
        "layer-norm"
    }

    fn cpu_fwd(&self, x: &CpuStorage, layout: &Layout) -> Result<(CpuStorage, Shape)> {
        let (_, width) = layout.shape().dims2()?;
        let out = self.forward(values(x, layout, "layer norm")?, None, width)?;
        Ok((CpuStorage::F32(out), layout.shape().clone()))
    }

    fn bwd(&self, x: &Tensor, _result: &Tensor, gradient: &Tensor) -> Result<Option<Tensor>> {
        self.backward(x, None, gradient).map(Some)
    }
}

impl CustomOp2 for LayerNorm {
    fn name(&self) -> &'static str {
        "layer-norm-of-sum"
    }

    fn cpu_fwd(
        &self,
        x: &CpuStorage,
        x_layout: &Layout,
        residual: &CpuStorage,
        residual_layout: &Layout,
    ) -> Result<(CpuStorage, Shape)> {
        let (_, width) = x_layout.shape().dims2()?;
        let residual = values(residual, residual_layout, "layer norm")?;
        let out = self.forward(values(x, x_layout, "layer norm")?, Some(residual), width)?;
        Ok((CpuStorage::F32(out), x_layout.shape().clone()))
    }

    fn bwd(
        &self,
        x: &Tensor,
        residual: &Tensor,
        _result: &Tensor,
        gradient: &Tensor,
    ) -> Result<(Option<Tensor>, Option<Tensor>)> {
        let gradient = self.backward(x, Some(residual), gradient)?;
        Ok((Some(gradient.clone()), Some(gradient)))
    }
}
