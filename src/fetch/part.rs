//! The unfinished file on disk and the note beside it that says which version it belongs to.

use std::fs::{File, OpenOptions, TryLockError};
use std::io::{Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use super::{Report, Wanted, hash_into, hex};
use crate::{IntentError, Result};

/// The sidecar: a part is continued only towards the same bytes.
#[derive(Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Note {
    sha256: String,
    bytes: u64,
}

/// `<file>.part`, locked for this process, with the digest of what it holds so far.
pub(super) struct Part {
    path: PathBuf,
    note: PathBuf,
    wanted: Wanted,
    file: File,
    hasher: Sha256,
    len: u64,
}

impl Part {
    /// Opens the part of `target`, keeping its bytes when they belong to `wanted`.
    pub(super) fn open(target: &Path, wanted: &Wanted, report: Report) -> Result<Self> {
        let path = suffixed(target, ".part");
        let note = suffixed(target, ".part.json");
        let at = |error| IntentError::io(path.display(), error);
        let file =
            OpenOptions::new().read(true).write(true).create(true).truncate(false).open(&path).map_err(at)?;
        match file.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => {
                let detail = format!("{}: another process is transferring this file", path.display());
                return Err(IntentError::Unavailable(detail));
            }
            Err(TryLockError::Error(error)) => return Err(at(error)),
        }
        let len = file.metadata().map_err(at)?.len();
        let mut part = Self { path, note, wanted: wanted.clone(), file, hasher: Sha256::new(), len };
        if len > 0 && len <= wanted.bytes && part.note_matches() {
            hash_into(&mut part.hasher, &mut part.file, wanted.bytes, report)
                .map_err(|error| part.error(error))?;
        } else {
            part.restart()?;
        }
        Ok(part)
    }

    /// Bytes so far.
    pub(super) fn len(&self) -> u64 {
        self.len
    }

    /// Drops every byte.
    pub(super) fn restart(&mut self) -> Result<()> {
        self.file.set_len(0).map_err(|error| self.error(error))?;
        self.file.seek(SeekFrom::Start(0)).map_err(|error| self.error(error))?;
        self.hasher = Sha256::new();
        self.len = 0;
        // Written after the bytes are gone: a note never speaks for bytes of another version.
        let note = Note { sha256: self.wanted.sha256.clone(), bytes: self.wanted.bytes };
        let text = serde_json::to_vec(&note).map_err(|error| self.error(error.into()))?;
        std::fs::write(&self.note, text).map_err(|error| IntentError::io(self.note.display(), error))
    }

    /// Adds `bytes` at the end.
    pub(super) fn append(&mut self, bytes: &[u8]) -> Result<()> {
        self.file.write_all(bytes).map_err(|error| self.error(error))?;
        self.hasher.update(bytes);
        self.len = self.len.saturating_add(bytes.len() as u64);
        Ok(())
    }

    /// The digest of what is there when it isn't the wanted one.
    pub(super) fn mismatch(&self) -> Option<String> {
        let actual = hex(&self.hasher.clone().finalize());
        (actual != self.wanted.sha256).then_some(actual)
    }

    /// Gives the file its final name, with its bytes on the disk before the name is.
    pub(super) fn finish(self, target: &Path) -> Result<()> {
        self.file.sync_all().map_err(|error| self.error(error))?;
        // The lock goes with the handle, which Windows wants closed before the rename.
        drop(self.file);
        std::fs::rename(&self.path, target).map_err(|error| IntentError::io(target.display(), error))?;
        sync_folder(target)?;
        remove(&self.note)
    }

    /// Removes the part and its note.
    pub(super) fn discard(self) -> Result<()> {
        drop(self.file);
        remove(&self.path)?;
        remove(&self.note)
    }

    fn note_matches(&self) -> bool {
        let wanted = Note { sha256: self.wanted.sha256.clone(), bytes: self.wanted.bytes };
        std::fs::read(&self.note)
            .ok()
            .and_then(|text| serde_json::from_slice::<Note>(&text).ok())
            .is_some_and(|note| note == wanted)
    }

    fn error(&self, error: std::io::Error) -> IntentError {
        IntentError::io(self.path.display(), error)
    }
}

fn suffixed(path: &Path, suffix: &str) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(suffix);
    PathBuf::from(name)
}

fn remove(path: &Path) -> Result<()> {
    match std::fs::remove_file(path) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
            Err(IntentError::io(path.display(), error))
        }
        _ => Ok(()),
    }
}

/// Makes the rename itself durable, where folders can be synced.
fn sync_folder(target: &Path) -> Result<()> {
    match target.parent() {
        Some(folder) if cfg!(unix) => File::open(folder)
            .and_then(|folder| folder.sync_all())
            .map_err(|error| IntentError::io(folder.display(), error)),
        _ => Ok(()),
    }
}
