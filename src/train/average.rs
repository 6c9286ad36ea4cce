//! Averages of weights over a run, which generalise better than its last ones.

use candle_core::{CpuStorage, InplaceOp2, Layout, Tensor};
use rayon::prelude::*;

use super::parameters::{Parameters, Weights};
use super::{failed, ops};
use crate::Result;

/// Which average.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Averaging {
    /// None: the weights themselves.
    Off,
    /// Exponential moving average over steps (Polyak and Juditsky 1992 with forgetting), keeping this much in a step.
    /// While few steps are taken it keeps `(1 + step) / (10 + step)`, so that the start does not weigh in.
    Exponential(f64),
    /// Mean of the weights at the ends of the last so many epochs (Izmailov et al. 2018).
    Epochs(usize),
}

/// An average and what it is made of so far.
pub struct Average {
    kind: Averaging,
    weights: Option<Weights>,
    /// Weights that went into it.
    count: usize,
}

impl Average {
    /// One of nothing.
    #[must_use]
    pub fn new(kind: Averaging) -> Self {
        Self { kind, weights: None, count: 0 }
    }

    /// One that continues.
    #[must_use]
    pub fn restored(kind: Averaging, weights: Weights, count: usize) -> Self {
        Self { kind, weights: (count > 0).then_some(weights), count }
    }

    /// The average, once it is of something.
    #[must_use]
    pub fn weights(&self) -> Option<&Weights> {
        self.weights.as_ref()
    }

    /// How many weights went into it.
    #[must_use]
    pub fn count(&self) -> usize {
        self.count
    }

    /// After a step.
    ///
    /// # Errors
    /// `training` where memory runs out.
    #[expect(clippy::cast_precision_loss, reason = "counts of steps are far below 2^53")]
    pub fn after_step(&mut self, parameters: &Parameters) -> Result<()> {
        if let Averaging::Exponential(keep) = self.kind {
            let keep = keep.min((1 + self.count) as f64 / (10 + self.count) as f64);
            self.take(parameters, 1.0 - keep)?;
        }
        Ok(())
    }

    /// At the end of epoch `epoch` (from 0) of `epochs`.
    ///
    /// # Errors
    /// `training` where memory runs out.
    #[expect(clippy::cast_precision_loss, reason = "counts of epochs are far below 2^53")]
    pub fn after_epoch(&mut self, parameters: &Parameters, epoch: usize, epochs: usize) -> Result<()> {
        match self.kind {
            Averaging::Epochs(last) if epoch + last >= epochs => {
                self.take(parameters, 1.0 / (self.count + 1) as f64)
            }
            _ => Ok(()),
        }
    }

    /// Moves the average by `share` of the way to the parameters.
    fn take(&mut self, parameters: &Parameters, share: f64) -> Result<()> {
        match &self.weights {
            None => self.weights = Some(parameters.snapshot()?),
            Some(weights) => {
                for (parameter, average) in
                    parameters.iter().zip(parameters.iter().map(|p| weights.get(&p.name)))
                {
                    if let Some(average) = average {
                        approach(average, &parameter.value, share).map_err(failed)?;
                    }
                }
            }
        }
        self.count += 1;
        Ok(())
    }
}

/// `average += share * (value - average)`, in place.
fn approach(average: &Tensor, value: &Tensor, share: f64) -> candle_core::Result<()> {
    #[expect(clippy::cast_possible_truncation, reason = "weights are single precision")]
    average.inplace_op2(value, &Approach { share: share as f32 })
}

struct Approach {
    share: f32,
}

impl InplaceOp2 for Approach {
    fn name(&self) -> &'static str {
        "average"
    }

    fn cpu_fwd(
        &self,
        average: &mut CpuStorage,
        average_layout: &Layout,
        value: &CpuStorage,
        value_layout: &Layout,
    ) -> candle_core::Result<()> {
        const PIECE: usize = 32 * 1024;
        let value = ops::values(value, value_layout, "parameter")?;
        let average = ops::values_mut(average, average_layout, "average")?;
        average.par_chunks_mut(PIECE).zip(value.par_chunks(PIECE)).for_each(|(average, value)| {
            average
                .iter_mut()
                .zip(value)
                .for_each(|(average, value)| *average += self.share * (value - *average));
        });
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use candle_core::{Device, Var};

    use super::super::parameters::Parameter;
    use super::*;

    fn run(kind: Averaging) -> (Option<f32>, usize) {
        let value = Var::new(&[0f32], &Device::Cpu).unwrap();
        let parameter = Parameter { name: "w".to_owned(), value: value.clone(), rate: 1.0, decay: false };
        let parameters = Parameters::new(vec![parameter]);
        let mut average = Average::new(kind);
        for epoch in 0..4u8 {
            value.set(&Tensor::new(&[f32::from(epoch)], &Device::Cpu).unwrap()).unwrap();
            average.after_step(&parameters).unwrap();
            average.after_epoch(&parameters, usize::from(epoch), 4).unwrap();
        }
        let weights = average.weights().map(|weights| weights["w"].to_vec1::<f32>().unwrap()[0]);
        (weights, average.count())
    }

    #[test]
    fn averages_are_of_what_they_say() {
        assert_eq!(run(Averaging::Off), (None, 0));
        assert_eq!(run(Averaging::Epochs(2)), (Some(2.5), 2));
        assert_eq!(run(Averaging::Epochs(9)), (Some(1.5), 4));
        // 0, then 2/11 kept, 3/12 kept, 4/13 kept (all below 0.9).
        let expected = [2.0 / 11.0, 3.0 / 12.0, 4.0 / 13.0];
        let mut value = 0.0f32;
        for (keep, new) in expected.into_iter().zip([1.0, 2.0, 3.0]) {
            value = keep * value + (1.0 - keep) * new;
        }
        let (average, count) = run(Averaging::Exponential(0.9));
        assert_eq!(count, 4);
        assert!((average.unwrap() - value).abs() < 1e-6, "{average:?} {value}");
    }
}
