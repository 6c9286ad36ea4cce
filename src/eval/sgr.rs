//! A threshold with a promise: selection with guaranteed risk (Geifman and El-Yaniv 2017, arXiv 1705.08500, algorithm 1).

use serde::Serialize;

use super::metrics::intervals::upper_bound;
use super::metrics::{Point, share};
use crate::{IntentError, Result};

/// What is promised.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct RiskTarget {
    /// Largest share of wrong labels among the messages kept local.
    pub risk: f64,
    /// Probability that the promise fails, over the draw of the messages that the threshold is chosen on.
    pub delta: f64,
}

/// A threshold and what is known about it.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct GuaranteedRisk {
    /// Least confidence that stays local.
    pub threshold: f64,
    /// Upper bound of the risk, at most the target's, with probability `1 - delta`.
    pub bound: f64,
    /// Messages at or above the threshold.
    pub accepted: usize,
    /// Messages the threshold was chosen on.
    pub n: usize,
    /// Share of wrong labels among the accepted.
    pub observed_risk: f64,
}

impl RiskTarget {
    /// Both must be probabilities strictly between 0 and 1.
    ///
    /// # Errors
    /// `invalid_argument` naming `--sgr-risk` or `--sgr-delta`.
    pub fn check(&self) -> Result<()> {
        for (argument, value) in [("--sgr-risk", self.risk), ("--sgr-delta", self.delta)] {
            if !(value > 0.0 && value < 1.0) {
                return Err(IntentError::argument(argument, format!("{value} is not between 0 and 1")));
            }
        }
        Ok(())
    }
}

/// Chooses by binary search the threshold of the largest coverage whose risk is bounded by the target. Each of the
/// `ceil(log2 n)` thresholds tried gets an equal share of `delta`, so all their bounds hold at once and any that was
/// tried may be chosen. `points` are the messages that the gate would keep local if only they were certain enough.
///
/// `None` where no threshold that was tried can be promised.
#[must_use]
pub fn guarantee_risk(points: &[Point], target: RiskTarget) -> Option<GuaranteedRisk> {
    let mut sorted = points.to_vec();
    sorted.sort_by(|a, b| a.confidence.total_cmp(&b.confidence));
    let n = sorted.len();
    let steps = n.max(2).next_power_of_two().ilog2();
    let alpha = target.delta / f64::from(steps);
    let mut best = None;
    // Positions whose confidence may still be the threshold.
    let (mut low, mut high) = (0, n);
    for _ in 0..steps {
        if low >= high {
            break;
        }
        let middle = low.midpoint(high);
        let tried = bound(&sorted, sorted[middle].confidence, alpha);
        if tried.bound <= target.risk {
            best = Some(tried);
            high = middle;
        } else {
            low = middle + 1;
        }
    }
    best
}

fn bound(sorted: &[Point], threshold: f64, alpha: f64) -> GuaranteedRisk {
    let accepted = &sorted[sorted.partition_point(|point| point.confidence < threshold)..];
    let wrong = accepted.iter().filter(|point| !point.correct).count();
    GuaranteedRisk {
        threshold,
        bound: upper_bound(wrong, accepted.len(), alpha),
        accepted: accepted.len(),
        n: sorted.len(),
        observed_risk: share(wrong, accepted.len()),
    }
}
