//! Whether a confidence of 0.8 is right eight times in ten.

use serde::Serialize;
use statrs::function::erf::erf;

use super::{Point, count, share};

/// Bins of [`bins`] that all figures of this project use.
pub const BINS: usize = 15;
/// From this confidence on an error counts as a confident one.
pub const CONFIDENT: f64 = 0.9;

/// One bin of a reliability diagram: confidences in `(low, high]`, the first bin with 0.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct Bin {
    /// Lower edge, exclusive.
    pub low: f64,
    /// Upper edge, inclusive.
    pub high: f64,
    /// Predictions in the bin.
    pub n: usize,
    /// Their mean confidence; 0 where there are none.
    pub confidence: f64,
    /// Their share of right answers; 0 where there are none.
    pub accuracy: f64,
}

/// Sorts predictions into `number` bins of equal width (Guo et al. 2017, arXiv 1706.04599, section 2).
#[must_use]
pub fn bins(points: &[Point], number: usize) -> Vec<Bin> {
    let width = 1.0 / count(number);
    let mut sums = vec![(0usize, 0usize, 0.0f64); number];
    for point in points {
        // A rounded product must not lift an edge into the bin above it.
        let above = (0..number).find(|index| point.confidence <= count(index + 1) / count(number));
        let (n, right, confidence) = &mut sums[above.unwrap_or(number - 1)];
        *n += 1;
        *right += usize::from(point.correct);
        *confidence += point.confidence;
    }
    let bin = |(index, (n, right, confidence)): (usize, (usize, usize, f64))| Bin {
        low: count(index) * width,
        high: count(index + 1) * width,
        n,
        confidence: if n == 0 { 0.0 } else { confidence / count(n) },
        accuracy: share(right, n),
    };
    sums.into_iter().enumerate().map(bin).collect()
}

fn total(bins: &[Bin]) -> usize {
    bins.iter().map(|bin| bin.n).sum()
}

/// Expected calibration error: `sum over bins of n_b / n * |accuracy_b - confidence_b|` (Naeini et al. 2015; Guo et al.
/// 2017). Biased upwards: sampling noise alone makes it positive. `None` without predictions.
#[must_use]
pub fn ece(bins: &[Bin]) -> Option<f64> {
    let n = total(bins);
    (n > 0).then(|| bins.iter().map(|bin| share(bin.n, n) * (bin.accuracy - bin.confidence).abs()).sum())
}

/// [`ece`] less an estimate of its bias by sampling noise, not below 0 (after Kumar, Liang and Ma 2019, arXiv
/// 1909.10155, who simulate what is computed here): the accuracy of a bin varies as a normal variable of variance
/// `accuracy (1 - accuracy) / n_b`, so the expected value of `|accuracy' - confidence|` exceeds
/// `|accuracy - confidence|` by an amount that is subtracted. The expectation is the mean of the folded normal
/// distribution in closed form.
#[must_use]
pub fn ece_debiased(bins: &[Bin]) -> Option<f64> {
    let n = total(bins);
    let bias = |bin: &Bin| {
        let gap = (bin.accuracy - bin.confidence).abs();
        let deviation = (bin.accuracy * (1.0 - bin.accuracy) / count(bin.n)).sqrt();
        share(bin.n, n) * (folded_normal_mean(gap, deviation) - gap)
    };
    let bias: f64 = bins.iter().filter(|bin| bin.n > 0).map(bias).sum();
    Some((ece(bins)? - bias).max(0.0))
}

/// Mean of `|X|` for a normal `X` (Leone, Nelson and Nottingham 1961).
fn folded_normal_mean(mean: f64, deviation: f64) -> f64 {
    if deviation == 0.0 {
        return mean.abs();
    }
    let ratio = mean / deviation;
    deviation * (2.0 / std::f64::consts::PI).sqrt() * (-ratio * ratio / 2.0).exp()
        + mean * erf(ratio / std::f64::consts::SQRT_2)
}

/// Brier score over all classes: mean of `sum over classes of (p - y)^2`, from 0 to 2 (Brier 1950).
#[must_use]
pub fn brier<'a>(predictions: impl IntoIterator<Item = (usize, &'a [f64])>) -> Option<f64> {
    mean(predictions.into_iter().map(|(gold, probabilities)| {
        let term = |(class, p): (usize, &f64)| (p - f64::from(u8::from(class == gold))).powi(2);
        probabilities.iter().enumerate().map(term).sum()
    }))
}

/// Mean negative natural log-likelihood of the true label. Probabilities are clipped at the machine epsilon of a double,
/// as scikit-learn's `log_loss` does.
#[must_use]
pub fn nll<'a>(predictions: impl IntoIterator<Item = (usize, &'a [f64])>) -> Option<f64> {
    mean(predictions.into_iter().map(|(gold, probabilities)| {
        let p = probabilities.get(gold).copied().unwrap_or(0.0);
        -p.clamp(f64::EPSILON, 1.0).ln()
    }))
}

fn mean(values: impl Iterator<Item = f64>) -> Option<f64> {
    let (n, sum) = values.fold((0usize, 0.0), |(n, sum), value| (n + 1, sum + value));
    (n > 0).then(|| sum / count(n))
}

/// Errors with a confidence above `threshold`, and all errors.
#[must_use]
pub fn confident_errors(points: &[Point], threshold: f64) -> (usize, usize) {
    let errors = || points.iter().filter(|point| !point.correct);
    (errors().filter(|point| point.confidence > threshold).count(), errors().count())
}
