//! `train compact`: fine-tunes a small encoder with mean pooling and a linear head.

mod manifest;
mod options;
mod task;

use std::path::Path;

use candle_core::{Device, Var};
use serde_json::json;

use super::base::{Base, CONFIG, TOKENIZER, WEIGHTS};
use super::bert::weights::{HEAD_BIAS, HEAD_WEIGHT, joined, parted};
use super::checkpoint::{write_file, write_tensors};
use super::data::Data;
use super::run::clear;
use super::soft::SoftTargets;
use super::{CHECKPOINT, Event, Outcome, Parameter, Parameters, Run, Settings, Weights, failed};
use crate::dataset::random::Random;
use crate::eval::temperature::fit_temperature;
use crate::pack::IntentConfig;
use crate::{IntentError, Result};

pub use manifest::{Manifest, Origin, Training};
pub use options::{Hyperparameters, Keep, Qat};
use task::Compact;

/// File that says what a trained folder is.
pub const MANIFEST: &str = "intent.json";

/// A run of `train compact`.
pub struct Request<'a> {
    /// What it starts from.
    pub base: &'a Base,
    /// What it sees.
    pub data: &'a Data,
    /// Whose soft targets it learns beside the labels.
    pub teacher: Option<&'a SoftTargets>,
    /// What it does.
    pub hyper: &'a Hyperparameters,
    /// Where the result goes.
    pub out: &'a Path,
    /// Whether to continue from the checkpoint there.
    pub resume: bool,
    /// Steps between checkpoints.
    pub checkpoint_every: usize,
}

/// Trains and writes the result: `config.json`, `tokenizer.json`, `model.safetensors` in Hugging Face's names with
/// `classifier.weight` and `classifier.bias` beside the base's tensors, and `intent.json`. While it runs the folder
/// holds a checkpoint, and `training.jsonl` grows.
///
/// # Errors
/// `invalid_argument` for options that can't work or a checkpoint of another run, `invalid_data` for a teacher's file
/// that has other labels or lacks a message, `training`, `io`, and whatever `observe` returns, which ends the run at once.
pub fn train(request: &Request, observe: &mut dyn FnMut(Event) -> Result<()>) -> Result<Manifest> {
    let Request { base, data, teacher, hyper, out, .. } = request;
    hyper.check()?;
    hyper.check_teacher(teacher.is_some())?;
    check_blocks(base, hyper)?;
    let texts = data.train.iter().map(|sample| sample.text.as_str());
    let soft = teacher.map(|teacher| teacher.of(&data.labels, texts)).transpose()?;
    std::fs::create_dir_all(out).map_err(|error| IntentError::io(out.display(), error))?;
    let mut task = Compact::new(base, data, soft, hyper)?;
    let parameters = parameters(base, hyper, task.vocabulary(), data.labels.len())?;
    let settings = settings(request);
    if !request.resume {
        clear(request.out, MANIFEST, &[WEIGHTS])?;
    }
    let outcome = Run::open(&mut task, &parameters, settings, out, request.resume)?.finish(observe)?;
    let scores = task.temperature_scores(&outcome.weights)?;
    let pairs: Vec<_> = scores.iter().map(|(scores, gold)| (scores, *gold)).collect();
    let temperature = fit_temperature(&pairs)?;
    let manifest = manifest(request, &outcome, temperature, parameters.elements())?;
    write(request, &outcome.weights, task.vocabulary(), &manifest)?;
    Ok(manifest)
}

fn settings(request: &Request) -> Settings {
    let Request { base, data, teacher, hyper, .. } = request;
    Settings {
        epochs: hyper.epochs,
        optimizer: hyper.optimizer.clone(),
        warmup: hyper.warmup,
        decay: hyper.decay,
        averaging: hyper.averaging(),
        keep_best: hyper.keep == Keep::Best,
        evaluate_every: 0,
        patience: 0,
        checkpoint_every: request.checkpoint_every,
        run: json!({
            "base": base.sha256,
            "data": data.account,
            "teacher": teacher.map(|teacher| &teacher.sha256),
            "hyperparameters": hyper,
        }),
    }
}

/// Quantized rows are whole blocks.
fn check_blocks(base: &Base, hyper: &Hyperparameters) -> Result<()> {
    let Some(format) = hyper.qat.format() else { return Ok(()) };
    let sizes =
        [("hidden_size", base.config.hidden_size), ("intermediate_size", base.config.intermediate_size)];
    match sizes.into_iter().find(|(_, size)| !size.is_multiple_of(format.block_size())) {
        Some((field, size)) => Err(IntentError::argument(
            "--qat",
            format!("{}: {field} {size} is no multiple of {}", base.name, format.block_size()),
        )),
        None => Ok(()),
    }
}

