//! A threshold by what it lets through: the smallest at which few of the messages that must escalate stay local.
//!
//! It describes the messages that it was chosen on and promises nothing of others; [`sgr`](super::sgr) does.

use serde::Serialize;

use super::identity::Origin;
use super::metrics::gate::GateCounts;
use crate::{IntentError, Result};

/// What [`Evaluator::limit_unsafe_local`](super::Evaluator::limit_unsafe_local) came to, as a manifest shows it.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct UnsafeLimit {
    /// The messages it was chosen on.
    #[serde(flatten)]
    pub from: Origin,
    /// Largest share of the messages that must escalate to stay local, as asked for.
    pub limit: f64,
    /// Messages that must escalate.
    pub must_escalate: usize,
    /// Of these, those that stay local at the threshold.
    pub unsafe_local: usize,
}

/// The limit must be a share.
///
/// # Errors
/// `invalid_argument` naming `--unsafe-local`.
pub fn check_limit(limit: f64) -> Result<()> {
    if (0.0..=1.0).contains(&limit) {
        return Ok(());
    }
    Err(IntentError::argument("--unsafe-local", format!("{limit} is not between 0 and 1")))
}

/// The smallest hundredth from 0 to 1 at which at most `limit` of the messages that must escalate stay local, with what
/// `gate` counts there; `None` where there is none, or nothing that must escalate.
///
/// # Errors
/// Those of `gate`.
pub fn smallest_threshold(
    limit: f64,
    mut gate: impl FnMut(f32) -> Result<GateCounts>,
) -> Result<Option<(f32, GateCounts)>> {
    for hundredth in 0..=100u8 {
        let threshold = f32::from(hundredth) / 100.0;
        let counts = gate(threshold)?;
        if counts.unsafe_local_rate().is_some_and(|rate| rate <= limit) {
            return Ok(Some((threshold, counts)));
        }
    }
    Ok(None)
}
