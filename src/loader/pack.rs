//! From a pack to a classifier: every byte verified, every answer checked.

use std::fs::File;
use std::io::Read;
use std::path::Path;

use sha2::{Digest, Sha256};

use super::questions::Questions;
use super::{Loader, Promise, read_chunks};
use crate::backend::cpu::Cpu;
use crate::backend::{Backend, Signal, Taken};
use crate::classifier::{Classifier, Reading, Step};
use crate::pack::Manifest;
use crate::pack::manifest::{MANIFEST, MAX_MANIFEST_BYTES, PackFile, hex, sha256};
use crate::scoring::{Goal, Progress};
use crate::{IntentError, Result};

/// Builds a classifier from a manifest and the bytes of its files as they arrive, in order, in chunks of any size.
pub struct PackLoader<B: Backend = Cpu> {
    manifest: Manifest,
    identity: String,
    loader: Loader<B>,
    /// Index of the file that is arriving, and what has arrived of it.
    file: usize,
    received: u64,
    hash: Sha256,
}

impl PackLoader<Cpu> {
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
        Ok(Self { manifest, identity, loader, file: 0, received: 0, hash: Sha256::new() })
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
        self.on(Cpu::exact())
    }
}

impl<B: Backend> PackLoader<B> {
    /// Builds the model on another backend, which is held to the tolerance for its arithmetic; as [`Loader::on`].
    #[must_use]
    pub fn on<C: Backend>(self, backend: C) -> PackLoader<C> {
        let Self { manifest, identity, loader, file, received, hash } = self;
        PackLoader { manifest, identity, loader: loader.on(backend), file, received, hash }
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
        self.finish_unchecked()?.now()
    }

    /// Ends the pack and builds the model, but leaves it to the caller to have the questions asked.
    ///
    /// # Errors
    /// `invalid_pack` where bytes are missing, and as [`Loader::finish`].
    pub fn finish_unchecked(self) -> Result<GoldenCheck> {
        if let Some(due) = self.manifest.files.get(self.file) {
            let detail = format!("ends at byte {} of {}", self.received, due.bytes);
            return Err(IntentError::pack(&due.path, detail));
        }
        let same_order = self.loader.backend.is_golden_order();
        let classifier = self.loader.finish()?;
        let questions =
            Questions::new(self.manifest.golden, format!("pack {}", self.manifest.name), same_order);
        Ok(GoldenCheck { classifier: Some(classifier), questions })
    }
}

/// A model that must answer as its manifest says before it may run: the golden questions, in steps.
pub struct GoldenCheck {
    /// Nothing when it has been handed out.
    classifier: Option<Classifier>,
    questions: Questions,
}

/// How far a check has come.
pub enum Checked {
    /// There is more to do.
    Running,
    /// There is more to do when the signal says so.
    Waiting(Signal),
    /// Every answer is right.
    Passed(Box<Classifier>),
}

impl GoldenCheck {
    /// Does all steps.
    ///
    /// # Errors
    /// As [`advance`](Self::advance), and `unavailable` where a device's answers can't be waited for.
    pub fn now(mut self) -> Result<Classifier> {
        loop {
            match self.advance()? {
                Checked::Running => {}
                Checked::Waiting(signal) => Taken::Later(signal).now().map(|_| ())?,
                Checked::Passed(classifier) => return Ok(*classifier),
            }
        }
    }

    /// Does the next step.
    ///
    /// # Errors
    /// `golden_mismatch`, and `inference` where a question could not be answered.
    pub fn advance(&mut self) -> Result<Checked> {
        let Some(mut classifier) = self.classifier.take() else {
            return Err(IntentError::Unavailable("the check is over".to_owned()));
        };
        let backend = classifier.info().backend.clone();
        let progress = self.questions.advance(&backend, |text| {
            let step = match text {
                Some(text) => classifier.begin(text, Goal::ScoreAtOnce)?,
                None => classifier.advance(),
            };
            Ok(match step {
                Step::Running => Progress::Running,
                Step::Waiting(signal) => Progress::Waiting(signal),
                Step::Read(Reading::Scored { scores, .. }) => {
                    classifier.forget();
                    Progress::Scored(scores)
                }
                Step::Read(Reading::Unscored(decision)) => {
                    let detail = format!("a golden question was not answered: {}", decision.reason);
                    return Err(IntentError::Inference(detail));
                }
                Step::Held => Progress::Held,
            })
        })?;
        Ok(match progress {
            Progress::Held => return Ok(Checked::Passed(Box::new(classifier))),
            Progress::Waiting(signal) => {
                self.classifier = Some(classifier);
                Checked::Waiting(signal)
            }
            Progress::Running | Progress::Scored(_) => {
                self.classifier = Some(classifier);
                Checked::Running
            }
        })
    }
}

fn verify(file: &PackFile, hash: Sha256) -> Result<()> {
    let actual = hex(&hash.finalize());
    if actual == file.sha256 {
        return Ok(());
    }
    Err(IntentError::Checksum { file: file.path.clone(), expected: file.sha256.clone(), actual })
}
