//! A threshold with a promise: selection with guaranteed risk (Geifman and El-Yaniv 2017, arXiv 1705.08500, algorithm 1).
//!
//! The promise is about messages drawn like those the threshold was chosen on, and supposes that the confidences were
//! fixed before: nothing that shapes them, the temperature least of all, may be fitted on these messages.

use std::fmt;

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
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct GuaranteedRisk {
    /// Least confidence that stays local.
    pub threshold: f64,
    /// Upper bound of the risk, at most the target's, with probability `1 - delta`.
    pub bound: f64,
    /// Messages at or above the threshold.
    pub accepted: usize,
    /// Messages it was chosen among.
    pub n: usize,
    /// Share of wrong labels among the accepted.
    pub observed_risk: f64,
}

/// What [`Evaluator::guarantee`](super::Evaluator::guarantee) came to, as results show it.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Guarantee {
    /// Whether a threshold was found. Where none was, the one in force is what it was and promises nothing.
    pub found: bool,
    /// What was asked for.
    #[serde(flatten)]
    pub target: RiskTarget,
    /// The messages it was chosen on, in words; the promise is about messages like these.
    pub chosen_on: String,
    /// How many these are.
    pub n: usize,
    /// Of these, the messages that the gate keeps if only the confidence is high enough.
    pub candidates: usize,
    /// Least confidence that stays local.
    pub threshold: Option<f64>,
    /// Upper bound of the risk, at most the target's, with probability `1 - delta`.
    pub bound: Option<f64>,
    /// Messages at or above the threshold.
    pub accepted: Option<usize>,
    /// Share of wrong labels among the accepted.
    pub observed_risk: Option<f64>,
}

impl Guarantee {
    /// From what was `found` among `candidates` of the `n` messages of `chosen_on`.
    #[must_use]
    pub fn new(
        target: RiskTarget,
        chosen_on: &str,
        n: usize,
        candidates: usize,
        found: Option<GuaranteedRisk>,
    ) -> Self {
        Self {
            found: found.is_some(),
            target,
            chosen_on: chosen_on.to_owned(),
            n,
            candidates,
            threshold: found.map(|found| found.threshold),
            bound: found.map(|found| found.bound),
            accepted: found.map(|found| found.accepted),
            observed_risk: found.map(|found| found.observed_risk),
        }
    }
}

impl fmt::Display for Guarantee {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let RiskTarget { risk, delta } = self.target;
        let sample = format!(
            "{} messages ({}), {} of which the policy allows to stay",
            self.n, self.chosen_on, self.candidates
        );
        match (self.threshold, self.bound) {
            (Some(threshold), Some(bound)) => write!(
                f,
                "at threshold {threshold:.3} at most {bound:.3} of the messages kept local are labelled wrong (asked for: {risk}), \
                 with probability {}, for messages like those it was chosen on: {sample}",
                1.0 - delta
            ),
            _ => write!(
                f,
                "no threshold keeps the share of wrong labels under {risk} with probability {} on {sample}; nothing is promised",
                1.0 - delta
            ),
        }
    }
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
