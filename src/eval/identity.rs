//! Which model a result is of: enough to tell whether two results are of the same bytes.

use std::fmt;
use std::fs::File;
use std::path::Path;

use serde::Serialize;
use sha2::{Digest, Sha256};

use crate::{IntentError, Result};

/// What is known about a model beside its answers. Whoever opens a model fills it in: a file from its bytes, a baseline
/// from what it was fitted on, a pack from its manifest.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct ModelIdentity {
    /// The file it was read from; `None` for what is made on the spot.
    pub file: Option<FileIdentity>,
    /// The tensors of the adapter beside it; `None` where there is none.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub adapter: Option<FileIdentity>,
    /// What it was trained on; `None` where that is not known here, as of files from elsewhere.
    pub trained_on: Option<TrainedOn>,
    /// Where labels, prompt and policy come from.
    pub configuration: Option<String>,
}

/// A file by its bytes.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct FileIdentity {
    /// Path as it was given.
    pub path: String,
    /// Its size.
    pub bytes: u64,
    /// Its digest, lower-case hexadecimal.
    pub sha256: String,
}

/// Training data.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct TrainedOn {
    /// Which data, in words.
    pub data: String,
    /// Whether `extra.jsonl` was part of it: figures with and without it are not comparable.
    pub extra: bool,
}

/// Where a fitted number comes from.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum Origin {
    /// The model's configuration.
    #[default]
    Configuration,
    /// The command line.
    Argument,
    /// Fitted before the evaluation, on messages that are not in it.
    Fitted {
        /// Which messages.
        on: String,
        /// How many.
        n: usize,
    },
}

impl FileIdentity {
    /// Reads the whole file.
    ///
    /// # Errors
    /// `io`.
    pub fn of(path: &Path) -> Result<Self> {
        let io = |error| IntentError::io(path.display(), error);
        let mut file = File::open(path).map_err(io)?;
        let mut hasher = Sha256::new();
        let bytes = std::io::copy(&mut file, &mut hasher).map_err(io)?;
        let sha256 = hasher.finalize().iter().map(|byte| format!("{byte:02x}")).collect();
        Ok(Self { path: path.display().to_string(), bytes, sha256 })
    }
}

impl fmt::Display for TrainedOn {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let extra = if self.extra { "with" } else { "without" };
        write!(f, "{}, {extra} extra.jsonl", self.data)
    }
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Configuration => f.write_str("from the configuration"),
            Self::Argument => f.write_str("from the command line"),
            Self::Fitted { on, n } => write!(f, "fitted on {n} messages ({on})"),
        }
    }
}
