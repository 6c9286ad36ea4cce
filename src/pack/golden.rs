//! Golden vectors: messages with the answers that they must get.

use serde::{Deserialize, Serialize};

use crate::message::MAX_MESSAGE_CHARS;

/// Decimals that are kept: fewer than any compiler or library could change.
const DECIMALS: f32 = 1e4;
/// Allowed of builds of this engine. All multiply the same integers and add the same floats in the same order; they differ
/// only in the last softmax's functions, by 1e-7, and [`DECIMALS`] add 5e-5.
const TOLERANCE: f32 = 1e-3;
/// Allowed of arithmetic of another order or precision: at least this, and [`SLACK`] times what leaving the activations
/// unrounded changes here.
///
/// Last bits do not stay small: they turn the rounding of some activation to 8 bits, and every layer rounds again. With the
/// sums of products, norms and attention taken in another order, log-probabilities of the compact model moved by 0.017
/// (median over the 1,853 messages of held-out, dev and adversarial set), 0.093 (99% of them) and 0.18 (the most).
const LEAST: f32 = 0.05;
const SLACK: f32 = 4.0;

/// A pack or an adapter has at most this many golden vectors; each costs a forward pass at load.
const MAX_GOLDEN: usize = 64;

/// Messages with the answers that they must get.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Golden {
    /// Largest difference of a log-probability for backends that add in the order of this engine's kernels.
    pub tolerance: f32,
    /// The same for backends that add in another order or round otherwise; [`tolerance`](Self::tolerance) where absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tolerance_other_order: Option<f32>,
    /// The messages.
    pub vectors: Vec<GoldenVector>,
}

/// A message and its answer.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct GoldenVector {
    /// The message.
    pub text: String,
    /// Natural log-probability of each label, uncalibrated, as this engine answers: of the stored weights and activations
    /// rounded to 8 bits.
    pub log_probabilities: Vec<f32>,
}

impl Golden {
    /// That `texts` are to be answered as `rounded` says, which are answers as users' backends give them. How far `exact`
    /// are off, whose products round nothing, gives the tolerance of other arithmetic.
    #[must_use]
    pub fn measured(texts: &[&str], rounded: &[Vec<f32>], exact: &[Vec<f32>]) -> Self {
        let pairs = rounded.iter().flatten().zip(exact.iter().flatten());
        let worst = pairs.fold(0f32, |worst, (a, b)| worst.max((a - b).abs()));
        let vector = |(text, answer): (&&str, &Vec<f32>)| GoldenVector {
            text: (*text).to_owned(),
            log_probabilities: answer.iter().map(|l| (l * DECIMALS).round() / DECIMALS).collect(),
        };
        // Rounded up to hundredths, so that a last bit does not change the manifest.
        let other = (LEAST.max(SLACK * worst) * 100.0).ceil() / 100.0;
        Self {
            tolerance: TOLERANCE,
            tolerance_other_order: Some(other),
            vectors: texts.iter().zip(rounded).map(vector).collect(),
        }
    }

    /// Largest difference of a log-probability that is allowed of a backend: whether it adds in the order of this engine's
    /// kernels and rounds as they do.
    #[must_use]
    pub fn tolerance(&self, same_order: bool) -> f32 {
        let other = self.tolerance_other_order.unwrap_or(self.tolerance);
        if same_order { self.tolerance } else { other }
    }

    /// Checks what the types do not; `labels` is how many there are. The error is a field and what is wrong with it.
    pub(crate) fn check(&self, labels: usize) -> Result<(), (String, String)> {
        let other = self.tolerance_other_order.unwrap_or(self.tolerance);
        for (field, tolerance) in [("tolerance", self.tolerance), ("tolerance_other_order", other)] {
            if !(tolerance.is_finite() && tolerance > 0.0) {
                return Err((field.to_owned(), format!("{tolerance} is not a positive number")));
            }
        }
        if !(1..=MAX_GOLDEN).contains(&self.vectors.len()) {
            return Err(("vectors".to_owned(), format!("{} is not 1 to {MAX_GOLDEN}", self.vectors.len())));
        }
        for (index, vector) in self.vectors.iter().enumerate() {
            let field = |part: &str| format!("vectors[{index}].{part}");
            if vector.text.trim().is_empty() || vector.text.chars().count() > MAX_MESSAGE_CHARS {
                return Err((field("text"), "is not a message".to_owned()));
            }
            let values = &vector.log_probabilities;
            if values.len() != labels || !values.iter().all(|value| value.is_finite()) {
                return Err((field("log_probabilities"), format!("are not {labels} numbers")));
            }
        }
        Ok(())
    }
}
