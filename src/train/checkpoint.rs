//! Where a run stands, in one file that is whole or not there.

use std::collections::{BTreeMap, HashMap};
use std::fs::File;
use std::io::Write;
use std::path::Path;

use candle_core::{Device, Tensor};
use safetensors::SafeTensors;
use serde::{Deserialize, Serialize};

use super::failed;
use super::parameters::Weights;
use crate::{IntentError, Result};

/// Metadata key of [`State`].
const STATE: &str = "state";

/// Everything about a run that is no tensor. Random numbers have no state: they are functions of the seed and the
/// position.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct State {
    /// What the run is made of, as its manifest will tell; a run is continued by the same only.
    pub run: String,
    /// Epochs that are finished.
    pub epoch: usize,
    /// Steps taken in the next one.
    pub step: usize,
    /// Steps taken in all.
    pub steps: usize,
    /// Sum of the losses of the steps since the last figures, as the bits of a 64-bit float: text would round.
    pub loss_bits: u64,
    /// Weights in the average.
    pub averaged: usize,
    /// Figures of the epochs that are finished, and of the evaluations within them.
    pub epochs: Vec<serde_json::Value>,
    /// Which of them are the best so far.
    pub best: Option<usize>,
    /// Length of the log in bytes.
    pub log: u64,
}

/// A state and the tensors that belong to it.
pub struct Checkpoint {
    /// Where the run stands.
    pub state: State,
    /// By what they are: `weights`, `moments`, `average`, `best`; then by name.
    pub tensors: BTreeMap<String, Weights>,
}

impl Checkpoint {
    /// Writes it. A kill at any moment leaves the former file or this one.
    ///
    /// # Errors
    /// `io` naming the file.
    pub fn write(&self, path: &Path) -> Result<()> {
        let mut tensors = Vec::new();
        for (kind, weights) in &self.tensors {
            tensors.extend(weights.iter().map(|(name, tensor)| (format!("{kind}/{name}"), tensor)));
        }
        let state = serde_json::to_string(&self.state).map_err(failed)?;
        let metadata = HashMap::from([(STATE.to_owned(), state)]);
        write_tensors(path, tensors, Some(metadata))
    }

    /// Reads it; the tensors go to `device`.
    ///
    /// # Errors
    /// `io`, and `invalid_config` where it is no checkpoint of this program.
    pub fn read(path: &Path, device: &Device) -> Result<Self> {
        let name = path.display().to_string();
        let bytes = std::fs::read(path).map_err(|error| IntentError::io(&name, error))?;
        let invalid = |detail: String| IntentError::config(name.clone(), detail);
        let (_, metadata) = SafeTensors::read_metadata(&bytes).map_err(|error| invalid(error.to_string()))?;
        let state = metadata.metadata().as_ref().and_then(|metadata| metadata.get(STATE));
        let state = state.ok_or_else(|| invalid("is no checkpoint: it holds no state".to_owned()))?;
        let state = serde_json::from_str(state).map_err(|error| invalid(format!("state: {error}")))?;
        let all = candle_core::safetensors::load_buffer(&bytes, device)
            .map_err(|error| invalid(error.to_string()))?;
        let mut tensors: BTreeMap<String, Weights> = BTreeMap::new();
        for (name, tensor) in all {
            let (kind, name) = name.split_once('/').ok_or_else(|| invalid(format!("tensor {name}")))?;
            tensors.entry(kind.to_owned()).or_default().insert(name.to_owned(), tensor);
        }
        Ok(Self { state, tensors })
    }
}

/// Writes a file under another name, then gives it its own, so that this never stands for half of it.
///
/// # Errors
/// `io` naming the file.
pub fn write_file(path: &Path, content: &[u8]) -> Result<()> {
    let io = |error| IntentError::io(path.display(), error);
    let mut partial = path.as_os_str().to_owned();
    partial.push(".part");
    let mut file = File::create(&partial).map_err(io)?;
    file.write_all(content).and_then(|()| file.sync_all()).map_err(io)?;
    std::fs::rename(&partial, path).map_err(io)
}

/// Writes tensors as a safetensors file, the same bytes for the same tensors.
///
/// # Errors
/// `io` naming the file.
pub fn write_tensors<'a>(
    path: &Path,
    tensors: impl IntoIterator<Item = (String, &'a Tensor)>,
    metadata: Option<HashMap<String, String>>,
) -> Result<()> {
    let bytes = safetensors::serialize(tensors, metadata)
        .map_err(|error| IntentError::io(path.display(), std::io::Error::other(error)))?;
    write_file(path, &bytes)
}
