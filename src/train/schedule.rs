//! How the learning rate moves over a run.

use clap::ValueEnum;
use serde::Serialize;

/// The way down after the warm-up.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Decay {
    /// In a straight line to 0.
    Linear,
    /// Half a cosine to 0.
    Cosine,
    /// None.
    Constant,
}

/// Linear warm-up, then [`Decay`].
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Schedule {
    /// Steps of the run.
    pub steps: usize,
    /// Of these, the steps of the warm-up.
    pub warmup: usize,
    /// What follows.
    pub decay: Decay,
}

impl Schedule {
    /// A run of `steps`, of which the share `warmup` is warm-up.
    #[must_use]
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        clippy::cast_precision_loss,
        reason = "a share of a count"
    )]
    pub fn new(steps: usize, warmup: f64, decay: Decay) -> Self {
        Self { steps, warmup: (warmup * steps as f64).round() as usize, decay }
    }

    /// Factor of the learning rate in step `step` (from 0), above 0 and at most 1.
    #[must_use]
    #[expect(clippy::cast_precision_loss, reason = "counts of steps are far below 2^53")]
    pub fn factor(&self, step: usize) -> f64 {
        if step < self.warmup {
            return (step + 1) as f64 / (self.warmup + 1) as f64;
        }
        // The last step still moves: the line reaches 0 one step after it.
        let left = self.steps.saturating_sub(self.warmup).max(1);
        let done = ((step - self.warmup) as f64 / left as f64).min(1.0);
        match self.decay {
            Decay::Linear => 1.0 - done,
            Decay::Cosine => f64::midpoint(1.0, (done * std::f64::consts::PI).cos()),
            Decay::Constant => 1.0,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn up_then_down() {
        for decay in [Decay::Linear, Decay::Cosine, Decay::Constant] {
            let schedule = Schedule::new(100, 0.1, decay);
            assert_eq!(schedule.warmup, 10);
            let factors: Vec<f64> = (0..100).map(|step| schedule.factor(step)).collect();
            assert!(factors.iter().all(|factor| *factor > 0.0 && *factor <= 1.0), "{factors:?}");
            assert!((factors[0] - 1.0 / 11.0).abs() < 1e-12);
            assert!((factors[10] - 1.0).abs() < 1e-12);
            assert!(factors[..11].is_sorted());
            assert!(factors[10..].windows(2).all(|pair| pair[0] >= pair[1]));
        }
        assert!((Schedule::new(100, 0.0, Decay::Linear).factor(50) - 0.5).abs() < 1e-12);
        assert!((Schedule::new(100, 0.0, Decay::Cosine).factor(50) - 0.5).abs() < 1e-12);
    }
}
