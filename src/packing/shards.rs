//! One stream of bytes as files of limited size, each with its digest, none of it held.

use std::fs::File;
use std::io::{BufWriter, Write};
use std::path::{Path, PathBuf};

use sha2::{Digest, Sha256};

use crate::pack::manifest::{PackFile, hex};
use crate::{IntentError, Result};

/// Names of `count` files.
pub(super) fn names(count: usize) -> impl Iterator<Item = String> {
    (0..count).map(
        move |index| if count == 1 { "model.gguf".to_owned() } else { format!("model-{index:03}.gguf-part") },
    )
}

/// Whether a file of that name may be one of [`names`].
pub(super) fn is_name(name: &str) -> bool {
    name == "model.gguf" || (name.starts_with("model-") && name.ends_with(".gguf-part"))
}

/// Writes files into a folder.
pub(super) struct Shards<'a> {
    folder: &'a Path,
    limit: u64,
    /// Bytes of the whole stream that have not come yet.
    left: u64,
    names: Box<dyn Iterator<Item = String>>,
    open: Option<Open>,
    done: Vec<PackFile>,
}

struct Open {
    name: String,
    path: PathBuf,
    file: BufWriter<File>,
    bytes: u64,
    /// Bytes that the file takes still.
    room: u64,
    hash: Sha256,
}

impl<'a> Shards<'a> {
    /// For a stream of `total` bytes in files of at most `limit`.
    pub(super) fn new(folder: &'a Path, total: u64, limit: u64) -> Self {
        let count = usize::try_from(total.div_ceil(limit)).unwrap_or(usize::MAX);
        Self { folder, limit, left: total, names: Box::new(names(count)), open: None, done: Vec::new() }
    }

    pub(super) fn write(&mut self, mut bytes: &[u8]) -> Result<()> {
        while !bytes.is_empty() {
            let mut open = match self.open.take() {
                Some(open) => open,
                None => self.next()?,
            };
            let room = usize::try_from(open.room).unwrap_or(usize::MAX).min(bytes.len());
            let (now, later) = bytes.split_at(room);
            open.file.write_all(now).map_err(|error| IntentError::io(open.path.display(), error))?;
            open.hash.update(now);
            open.room -= now.len() as u64;
            bytes = later;
            if open.room == 0 { self.close(open)? } else { self.open = Some(open) }
        }
        Ok(())
    }

    fn next(&mut self) -> Result<Open> {
        let bytes = self.left.min(self.limit);
        let Some(name) = self.names.next().filter(|_| bytes > 0) else {
            return Err(IntentError::data("GGUF", "is longer than its header says"));
        };
        self.left -= bytes;
        let path = self.folder.join(&name);
        let file = File::create(&path).map_err(|error| IntentError::io(path.display(), error))?;
        Ok(Open { name, path, file: BufWriter::new(file), bytes, room: bytes, hash: Sha256::new() })
    }

    fn close(&mut self, open: Open) -> Result<()> {
        let io = |error| IntentError::io(open.path.display(), error);
        let file = open.file.into_inner().map_err(|error| io(error.into_error()))?;
        file.sync_all().map_err(io)?;
        let sha256 = hex(&open.hash.finalize());
        self.done.push(PackFile { path: open.name, bytes: open.bytes, sha256 });
        Ok(())
    }

    /// The files, which must hold the whole stream.
    pub(super) fn finish(self) -> Result<Vec<PackFile>> {
        let missing = self.left + self.open.map_or(0, |open| open.room);
        if missing == 0 {
            return Ok(self.done);
        }
        Err(IntentError::data("GGUF", format!("{missing} bytes of what its header says are missing")))
    }
}
