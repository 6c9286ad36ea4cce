//! From a pack to a classifier: every byte verified, every answer checked.

use std::fs::File;
use std::io::Read;
use std::path::Path;

use sha2::{Digest, Sha256};

use super::{Loader, Promise, read_chunks};
use crate::classifier::{Classifier, Reading};
use crate::pack::manifest::{MANIFEST, MAX_MANIFEST_BYTES, PackFile, hex, sha256};
use crate::pack::{GoldenVector, Manifest};
use crate::{IntentError, Result};

/// Builds a classifier from a manifest and the bytes of its files as they arrive, in order, in chunks of any size.
pub struct PackLoader {
    manifest: Manifest,
    identity: String,
    loader: Loader,
    /// Index of the file that is arriving, and what has arrived of it.
    file: usize,
    received: u64,
    hash: Sha256,
    /// Whether the backend adds in the order of this engine's kernels and rounds as they do.
    same_order: bool,
}

impl PackLoader {
    /// Reads the manifest, `pack.json`.
    ///
    /// # Errors
    /// `invalid_pack`.
    pub fn new(pack_json: &[u8]) -> Result<Self> {
        let manifest = Manifest::from_json(pack_json)?;
        let identity = sha256(pack_json);
        let loader = Loader::new(&manifest.name, Some(manifest.total_bytes()), manifest.config.clone())?
            .promised(Promise {
                stage: manifest.name.clone(),
                architecture: manifest.architecture.clone(),
                identity: identity.clone(),
            });
        Ok(Self { manifest, identity, loader, file: 0, received: 0, hash: Sha256::new(), same_order: true })
    }

    /// Reads a whole pack from its folder.
    ///
    /// # Errors
    /// `io`, and as [`new`](Self::new) and [`push`](Self::push).
    pub fn read_folder(folder: &Path) -> Result<Self> {
        let path = folder.join(MANIFEST);
        let io = |path: &Path, error| IntentError::io(path.display(), error);
        let mut json = Vec::new();
        // One byte more than allowed, so that the manifest's own check says so.
        let manifest = File::open(&path).map_err(|error| io(&path, error))?;
        manifest
            .take(MAX_MANIFEST_BYTES as u64 + 1)
            .read_to_end(&mut json)
            .map_err(|error| io(&path, error))?;
        let mut pack = Self::new(&json)?;
        for index in 0..pack.manifest.files.len() {
            let path = folder.join(&pack.manifest.files[index].path);
            let mut file = File::open(&path).map_err(|error| io(&path, error))?;
            read_chunks(&path, &mut file, |chunk| pack.push(index, chunk))?;
        }
        Ok(pack)
    }

    /// Builds the model on [`Cpu::exact`](crate::backend::cpu::Cpu::exact). The golden answers are those of
    /// rounded activations: it is held to the tolerance of other arithmetic.
    #[must_use]
    pub fn exact(self) -> Self {
        Self { loader: self.loader.exact(), same_order: false, ..self }
    }

    /// The manifest.
    #[must_use]
    pub fn manifest(&self) -> &Manifest {
        &self.manifest
    }

    /// What identifies the pack: the SHA-256 of its manifest, lower-case hex.
    #[must_use]
    pub fn identity(&self) -> &str {
        &self.identity
    }

    /// Takes the next bytes of file number `file` of the manifest. The file is verified when its last byte is there.
    ///
    /// # Errors
    /// `checksum`; `invalid_pack` for bytes of another file than the one that is due or beyond its end; and as
    /// [`Loader::push`].
    pub fn push(&mut self, file: usize, bytes: &[u8]) -> Result<()> {
        let Some(due) = self.manifest.files.get(self.file).filter(|_| file == self.file) else {
            let detail = match self.manifest.files.get(self.file) {
                Some(due) => {
                    format!("bytes of file {file}, but {} (file {}) is not complete", due.path, self.file)
                }
                None => format!("bytes of file {file}, but all files are complete"),
            };
            return Err(IntentError::pack("files", detail));
        };
        let received = self.received + bytes.len() as u64;
        if received > due.bytes {
            let detail = format!("has more than the {} bytes of the manifest", due.bytes);
            return Err(IntentError::pack(&due.path, detail));
        }
        self.hash.update(bytes);
        self.received = received;
        if received == due.bytes {
            // Before the last bytes are used.
            verify(due, std::mem::take(&mut self.hash))?;
            self.file += 1;
            self.received = 0;
        }
        self.loader.push(bytes)
    }

    /// Ends the pack, builds the model and asks it the manifest's golden questions.
    ///
    /// # Errors
    /// `invalid_pack` where bytes are missing, `golden_mismatch` where an answer is not the manifest's, and as
    /// [`Loader::finish`].
    pub fn finish(self) -> Result<Classifier> {
        if let Some(due) = self.manifest.files.get(self.file) {
            let detail = format!("ends at byte {} of {}", self.received, due.bytes);
            return Err(IntentError::pack(&due.path, detail));
        }
        let mut classifier = self.loader.finish()?;
        check_golden(&mut classifier, &self.manifest, self.same_order)?;
        Ok(classifier)
    }
}

fn verify(file: &PackFile, hash: Sha256) -> Result<()> {
    let actual = hex(&hash.finalize());
    if actual == file.sha256 {
        return Ok(());
    }
    Err(IntentError::Checksum { file: file.path.clone(), expected: file.sha256.clone(), actual })
}

/// Whatever runs must answer as the manifest says, or it does not run.
fn check_golden(classifier: &mut Classifier, manifest: &Manifest, same_order: bool) -> Result<()> {
    let golden = &manifest.golden;
    let tolerance = golden.tolerance(same_order);
    for vector in &golden.vectors {
        let difference = difference(classifier, vector)?;
        // Also where it is not a number.
        if !difference.is_some_and(|difference| difference <= tolerance) {
            let off =
                difference.map_or("no answer".to_owned(), |by| format!("a log-probability off by {by:.4}"));
            return Err(IntentError::GoldenMismatch {
                pack: format!("pack {}", manifest.name),
                backend: classifier.info().backend.clone(),
                detail: format!("{off} on {:?}; allowed are {tolerance}", vector.text),
            });
        }
    }
    Ok(())
}

/// The largest difference between the model's log-probabilities and the golden ones; nothing where it gives none.
fn difference(classifier: &mut Classifier, vector: &GoldenVector) -> Result<Option<f32>> {
    let Reading::Scored { scores, .. } = classifier.read(&vector.text, false)? else { return Ok(None) };
    let pairs = scores.log_probabilities.iter().zip(&vector.log_probabilities);
    // Not `max`, which would drop a NaN.
    let worst = |worst: f32, (a, b): (&f32, &f32)| {
        let difference = (a - b).abs();
        if worst.is_nan() || difference <= worst { worst } else { difference }
    };
    Ok((scores.log_probabilities.len() == vector.log_probabilities.len()).then(|| pairs.fold(0.0, worst)))
}
