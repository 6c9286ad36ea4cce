//! Percentile bootstrap (Efron 1979) over independent units.
//!
//! Paraphrases of one idea are not independent, so a unit is a group of messages where a set has groups: whole groups
//! are drawn with replacement (cluster bootstrap, Field and Welsh 2007). Two models are compared on the same draws
//! (paired bootstrap): the statistic is then the difference itself.

use serde::Serialize;

use super::{Interval, count};

/// How intervals are made.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct Bootstrap {
    /// Draws.
    pub replicates: usize,
    /// Seed of the draws.
    pub seed: u64,
    /// Confidence level.
    pub level: f64,
}

impl Default for Bootstrap {
    fn default() -> Self {
        Self { replicates: 2_000, seed: 13, level: 0.95 }
    }
}

impl Bootstrap {
    /// An interval for each of `N` statistics of a list of indices into the messages. `units` holds the indices of each
    /// independent unit. A draw on which a statistic is not a number (nothing to divide by) does not count for it;
    /// `None` where no draw counts.
    pub fn intervals<const N: usize>(
        &self,
        units: &[Vec<usize>],
        statistics: impl Fn(&[usize]) -> [f64; N],
    ) -> [Option<Interval>; N] {
        let mut random = fastrand::Rng::with_seed(self.seed);
        let mut values: [Vec<f64>; N] = std::array::from_fn(|_| Vec::with_capacity(self.replicates));
        let mut drawn = Vec::new();
        for _ in 0..self.replicates {
            drawn.clear();
            for _ in 0..units.len() {
                drawn.extend_from_slice(&units[random.usize(0..units.len())]);
            }
            for (values, value) in values.iter_mut().zip(statistics(&drawn)) {
                values.push(value);
            }
        }
        values.map(|mut values| {
            values.retain(|value| value.is_finite());
            values.sort_by(f64::total_cmp);
            self.percentiles(&values)
        })
    }

    /// The interval between the percentiles of ascending values.
    pub(super) fn percentiles(&self, sorted: &[f64]) -> Option<Interval> {
        let tail = (1.0 - self.level) / 2.0;
        Some(Interval { low: quantile(sorted, tail)?, high: quantile(sorted, 1.0 - tail)? })
    }
}

/// Quantile of ascending values with linear interpolation (type 7 of Hyndman and Fan 1996, numpy's default).
#[must_use]
pub fn quantile(sorted: &[f64], q: f64) -> Option<f64> {
    let position = q.clamp(0.0, 1.0) * count(sorted.len().checked_sub(1)?);
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "an index into the slice")]
    let below = position.floor() as usize;
    let low = *sorted.get(below)?;
    let high = sorted.get(below + 1).copied().unwrap_or(low);
    Some(low + (position - position.floor()) * (high - low))
}
