//! Temperature scaling (Guo et al. 2017, arXiv 1706.04599).

use super::metrics::count;
use crate::scoring::Scores;
use crate::{IntentError, Result};

/// Temperatures that are considered.
const RANGE: (f64, f64) = (1e-3, 1e3);

/// The temperature that minimises the mean negative log-likelihood of the true labels, given each message's uncalibrated
/// scores and the index of its true label. The likelihood is convex in `1 / T`, so it has one minimum in `ln T`, which
/// golden-section search finds to a relative error of about 1e-9.
///
/// # Errors
/// `invalid_config` where there is nothing to fit, or where the best temperature lies at an end of 0.001 to 1000: the
/// messages are then all right (or all wrong) and say nothing about confidence.
pub fn fit_temperature(scored: &[(&Scores, usize)]) -> Result<f32> {
    if scored.is_empty() {
        return Err(IntentError::config("temperature", "no message to fit it on"));
    }
    let ratio = (5f64.sqrt() - 1.0) / 2.0;
    let (mut low, mut high) = (RANGE.0.ln(), RANGE.1.ln());
    let mut inner = [high - ratio * (high - low), low + ratio * (high - low)];
    let mut values = inner.map(|t| negative_log_likelihood(scored, t.exp()));
    for _ in 0..50 {
        if values[0] <= values[1] {
            high = inner[1];
            inner = [high - ratio * (high - low), inner[0]];
            values = [negative_log_likelihood(scored, inner[0].exp()), values[0]];
        } else {
            low = inner[0];
            inner = [inner[1], low + ratio * (high - low)];
            values = [values[1], negative_log_likelihood(scored, inner[1].exp())];
        }
    }
    let temperature = f64::midpoint(low, high).exp();
    if temperature < RANGE.0 * 1.001 || temperature > RANGE.1 / 1.001 {
        return Err(IntentError::config(
            "temperature",
            format!("the messages do not determine it: the fit ends at {temperature:.3}"),
        ));
    }
    #[expect(clippy::cast_possible_truncation, reason = "single precision is what the configuration holds")]
    Ok(temperature as f32)
}

/// Mean negative log-likelihood of the true labels at `temperature`.
#[must_use]
pub fn negative_log_likelihood(scored: &[(&Scores, usize)], temperature: f64) -> f64 {
    let loss = |(scores, gold): &(&Scores, usize)| {
        let scaled: Vec<f64> = scores.log_probabilities.iter().map(|l| f64::from(*l) / temperature).collect();
        let largest = scaled.iter().copied().fold(f64::NEG_INFINITY, f64::max);
        let sum: f64 = scaled.iter().map(|value| (value - largest).exp()).sum();
        largest + sum.ln() - scaled[*gold]
    };
    scored.iter().map(loss).sum::<f64>() / count(scored.len())
}
