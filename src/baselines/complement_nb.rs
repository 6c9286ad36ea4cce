//! Weight-normalised Complement Naive Bayes (Rennie, Shih, Teevan and Karger 2003, "Tackling the Poor Assumptions of
//! Naive Bayes Text Classifiers", section 3) over word 1-, 2- and 3-grams.
//!
//! For each class `c` and feature `i`, with `N` the counts in all messages of *other* classes and `alpha = 1`:
//!
//! ```text
//! w_ci = ln((N_i + alpha) / sum over j of (N_j + alpha))      the complement's estimate
//! w_ci = w_ci / sum over j of |w_cj|                          weight normalisation
//! l(t) = argmin over c of  sum over i of t_i w_ci             the class whose complement fits worst
//! ```
//!
//! Equal to scikit-learn's `ComplementNB(norm=True)` (a test compares them). Two scalings of the sums change no answer,
//! only what the calibrated confidence can be. They are multiplied by the number of features, since normalised weights
//! are of the size of its inverse; the classes' weights differ by little of that, so the fitted temperature is small
//! (0.035 on the published split). And they are divided by the Euclidean length of the message's counts of known
//! features, those that occur in training, since no other carries a weight: without that, long messages are sure of
//! anything. (Section 4.3 of the paper does this to the training counts; here they are left as they are.)

use std::collections::HashMap;

use super::info;
use super::words::words;
use crate::classifier::{LabelModel, ModelInfo, UNKNOWN};
use crate::eval::metrics::count;
use crate::scoring::Scores;
use crate::{IntentError, Result};

/// Lidstone smoothing of the counts.
const ALPHA: f64 = 1.0;
/// Longest n-gram.
const LONGEST: usize = 3;

/// The fitted model.
pub struct ComplementNb {
    /// Row of each feature in `weights`.
    vocabulary: HashMap<String, usize>,
    /// Scaled log-odds of the classes, `[feature][class]`: what one occurrence adds.
    weights: Vec<Vec<f64>>,
    /// Scores of a message without any known feature.
    nothing_known: Vec<f32>,
    info: ModelInfo,
}

/// Word n-grams of a text, with repetition.
fn features(text: &str) -> Vec<String> {
    let words = words(text);
    (1..=LONGEST).flat_map(|n| words.windows(n).map(|gram| gram.join(" ")).collect::<Vec<_>>()).collect()
}

impl ComplementNb {
    /// Fits on `(text, intent)` pairs.
    ///
    /// # Errors
    /// `invalid_config` where an intent is none of `labels`, or where no word was seen.
    pub fn fit<'a>(
        labels: &[String],
        examples: impl IntoIterator<Item = (&'a str, &'a str)>,
    ) -> Result<Self> {
        let mut vocabulary = HashMap::new();
        // [feature][class], in the order in which features first occur, so that sums are the same on every run.
        let mut counts: Vec<Vec<f64>> = Vec::new();
        for (text, intent) in examples {
            let class = labels.iter().position(|label| label == intent).ok_or_else(|| {
                IntentError::config("complement-nb", format!("{intent:?} is none of the labels"))
            })?;
            for feature in features(text) {
                let row = *vocabulary.entry(feature).or_insert_with(|| {
                    counts.push(vec![0.0; labels.len()]);
                    counts.len() - 1
                });
                counts[row][class] += 1.0;
            }
        }
        if counts.is_empty() {
            return Err(IntentError::config("complement-nb", "there is no word to fit on"));
        }
        let parameters = counts.len() * labels.len();
        Ok(Self {
            weights: weights(&counts, labels.len()),
            nothing_known: nothing_known(labels),
            info: info("complement-nb", parameters, parameters * size_of::<f64>()),
            vocabulary,
        })
    }

    /// Features.
    #[must_use]
    pub fn vocabulary(&self) -> usize {
        self.vocabulary.len()
    }

    /// Rows of the known features of `text`, ascending, with repetition.
    fn known(&self, text: &str) -> Vec<usize> {
        let mut rows: Vec<usize> =
            features(text).iter().filter_map(|feature| self.vocabulary.get(feature).copied()).collect();
        rows.sort_unstable();
        rows
    }

    /// The classes' sums of weights for `text`, times the number of features; the largest wins. `None` where the text
    /// has no known feature.
    #[must_use]
    pub fn sums(&self, text: &str) -> Option<Vec<f64>> {
        let weights = self.known(text).into_iter().map(|row| self.weights[row].clone());
        weights.reduce(|mut sums, weights| {
            sums.iter_mut().zip(weights).for_each(|(sum, weight)| *sum += weight);
            sums
        })
    }

    /// Euclidean length of the counts of known features.
    fn length(&self, text: &str) -> f64 {
        let squares = |ties: &[usize]| count(ties.len()).powi(2);
        self.known(text).chunk_by(|a, b| a == b).map(squares).sum::<f64>().sqrt()
    }
}

/// `-w_ci` times the number of features: the paper's weights are negative and the least sum wins, of these the largest.
fn weights(counts: &[Vec<f64>], classes: usize) -> Vec<Vec<f64>> {
    let complement = |row: &[f64], class: usize| row.iter().sum::<f64>() - row[class] + ALPHA;
    let mut weights = vec![vec![0.0; classes]; counts.len()];
    for class in 0..classes {
        let total: f64 = counts.iter().map(|row| complement(row, class)).sum();
        let logs: Vec<f64> = counts.iter().map(|row| (complement(row, class) / total).ln()).collect();
        let norm: f64 = logs.iter().map(|log| log.abs()).sum();
        for (row, log) in weights.iter_mut().zip(&logs) {
            row[class] = -log / norm * count(counts.len());
        }
    }
    weights
}

/// A message of unknown words alone: all labels alike at any usual temperature, `unknown` (what no intent covers) ahead
/// by a hair where there is such a label.
fn nothing_known(labels: &[String]) -> Vec<f32> {
    let hair = |label: &String| if label == UNKNOWN { 1e-3 } else { 0.0 };
    normalised(&labels.iter().map(hair).collect::<Vec<f64>>())
}

impl LabelModel for ComplementNb {
    fn score(&mut self, text: &str, token_confidence: bool) -> Result<Scores> {
        if token_confidence {
            return Err(IntentError::Unavailable(
                "complement-nb emits no tokens: no token_confidence".to_owned(),
            ));
        }
        let log_probabilities = match self.sums(text) {
            Some(mut sums) => {
                let length = self.length(text);
                sums.iter_mut().for_each(|sum| *sum /= length);
                normalised(&sums)
            }
            None => self.nothing_known.clone(),
        };
        Ok(Scores { log_probabilities, token_confidence: None })
    }

    fn info(&self) -> &ModelInfo {
        &self.info
    }
}

/// Log-softmax in double precision.
fn normalised(sums: &[f64]) -> Vec<f32> {
    let largest = sums.iter().copied().fold(f64::NEG_INFINITY, f64::max);
    let normaliser = largest + sums.iter().map(|sum| (sum - largest).exp()).sum::<f64>().ln();
    #[expect(clippy::cast_possible_truncation, reason = "log-probabilities are reported in single precision")]
    sums.iter().map(|sum| (sum - normaliser) as f32).collect()
}
