//! Accuracy, precision, recall, F1 (van Rijsbergen 1979), as scikit-learn's `classification_report` computes them with
//! `zero_division=0`.

use serde::Serialize;

use super::{count, share};

/// Counts of `[gold][predicted]`, and of messages without an answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Confusion {
    counts: Vec<Vec<usize>>,
    failed: Vec<usize>,
}

/// Figures of one class.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct ClassScores {
    /// Right among the answers with this label; 0 where there are none.
    pub precision: f64,
    /// Right among the messages of this label; 0 where there are none.
    pub recall: f64,
    /// `2 TP / (2 TP + FP + FN)`; 0 where that is undefined.
    pub f1: f64,
    /// Messages of this label.
    pub support: usize,
    /// Of these, messages that the model failed on: wrong, and in no column of the confusion.
    pub failed: usize,
}

impl Confusion {
    /// Counts `(gold, predicted)` pairs of class indices, `None` being no answer at all; a pair outside `classes` is left
    /// out.
    pub fn new(classes: usize, pairs: impl IntoIterator<Item = (usize, Option<usize>)>) -> Self {
        let (mut counts, mut failed) = (vec![vec![0; classes]; classes], vec![0; classes]);
        for (gold, predicted) in pairs {
            let cell = match predicted {
                Some(predicted) => {
                    counts.get_mut(gold).and_then(|row: &mut Vec<usize>| row.get_mut(predicted))
                }
                None => failed.get_mut(gold),
            };
            if let Some(cell) = cell {
                *cell += 1;
            }
        }
        Self { counts, failed }
    }

    /// Rows are true labels, columns answered ones.
    #[must_use]
    pub fn counts(&self) -> &[Vec<usize>] {
        &self.counts
    }

    /// Messages.
    #[must_use]
    pub fn total(&self) -> usize {
        self.counts.iter().flatten().chain(&self.failed).sum()
    }

    /// Right answers.
    #[must_use]
    pub fn correct(&self) -> usize {
        self.counts.iter().enumerate().map(|(class, row)| row[class]).sum()
    }

    /// Share of right answers.
    #[must_use]
    pub fn accuracy(&self) -> f64 {
        share(self.correct(), self.total())
    }

    fn support(&self, class: usize) -> usize {
        self.counts[class].iter().sum::<usize>() + self.failed[class]
    }

    fn answered(&self, class: usize) -> usize {
        self.counts.iter().map(|row| row[class]).sum()
    }

    /// Figures of each class.
    #[must_use]
    pub fn per_class(&self) -> Vec<ClassScores> {
        let scores = |class: usize| {
            let (right, support, answered) =
                (self.counts[class][class], self.support(class), self.answered(class));
            ClassScores {
                precision: share(right, answered),
                recall: share(right, support),
                f1: share(2 * right, support + answered),
                support,
                failed: self.failed[class],
            }
        };
        (0..self.counts.len()).map(scores).collect()
    }

    /// Unweighted mean of F1 over the classes that occur, as a true label or as an answer (scikit-learn's default
    /// choice of classes).
    #[must_use]
    pub fn macro_f1(&self) -> f64 {
        let occurs = |class: &usize| self.support(*class) + self.answered(*class) > 0;
        let scores = self.per_class();
        let present: Vec<f64> = (0..scores.len()).filter(occurs).map(|class| scores[class].f1).collect();
        if present.is_empty() { 0.0 } else { present.iter().sum::<f64>() / count(present.len()) }
    }
}
