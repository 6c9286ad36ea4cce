//! Labelled messages to evaluate on.

use std::collections::BTreeMap;
use std::path::Path;

use serde::Deserialize;

use crate::dataset::{self, CalibrationPart, Example, Half, HardExample, SEED};
use crate::message::Message;
use crate::{IntentError, Result};

/// What some editors put at the front of a UTF-8 file.
pub(crate) const BYTE_ORDER_MARK: &[u8] = b"\xEF\xBB\xBF";

/// A message with its true label.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub struct Labelled {
    /// The message.
    pub text: String,
    /// Its true label.
    pub intent: String,
    /// What kind of message it is.
    #[serde(default)]
    pub slice: Option<String>,
    /// Messages of one group are paraphrases of one idea.
    #[serde(default)]
    pub group: Option<String>,
}

impl From<Example> for Labelled {
    fn from(example: Example) -> Self {
        Self {
            text: example.text,
            intent: example.intent,
            slice: Some(example.slice),
            group: Some(example.group),
        }
    }
}

impl From<HardExample> for Labelled {
    fn from(example: HardExample) -> Self {
        Self { text: example.text, intent: example.intent, slice: Some(example.slice), group: None }
    }
}

/// A named list of labelled messages.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EvalSet {
    /// Name, as results show it.
    pub name: String,
    /// The messages.
    pub messages: Vec<Labelled>,
}

/// The sets that come with the project.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum BuiltIn {
    /// The test part of the dataset's split for [`SEED`].
    HeldOut,
    /// Hand-written hard messages that nothing was ever fitted on or chosen by.
    Adversarial,
    /// Hand-written hard messages for choosing: the half of the development set that nothing is calibrated on.
    Dev,
    /// The other half: what temperatures are fitted and thresholds chosen on, so that figures on it flatter whatever
    /// was fitted here.
    DevCalibrate,
}

impl BuiltIn {
    /// Its name on the command line and in results.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::HeldOut => "held-out",
            Self::Adversarial => "adversarial",
            Self::Dev => "dev",
            Self::DevCalibrate => "dev-calibrate",
        }
    }

    /// Its messages.
    ///
    /// # Errors
    /// Those of building the dataset.
    pub fn load(self) -> Result<EvalSet> {
        let messages = match self {
            Self::HeldOut => labelled(dataset::split(&dataset::build()?, SEED).test),
            Self::Adversarial => labelled(dataset::adversarial()?),
            Self::Dev => labelled(half(Half::Choose)?),
            Self::DevCalibrate => labelled(half(Half::Calibrate)?),
        };
        Ok(EvalSet { name: self.name().to_owned(), messages })
    }
}

/// The part of the development set that temperatures are fitted on, or the one that thresholds are chosen on. They share
/// no message, with each other or with [`BuiltIn::Dev`].
///
/// # Errors
/// Those of reading the development set.
pub fn calibration(part: CalibrationPart) -> Result<EvalSet> {
    let messages = dataset::dev()?.into_iter().filter(|example| example.calibrates() == Some(part));
    Ok(EvalSet { name: part.describe().to_owned(), messages: labelled(messages.collect()) })
}

fn half(wanted: Half) -> Result<Vec<HardExample>> {
    Ok(dataset::dev()?.into_iter().filter(|example| example.half == Some(wanted)).collect())
}

fn labelled<T: Into<Labelled>>(examples: Vec<T>) -> Vec<Labelled> {
    examples.into_iter().map(Into::into).collect()
}

impl EvalSet {
    /// Reads a JSON Lines file: `text` and `intent`, optionally `slice` and `group`; other fields are left alone, and
    /// so are blank lines and a byte order mark at the front. The set is named by the path as it was given.
    ///
    /// # Errors
    /// `io`; `invalid_argument` naming file and line where a line is not such an object, its message is empty or its
    /// intent is not one of `labels`, and naming the file where it holds no message.
    pub fn from_jsonl(path: &Path, labels: &[String]) -> Result<Self> {
        let name = path.display().to_string();
        let content = std::fs::read(path).map_err(|error| IntentError::io(&name, error))?;
        let mut messages = Vec::new();
        let content = content.strip_prefix(BYTE_ORDER_MARK).unwrap_or(&content);
        for (index, line) in content.split(|byte| *byte == b'\n').enumerate() {
            if !line.trim_ascii().is_empty() {
                let place = || format!("{name}:{}", index + 1);
                messages.push(parse(line, labels).map_err(|detail| IntentError::argument(place(), detail))?);
            }
        }
        if messages.is_empty() {
            return Err(IntentError::argument(name, "holds no message"));
        }
        Ok(Self { name, messages })
    }

    /// Whether messages are known to belong together. Without groups each message is taken as drawn by itself.
    #[must_use]
    pub fn is_grouped(&self) -> bool {
        self.messages.iter().any(|message| message.group.is_some())
    }

    /// The independent units of this set: groups of indices into [`messages`](Self::messages), in order of their names;
    /// a message without a group stands for itself.
    #[must_use]
    pub fn units(&self) -> Vec<Vec<usize>> {
        let mut groups: BTreeMap<&str, Vec<usize>> = BTreeMap::new();
        let mut units = Vec::new();
        for (index, message) in self.messages.iter().enumerate() {
            match &message.group {
                Some(group) => groups.entry(group).or_default().push(index),
                None => units.push(vec![index]),
            }
        }
        units.extend(groups.into_values());
        units
    }
}

fn parse(line: &[u8], labels: &[String]) -> std::result::Result<Labelled, String> {
    let message: Labelled = serde_json::from_slice(line).map_err(|error| error.to_string())?;
    Message::new(&message.text).map_err(|error| error.to_string())?;
    if labels.contains(&message.intent) {
        Ok(message)
    } else {
        Err(format!("intent {:?} is none of {}", message.intent, labels.join(", ")))
    }
}
