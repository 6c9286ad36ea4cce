//! Making packs: from a fine-tuned model to the bytes that ship.
//!
//! The weights are rounded by [`encode`], tensor group by tensor group ([`weights`]); the vocabulary may be cut down to
//! what English becomes; the result is one GGUF file in pieces and a manifest ([`crate::pack::manifest`]). The same base
//! and settings give the same bytes.

pub mod base;
pub mod encode;
pub mod figures;
mod golden;
mod vocabulary;
pub mod weights;

use std::path::Path;

use serde_json::Value;

use crate::dataset::CalibrationPart;
use crate::eval::Evaluator;
use crate::eval::identity::Origin;
use crate::eval::sets::calibration;
use crate::loader::Loader;
use crate::pack::manifest::{self, FORMAT, MANIFEST, MAX_FILE_BYTES, PackFile, sha256};
use crate::pack::{IntentConfig, Manifest};
use crate::{IntentError, Result};
use base::Base;
use weights::{Formats, GroupReport};

/// What is asked for.
#[derive(Debug, Clone)]
pub struct Settings {
    /// Name of the pack.
    pub name: String,
    /// Format of each tensor group.
    pub formats: Formats,
    /// Leave out what English never becomes.
    pub prune_vocabulary: bool,
    /// Least confidence that stays local.
    pub threshold: Threshold,
    /// Where the weights come from; else what the base says.
    pub origin: Option<manifest::Origin>,
    /// What `eval --json` printed of these very weights; the manifest keeps what [`figures::condense`] leaves of it.
    pub figures: Value,
    /// The command, for the manifest.
    pub command: String,
}

/// How the threshold comes about.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Threshold {
    /// What the base says.
    OfBase,
    /// The caller's.
    Given(f32),
    /// The smallest hundredth at which at most this share of the messages that must escalate stays local, of the part of
    /// the development set that thresholds are chosen on.
    UnsafeLocal(f64),
}

/// A finished pack, not yet written.
pub struct Packed {
    /// The manifest.
    pub manifest: Manifest,
    /// The GGUF file.
    pub gguf: Vec<u8>,
    /// What became of each tensor group.
    pub groups: Vec<GroupReport>,
    /// Pieces of the vocabulary, before and after pruning.
    pub pieces: [usize; 2],
}

/// Makes the pack of a folder in the hub's layout (see [`base`]).
///
/// # Errors
/// `io`, `invalid_data` naming what is wrong with the base, `invalid_argument` for settings that do not work.
pub fn pack(folder: &Path, settings: Settings) -> Result<Packed> {
    let mut base = Base::read(folder)?;
    let before = base.vocabulary.pieces.len();
    let (vocabulary, kept) = if settings.prune_vocabulary {
        vocabulary::prune(&base.vocabulary)?
    } else {
        (base.vocabulary.clone(), (0..before).collect())
    };
    let (gguf, groups) = weights::gguf(&base, &settings.name, &vocabulary, &kept, &settings.formats)?;
    let origin = settings.origin.or_else(|| base.origin.clone()).ok_or_else(|| {
        let detail =
            "is missing, here and in the base's intent.json: name, SHA-256, licence and notices of the base";
        IntentError::argument("--origin", detail)
    })?;
    let threshold_from = set_threshold(&mut base.config, &gguf, settings.threshold)?;
    let open = || loader(&gguf, &base.config);
    let golden = golden::measure(&mut open()?.exact().finish_encoder()?, &mut open()?.finish_encoder()?)?;
    let manifest = Manifest {
        format: FORMAT,
        name: settings.name,
        architecture: "bert".to_owned(),
        licence: origin.licence.clone(),
        origin,
        config: base.config,
        threshold_from,
        files: files(&gguf),
        golden,
        training: base.training,
        figures: figures::condense(&settings.figures),
        command: settings.command,
    };
    manifest.check()?;
    Ok(Packed { manifest, gguf, groups, pieces: [before, kept.len()] })
}

fn loader(gguf: &[u8], config: &IntentConfig) -> Result<Loader> {
    let mut loader = Loader::new("pack", Some(gguf.len() as u64), config.clone())?;
    loader.push(gguf)?;
    Ok(loader)
}

/// Puts the threshold into `config` and says where it comes from.
fn set_threshold(config: &mut IntentConfig, gguf: &[u8], threshold: Threshold) -> Result<Value> {
    let origin = match threshold {
        Threshold::OfBase => serde_json::to_value(Origin::Configuration),
        Threshold::Given(threshold) => {
            config.threshold = threshold;
            serde_json::to_value(Origin::Argument)
        }
        Threshold::UnsafeLocal(limit) => {
            let sample = calibration(CalibrationPart::Threshold)?;
            let mut evaluator = Evaluator::new("pack", loader(gguf, config)?.finish()?);
            evaluator.read(&sample.messages, || {})?;
            let found = evaluator.limit_unsafe_local(&sample, limit)?.ok_or_else(|| {
                let detail = format!("no threshold keeps the rate at {limit} or less on {}", sample.name);
                IntentError::argument("--unsafe-local", detail)
            })?;
            config.threshold = evaluator.config().threshold;
            serde_json::to_value(found)
        }
    };
    origin.map_err(|error| IntentError::data("threshold_from", error))
}

/// Byte ranges of at most [`MAX_FILE_BYTES`].
fn files(gguf: &[u8]) -> Vec<PackFile> {
    let chunks = gguf.chunks(MAX_FILE_BYTES as usize);
    let count = chunks.len();
    let file = |(index, chunk): (usize, &[u8])| PackFile {
        path: if count == 1 { "model.gguf".to_owned() } else { format!("model-{index:03}.gguf-part") },
        bytes: chunk.len() as u64,
        sha256: sha256(chunk),
    };
    chunks.enumerate().map(file).collect()
}

impl Packed {
    /// Writes the pack into `folder`, which is made where it is missing; the manifest comes last.
    ///
    /// # Errors
    /// `io`.
    pub fn write(&self, folder: &Path) -> Result<()> {
        let io = |path: &Path, error| IntentError::io(path.display(), error);
        std::fs::create_dir_all(folder).map_err(|error| io(folder, error))?;
        let chunks = self.gguf.chunks(MAX_FILE_BYTES as usize);
        for (file, chunk) in self.manifest.files.iter().zip(chunks) {
            let path = folder.join(&file.path);
            std::fs::write(&path, chunk).map_err(|error| io(&path, error))?;
        }
        let path = folder.join(MANIFEST);
        std::fs::write(&path, self.manifest.to_json()?).map_err(|error| io(&path, error))
    }
}
