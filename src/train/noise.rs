//! Other forms of messages, epoch by epoch.

use rayon::prelude::*;

use super::data::Sample;
use crate::dataset::Augmenter;
use crate::dataset::random::Random;

/// The messages as an epoch sees them: the share `share` of them with noise, drawn from the stream of that name.
#[must_use]
pub fn noisy(augmenter: &Augmenter, samples: &[Sample], share: f64, stream: &str) -> Vec<Sample> {
    const PARTS: usize = 1_000_000;
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        clippy::cast_precision_loss,
        reason = "a share of a million"
    )]
    let noisy = (share * PARTS as f64).round() as usize;
    let look = |(number, sample): (usize, &Sample)| {
        let mut random = Random::named(&format!("{stream}/{number}"));
        let text = if random.chance(noisy, PARTS) { augmenter.noisy(&sample.text, stream) } else { None };
        Sample { text: text.unwrap_or_else(|| sample.text.clone()), label: sample.label }
    };
    samples.par_iter().enumerate().map(look).collect()
}
