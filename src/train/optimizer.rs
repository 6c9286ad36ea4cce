//! Adam with decoupled weight decay (Loshchilov and Hutter 2019) and clipping by the global norm.

use candle_core::{CpuStorage, DType, InplaceOp2, Layout, Tensor, Var};
use rayon::prelude::*;
use serde::Serialize;

use super::parameters::{Parameter, Parameters, Weights};
use super::{failed, ops};
use crate::{IntentError, Result};

/// Elements that one piece of work takes.
const PIECE: usize = 32 * 1024;

/// Settings of the optimiser, the same for every kind of model.
#[derive(Debug, Clone, PartialEq, clap::Args, Serialize)]
pub struct AdamW {
    /// Weight decay, none on biases, norms and embeddings.
    #[arg(long, value_name = "X", default_value_t = 0.01)]
    pub weight_decay: f64,
    /// Decay of the mean gradient.
    #[arg(long, value_name = "X", default_value_t = 0.9)]
    pub beta1: f64,
    /// Decay of the mean squared gradient.
    #[arg(long, value_name = "X", default_value_t = 0.999)]
    pub beta2: f64,
    /// Added to the root of the mean squared gradient.
    #[arg(long, value_name = "X", default_value_t = 1e-8)]
    pub epsilon: f64,
    /// Largest norm of all gradients together; 0 does not clip.
    #[arg(long, value_name = "X", default_value_t = 1.0)]
    pub clip: f64,
}

impl AdamW {
    /// Checks what the types do not.
    ///
    /// # Errors
    /// `invalid_argument` naming the option.
    pub fn check(&self) -> Result<()> {
        let bad = |option: &str, range: &str| Err(IntentError::argument(option, format!("is not {range}")));
        match self {
            Self { weight_decay, .. } if !(0.0..1.0).contains(weight_decay) => {
                bad("--weight-decay", "in 0..1")
            }
            Self { beta1, .. } if !(0.0..1.0).contains(beta1) => bad("--beta1", "in 0..1"),
            Self { beta2, .. } if !(0.0..1.0).contains(beta2) => bad("--beta2", "in 0..1"),
            Self { epsilon, .. } if !(epsilon.is_finite() && *epsilon > 0.0) => bad("--epsilon", "above 0"),
            Self { clip, .. } if !(clip.is_finite() && *clip >= 0.0) => bad("--clip", "0 or above"),
            _ => Ok(()),
        }
    }
}

/// The optimiser and what it remembers.
pub struct Optimizer {
    settings: AdamW,
    /// For each parameter the means of its gradient and of its square, `[2, ...]`.
    moments: Vec<Var>,
    /// Steps taken.
    steps: i32,
}

impl Optimizer {
    /// One that has taken no step.
    ///
    /// # Errors
    /// `training` where memory runs out.
    pub fn new(settings: AdamW, parameters: &Parameters) -> Result<Self> {
        let zeros = |parameter: &Parameter| {
            let shape = [&[2], parameter.value.dims()].concat();
            Var::zeros(shape, DType::F32, parameter.value.device()).map_err(failed)
        };
        let moments = parameters.iter().map(zeros).collect::<Result<_>>()?;
        Ok(Self { settings, moments, steps: 0 })
    }

    /// Takes a step at `factor` of the parameters' rates and returns the norm of all gradients before clipping. A
    /// parameter without a gradient stays as it is.
    ///
    /// # Errors
    /// `training` where a gradient is not finite, or has another shape than its parameter.
    pub fn step(
        &mut self,
        parameters: &Parameters,
        gradients: &[Option<Tensor>],
        factor: f64,
    ) -> Result<f64> {
        let norm = norm(gradients)?;
        if !norm.is_finite() {
            let step = self.steps.saturating_add(1);
            return Err(IntentError::Training(format!("step {step}: the gradients are not finite")));
        }
        let clip = self.settings.clip;
        let scale = if clip > 0.0 && norm > clip { clip / norm } else { 1.0 };
        self.steps = self.steps.saturating_add(1);
        for ((parameter, moments), gradient) in parameters.iter().zip(&self.moments).zip(gradients) {
            if let Some(gradient) = gradient {
                self.update(parameter, moments, gradient, scale, factor).map_err(failed)?;
            }
        }
        Ok(norm)
    }

