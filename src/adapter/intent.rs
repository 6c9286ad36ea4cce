//! `intent.json`: what makes an adapter a classifier.

use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::INTENT;
use crate::pack::IntentConfig;
use crate::pack::manifest::Golden;
use crate::{IntentError, Result};

/// What an adapter answers, to which prompt, beside which base.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Intent {
    /// The base that it was trained for.
    pub base: BaseModel,
    /// Labels, prompt, calibration and policy.
    pub config: IntentConfig,
    /// What base and adapter must answer.
    pub golden: Golden,
    /// How it was trained. Not interpreted.
    #[serde(default)]
    pub training: Value,
    /// What `eval` says of it beside its base, one object a set. Not interpreted.
    #[serde(default, skip_serializing_if = "Value::is_null")]
    pub figures: Value,
}

/// A base model.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct BaseModel {
    /// Name.
    pub name: String,
    /// SHA-256 of its weights, 64 lower-case hex digits.
    pub sha256: String,
    /// SPDX expression, where it is known.
    pub licence: Option<String>,
}

impl Intent {
    /// Reads and checks it.
    ///
    /// # Errors
    /// `invalid_config` naming the field.
    pub fn from_json(json: &str) -> Result<Self> {
        let intent: Self = serde_json::from_str(json).map_err(|error| IntentError::config(INTENT, error))?;
        intent.config.check().map_err(|error| IntentError::config(INTENT, error))?;
        let hex = |b: u8| b.is_ascii_digit() || (b'a'..=b'f').contains(&b);
        if intent.base.sha256.len() != 64 || !intent.base.sha256.bytes().all(hex) {
            return Err(IntentError::config(
                format!("{INTENT}: base.sha256"),
                "is not 64 lower-case hex digits",
            ));
        }
        let golden = &intent.golden;
        if !(golden.tolerance.is_finite() && golden.tolerance > 0.0) {
            let detail = format!("{} is not a positive number", golden.tolerance);
            return Err(IntentError::config(format!("{INTENT}: golden.tolerance"), detail));
        }
        for (index, vector) in golden.vectors.iter().enumerate() {
            let values = &vector.log_probabilities;
            if values.len() != intent.config.labels.len() || !values.iter().all(|value| value.is_finite()) {
                let field = format!("{INTENT}: golden.vectors[{index}].log_probabilities");
                let detail = format!("are not {} numbers", intent.config.labels.len());
                return Err(IntentError::config(field, detail));
            }
        }
        Ok(intent)
    }

    /// Refuses another base than the one that the adapter was trained for.
    ///
    /// # Errors
    /// `wrong_base`.
    pub fn check_base(&self, sha256: Option<&str>) -> Result<()> {
        match sha256 {
            Some(actual) if actual == self.base.sha256 => Ok(()),
            _ => Err(IntentError::WrongBase {
                base: self.base.name.clone(),
                expected: self.base.sha256.clone(),
                actual: sha256.unwrap_or("not known").to_owned(),
            }),
        }
    }

    /// The file.
    ///
    /// # Errors
    /// None that its values can bring about.
    pub fn to_json(&self) -> Result<String> {
        let json = serde_json::to_string_pretty(self).map_err(|error| IntentError::config(INTENT, error))?;
        Ok(json + "\n")
    }
}
