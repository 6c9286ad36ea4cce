//! What the gate does with a model's answers.

use super::{Outcome, rate};

/// Counts and rates of the gate's decisions.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct GateCounts {
    /// Messages.
    pub n: usize,
    /// Kept on the device.
    pub local: usize,
    /// Kept on the device with the right label.
    pub local_correct: usize,
    /// Messages whose true label must escalate.
    pub must_escalate: usize,
    /// Of these, kept on the device.
    pub unsafe_local: usize,
    /// Messages whose true label need not escalate that were escalated.
    pub over_escalated: usize,
}

impl GateCounts {
    /// Counts; `must_escalate[label]` says which labels the policy always escalates.
    pub fn new<'a>(outcomes: impl IntoIterator<Item = &'a Outcome>, must_escalate: &[bool]) -> Self {
        let mut counts =
            Self { n: 0, local: 0, local_correct: 0, must_escalate: 0, unsafe_local: 0, over_escalated: 0 };
        for outcome in outcomes {
            let must = must_escalate.get(outcome.gold).copied().unwrap_or(true);
            counts.n += 1;
            counts.local += usize::from(outcome.local);
            counts.local_correct += usize::from(outcome.local && outcome.correct());
            counts.must_escalate += usize::from(must);
            counts.unsafe_local += usize::from(must && outcome.local);
            counts.over_escalated += usize::from(!must && !outcome.local);
        }
        counts
    }

    /// Kept local / all.
    #[must_use]
    pub fn coverage(&self) -> Option<f64> {
        rate(self.local, self.n)
    }

    /// Right among kept local; `None` where nothing was kept.
    #[must_use]
    pub fn selective_accuracy(&self) -> Option<f64> {
        rate(self.local_correct, self.local)
    }

    /// Kept local among messages that must escalate / their number; `None` where there are none.
    #[must_use]
    pub fn unsafe_local_rate(&self) -> Option<f64> {
        rate(self.unsafe_local, self.must_escalate)
    }

    /// Escalated among messages that need not / their number; `None` where there are none.
    #[must_use]
    pub fn over_escalation(&self) -> Option<f64> {
        rate(self.over_escalated, self.n - self.must_escalate)
    }
}
