//! The training log: one JSON object a line.

use std::fs::{File, OpenOptions};
use std::io::{Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};

use serde::Serialize;

use super::failed;
use crate::{IntentError, Result};

/// A log file that is being written.
pub(super) struct Log {
    path: PathBuf,
    file: File,
}

impl Log {
    /// Opens the file at its first `length` bytes; what a killed run wrote behind its last checkpoint is dropped.
    ///
    /// # Errors
    /// `io` naming the file.
    pub(super) fn open(path: &Path, length: u64) -> Result<Self> {
        let io = |error| IntentError::io(path.display(), error);
        let mut file = OpenOptions::new().create(true).truncate(false).write(true).open(path).map_err(io)?;
        if file.metadata().map_err(io)?.len() < length {
            let lost = std::io::Error::other(format!("is shorter than the {length} bytes at the checkpoint"));
            return Err(io(lost));
        }
        file.set_len(length).map_err(io)?;
        file.seek(SeekFrom::End(0)).map_err(io)?;
        Ok(Self { path: path.to_owned(), file })
    }

    /// Writes a line.
    ///
    /// # Errors
    /// `io` naming the file.
    pub(super) fn line(&mut self, line: &impl Serialize) -> Result<()> {
        let mut text = serde_json::to_string(line).map_err(failed)?;
        text.push('\n');
        self.file.write_all(text.as_bytes()).map_err(|error| IntentError::io(self.path.display(), error))
    }

    /// Its length in bytes, on disk.
    ///
    /// # Errors
    /// `io` naming the file.
    pub(super) fn length(&mut self) -> Result<u64> {
        let io = |error| IntentError::io(self.path.display(), error);
        self.file.sync_data().map_err(io)?;
        self.file.stream_position().map_err(io)
    }
}
