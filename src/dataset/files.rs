//! The files of `data/`, read with the place of every line.

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use super::rules::Rules;
use super::template::{Family, SharedSlots, Templates};
use super::{Example, HardExample, Source};
use crate::{IntentError, Result};

/// The text of each data file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Files<'a> {
    /// `seeds.jsonl`
    pub seeds: &'a str,
    /// `templates.jsonl`
    pub templates: &'a str,
    /// `slots.json`
    pub slots: &'a str,
    /// `extra.jsonl`
    pub extra: &'a str,
    /// `adversarial.jsonl`
    pub adversarial: &'a str,
    /// `dev.jsonl`
    pub dev: &'a str,
    /// `money_exceptions.json`
    pub money: &'a str,
}

impl Files<'static> {
    /// The project's own.
    pub const EMBEDDED: Self = Self {
        seeds: include_str!("../../data/seeds.jsonl"),
        templates: include_str!("../../data/templates.jsonl"),
        slots: include_str!("../../data/slots.json"),
        extra: include_str!("../../data/extra.jsonl"),
        adversarial: include_str!("../../data/adversarial.jsonl"),
        dev: include_str!("../../data/dev.jsonl"),
        money: include_str!("../../data/money_exceptions.json"),
    };
}

/// Something and the line of the data file it stands in.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Placed<T> {
    /// `data/<file>:<line>`, lines from 1.
    pub place: String,
    /// What stands there.
    pub value: T,
}

impl<T> Placed<T> {
    pub(super) fn error(&self, detail: impl std::fmt::Display) -> IntentError {
        IntentError::data(&self.place, detail)
    }

    pub(super) fn with<U>(&self, value: U) -> Placed<U> {
        Placed { place: self.place.clone(), value }
    }
}

/// Everything that is read, before anything is drawn.
pub struct Corpus {
    pub(super) seeds: Vec<Placed<Example>>,
    pub(super) families: Vec<Placed<(Family, Templates)>>,
    pub(super) extra: Vec<Placed<Example>>,
    pub(super) adversarial: Vec<Placed<HardExample>>,
    pub(super) dev: Vec<Placed<HardExample>>,
    pub(super) rules: Rules,
}

impl Corpus {
    /// Reads all files. What their lines say is checked by [`checks`](super::checks).
    ///
    /// # Errors
    /// `invalid_data` naming file and line, for text that is not of the file's format.
    pub fn read(files: &Files) -> Result<Self> {
        Ok(Self {
            seeds: messages("data/seeds.jsonl", files.seeds, Source::Seed)?,
            families: families(files)?,
            extra: extra(files)?,
            adversarial: adversarial(files)?,
            dev: dev(files)?,
            rules: Rules::read("data/money_exceptions.json", files.money)?,
        })
    }

    /// Every message that the families can give, drawn or not, with its group and intent.
    pub(super) fn expansions(&self) -> Vec<Placed<Example>> {
        let mut all = Vec::new();
        for placed in &self.families {
            let (family, templates) = &placed.value;
            all.extend(templates.all().into_iter().map(|text| placed.with(family.example(text))));
        }
        all
    }
}

impl Family {
    /// A message of this family.
    pub(super) fn example(&self, text: String) -> Example {
        let (intent, group, slice) = (self.intent.clone(), self.group.clone(), self.slice.clone());
        Example { text, intent, source: Source::Template, group, slice }
    }
}

/// A line of `seeds.jsonl` and `extra.jsonl`.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Message {
    text: String,
    intent: String,
    group: String,
    slice: String,
}

impl From<&Example> for Message {
    fn from(example: &Example) -> Self {
        let Example { text, intent, group, slice, .. } = example.clone();
        Self { text, intent, group, slice }
    }
}

fn messages(file: &str, text: &str, source: Source) -> Result<Vec<Placed<Example>>> {
    let example = |line: &Placed<Message>| {
        let Message { text, intent, group, slice } = &line.value;
        let (text, intent) = (text.clone(), intent.clone());
        line.with(Example { text, intent, source, group: group.clone(), slice: slice.clone() })
    };
    Ok(lines::<Message>(file, text)?.iter().map(example).collect())
}

pub(super) fn extra(files: &Files) -> Result<Vec<Placed<Example>>> {
    messages("data/extra.jsonl", files.extra, Source::Extra)
}

pub(super) fn adversarial(files: &Files) -> Result<Vec<Placed<HardExample>>> {
    lines("data/adversarial.jsonl", files.adversarial)
}

pub(super) fn dev(files: &Files) -> Result<Vec<Placed<HardExample>>> {
    lines("data/dev.jsonl", files.dev)
}

fn families(files: &Files) -> Result<Vec<Placed<(Family, Templates)>>> {
    let shared: SharedSlots = json("data/slots.json", files.slots)?;
    let resolve = |line: Placed<Family>| {
        let templates = line.value.resolve(&shared).map_err(|detail| line.error(detail))?;
        Ok(Placed { place: line.place, value: (line.value, templates) })
    };
    lines::<Family>("data/templates.jsonl", files.templates)?.into_iter().map(resolve).collect()
}

/// One object a line; a blank line is an error, since line numbers and ids would part.
fn lines<T: DeserializeOwned>(file: &str, text: &str) -> Result<Vec<Placed<T>>> {
    let line = |(index, line): (usize, &str)| {
        let place = format!("{file}:{}", index + 1);
        match serde_json::from_str(line) {
            Ok(value) => Ok(Placed { place, value }),
            Err(error) => Err(IntentError::data(place, error)),
        }
    };
    text.lines().enumerate().map(line).collect()
}

/// A file that is one object.
pub(super) fn json<T: DeserializeOwned>(file: &str, text: &str) -> Result<T> {
    serde_json::from_str(text).map_err(|error| IntentError::data(format!("{file}:{}", error.line()), error))
}
