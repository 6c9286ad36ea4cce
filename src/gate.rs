//! The gate: plain rules that decide whether an answer stays on this device.
//!
//! A model says what a message is about; what may be answered locally is decided here, from data that can be
//! read ([`Policy`]), and every decision says why. Whatever the rules do not positively allow escalates: an
//! unknown label, a probability that is not a number, a broken distribution.

use std::sync::OnceLock;

use regex::{Regex, RegexBuilder};
use serde::{Deserialize, Serialize};

use crate::{IntentError, Result};

/// Reason of a message that is escalated unread.
pub const TOO_LONG: &str = "too_long";

/// Where a message goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Route {
    /// Answered on this device.
    Local,
    /// Handed to people.
    Escalate,
}

/// A route and its reason.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Decision {
    /// Where the message goes.
    pub route: Route,
    /// Stable text: `confident`; or `intent:<label>`, `pattern:<name>`, `low_confidence`, `too_long`, `error:<code>`.
    pub reason: String,
}

impl Decision {
    /// An escalation.
    pub fn escalate(reason: impl Into<String>) -> Self {
        Self { route: Route::Escalate, reason: reason.into() }
    }

    /// Whether this is what became of an error.
    #[must_use]
    pub fn is_error(&self) -> bool {
        self.reason.starts_with("error:")
    }

    /// Whether it was decided by the text alone: no model's answer would change it.
    #[must_use]
    pub fn is_about_text(&self) -> bool {
        self.reason == TOO_LONG || self.reason.starts_with("pattern:")
    }

    /// What an error becomes.
    #[must_use]
    pub fn error(error: &IntentError) -> Self {
        Self::escalate(format!("error:{}", error.code()))
    }
}

/// What escalates whatever the model says.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Policy {
    /// Intents that always escalate.
    pub always_escalate: Vec<String>,
    /// Texts that always escalate.
    pub patterns: Vec<Pattern>,
}

/// A named text pattern.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Pattern {
    /// Name, as the reason shows it.
    pub name: String,
    /// What the text is searched for.
    pub regex: Expression,
}

/// A regular expression, syntax of the `regex` crate, as it is written. Copies share what the first check of it compiled:
/// a configuration is checked wherever it arrives, and compiling costs milliseconds in a browser that has just started.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(from = "String", into = "String")]
pub struct Expression {
    source: String,
    compiled: OnceLock<Regex>,
}

/// Most patterns of a policy.
pub const MAX_PATTERNS: usize = 64;
/// Most bytes of a pattern as it is written: its parts take a hundred times as many while it is read.
const MAX_SOURCE_BYTES: usize = 1 << 12;
/// Most bytes of a pattern once compiled.
const MAX_COMPILED_BYTES: usize = 1 << 20;

impl Expression {
    /// The compiled expression.
    ///
    /// # Errors
    /// Where it is not one, or a large one.
    pub fn compile(&self) -> std::result::Result<Regex, regex::Error> {
        if let Some(compiled) = self.compiled.get() {
            return Ok(compiled.clone());
        }
        if self.source.len() > MAX_SOURCE_BYTES {
            return Err(regex::Error::CompiledTooBig(MAX_COMPILED_BYTES));
        }
        let compiled = RegexBuilder::new(&self.source).size_limit(MAX_COMPILED_BYTES).build()?;
        Ok(self.compiled.get_or_init(|| compiled).clone())
    }
}

impl From<String> for Expression {
    fn from(source: String) -> Self {
        Self { source, compiled: OnceLock::new() }
    }
}

impl From<Expression> for String {
    fn from(expression: Expression) -> Self {
        expression.source
    }
}

impl PartialEq for Expression {
    fn eq(&self, other: &Self) -> bool {
        self.source == other.source
    }
}

impl Eq for Expression {}

impl Policy {
    /// Checks that the patterns compile and that the intents are among `labels`: a misspelt one would quietly stay
    /// local.
    ///
    /// # Errors
    /// `invalid_config` naming the entry.
    pub fn check(&self, labels: &[String]) -> Result<()> {
        if let Some(index) = self.always_escalate.iter().position(|intent| !labels.contains(intent)) {
            let detail = format!("{:?} is not a label", self.always_escalate[index]);
            return Err(IntentError::config(format!("policy.always_escalate[{index}]"), detail));
        }
        self.compile().map(|_| ())
    }

    fn compile(&self) -> Result<Vec<(String, Regex)>> {
        if self.patterns.len() > MAX_PATTERNS {
            let detail = format!("{} are more than the {MAX_PATTERNS} allowed", self.patterns.len());
            return Err(IntentError::config("policy.patterns", detail));
        }
        let compile = |(index, pattern): (usize, &Pattern)| {
            let regex = pattern
                .regex
                .compile()
                .map_err(|error| IntentError::config(format!("policy.patterns[{index}].regex"), error))?;
            Ok((pattern.name.clone(), regex))
        };
        self.patterns.iter().enumerate().map(compile).collect()
    }
}

/// A model's answer as the gate sees it.
#[derive(Debug, Clone, Copy)]
pub struct Answer<'a> {
    /// The message as it was classified.
    pub text: &'a str,
    /// Index of the chosen label.
    pub intent: usize,
    /// Calibrated probabilities, one a label.
    pub probabilities: &'a [f32],
}

/// Decides by a policy.
pub struct Gate {
    labels: Vec<String>,
    always_escalate: Vec<String>,
    patterns: Vec<(String, Regex)>,
}

impl Gate {
    /// A gate over `labels`.
    ///
    /// # Errors
    /// `invalid_config` for a pattern that is not a regular expression.
    pub fn new(labels: &[String], policy: &Policy) -> Result<Self> {
        Ok(Self {
            labels: labels.to_vec(),
            always_escalate: policy.always_escalate.clone(),
            patterns: policy.compile()?,
        })
    }

    /// The decision on one answer. The rules in order: a broken answer, a pattern in the text, an intent that
    /// always escalates, too little confidence; what is left stays local.
    #[must_use]
    pub fn decide(&self, answer: Answer<'_>, threshold: f32) -> Decision {
        let Some(label) = self.sound(answer) else {
            return Decision::escalate("error:inference");
        };
        if let Some((name, _)) = self.patterns.iter().find(|(_, regex)| regex.is_match(answer.text)) {
            return Decision::escalate(format!("pattern:{name}"));
        }
        if self.always_escalate.iter().any(|always| always == label) {
            return Decision::escalate(format!("intent:{label}"));
        }
        if answer.probabilities[answer.intent] >= threshold {
            return Decision { route: Route::Local, reason: "confident".to_owned() };
        }
        // Also where the threshold is not a number.
        Decision::escalate("low_confidence")
    }

    /// The chosen label, if the answer is a distribution over this gate's labels that the choice is the best of.
    fn sound(&self, answer: Answer<'_>) -> Option<&str> {
        let label = self.labels.get(answer.intent)?;
        let chosen = *answer.probabilities.get(answer.intent)?;
        let sum: f32 = answer.probabilities.iter().sum();
        let sound = answer.probabilities.len() == self.labels.len()
            && answer.probabilities.iter().all(|p| (0.0..=1.001).contains(p) && *p <= chosen)
            && (sum - 1.0).abs() < 1e-3;
        sound.then_some(label)
    }
}
