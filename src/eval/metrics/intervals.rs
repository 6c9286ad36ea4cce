//! Exact binomial bounds.

use statrs::function::beta::checked_beta_reg;

use super::{Interval, count};

/// The largest rate at which `successes` or fewer of `trials` still happen with a probability of `alpha`: the one-sided
/// upper bound at confidence `1 - alpha` (Clopper and Pearson 1934). 1 where there are no trials.
#[must_use]
pub fn upper_bound(successes: usize, trials: usize, alpha: f64) -> f64 {
    if successes >= trials {
        return 1.0;
    }
    // P(X <= k) at rate p is the regularised incomplete beta function I_(1-p)(n - k, k + 1), falling in p.
    bisect(|p| tail(trials - successes, successes + 1, 1.0 - p) > alpha)
}

/// The smallest rate at which `successes` or more of `trials` still happen with a probability of `alpha`.
#[must_use]
pub fn lower_bound(successes: usize, trials: usize, alpha: f64) -> f64 {
    if successes == 0 || successes > trials {
        return 0.0;
    }
    bisect(|p| tail(successes, trials - successes + 1, p) < alpha)
}

/// The two-sided interval at confidence `level`.
#[must_use]
pub fn clopper_pearson(successes: usize, trials: usize, level: f64) -> Interval {
    let alpha = (1.0 - level) / 2.0;
    Interval { low: lower_bound(successes, trials, alpha), high: upper_bound(successes, trials, alpha) }
}

fn tail(a: usize, b: usize, x: f64) -> f64 {
    // Only arguments outside the domain are refused, and none are: a, b >= 1 and 0 <= x <= 1.
    checked_beta_reg(count(a), count(b), x).unwrap_or(f64::NAN)
}

/// Where `below` turns from true to false on 0 to 1, to the last bit that 60 halvings give.
fn bisect(below: impl Fn(f64) -> bool) -> f64 {
    let (mut low, mut high) = (0.0, 1.0);
    for _ in 0..60 {
        let middle = f64::midpoint(low, high);
        if below(middle) {
            low = middle;
        } else {
            high = middle;
        }
    }
    f64::midpoint(low, high)
}
