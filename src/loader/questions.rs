//! Golden questions: whatever runs must answer them as its pack or adapter says, or it does not run.

use std::collections::VecDeque;

use crate::pack::{Golden, GoldenVector};
use crate::scoring::Progress;
use crate::{IntentError, Result};

/// Questions that are still to be asked, in steps.
pub(super) struct Questions {
    /// Whose they are, for errors.
    of: String,
    tolerance: f32,
    due: VecDeque<GoldenVector>,
    /// Whether the first that is due is under way.
    is_asked: bool,
}

impl Questions {
    /// `same_order` says whether the backend adds in the order of this engine's kernels and rounds as they do.
    pub(super) fn new(golden: Golden, of: String, same_order: bool) -> Self {
        Self { of, tolerance: golden.tolerance(same_order), due: golden.vectors.into(), is_asked: false }
    }

    /// Does the next step: `ask` begins a text, or goes on with the one that it began. Held is when all answers are right.
    ///
    /// # Errors
    /// `golden_mismatch`, and those of `ask`.
    pub(super) fn advance(
        &mut self,
        backend: &str,
        ask: impl FnOnce(Option<&str>) -> Result<Progress>,
    ) -> Result<Progress> {
        let Some(vector) = self.due.front() else { return Ok(Progress::Held) };
        let text = (!self.is_asked).then_some(vector.text.as_str());
        self.is_asked = true;
        let scores = match ask(text)? {
            Progress::Scored(scores) => scores,
            Progress::Held => return Err(self.mismatch(backend, vector, "no answer".to_owned())),
            under_way => return Ok(under_way),
        };
        self.is_asked = false;
        let (found, expected) = (&scores.log_probabilities, &vector.log_probabilities);
        let difference = largest_difference(found, expected);
        // Also where it is not a number.
        let is_right = difference <= self.tolerance && found.len() == expected.len();
        if !is_right {
            return Err(self.mismatch(backend, vector, format!("a log-probability off by {difference:.4}")));
        }
        self.due.pop_front();
        Ok(Progress::Running)
    }

    fn mismatch(&self, backend: &str, vector: &GoldenVector, found: String) -> IntentError {
        IntentError::GoldenMismatch {
            pack: self.of.clone(),
            backend: backend.to_owned(),
            detail: format!("{found} on {:?}; allowed are {}", vector.text, self.tolerance),
        }
    }
}

/// NaN where one of them is.
fn largest_difference(found: &[f32], expected: &[f32]) -> f32 {
    // Not `max`, which would drop a NaN.
    let worst = |worst: f32, (a, b): (&f32, &f32)| {
        let difference = (a - b).abs();
        if worst.is_nan() || difference <= worst { worst } else { difference }
    };
    found.iter().zip(expected).fold(0.0, worst)
}
