//! The folder of a pack: what is there stays until all of a new one is.

use std::io::ErrorKind;
use std::path::{Path, PathBuf};

use tempfile::TempDir;

use super::shards::is_name;
use crate::pack::Manifest;
use crate::pack::manifest::{MANIFEST, PackFile};
use crate::{IntentError, Result};

/// A folder that a pack is written for, under temporary names.
pub struct Output {
    folder: PathBuf,
    /// Beside the files' places, so that they need no copying.
    temporary: TempDir,
}

impl Output {
    /// Makes the folder where it is missing.
    ///
    /// # Errors
    /// `io`, and as [`check`].
    pub fn open(folder: &Path, overwrite: bool) -> Result<Self> {
        check(folder, overwrite)?;
        let io = |error| IntentError::io(folder.display(), error);
        std::fs::create_dir_all(folder).map_err(io)?;
        let temporary = tempfile::Builder::new().prefix(".pack-").tempdir_in(folder).map_err(io)?;
        Ok(Self { folder: folder.to_owned(), temporary })
    }

    /// Where the files are until [`finish`](Self::finish).
    #[must_use]
    pub fn path(&self) -> &Path {
        self.temporary.path()
    }

    /// Puts the files of `manifest`, and then the manifest, in the place of those of an earlier pack. That one's manifest
    /// goes first, so that a folder with a manifest is a whole pack at any time.
    ///
    /// # Errors
    /// `io`.
    pub fn finish(self, manifest: &Manifest) -> Result<()> {
        let json = manifest.to_json()?;
        let path = self.path().join(MANIFEST);
        std::fs::write(&path, json).map_err(|error| IntentError::io(path.display(), error))?;
        let earlier = earlier(&self.folder)?;
        remove(&self.folder.join(MANIFEST))?;
        for file in &earlier {
            remove(&self.folder.join(&file.path))?;
        }
        for name in manifest.files.iter().map(|file| &*file.path).chain([MANIFEST]) {
            let to = self.folder.join(name);
            std::fs::rename(self.path().join(name), &to)
                .map_err(|error| IntentError::io(to.display(), error))?;
        }
        self.temporary.close().map_err(|error| IntentError::io(self.folder.display(), error))
    }
}

/// Refuses a folder that holds a pack, unless `overwrite`, and one where something else has a name that a pack's file may
/// have.
///
/// # Errors
/// `invalid_argument` naming `--out`, and `io`.
pub fn check(folder: &Path, overwrite: bool) -> Result<()> {
    let refused = |detail: String| Err(IntentError::argument("--out", detail));
    let earlier = earlier(folder)?;
    if !overwrite && !earlier.is_empty() {
        return refused(format!("{} holds a pack: --overwrite it", folder.display()));
    }
    let io = |error| IntentError::io(folder.display(), error);
    let entries = match std::fs::read_dir(folder) {
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(()),
        entries => entries.map_err(io)?,
    };
    for entry in entries {
        let name = entry.map_err(io)?.file_name().to_string_lossy().into_owned();
        if is_name(&name) && !earlier.iter().any(|file| file.path == name) {
            return refused(format!("{} is there and is of no pack", folder.join(name).display()));
        }
    }
    Ok(())
}

/// Files of the pack that is there; none where there is no pack.
fn earlier(folder: &Path) -> Result<Vec<PackFile>> {
    let path = folder.join(MANIFEST);
    let json = match std::fs::read(&path) {
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(Vec::new()),
        json => json.map_err(|error| IntentError::io(path.display(), error))?,
    };
    let foreign = |error| {
        IntentError::argument("--out", format!("{} is there and is no pack's: {error}", path.display()))
    };
    Manifest::from_json(&json).map(|manifest| manifest.files).map_err(foreign)
}

fn remove(path: &Path) -> Result<()> {
    match std::fs::remove_file(path) {
        Err(error) if error.kind() != ErrorKind::NotFound => Err(IntentError::io(path.display(), error)),
        _ => Ok(()),
    }
}