    #[expect(clippy::cast_possible_truncation, reason = "weights are single precision")]
    fn update(
        &self,
        parameter: &Parameter,
        moments: &Var,
        gradient: &Tensor,
        scale: f64,
        factor: f64,
    ) -> candle_core::Result<()> {
        let AdamW { weight_decay, beta1, beta2, epsilon, .. } = self.settings;
        let rate = parameter.rate * factor;
        let corrections = [beta1, beta2].map(|beta| 1.0 - beta.powi(self.steps));
        let keep = 1.0 - if parameter.decay { rate * weight_decay } else { 0.0 };
        let value = &parameter.value;
        if !value.device().is_cpu() {
            let gradient = (gradient * scale)?;
            let first = ((moments.get(0)? * beta1)? + (&gradient * (1.0 - beta1))?)?;
            let second = ((moments.get(1)? * beta2)? + (gradient.sqr()? * (1.0 - beta2))?)?;
            let root = ((&second / corrections[1])?.sqrt()? + epsilon)?;
            let change = ((&first * (rate / corrections[0]))? / root)?;
            moments.set(&Tensor::stack(&[first, second], 0)?)?;
            return value.set(&((value.as_tensor() * keep)? - change)?);
        }
        let remember = Remember { beta1: beta1 as f32, beta2: beta2 as f32, scale: scale as f32 };
        moments.inplace_op2(&gradient.contiguous()?, &remember)?;
        let step = Step {
            keep: keep as f32,
            rate: (rate / corrections[0]) as f32,
            root: (1.0 / corrections[1]).sqrt() as f32,
            epsilon: epsilon as f32,
        };
        value.inplace_op2(moments, &step)
    }

    /// What it remembers of each parameter, by the parameter's name.
    #[must_use]
    pub fn moments(&self, parameters: &Parameters) -> Weights {
        let named = parameters.iter().zip(&self.moments);
        named.map(|(parameter, moments)| (parameter.name.clone(), moments.as_tensor().clone())).collect()
    }

    /// Continues where another left off after `steps`.
    ///
    /// # Errors
    /// `invalid_tensor` where a parameter's is missing or has another shape; `file` is named as the source.
    pub fn restore(
        &mut self,
        parameters: &Parameters,
        moments: &Weights,
        steps: usize,
        file: &str,
    ) -> Result<()> {
        for (parameter, own) in parameters.iter().zip(&self.moments) {
            let invalid = |detail: String| IntentError::InvalidTensor {
                file: file.to_owned(),
                tensor: parameter.name.clone(),
                detail,
            };
            let tensor = moments.get(&parameter.name).ok_or_else(|| invalid("no moments".to_owned()))?;
            own.set(tensor).map_err(|error| invalid(error.to_string()))?;
        }
        self.steps = i32::try_from(steps).map_err(|error| IntentError::Training(error.to_string()))?;
        Ok(())
    }
}

/// Euclidean norm of all gradients together.
///
/// # Errors
/// `training` where one can't be read.
pub fn norm(gradients: &[Option<Tensor>]) -> Result<f64> {
    let mut sum = 0.0;
    for gradient in gradients.iter().flatten() {
        sum += ops::sum_of_squares(gradient).map_err(failed)?;
    }
    Ok(sum.sqrt())
}

/// Takes a gradient into the means.
struct Remember {
    beta1: f32,
    beta2: f32,
    /// Of the gradient.
    scale: f32,
}

impl InplaceOp2 for Remember {
    fn name(&self) -> &'static str {
        "adam-moments"
    }

    fn cpu_fwd(
        &self,
        moments: &mut CpuStorage,
        moments_layout: &Layout,
        gradient: &CpuStorage,
        gradient_layout: &Layout,
    ) -> candle_core::Result<()> {
        let gradient = ops::values(gradient, gradient_layout, "gradient")?;
        let moments = ops::values_mut(moments, moments_layout, "moments")?;
        if moments.len() != 2 * gradient.len() {
            candle_core::bail!("a gradient of {} for moments of {}", gradient.len(), moments.len());
        }
        let (first, second) = moments.split_at_mut(gradient.len());
        let pieces = first.par_chunks_mut(PIECE).zip(second.par_chunks_mut(PIECE));
        pieces.zip(gradient.par_chunks(PIECE)).for_each(|((first, second), gradient)| {
            for ((first, second), g) in first.iter_mut().zip(second).zip(gradient) {
                let g = g * self.scale;
                *first = self.beta1 * *first + (1.0 - self.beta1) * g;
                *second = self.beta2 * *second + (1.0 - self.beta2) * g * g;
            }
        });
        Ok(())
    }
}

/// Moves a parameter.
struct Step {
    /// What weight decay leaves.
    keep: f32,
    /// Learning rate over the first mean's correction.
    rate: f32,
    /// Root of the reciprocal of the second mean's correction.
    root: f32,
    epsilon: f32,
}

impl InplaceOp2 for Step {
    fn name(&self) -> &'static str {
        "adam-step"
    }

    fn cpu_fwd(
        &self,
        value: &mut CpuStorage,
        value_layout: &Layout,
        moments: &CpuStorage,
        moments_layout: &Layout,
    ) -> candle_core::Result<()> {
        let moments = ops::values(moments, moments_layout, "moments")?;
        let value = ops::values_mut(value, value_layout, "parameter")?;
        let (first, second) = moments.split_at(value.len());
        let pieces = value.par_chunks_mut(PIECE).zip(first.par_chunks(PIECE));
        pieces.zip(second.par_chunks(PIECE)).for_each(|((value, first), second)| {
            for ((value, m), v) in value.iter_mut().zip(first).zip(second) {
                *value = self.keep * *value - self.rate * m / (v.sqrt() * self.root + self.epsilon);
            }
        });
        Ok(())
    }
}
