//! `relayops-intent train`

use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Instant;

use clap::{Args, Subcommand};
use indicatif::ProgressBar;
use serde_json::Value;

use super::{progress, say, train_lora, train_soften};
use crate::train::base::{self, Base};
use crate::train::compact::{self, Hyperparameters, MANIFEST, Manifest, Request};
use crate::train::data::Data;
use crate::train::soft::SoftTargets;
use crate::train::{CHECKPOINT, Event};
use crate::{IntentError, Result};

/// Train a classifier on the project's data, on this machine.
#[derive(Args)]
pub(super) struct TrainArgs {
    #[command(subcommand)]
    model: Model,
}

#[derive(Subcommand)]
enum Model {
    Compact(Box<CompactArgs>),
    Lora(Box<train_lora::LoraArgs>),
    Soften(Box<train_soften::SoftenArgs>),
}

/// Fine-tune a small encoder (BERT) with mean pooling and a linear head.
///
/// Writes a folder in Hugging Face's layout: config.json, tokenizer.json, model.safetensors with classifier.weight and
/// classifier.bias, and intent.json with labels, temperature, threshold and how it was made; `relayops-intent pack`
/// makes a pack of it. training.jsonl is the log. A run that was interrupted goes on with --resume and ends in the same
/// weights. The same command gives the same weights on the same machine.
#[derive(Args)]
struct CompactArgs {
    /// Folder with config.json, model.safetensors and tokenizer.json, or the name of one in the models folder; the
    /// default is fetched from the Hugging Face hub where it is not there yet.
    #[arg(long, value_name = "DIR|NAME", default_value = base::DEFAULT)]
    base: String,
    /// Folder for the result; made where it is missing.
    #[arg(long, value_name = "DIR")]
    out: PathBuf,
    /// Continue the run whose checkpoint is in the folder; the other options must be the same.
    #[arg(long)]
    resume: bool,
    /// Replace what an earlier run left in the folder.
    #[arg(long, conflicts_with = "resume")]
    overwrite: bool,
    /// Steps between checkpoints; there is one at the end of each epoch anyway.
    #[arg(long, value_name = "N", default_value_t = 200)]
    checkpoint_every: usize,
    /// Print accuracy, macro-F1 and loss on dev's first half after each epoch, for choosing a recipe.
    #[arg(long)]
    choose: bool,
    /// Print the manifest as one JSON object instead of the folder.
    #[arg(long)]
    json: bool,
    /// File of soft targets that `train soften` wrote of the same messages, to be learnt beside the labels
    /// (distillation); needs --teacher-weight.
    #[arg(long, value_name = "FILE")]
    teacher: Option<PathBuf>,
    #[command(flatten)]
    hyper: Hyperparameters,
}

pub(super) fn run(args: &TrainArgs) -> Result<ExitCode> {
    match &args.model {
        Model::Compact(args) => compact(args),
        Model::Lora(args) => train_lora::run(args),
        Model::Soften(args) => train_soften::run(args),
    }
}

fn compact(args: &CompactArgs) -> Result<ExitCode> {
    args.hyper.check()?;
    args.hyper.check_teacher(args.teacher.is_some())?;
    let resume = continues(&args.out, args.resume, args.overwrite)?;
    let teacher = args.teacher.as_deref().map(SoftTargets::read).transpose()?;
    let folder = resolved(&args.base)?;
    let base = Base::read(&folder, args.hyper.max_tokens)?;
    let data = Data::read(args.hyper.extra, args.hyper.templates)?;
    let account = &data.account;
    eprintln!(
        "relayops-intent: {} messages ({} train, {} extra, {} from families), base {}",
        data.train.len(),
        account.train,
        account.extra,
        account.templates,
        base.name
    );
    let request = Request {
        base: &base,
        data: &data,
        teacher: teacher.as_ref(),
        hyper: &args.hyper,
        out: &args.out,
        resume,
        checkpoint_every: args.checkpoint_every,
    };
    let manifest = watched(args.choose, |observe| compact::train(&request, observe))?;
    report(args, &manifest)?;
    Ok(ExitCode::SUCCESS)
}

