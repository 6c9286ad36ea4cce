//! All checks, and what they measured.

use std::collections::BTreeMap;

use serde::Serialize;

use super::build::{PER_INTENT, SEEDS_PER_INTENT};
use super::files::{Corpus, Placed};
use super::leaks::{self, LeakReport};
use super::similarity;
use super::splits::{SplitReport, check_splits};
use super::{Example, HardExample, Splits};
use crate::pack::IntentConfig;
use crate::{IntentError, Result};

/// What the checks measured on the way.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Report {
    /// For each intent the families used and all there are.
    pub families: BTreeMap<String, (usize, usize)>,
    /// Messages that the families can give.
    pub expansions: usize,
    /// Messages of `extra.jsonl`, `adversarial.jsonl` and `dev.jsonl`.
    pub messages: [usize; 3],
    /// The parts.
    pub splits: SplitReport,
    /// Distance between training and evaluation.
    pub leaks: LeakReport,
}

/// Runs every check: counts, required fields, labels, the taxonomy's rules as far as words show them, repeats, the
/// parts, and leaks between training and evaluation.
///
/// # Errors
/// `invalid_data` naming file and line of the first fault.
pub fn checks(corpus: &Corpus, built: &[Placed<Example>], splits: &Splits) -> Result<Report> {
    let expansions = corpus.expansions();
    check_lines(corpus, &expansions)?;
    check_counts("data/seeds.jsonl", &corpus.seeds, SEEDS_PER_INTENT)?;
    check_built(built)?;
    Ok(Report {
        families: corpus.families_used(built),
        expansions: expansions.len(),
        messages: [corpus.extra.len(), corpus.adversarial.len(), corpus.dev.len()],
        splits: check_splits(splits)?,
        leaks: leaks::check(corpus, &expansions, built)?,
    })
}

/// Every line by itself, and no two the same.
fn check_lines(corpus: &Corpus, expansions: &[Placed<Example>]) -> Result<()> {
    let training: Vec<&Placed<Example>> =
        corpus.seeds.iter().chain(&corpus.extra).chain(expansions).collect();
    training.iter().try_for_each(|line| corpus.rules.check(line))?;
    check_repeats(training.iter().map(|line| (line.place.as_str(), line.value.text.as_str())))?;
    let written: Vec<&Example> = corpus.seeds.iter().chain(&corpus.extra).map(|line| &line.value).collect();
    corpus.rules.check_exceptions(&written, expansions)?;
    for (set, lines) in [("adv", &corpus.adversarial), ("dev", &corpus.dev)] {
        lines.iter().try_for_each(|line| corpus.rules.check_hard(line, set))?;
        check_repeats(lines.iter().map(|line| (line.place.as_str(), line.value.text.as_str())))?;
        check_ids(lines)?;
    }
    Ok(())
}

/// Checks the examples that were built: 400 of each intent, none twice.
///
/// # Errors
/// `invalid_data` naming file and line of the source.
pub fn check_built(built: &[Placed<Example>]) -> Result<()> {
    check_repeats(built.iter().map(|line| (line.place.as_str(), line.value.text.as_str())))?;
    check_counts("the dataset", built, PER_INTENT)
}

fn check_repeats<'a>(lines: impl Iterator<Item = (&'a str, &'a str)> + Clone) -> Result<()> {
    let Some((earlier, later)) = similarity::first_repeat(lines.clone().map(|(_, text)| text)) else {
        return Ok(());
    };
    let place = |number| lines.clone().nth(number).unwrap_or_default();
    let (place, (earlier, text)) = (place(later).0, place(earlier));
    Err(IntentError::data(place, format!("is the same message as {earlier}: {text:?}")))
}

/// `each` examples of every label; the fault is placed at the first line too many, or at the last there is.
fn check_counts(what: &str, lines: &[Placed<Example>], each: usize) -> Result<()> {
    for label in IntentConfig::default().labels {
        let of_label: Vec<_> = lines.iter().filter(|line| line.value.intent == label).collect();
        if of_label.len() != each {
            let place = of_label.get(each).or(of_label.last()).map_or(what, |line| &line.place);
            let detail = format!("{what} has {} of {label}, expected {each}", of_label.len());
            return Err(IntentError::data(place, detail));
        }
    }
    Ok(())
}

fn check_ids(lines: &[Placed<HardExample>]) -> Result<()> {
    match lines.windows(2).find(|pair| pair[0].value.id >= pair[1].value.id) {
        Some(pair) => {
            Err(pair[1].error(format!("id {} does not follow {}", pair[1].value.id, pair[0].value.id)))
        }
        None => Ok(()),
    }
}
