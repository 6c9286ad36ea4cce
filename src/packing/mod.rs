//! Making packs: from a fine-tuned model to the bytes that ship.
//!
//! The weights are rounded by [`encode`], tensor group by tensor group ([`formats`]). An encoder's (`weights`) may have
//! its vocabulary cut down to what English becomes; a decoder ([`decoder`]) has an adapter merged into it and keeps the
//! labels' rows of its output matrix alone. The result is one GGUF file in pieces and a manifest
//! ([`crate::pack::manifest`]). The same base and settings give the same bytes.

pub mod base;
pub mod decoder;
pub mod encode;
pub mod figures;
pub mod formats;
mod golden;
mod merge;
pub mod output;
mod shards;
mod vocabulary;
mod weights;

use std::path::Path;

use serde_json::{Value, json};

use crate::dataset::CalibrationPart;
use crate::eval::Evaluator;
use crate::eval::identity::Origin;
use crate::eval::sets::calibration;
use crate::loader::Loader;
use crate::pack::manifest::{self, FORMAT, MAX_FILE_BYTES, PackFile, sha256};
use crate::pack::{IntentConfig, Manifest};
use crate::{IntentError, Result};
use base::Base;
use formats::{Formats, GroupReport};
use output::Output;

/// What is asked for.
#[derive(Debug, Clone)]
pub struct Settings {
    /// Name of the pack.
    pub name: String,
    /// Format of each tensor group.
    pub formats: Formats,
    /// Leave out what English never becomes.
    pub prune_vocabulary: bool,
    /// Temperature of the calibration; else what base or adapter say.
    pub temperature: Option<f32>,
    /// Least confidence that stays local.
    pub threshold: Threshold,
    /// Where the weights come from; else what the base says.
    pub origin: Option<manifest::Origin>,
    /// What `eval --json` printed of these very weights; the manifest keeps what [`figures::condense`] leaves of it.
    pub figures: Value,
    /// The command, for the manifest.
    pub command: String,
    /// Most bytes of a file, up to [`MAX_FILE_BYTES`].
    pub max_file_bytes: u64,
}

impl Settings {
    fn check_max_file_bytes(&self) -> Result<()> {
        if (1..=MAX_FILE_BYTES).contains(&self.max_file_bytes) {
            return Ok(());
        }
        let detail = format!("{} is not 1 to {MAX_FILE_BYTES}", self.max_file_bytes);
        Err(IntentError::argument("--max-file-bytes", detail))
    }
}

/// How the threshold comes about.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Threshold {
    /// What the base says.
    OfBase,
    /// The caller's.
    Given(f32),
    /// The one that [`choose`](crate::eval::sweep::choose) takes for at most this share of the messages that must escalate
    /// staying local, on the part of the development set that thresholds are chosen on.
    MaxUnsafe(f64),
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
    settings.check_max_file_bytes()?;
    let mut base = Base::read(folder)?;
    base.config.temperature = settings.temperature.unwrap_or(base.config.temperature);
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
        files: files(&gguf, settings.max_file_bytes)?,
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
        Threshold::MaxUnsafe(limit) => {
            let sample = calibration(CalibrationPart::Threshold)?;
            let mut evaluator = Evaluator::new("pack", loader(gguf, config)?.finish()?);
            evaluator.read(&sample.messages, || {})?;
            let choice = evaluator.choose(&sample, limit)?.clone();
            let Some(chosen) = &choice.figures else {
                let detail = format!("no threshold keeps the rate at {limit} or less on {}", sample.name);
                return Err(IntentError::argument("--max-unsafe", detail));
            };
            config.threshold = evaluator.config().threshold;
            Ok(json!({
                "kind": "fitted",
                "on": sample.name,
                "n": choice.n,
                "max_unsafe": limit,
                "must_escalate": chosen.must_escalate,
                "unsafe_local": chosen.unsafe_local,
            }))
        }
    };
    origin.map_err(|error| IntentError::data("threshold_from", error))
}

/// Byte ranges of at most `limit`.
fn files(gguf: &[u8], limit: u64) -> Result<Vec<PackFile>> {
    let limit = usize::try_from(limit).map_err(|error| IntentError::argument("--max-file-bytes", error))?;
    let chunks = gguf.chunks(limit);
    let file =
        |(path, chunk): (String, &[u8])| PackFile { path, bytes: chunk.len() as u64, sha256: sha256(chunk) };
    Ok(shards::names(chunks.len()).zip(chunks).map(file).collect())
}

impl Packed {
    /// Writes the pack into `folder`, which is made where it is missing, in the place of an earlier one if `overwrite`.
    ///
    /// # Errors
    /// `io`, and `invalid_argument` as [`output::check`].
    pub fn write(&self, folder: &Path, overwrite: bool) -> Result<()> {
        let output = Output::open(folder, overwrite)?;
        let mut rest = self.gguf.as_slice();
        for file in &self.manifest.files {
            let path = output.path().join(&file.path);
            let (chunk, later) = rest.split_at(rest.len().min(file.bytes as usize));
            std::fs::write(&path, chunk).map_err(|error| IntentError::io(path.display(), error))?;
            rest = later;
        }
        output.finish(&self.manifest)
    }
}