/// The encoder's tensors and a new head.
fn parameters(base: &Base, hyper: &Hyperparameters, vocabulary: &[u32], labels: usize) -> Result<Parameters> {
    let mut all = Vec::new();
    for (name, tensor) in joined(&base.weights, &base.config, vocabulary)? {
        let rate =
            hyper.encoder_rate * hyper.layer_decay.powi(below_top(&name, base.config.num_hidden_layers));
        let decay = name.starts_with("encoder.") && name.ends_with(".weight") && !name.contains("LayerNorm");
        let value = Var::from_tensor(&tensor.contiguous().map_err(failed)?).map_err(failed)?;
        all.push(Parameter { name, value, rate, decay });
    }
    let mut random = Random::named(&format!("train/{}/head", hyper.seed));
    let width = base.config.hidden_size;
    let head: Vec<f32> = (0..labels * width).map(|_| 0.02 * normal(&mut random)).collect();
    let head = Var::from_vec(head, (labels, width), &Device::Cpu).map_err(failed)?;
    let bias = Var::from_vec(vec![0f32; labels], labels, &Device::Cpu).map_err(failed)?;
    for (name, value, decay) in [(HEAD_WEIGHT, head, true), (HEAD_BIAS, bias, false)] {
        all.push(Parameter { name: name.to_owned(), value, rate: hyper.head_rate, decay });
    }
    Ok(Parameters::new(all))
}

/// Layers between a tensor and the top one; the embedding lies below all.
fn below_top(name: &str, layers: usize) -> i32 {
    let layer = name.strip_prefix("encoder.layer.").and_then(|rest| rest.split('.').next()?.parse().ok());
    let below = layer.map_or(layers, |layer: usize| layers.saturating_sub(layer.saturating_add(1)));
    i32::try_from(below).unwrap_or(i32::MAX)
}

/// A standard normal number (Box and Muller 1958).
#[expect(clippy::cast_precision_loss, clippy::cast_possible_truncation, reason = "24 random bits")]
fn normal(random: &mut Random) -> f32 {
    const BITS: usize = 1 << 24;
    let [a, b] = [(); 2].map(|()| (random.below(BITS) as f64 + 0.5) / BITS as f64);
    ((-2.0 * a.ln()).sqrt() * (std::f64::consts::TAU * b).cos()) as f32
}

fn manifest(request: &Request, outcome: &Outcome, temperature: f32, parameters: usize) -> Result<Manifest> {
    let Request { base, data, teacher, hyper, out, .. } = request;
    let out =
        out.file_name().map_or_else(|| "compact".to_owned(), |name| name.to_string_lossy().into_owned());
    Ok(Manifest {
        labels: data.labels.clone(),
        temperature,
        threshold: IntentConfig::default().threshold,
        training: Training {
            command: manifest::command(hyper, &base.name, teacher.map(|teacher| &*teacher.name), &out)?,
            seed: hyper.seed,
            threads: rayon::current_num_threads(),
            base: Origin {
                name: base.name.clone(),
                sha256: base.sha256.clone(),
                licence: base.licence().map(str::to_owned),
            },
            data: data.account.clone(),
            teacher: teacher.map(SoftTargets::teacher),
            hyperparameters: (*hyper).clone(),
            parameters,
            kept_epoch: outcome.kept,
            epochs: outcome.epochs.clone(),
        },
    })
}

fn write(request: &Request, trained: &Weights, vocabulary: &[u32], manifest: &Manifest) -> Result<()> {
    let Request { base, out, .. } = request;
    let weights = parted(trained, base.weights.clone(), vocabulary)?;
    let tensors = weights.iter().map(|(name, tensor)| (name.clone(), tensor));
    write_tensors(&out.join(WEIGHTS), tensors, None)?;
    write_file(&out.join(CONFIG), base.config_json.as_bytes())?;
    write_file(&out.join(TOKENIZER), base.tokenizer_json.as_bytes())?;
    let mut text = serde_json::to_string_pretty(manifest).map_err(failed)?;
    text.push('\n');
    write_file(&out.join(MANIFEST), text.as_bytes())?;
    let checkpoint = out.join(CHECKPOINT);
    std::fs::remove_file(&checkpoint).map_err(|error| IntentError::io(checkpoint.display(), error))
}
