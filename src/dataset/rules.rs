//! The taxonomy's rules as far as a machine can check them.

use std::collections::BTreeSet;

use regex::Regex;
use serde::Deserialize;

use super::files::{self, Placed};
use super::{Example, Half, HardExample};
use crate::pack::IntentConfig;
use crate::{IntentError, Result};

/// Group prefix of each intent.
const PREFIXES: [(&str, &str); 6] = [
    ("reset/", "reset_device"),
    ("status/", "device_status"),
    ("faq/", "device_faq"),
    ("billing/", "billing"),
    ("greeting/", "greeting"),
    ("unknown/", "unknown"),
];

/// What a reason may begin with, and the label that it leads to.
const REASONS: [(&str, &str); 8] = [
    ("Rule 1:", "unknown"),
    ("Rule 2:", "billing"),
    ("Rule 3:", "reset_device"),
    ("Rule 4:", "device_status"),
    ("Rule 5:", "device_faq"),
    ("Rule 6:", "greeting"),
    ("Rule 7:", "unknown"),
    ("Edge: mainly not English", "unknown"),
];

const SLICES: [&str; 5] = ["core", "border", "noisy", "long", "short"];

/// Identity and access come before everything else, so these words stand in `unknown` only.
const ACCESS: &str = r"\b(passwords?|passcodes?|passphrases?|log[ -]?ins?|logged in|logging in|sign[ -]?in|signed in|puk|locked out)\b";

/// Group `name` of `intent`, with the prefix that [`checks`](super::checks) asks for; with the label itself where the
/// taxonomy has none of that name.
#[must_use]
pub fn group_named(intent: &str, name: &str) -> String {
    match prefix_of(intent) {
        Some(prefix) => format!("{prefix}{name}"),
        None => format!("{intent}/{name}"),
    }
}

fn prefix_of(intent: &str) -> Option<&'static str> {
    PREFIXES.iter().find(|(_, label)| *label == intent).map(|(prefix, _)| *prefix)
}

/// The reviewed exceptions of `money_exceptions.json`, by why they are no `billing`.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct MoneyFile {
    /// Matched against text in lower case.
    pattern: String,
    other_sense: Exceptions,
    rule_1: Exceptions,
    other_language: Exceptions,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Exceptions {
    texts: Vec<String>,
    template_groups: Vec<String>,
}

/// What the checks of labels need.
pub(super) struct Rules {
    file: String,
    money: Regex,
    texts: BTreeSet<String>,
    groups: BTreeSet<String>,
    access: Regex,
    labels: Vec<String>,
    /// Shapes of secrets, the gate's.
    secrets: Vec<Regex>,
}

impl Rules {
    pub(super) fn read(file: &str, text: &str) -> Result<Self> {
        let money: MoneyFile = files::json(file, text)?;
        let invalid = |error| IntentError::data(file, error);
        let all = [money.other_sense, money.rule_1, money.other_language];
        let config = IntentConfig::default();
        let secrets = config.policy.patterns.iter().map(|pattern| pattern.regex.compile());
        Ok(Self {
            file: file.to_owned(),
            money: Regex::new(&money.pattern).map_err(invalid)?,
            texts: all.iter().flat_map(|one| one.texts.iter().cloned()).collect(),
            groups: all.iter().flat_map(|one| one.template_groups.iter().cloned()).collect(),
            access: Regex::new(ACCESS).map_err(invalid)?,
            labels: config.labels,
            secrets: secrets.collect::<std::result::Result<_, _>>().map_err(invalid)?,
        })
    }

    fn has_money(&self, text: &str) -> bool {
        self.money.is_match(&text.to_lowercase())
    }

    fn has_access(&self, text: &str) -> bool {
        self.access.is_match(&text.to_lowercase())
    }

    /// Whether `noisy` brings no word that would ask for another label than `text` has.
    pub(super) fn keeps_label(&self, text: &str, noisy: &str) -> bool {
        (self.has_money(text) || !self.has_money(noisy)) && (self.has_access(text) || !self.has_access(noisy))
    }

