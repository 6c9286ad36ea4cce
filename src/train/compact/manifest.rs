//! `intent.json`: what a classifier is, and how it came to be.

use std::fmt::Write;

use serde::Serialize;
use serde_json::Value;

use super::Hyperparameters;
use crate::Result;
use crate::train::data::Account;
use crate::train::failed;

/// `intent.json` of an encoder with a head.
#[derive(Debug, Clone, Serialize)]
pub struct Manifest {
    /// In the order of the head's rows.
    pub labels: Vec<String>,
    /// Divides the logits.
    pub temperature: f32,
    /// Least confidence that stays local.
    pub threshold: f32,
    /// How it came to be.
    pub training: Training,
}

/// How a classifier came to be.
#[derive(Debug, Clone, Serialize)]
pub struct Training {
    /// The command that makes it again.
    pub command: String,
    /// Its seed.
    pub seed: u64,
    /// Threads that it ran on; the order of additions may depend on it.
    pub threads: usize,
    /// What it started from.
    pub base: Origin,
    /// What it was trained on.
    pub data: Account,
    /// All options.
    pub hyperparameters: Hyperparameters,
    /// Numbers that were trained.
    pub parameters: usize,
    /// The epoch (from 1) whose weights were kept.
    pub kept_epoch: usize,
    /// Figures of each epoch.
    pub epochs: Vec<Value>,
}

/// What a training started from.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Origin {
    /// Name of its folder.
    pub name: String,
    /// SHA-256 of its weights' file.
    pub sha256: String,
    /// Its licence, an SPDX expression, where it is known.
    pub licence: Option<String>,
}

/// The command with every option spelt out, so that it means the same when defaults change.
///
/// # Errors
/// `training` where the options can't be written, which does not happen.
pub(super) fn command(hyper: &Hyperparameters, base: &str, out: &str) -> Result<String> {
    let mut command = format!("relayops-intent train compact --base {} --out {}", quoted(base), quoted(out));
    let options = serde_json::to_value(hyper).map_err(failed)?;
    for (name, value) in options.as_object().into_iter().flatten() {
        let name = name.replace('_', "-");
        let written = match value {
            Value::Bool(false) => continue,
            Value::Bool(true) => String::new(),
            Value::String(text) => format!(" {text}"),
            other => format!(" {other}"),
        };
        // Writing to a string can't fail.
        let _ = write!(command, " --{name}{written}");
    }
    Ok(command)
}

/// A word of a command line.
fn quoted(word: &str) -> String {
    let plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.' | '/');
    if !word.is_empty() && word.chars().all(plain) {
        word.to_owned()
    } else {
        format!("'{}'", word.replace('\'', r"'\''"))
    }
}