/// The base's folder, fetched where it must be.
fn resolved(base: &str) -> Result<PathBuf> {
    let bar = progress::bar(Some(0), "{msg} {bar:32} {bytes} of {total_bytes}, {bytes_per_sec}, {eta} left");
    let folder = base::resolve(base, &mut |file, progress| {
        bar.set_message(file.to_owned());
        bar.set_length(progress.total);
        bar.set_position(progress.done);
    });
    bar.finish_and_clear();
    folder
}

/// Whether the run goes on from the checkpoint in `out`. A run is hours of work at most and minutes at least: none is
/// replaced unasked. One that was killed before its first checkpoint begins anew.
pub(super) fn continues(out: &Path, resume: bool, overwrite: bool) -> Result<bool> {
    let has = |file: &str| out.join(file).exists();
    let folder = out.display();
    if resume && has(CHECKPOINT) {
        return Ok(true);
    }
    if resume && has(MANIFEST) {
        return Err(IntentError::argument("--resume", format!("{folder}: the run there is finished")));
    }
    if resume {
        eprintln!("relayops-intent: there is no checkpoint in {folder}: the run begins");
    }
    let found = [CHECKPOINT, MANIFEST].into_iter().find(|file| has(file));
    match found.filter(|_| !overwrite) {
        None => Ok(false),
        Some(CHECKPOINT) => Err(IntentError::argument(
            "--out",
            format!("{folder} holds the checkpoint of a run: continue it with --resume, or --overwrite it"),
        )),
        Some(_) => {
            Err(IntentError::argument("--out", format!("{folder} holds a finished run: --overwrite it")))
        }
    }
}

/// Trains behind a progress bar.
pub(super) fn watched<M>(
    choose: bool,
    train: impl FnOnce(&mut dyn FnMut(Event) -> Result<()>) -> Result<M>,
) -> Result<M> {
    let bar = progress::bar(Some(0), "{bar:32} step {pos} of {len}, loss {msg}, {elapsed} gone, {eta} left");
    let started = Instant::now();
    let manifest = train(&mut |event| {
        match event {
            Event::Start { steps, of } => {
                bar.set_length(of as u64);
                bar.set_position(steps as u64);
                bar.reset_eta();
            }
            Event::Step { steps, loss } => {
                bar.set_message(format!("{loss:.3}"));
                bar.set_position(steps as u64);
            }
            Event::Epoch { figures } => epoch(&bar, figures, choose, started),
        }
        Ok(())
    });
    bar.finish_and_clear();
    manifest
}

fn epoch(bar: &ProgressBar, figures: &Value, choose: bool, started: Instant) {
    let number = |set: &str, name: &str| figures[set][name].as_f64().unwrap_or(f64::NAN);
    let mut line = format!(
        "epoch {}: loss {:.4}, validation accuracy {:.4}, nll {:.4}",
        figures["epoch"],
        figures["loss"].as_f64().unwrap_or(f64::NAN),
        number("validation", "accuracy"),
        number("validation", "nll"),
    );
    if choose {
        let [accuracy, f1, nll] = ["accuracy", "macro_f1", "nll"].map(|name| number("dev_choose", name));
        line += &format!("; dev-choose accuracy {accuracy:.4}, macro-F1 {f1:.4}, nll {nll:.4}");
    }
    // Where stderr is no terminal there is no bar, but this line.
    bar.suspend(|| eprintln!("relayops-intent: {line}; {:.0} s", started.elapsed().as_secs_f64()));
}

fn report(args: &CompactArgs, manifest: &Manifest) -> Result<()> {
    if args.json {
        let text = serde_json::to_string(manifest)
            .map_err(|error| IntentError::io(Path::new(MANIFEST).display(), std::io::Error::other(error)))?;
        return say(text);
    }
    eprintln!("relayops-intent: temperature {:.4}", manifest.temperature);
    say(args.out.display())
}
