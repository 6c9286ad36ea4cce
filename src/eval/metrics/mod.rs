//! Pure functions from outcomes to figures. Each says where its formula comes from.

pub mod bootstrap;
pub mod calibration;
pub mod classification;
pub mod gate;
pub mod intervals;
pub mod rates;
pub mod selective;

use serde::{Serialize, Serializer};

/// A range that a figure is believed to lie in. Serialised as `[low, high]`.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Interval {
    /// Lower end.
    pub low: f64,
    /// Upper end.
    pub high: f64,
}

impl Serialize for Interval {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        [self.low, self.high].serialize(serializer)
    }
}

/// What one message came to: its label, the model's distribution and the gate's decision.
#[derive(Debug, Clone, PartialEq)]
pub struct Outcome {
    /// Index of the true label.
    pub gold: usize,
    /// Index of the answered label; `None` where the model failed, which is never the right answer.
    pub predicted: Option<usize>,
    /// Calibrated probabilities, one a label; `None` where the message was not classified (too long, failure).
    pub probabilities: Option<Vec<f64>>,
    /// Whether the gate kept the message on the device.
    pub local: bool,
}

impl Outcome {
    /// Whether the answered label is the true one.
    #[must_use]
    pub fn correct(&self) -> bool {
        self.predicted == Some(self.gold)
    }

    /// The largest probability; 0 where the message was not classified, so that such messages are the least certain.
    #[must_use]
    pub fn confidence(&self) -> f64 {
        self.probabilities.iter().flatten().copied().fold(0.0, f64::max)
    }

    /// Confidence and correctness, as the calibration and selection figures take them.
    #[must_use]
    pub fn point(&self) -> Point {
        Point { confidence: self.confidence(), correct: self.correct() }
    }
}

/// One prediction as calibration and selection see it.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Point {
    /// Probability of the answered label, 0 to 1.
    pub confidence: f64,
    /// Whether the answer is right.
    pub correct: bool,
}

/// `part / whole`; 0 where there is nothing to divide by.
#[must_use]
pub fn share(part: usize, whole: usize) -> f64 {
    if whole == 0 { 0.0 } else { count(part) / count(whole) }
}

/// `part / whole`; `None` where there is nothing to divide by.
#[must_use]
pub fn rate(part: usize, whole: usize) -> Option<f64> {
    (whole > 0).then(|| share(part, whole))
}

/// A count as a number to calculate with; exact up to 2^53.
#[expect(clippy::cast_precision_loss, reason = "counts of messages are far below 2^53")]
pub(crate) fn count(n: usize) -> f64 {
    n as f64
}
