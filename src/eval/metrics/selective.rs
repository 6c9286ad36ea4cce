//! What a confidence is worth for deciding which answers to keep.
//!
//! Predictions are accepted from the most certain one down. With `E_k` the errors among the first `k` of `n`, coverage
//! is `k / n`, the selective risk `E_k / k` (errors among the accepted), and the generalised risk `E_k / n` (errors
//! accepted, among all). Equal confidences are accepted together in truth; they share their errors evenly here, which
//! is the mean over all orders.

use super::{Point, count, share};

/// Risk at every coverage.
#[derive(Debug, Clone, PartialEq)]
pub struct RiskCoverage {
    /// `E_k` for `k` from 0 to `n`.
    errors: Vec<f64>,
}

impl RiskCoverage {
    /// Sorts the predictions by confidence.
    #[must_use]
    pub fn new(points: &[Point]) -> Self {
        let mut sorted = points.to_vec();
        sorted.sort_by(|a, b| b.confidence.total_cmp(&a.confidence));
        let mut errors = vec![0.0];
        let mut accepted = 0;
        for ties in sorted.chunk_by(|a, b| a.confidence == b.confidence) {
            let before = errors[accepted];
            let wrong = ties.iter().filter(|point| !point.correct).count();
            errors.extend((1..=ties.len()).map(|k| before + count(wrong) * share(k, ties.len())));
            accepted += ties.len();
        }
        Self { errors }
    }

    fn n(&self) -> usize {
        self.errors.len() - 1
    }

    /// Share of errors where everything is accepted.
    #[must_use]
    pub fn error_rate(&self) -> f64 {
        if self.n() == 0 { 0.0 } else { self.errors[self.n()] / count(self.n()) }
    }

    /// Coverage and selective risk, from the most certain prediction to all.
    #[must_use]
    pub fn curve(&self) -> Vec<(f64, f64)> {
        (1..=self.n()).map(|k| (share(k, self.n()), self.errors[k] / count(k))).collect()
    }

    /// The same curve if every error were less certain than every right answer.
    #[must_use]
    pub fn oracle(&self) -> Self {
        let right = count(self.n()) - self.errors[self.n()];
        Self { errors: (0..=self.n()).map(|k| (count(k) - right).max(0.0)).collect() }
    }

    /// Area under the risk-coverage curve: the mean selective risk over all coverages (Geifman, Uziel and El-Yaniv 2019,
    /// arXiv 1805.08206). A confidence that says nothing has the error rate as its expected value.
    #[must_use]
    pub fn aurc(&self) -> f64 {
        let risks = self.curve();
        if risks.is_empty() {
            0.0
        } else {
            risks.iter().map(|(_, risk)| risk).sum::<f64>() / count(risks.len())
        }
    }

    /// Area under the generalised risk-coverage curve by trapezia (Traub et al. 2024, arXiv 2407.01032): the chance that
    /// a random threshold accepts a random prediction that is wrong. Half the error rate for a confidence that says
    /// nothing, half its square for the oracle; equal to `(1 - AUROC) * accuracy * error + error^2 / 2`.
    #[must_use]
    pub fn augrc(&self) -> f64 {
        let n = count(self.n());
        if self.n() == 0 {
            return 0.0;
        }
        self.errors.windows(2).map(|pair| f64::midpoint(pair[0], pair[1])).sum::<f64>() / (n * n)
    }
}
