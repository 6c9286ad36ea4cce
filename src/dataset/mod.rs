//! The data: messages with their intents, for training, choosing and judging.
//!
//! The files of `data/` are compiled in. [`build`] makes the 2,400 examples of the dataset, exactly 400 of each
//! intent: hand-written seeds, messages drawn from template families, and a share of the latter with seeded noise.
//! [`split`] parts them into train, validation and test. Both use integers and a fixed random stream only, so their
//! bytes are the same on every machine. [`checks`] proves what the data card (`data/README.md`) promises.
//!
//! [`adversarial`] judges and is never trained, tuned or calibrated on. [`dev`] chooses (its first [`Half`]) and
//! calibrates (the other, in two [`CalibrationPart`]s). [`extra`] is further training data, which may be used beside a
//! split only as [`extra_for`] gives it.

mod augment;
mod build;
mod check;
mod export;
mod files;
mod further;
mod leaks;
mod noise;
pub(crate) mod random;
mod rules;
mod similarity;
mod splits;
mod template;

use serde::{Deserialize, Serialize};

use crate::Result;

pub use augment::Augmenter;
pub use build::{FAMILY_CAP, NOISY_PER_INTENT, PER_INTENT, SEEDS_PER_INTENT};
pub use check::{Report, check_built, checks};
pub use export::{chat_jsonl, extra_jsonl, jsonl, sha256};
pub use files::{Corpus, Files, Placed};
pub use further::further;
pub use leaks::LeakReport;
pub use rules::group_named;
pub use similarity::{NEAR_ONE_IN, QUOTED_WORDS, WHOLE_WORDS};
pub use splits::{SEED, SplitReport, Splits, check_splits, extra_for, split};

/// Where an example comes from.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Source {
    /// Written by hand, of the 2,400.
    Seed,
    /// Drawn from a template family.
    Template,
    /// Drawn from a template family, then put through seeded noise.
    TemplateNoise,
    /// Written by hand, beyond the 2,400.
    Extra,
}

impl Source {
    /// All sources, in the order of tables.
    pub const ALL: [Self; 4] = [Self::Seed, Self::Template, Self::TemplateNoise, Self::Extra];

    /// Its name in files.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Seed => "seed",
            Self::Template => "template",
            Self::TemplateNoise => "template_noise",
            Self::Extra => "extra",
        }
    }
}

/// A labelled message for training.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Example {
    /// What the customer wrote.
    pub text: String,
    /// Its label, one of the default configuration's.
    pub intent: String,
    /// Where it comes from.
    pub source: Source,
    /// The idea it words; messages of one group stay on one side of a split.
    pub group: String,
    /// Kind of difficulty: core, border, noisy, long or short.
    pub slice: String,
}

/// What a message of `dev.jsonl` may be used for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Half {
    /// Choosing recipes and checkpoints; odd ids.
    Choose,
    /// Fitting temperatures and thresholds; even ids.
    Calibrate,
}

/// What a message of [`Half::Calibrate`] is for. A threshold that is promised something must be chosen on messages that
/// the temperature was not fitted on, since the promise counts them as drawn anew.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CalibrationPart {
    /// Fitting temperatures: ids that 4 divides.
    Temperature,
    /// Choosing thresholds: the other even ids.
    Threshold,
}

impl CalibrationPart {
    /// Its messages, in words, as results name them.
    #[must_use]
    pub fn describe(self) -> &'static str {
        match self {
            Self::Temperature => "dev.jsonl, ids 0 modulo 4",
            Self::Threshold => "dev.jsonl, ids 2 modulo 4",
        }
    }
}

/// A labelled message for evaluation, written to be hard.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct HardExample {
    /// Stable id, `adv-0001` or `dev-0001`.
    pub id: String,
    /// What the customer wrote.
    pub text: String,
    /// Its label, one of the default configuration's.
    pub intent: String,
    /// Kind of difficulty, of 24.
    pub slice: String,
    /// Why it has this label: the rule of the taxonomy and how it applies.
    pub reason: String,
    /// What it may be used for; only `dev.jsonl` has halves.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub half: Option<Half>,
}

impl HardExample {
    /// What it calibrates, by its id; `None` where it is not for calibrating.
    #[must_use]
    pub fn calibrates(&self) -> Option<CalibrationPart> {
        let number: u32 = self.id.split_once('-')?.1.parse().ok()?;
        if self.half != Some(Half::Calibrate) {
            return None;
        }
        Some(if number.is_multiple_of(4) { CalibrationPart::Temperature } else { CalibrationPart::Threshold })
    }
}

/// The 2,400 examples, in the order of their files.
///
/// # Errors
/// `invalid_data` naming file and line.
pub fn build() -> Result<Vec<Example>> {
    Ok(values(Corpus::read(&Files::EMBEDDED)?.build()?))
}

/// The messages that judge. Never for training, tuning, calibration or the choice of a checkpoint.
///
/// # Errors
/// `invalid_data` naming file and line.
pub fn adversarial() -> Result<Vec<HardExample>> {
    files::adversarial(&Files::EMBEDDED).map(values)
}

/// The messages for choosing and calibrating; see [`Half`].
///
/// # Errors
/// `invalid_data` naming file and line.
pub fn dev() -> Result<Vec<HardExample>> {
    files::dev(&Files::EMBEDDED).map(values)
}

/// Hand-written training messages beyond the 2,400. Some share groups with them: beside a split use [`extra_for`].
///
/// # Errors
/// `invalid_data` naming file and line.
pub fn extra() -> Result<Vec<Example>> {
    files::extra(&Files::EMBEDDED).map(values)
}

fn values<T>(placed: Vec<Placed<T>>) -> Vec<T> {
    placed.into_iter().map(|placed| placed.value).collect()
}
