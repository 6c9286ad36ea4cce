//! The configuration of a classifier: data, so that another taxonomy is another file.

use serde::{Deserialize, Serialize};

use super::manifest::is_sha256;
use crate::gate::Policy;
use crate::{IntentError, Result};

/// Most labels of a classifier, and of an escalation's distribution.
pub const MAX_LABELS: usize = 64;

/// Labels, prompt, calibration and policy of one classifier.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct IntentConfig {
    /// The intents, in the order in which probabilities are reported.
    pub labels: Vec<String>,
    /// How a message is put to a model that answers prompts; an encoder has none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub prompt: Option<PromptConfig>,
    /// Divides the label log-probabilities before they are renormalised; 1 leaves them as they are.
    pub temperature: f32,
    /// Least confidence that stays local.
    pub threshold: f32,
    /// What escalates whatever the model says.
    pub policy: Policy,
    /// Thresholds of a cascade that ends with this model.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cascade: Option<CascadeConfig>,
}

/// Thresholds that were chosen together, for two models one after the other.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct CascadeConfig {
    /// The first model: [`ModelInfo::identity`](crate::classifier::ModelInfo::identity). Behind another one each
    /// model's own threshold holds.
    pub first: String,
    /// Least confidence that is final, of the first and of this model.
    pub thresholds: [f32; 2],
}

/// The chat prompt.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PromptConfig {
    /// Text of the system turn.
    pub system: String,
    /// The turns, exactly one of the pieces being [`Piece::Message`].
    pub pieces: Vec<Piece>,
    /// The answer that is scored.
    pub answer: AnswerConfig,
}

/// One piece of a prompt.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Piece {
    /// A control token of the model, by its spelling.
    Control(String),
    /// Plain text.
    Text(String),
    /// [`PromptConfig::system`], as plain text.
    System,
    /// The customer's message, as plain text.
    Message,
}

/// The answer is `open`, a label, `close`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct AnswerConfig {
    /// Text before the label.
    pub open: String,
    /// Text after the label.
    pub close: String,
}

impl Default for IntentConfig {
    /// The six telecom intents.
    fn default() -> Self {
        match Self::from_json(include_str!("telecom.json")) {
            Ok(config) => config,
            // The file is compiled in, and a test reads it.
            Err(error) => unreachable!("telecom.json: {error}"),
        }
    }
}

impl IntentConfig {
    /// Reads and checks a configuration.
    ///
    /// # Errors
    /// `invalid_config` naming the field.
    pub fn from_json(json: &str) -> Result<Self> {
        let config: Self =
            serde_json::from_str(json).map_err(|error| IntentError::config("config", error))?;
        config.check()?;
        Ok(config)
    }

    /// Checks what the types do not.
    ///
    /// # Errors
    /// `invalid_config` naming the field.
    pub fn check(&self) -> Result<()> {
        self.check_labels()?;
        if let Some(prompt) = &self.prompt {
            prompt.check()?;
        }
        if !(self.temperature.is_finite() && self.temperature > 0.0) {
            return Err(IntentError::config(
                "temperature",
                format!("{} is not a positive number", self.temperature),
            ));
        }
        check_threshold(self.threshold).map_err(|detail| IntentError::config("threshold", detail))?;
        if let Some(cascade) = self.cascade.as_ref().filter(|cascade| !is_sha256(&cascade.first)) {
            let detail = format!("{:?} is not 64 lower-case hex digits", cascade.first);
            return Err(IntentError::config("cascade.first", detail));
        }
        for threshold in self.cascade.iter().flat_map(|cascade| cascade.thresholds) {
            check_threshold(threshold).map_err(|detail| IntentError::config("cascade.thresholds", detail))?;
        }
        self.policy.check(&self.labels)
    }

    /// The prompt of a model that needs one.
    ///
    /// # Errors
    /// `invalid_config` where there is none.
    pub fn require_prompt(&self) -> Result<&PromptConfig> {
        let missing = || IntentError::config("prompt", "is missing; a model that answers prompts needs one");
        self.prompt.as_ref().ok_or_else(missing)
    }

    fn check_labels(&self) -> Result<()> {
        if self.labels.len() < 2 {
            return Err(IntentError::config("labels", "fewer than two"));
        }
        if self.labels.len() > MAX_LABELS {
            let detail = format!("{} are more than the {MAX_LABELS} allowed", self.labels.len());
            return Err(IntentError::config("labels", detail));
        }
        for (index, label) in self.labels.iter().enumerate() {
            let field = || format!("labels[{index}]");
            if label.is_empty() || label.chars().any(|c| c == '"' || c == '\\' || c.is_control()) {
                return Err(IntentError::config(
                    field(),
                    format!("{label:?} does not stand in JSON as it is"),
                ));
            }
            if self.labels[..index].contains(label) {
                return Err(IntentError::config(field(), format!("{label} stands twice")));
            }
        }
        Ok(())
    }
}

impl PromptConfig {
    fn check(&self) -> Result<()> {
        let messages = self.pieces.iter().filter(|piece| **piece == Piece::Message).count();
        if messages != 1 {
            return Err(IntentError::config(
                "prompt.pieces",
                format!("{messages} message pieces, expected one"),
            ));
        }
        if self.answer.close.is_empty() {
            return Err(IntentError::config(
                "prompt.answer.close",
                "is empty, so a label's end can't be told",
            ));
        }
        Ok(())
    }
}

/// A threshold is a probability.
pub(crate) fn check_threshold(threshold: f32) -> std::result::Result<(), String> {
    if (0.0..=1.0).contains(&threshold) { Ok(()) } else { Err(format!("{threshold} is not between 0 and 1")) }
}
