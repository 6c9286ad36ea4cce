//! `intent.json`: what a classifier is, and how it came to be.

use serde::Serialize;
use serde_json::Value;

use super::Hyperparameters;
use crate::Result;
use crate::train::command::spelt_out;
use crate::train::data::Account;
use crate::train::soft::Teacher;

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
    /// Whose soft targets it learnt.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub teacher: Option<Teacher>,
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
pub(super) fn command(
    hyper: &Hyperparameters,
    base: &str,
    teacher: Option<&str>,
    out: &str,
) -> Result<String> {
    let named: Vec<(&str, &str)> = [("base", Some(base)), ("teacher", teacher), ("out", Some(out))]
        .into_iter()
        .filter_map(|(name, value)| Some((name, value?)))
        .collect();
    spelt_out("relayops-intent train compact", &named, hyper)
}
