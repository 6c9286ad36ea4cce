//! What is trained on, and what is looked at meanwhile.
//!
//! Nothing here reads `adversarial.jsonl`, but for keeping training away from it.

use serde::Serialize;

use crate::Result;
use crate::dataset::{self, CalibrationPart, Example, SEED, Splits};
use crate::eval::sets::{self, BuiltIn, Labelled};
use crate::pack::IntentConfig;
use crate::train::failed;

/// A message and the index of its label.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Sample {
    /// The message.
    pub text: String,
    /// Index of its label.
    pub label: usize,
}

/// How many messages of which kind, and which exactly.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Account {
    /// Messages of the train split of seed 13.
    pub train: usize,
    /// Messages of `extra.jsonl`.
    pub extra: usize,
    /// Further messages drawn from families.
    pub templates: usize,
    /// SHA-256 of all of them, one a line as `{"text":…,"intent":…}`, in their order.
    pub sha256: String,
}

/// Everything that a run sees.
pub struct Data {
    /// The labels, in the order of their indices.
    pub labels: Vec<String>,
    /// The split that is trained on.
    pub splits: Splits,
    /// For training.
    pub train: Vec<Sample>,
    /// What they are.
    pub account: Account,
    /// For the loss during the run.
    pub validation: Vec<Sample>,
    /// For choosing: dev's first half.
    pub choose: Vec<Sample>,
    /// For the temperature.
    pub temperature: Vec<Sample>,
}

impl Data {
    /// The train split, with `extra` what may be trained on of `extra.jsonl`, and up to `templates` further messages a
    /// family.
    ///
    /// # Errors
    /// `invalid_data` naming file and line.
    pub fn read(extra: bool, templates: usize) -> Result<Self> {
        let labels = IntentConfig::default().labels;
        let splits = dataset::split(&dataset::build()?, SEED);
        let extra = if extra { dataset::extra_for(&splits)? } else { Vec::new() };
        let further = if templates > 0 { dataset::further(&splits, templates)? } else { Vec::new() };
        let all: Vec<&Example> = splits.train.iter().chain(&extra).chain(&further).collect();
        let account = Account {
            train: splits.train.len(),
            extra: extra.len(),
            templates: further.len(),
            sha256: sha256(&all)?,
        };
        let train = all.iter().map(|e| sample(&labels, &e.text, &e.intent)).collect::<Result<_>>()?;
        let validation =
            splits.val.iter().map(|e| sample(&labels, &e.text, &e.intent)).collect::<Result<_>>()?;
        let choose = samples(&labels, BuiltIn::Dev.load()?.messages)?;
        let temperature = samples(&labels, temperature_messages()?)?;
        Ok(Self { labels, splits, train, account, validation, choose, temperature })
    }
}

/// The messages that the temperature is fitted on.
fn temperature_messages() -> Result<Vec<Labelled>> {
    Ok(sets::calibration(CalibrationPart::Temperature)?.messages)
}

fn samples(labels: &[String], messages: Vec<Labelled>) -> Result<Vec<Sample>> {
    messages.iter().map(|message| sample(labels, &message.text, &message.intent)).collect()
}

fn sample(labels: &[String], text: &str, intent: &str) -> Result<Sample> {
    let label = labels.iter().position(|label| label == intent);
    let label = label.ok_or_else(|| failed(format!("{intent:?} is no label")))?;
    Ok(Sample { text: text.to_owned(), label })
}

fn sha256(examples: &[&Example]) -> Result<String> {
    #[derive(Serialize)]
    struct Line<'a> {
        text: &'a str,
        intent: &'a str,
    }
    let mut lines = String::new();
    for Example { text, intent, .. } in examples {
        lines += &serde_json::to_string(&Line { text, intent }).map_err(failed)?;
        lines.push('\n');
    }
    Ok(dataset::sha256(lines.as_bytes()))
}
