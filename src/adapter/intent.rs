//! `intent.json`: what makes an adapter a classifier.

use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::{CONFIG, INTENT, TENSORS};
use crate::pack::manifest::{is_sha256, sha256};
use crate::pack::{Golden, IntentConfig};
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
    /// The other files, where they are known; the project's first adapters do not say.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub files: Option<Digests>,
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

/// SHA-256 of an adapter's files beside [`INTENT`], 64 lower-case hex digits each.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Digests {
    /// Of [`CONFIG`].
    #[serde(rename = "adapter_config.json")]
    pub config: String,
    /// Of [`TENSORS`].
    #[serde(rename = "adapter_model.safetensors")]
    pub tensors: String,
}

impl Digests {
    /// Those of the content of the files.
    #[must_use]
    pub fn of(config: &str, tensors: &[u8]) -> Self {
        Self { config: sha256(config.as_bytes()), tensors: sha256(tensors) }
    }

    /// Refuses other files.
    pub(super) fn check(&self, actual: Self) -> Result<()> {
        let files = [(CONFIG, &self.config, actual.config), (TENSORS, &self.tensors, actual.tensors)];
        for (file, expected, actual) in files {
            if *expected != actual {
                return Err(IntentError::Checksum {
                    file: file.to_owned(),
                    expected: expected.clone(),
                    actual,
                });
            }
        }
        Ok(())
    }
}

impl Intent {
    /// Reads and checks it.
    ///
    /// # Errors
    /// `invalid_config` naming the field.
    pub fn from_json(json: &str) -> Result<Self> {
        let intent: Self = serde_json::from_str(json).map_err(|error| IntentError::config(INTENT, error))?;
        intent.config.check().map_err(|error| IntentError::config(INTENT, error))?;
        let files = intent.files.as_ref();
        let of_files = files.map(|files| {
            [
                ("files.adapter_config.json", &files.config),
                ("files.adapter_model.safetensors", &files.tensors),
            ]
        });
        let digests =
            [("base.sha256", &intent.base.sha256)].into_iter().chain(of_files.into_iter().flatten());
        for (field, digest) in digests {
            if !is_sha256(digest) {
                return Err(IntentError::config(
                    format!("{INTENT}: {field}"),
                    "is not 64 lower-case hex digits",
                ));
            }
        }
        let golden = intent.golden.check(intent.config.labels.len());
        golden.map_err(|(field, detail)| IntentError::config(format!("{INTENT}: golden.{field}"), detail))?;
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
