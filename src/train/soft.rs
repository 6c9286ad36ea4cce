//! Soft targets: what a teacher says of messages, in a JSON-lines file.
//!
//! The first line is a [`Header`], each other one a [`Line`], in the order in which the messages were given.

use std::collections::HashMap;
use std::path::Path;

use serde::{Deserialize, Serialize};

use super::failed;
use crate::adapter::Digests;
use crate::{IntentError, Result, dataset};

/// Version of the layout.
pub const FORMAT: u32 = 1;

/// Who said it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Header {
    /// [`FORMAT`].
    pub format: u32,
    /// In the order of the log-probabilities.
    pub labels: Vec<String>,
    /// Name of the base model.
    pub base: String,
    /// SHA-256 of its weights.
    pub base_sha256: String,
    /// Of the adapter's files.
    pub adapter: Digests,
    /// SHA-256 of what it was asked: labels and prompt, as JSON.
    pub prompt_sha256: String,
    /// How products with frozen matrices were computed.
    pub products: String,
}

/// A message and what the teacher says of it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Line {
    /// The message.
    pub text: String,
    /// Of each label, at temperature 1.
    pub log_probabilities: Vec<f32>,
}

/// A file of soft targets.
#[derive(Debug, Clone, PartialEq)]
pub struct SoftTargets {
    /// Name of the file.
    pub name: String,
    /// SHA-256 of the file.
    pub sha256: String,
    /// Who said it.
    pub header: Header,
    /// By message.
    targets: HashMap<String, Vec<f32>>,
}

/// What a manifest says of a teacher.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Teacher {
    /// Name of the file of its soft targets.
    pub file: String,
    /// SHA-256 of that file.
    pub sha256: String,
    /// Who it is.
    #[serde(flatten)]
    pub header: Header,
}

impl SoftTargets {
    /// Reads a whole file.
    ///
    /// # Errors
    /// `io`; `invalid_data` naming file and line.
    pub fn read(path: &Path) -> Result<Self> {
        let text = std::fs::read_to_string(path).map_err(|error| IntentError::io(path.display(), error))?;
        let name = path.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
        Self::parse(&name, &text)
    }

    /// As [`read`](Self::read), of the file's text.
    ///
    /// # Errors
    /// `invalid_data` naming file and line.
    pub fn parse(name: &str, text: &str) -> Result<Self> {
        let at = |number: usize| format!("{name}, line {}", number.saturating_add(1));
        let mut lines = text.lines().enumerate();
        let header = header(lines.next().map_or("", |(_, line)| line)).map_err(|why| data(at(0), why))?;
        if !text.ends_with('\n') {
            return Err(IntentError::data(
                name,
                "its last line has no end: the command that wrote it was stopped",
            ));
        }
        let mut targets = HashMap::new();
        for (number, line) in lines {
            let Line { text, log_probabilities } =
                serde_json::from_str(line).map_err(|error| IntentError::data(at(number), error))?;
            check(&log_probabilities, header.labels.len()).map_err(|why| data(at(number), why))?;
            if targets.insert(text, log_probabilities).is_some() {
                return Err(IntentError::data(at(number), "the message stands in the file twice"));
            }
        }
        Ok(Self { name: name.to_owned(), sha256: dataset::sha256(text.as_bytes()), header, targets })
    }

    /// Log-probabilities of `labels` for each message, in their order.
    ///
    /// # Errors
    /// `invalid_data` naming the file, where its labels are others, or a message is missing.
    pub fn of<'a>(&self, labels: &[String], texts: impl Iterator<Item = &'a str>) -> Result<Vec<Vec<f32>>> {
        if self.header.labels != labels {
            let detail = format!("its labels are {:?}; the run's are {labels:?}", self.header.labels);
            return Err(IntentError::data(&self.name, detail));
        }
        let of = |text: &str| {
            let missing = || IntentError::data(&self.name, format!("it lacks the message {text:?}"));
            self.targets.get(text).cloned().ok_or_else(missing)
        };
        texts.map(of).collect()
    }

    /// What a manifest says of it.
    #[must_use]
    pub fn teacher(&self) -> Teacher {
        Teacher { file: self.name.clone(), sha256: self.sha256.clone(), header: self.header.clone() }
    }
}

fn data(place: String, detail: String) -> IntentError {
    IntentError::data(place, detail)
}

/// Parses the first line.
pub(super) fn header(line: &str) -> std::result::Result<Header, String> {
    let header: Header =
        serde_json::from_str(line).map_err(|error| format!("is no header of soft targets: {error}"))?;
    match header.format {
        FORMAT => Ok(header),
        other => Err(format!("format: {other}; this program reads {FORMAT}")),
    }
}

fn check(log_probabilities: &[f32], labels: usize) -> std::result::Result<(), String> {
    if log_probabilities.len() != labels {
        return Err(format!("log_probabilities: {} for {labels} labels", log_probabilities.len()));
    }
    if log_probabilities.iter().any(|value| !value.is_finite() || *value > 0.0) {
        return Err("log_probabilities: one is not finite or above 0".to_owned());
    }
    let sum: f32 = log_probabilities.iter().map(|value| value.exp()).sum();
    if (sum - 1.0).abs() > 0.01 {
        return Err(format!("log_probabilities: the probabilities' sum is {sum}"));
    }
    Ok(())
}

/// A line of the file.
pub(super) fn line(value: &impl Serialize) -> Result<String> {
    let mut text = serde_json::to_string(value).map_err(failed)?;
    text.push('\n');
    Ok(text)
}