    /// Required fields, known label and slice, group prefix, and what the words say about the label.
    ///
    /// # Errors
    /// `invalid_data` at the example's place.
    pub(super) fn check(&self, line: &Placed<Example>) -> Result<()> {
        let Example { text, intent, group, slice, .. } = &line.value;
        self.check_common(line, text, intent, slice)?;
        if !SLICES.contains(&slice.as_str()) {
            return Err(line.error(format!("slice {slice:?} is none of {}", SLICES.join(", "))));
        }
        let prefix = prefix_of(intent).unwrap_or_default();
        if group.strip_prefix(prefix).is_none_or(|name| name.trim().is_empty()) {
            return Err(
                line.error(format!("group {group:?} of intent {intent} does not begin with {prefix:?}"))
            );
        }
        if intent != "unknown" && self.has_access(text) {
            return Err(line.error(format!("{text:?} is about access, rule 1, but is {intent}")));
        }
        if intent != "billing" && self.has_money(text) && !self.is_exception(&line.value) {
            let detail =
                format!("{text:?} has a money word, but is {intent} and no exception of {}", self.file);
            return Err(line.error(detail));
        }
        Ok(())
    }

    fn is_exception(&self, example: &Example) -> bool {
        self.texts.contains(&example.text) || self.groups.contains(&example.group)
    }

    /// The same for a message of the evaluation sets, and that its reason leads to its label.
    ///
    /// # Errors
    /// `invalid_data` at the message's place.
    pub(super) fn check_hard(&self, line: &Placed<HardExample>, set: &str) -> Result<()> {
        let HardExample { id, text, intent, slice, reason, half } = &line.value;
        self.check_common(line, text, intent, slice)?;
        let number = id.strip_prefix(set).and_then(|rest| rest.strip_prefix('-')?.parse::<u32>().ok());
        let Some(number) = number else {
            return Err(line.error(format!("id {id:?} is not of the form {set}-0001")));
        };
        let expected = match (set, number % 2) {
            ("dev", 1) => Some(Half::Choose),
            ("dev", _) => Some(Half::Calibrate),
            _ => None,
        };
        if *half != expected {
            return Err(line.error(format!("half is {half:?}, expected {expected:?} for id {id}")));
        }
        match REASONS.iter().find(|(start, _)| reason.starts_with(start)) {
            Some((_, label)) if label == intent => Ok(()),
            Some((start, label)) => {
                Err(line.error(format!("reason {start:?} means {label}, but it is {intent}")))
            }
            None => Err(line.error(format!("reason {reason:?} names no rule"))),
        }
    }

    fn check_common<T>(&self, line: &Placed<T>, text: &str, intent: &str, slice: &str) -> Result<()> {
        if text.trim().is_empty() || slice.trim().is_empty() {
            return Err(line.error("text or slice is blank"));
        }
        if text.trim() != text {
            return Err(line.error(format!("{text:?} has white space around it")));
        }
        if !self.labels.iter().any(|label| label == intent) {
            return Err(line.error(format!("intent {intent:?} is none of {}", self.labels.join(", "))));
        }
        if intent != "unknown" && is_other_script(text) {
            return Err(line.error(format!("{text:?} is mainly in another script, but is {intent}")));
        }
        if intent != "unknown" && self.secrets.iter().any(|secret| secret.is_match(text)) {
            return Err(line.error(format!("{text:?} hands over a secret, rule 1, but is {intent}")));
        }
        Ok(())
    }

    /// Every exception is needed: a message that is there, has a money word and another label than `billing`.
    ///
    /// # Errors
    /// `invalid_data` naming the exceptions' file and the exception.
    pub(super) fn check_exceptions(
        &self,
        written: &[&Example],
        expansions: &[Placed<Example>],
    ) -> Result<()> {
        let needed = |example: &Example| example.intent != "billing" && self.has_money(&example.text);
        let texts: BTreeSet<&String> = written.iter().filter(|e| needed(e)).map(|e| &e.text).collect();
        let groups: BTreeSet<&String> =
            expansions.iter().filter(|e| needed(&e.value)).map(|e| &e.value.group).collect();
        let stale = self.texts.iter().find(|text| !texts.contains(text));
        match stale.or_else(|| self.groups.iter().find(|group| !groups.contains(group))) {
            Some(stale) => {
                Err(IntentError::data(&self.file, format!("{stale:?} is no exception that is needed")))
            }
            None => Ok(()),
        }
    }
}

/// Whether most letters are beyond the Latin blocks.
fn is_other_script(text: &str) -> bool {
    let letters = text.chars().filter(|c| c.is_alphabetic());
    let (other, all) = letters.fold((0, 0), |(other, all), c| {
        (other + usize::from(!matches!(c, '\0'..='\u{24f}' | '\u{1e00}'..='\u{1eff}')), all + 1)
    });
    other * 2 > all
}
