//! `relayops-intent bench`

mod figures;

use std::fmt::Display;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::{Duration, Instant};

use clap::Args;

use super::model::{self, COMPACT, ConfigArgs};
use super::{classify, progress, say};
use crate::adapter::AdapterFiles;
use crate::cascade::{Cascade, CascadeOptions};
use crate::classifier::{Classification, Classifier, ModelInfo};
use crate::{IntentError, Result, profile};
use figures::{Cost, Figures, Flip, Flips, Load, Messages, Parts, Stage, Throughput, mebibytes};

/// Messages of 1 to 40 words, all intents.
const MESSAGES: [&str; 10] = [
    "hi",
    "my internet is down",
    "why was I charged twice",
    "is my modem online right now",
    "how do I restart the router myself",
    "thanks, that's all for today",
    "please reboot the gateway, it has been stuck since this morning",
    "what does a blinking orange light on the box mean",
    "can you tell me who lives at the address of my neighbour's account",
    "I was on the phone with somebody yesterday and they said the line would be back by noon, it is two now and the \
     kids can't do their homework, could you look whether it is up again",
];

/// Messages at a time whose throughput is measured.
const BATCHES: [usize; 3] = [1, 8, 32];

/// Measure a model on this machine: time to load and what the prompt's prefix takes of it, memory, time per message and
/// where it goes, throughput of batches; with --adapter, and without a cascade, also what it costs.
#[derive(Args)]
pub(super) struct BenchArgs {
    /// compact, cascade (with --then), a pack's folder or a model file (GGUF, architecture qwen2 or bert).
    #[arg(long, value_name = "M", default_value = COMPACT)]
    model: String,
    #[command(flatten)]
    config: ConfigArgs,
    /// Times each of the ten messages is classified, and each batch.
    #[arg(long, default_value_t = 3, value_name = "N", value_parser = clap::value_parser!(u16).range(1..))]
    rounds: u16,
    /// Print one JSON object, when all is measured, in place of the table.
    #[arg(long)]
    json: bool,
    /// Also count the labels that change when float weights multiply unrounded activations (slow), over the
    /// messages of FILE.
    #[arg(long, value_name = "FILE")]
    flips: Option<PathBuf>,
    /// Also count the labels that change on this machine's GPU, over the messages of FILE. For builds with the feature
    /// webgpu.
    #[arg(long, value_name = "FILE")]
    gpu_flips: Option<PathBuf>,
}

impl BenchArgs {
    /// Prints rows of the table, and hands on what they are of.
    fn show<T: Display>(&self, rows: T) -> Result<T> {
        if !self.json {
            say(&rows)?;
        }
        Ok(rows)
    }
}

pub(super) fn run(args: &BenchArgs) -> Result<ExitCode> {
    let start = Instant::now();
    let mut classifier = model::open(&args.model, &args.config)?;
    let load = args.show(describe(&classifier, args, start.elapsed()))?;
    let message = args.show(Messages::new(time(&mut classifier, args.rounds)?))?;
    let peak_bytes = peak_memory();
    if let Some(peak) = peak_bytes {
        args.show(format_args!("peak           {:.1} MiB", mebibytes(peak)))?;
    }
    let throughput = throughput(&mut classifier, args.rounds)?;
    throughput.iter().try_for_each(|rows| args.show(rows).map(|_| ()))?;
    let parts = args.show(parts(&mut classifier, args.rounds)?)?;
    let flips = all_flips(&mut classifier, args)?;
    // Last: it takes the adapter off.
    let adapter = adapter_cost(&mut classifier, args)?;
    if args.json {
        let all = Figures { load, message, peak_bytes, throughput, parts, flips, adapter };
        say(serde_json::to_string(&all).map_err(|error| IntentError::Inference(error.to_string()))?)?;
    }
    Ok(ExitCode::SUCCESS)
}

/// What was loaded, and what that took.
fn describe(classifier: &Cascade, args: &BenchArgs, load: Duration) -> Load {
    let infos: Vec<&ModelInfo> = classifier.stages().map(Classifier::info).collect();
    let stage = |info: &&ModelInfo| Stage { stage: info.stage.clone(), weight_bytes: info.weight_bytes };
    let last = classifier.last();
    Load {
        model: args.model.clone(),
        stages: infos.iter().map(stage).collect(),
        backend: last.info().backend.clone(),
        threads: last.info().threads,
        load_seconds: load.as_secs_f64(),
        prefix: last.prefix(),
        weight_bytes: infos.iter().map(|info| info.weight_bytes).sum(),
        peak_at_load_bytes: peak_memory(),
    }
}

/// Nothing where there is no adapter to be measured.
fn adapter_cost(classifier: &mut Cascade, args: &BenchArgs) -> Result<Option<Cost>> {
    match args.config.adapter()? {
        Some(files) if classifier.depth() == 1 => {
            let cost = Cost::new(adapter_ratios(classifier, &files, args)?);
            args.show(cost).map(Some)
        }
        // Most messages do not come to it, and whether they do depends on the adapter's prompt.
        Some(_) => {
            args.show(
                "adapter        its cost is measured without a cascade: --model with what --then names",
            )?;
            Ok(None)
        }
        None => Ok(None),
    }
}

/// Time of each message with the adapter beside the weights / without, the same prompt, in turns.
fn adapter_ratios(classifier: &mut Cascade, files: &AdapterFiles, args: &BenchArgs) -> Result<Vec<f64>> {
    let mut ratios = Vec::new();
    for _ in 0..args.rounds {
        classifier.set_adapter(None, false)?;
        let without = time(classifier, 1)?;
        classifier.set_adapter(Some(files), args.config.force_adapter)?;
        let with = time(classifier, 1)?;
        ratios.extend(with.iter().zip(&without).map(|(with, without)| with / without));
    }
    Ok(ratios)
}

fn time(classifier: &mut Cascade, rounds: u16) -> Result<Vec<f64>> {
    classified(classifier, MESSAGES[0])?;
    let mut times = Vec::new();
    for _ in 0..rounds {
        for message in MESSAGES {
            times.push(classified(classifier, message)?.ms);
        }
    }
    Ok(times)
}

/// Messages a second where so many share a pass; the same messages whatever their number.
fn throughput(classifier: &mut Cascade, rounds: u16) -> Result<Vec<Throughput>> {
    let most = BATCHES.into_iter().max().unwrap_or(1);
    let texts: Vec<&str> = MESSAGES.into_iter().cycle().take(most).collect();
    let mut seconds = BATCHES.map(|_| Vec::new());
    for _ in 0..rounds {
        for (size, seconds) in BATCHES.into_iter().zip(&mut seconds) {
            let start = Instant::now();
            for batch in texts.chunks(size) {
                for result in classifier.classify_batch(batch, &[])? {
                    checked(result?)?;
                }
            }
            seconds.push(start.elapsed().as_secs_f64());
        }
    }
    let measured = BATCHES.into_iter().zip(seconds);
    Ok(measured.map(|(size, seconds)| Throughput::new(size, texts.len(), seconds)).collect())
}

/// Where the time goes, over all messages.
fn parts(classifier: &mut Cascade, rounds: u16) -> Result<Parts> {
    let start = Instant::now();
    let (times, spent) = profile::record(|| time(classifier, rounds));
    // One to warm up, too.
    Ok(Parts::new(times?.len() + 1, start.elapsed().as_secs_f64(), &spent))
}

/// A result that a model stands behind: a failure would be timed and compared as if it were one.
fn classified(classifier: &mut Cascade, text: &str) -> Result<Classification> {
    checked(classifier.classify(text, &CascadeOptions::default())?)
}

fn checked(result: Classification) -> Result<Classification> {
    match result.decision.reason.strip_prefix("error:") {
        Some(code) => Err(IntentError::Inference(format!("a message failed with {code}"))),
        None => Ok(result),
    }
}

/// Those that were asked for.
fn all_flips(classifier: &mut Cascade, args: &BenchArgs) -> Result<Vec<Flips>> {
    let mut all = Vec::new();
    if let Some(path) = &args.flips {
        let exact = model::open_exact(&args.model, &args.config)?;
        all.push(args.show(flips(classifier, exact, "exact weights", path)?)?);
    }
    if let Some(path) = &args.gpu_flips {
        let gpu = model::open_on_gpu(&args.model, &args.config)?;
        all.push(args.show(flips(classifier, gpu, "GPU", path)?)?);
    }
    Ok(all)
}

/// Compares `classifier` with the same model computed otherwise.
fn flips(
    classifier: &mut Cascade,
    mut other: Cascade,
    against: &'static str,
    messages: &Path,
) -> Result<Flips> {
    let texts = classify::read_texts(messages)?;
    let bar = progress::bar(Some(texts.len() as u64), "{bar:40} {pos} of {len}, {eta} left");
    let threshold = classifier.own_thresholds().last().copied().unwrap_or(1.0);
    let (labels, n) = (Vec::new(), texts.len());
    let mut flips = Flips { against, n, labels, confident: 0, threshold, routes: 0, largest_difference: 0.0 };
    for text in texts {
        let (a, b) = (classified(classifier, &text)?, classified(&mut other, &text)?);
        flips.routes += usize::from(a.decision.route != b.decision.route);
        let pairs = a.probabilities.iter().flatten().zip(b.probabilities.iter().flatten());
        let differences = pairs.map(|((_, a), (_, b))| (a - b).abs());
        flips.largest_difference = differences.fold(flips.largest_difference, f32::max);
        if a.intent != b.intent {
            let is_confident = is_confident(&a, threshold) || is_confident(&b, threshold);
            flips.confident += usize::from(is_confident);
            let lead = b.margin.unwrap_or(0.0);
            flips.labels.push(Flip { text, intent: a.intent, other: b.intent, lead });
        }
        bar.inc(1);
    }
    bar.finish_and_clear();
    Ok(flips)
}

fn is_confident(result: &Classification, threshold: f32) -> bool {
    result.confidence.is_some_and(|confidence| confidence >= threshold)
}

/// Peak resident memory of this process in bytes, where the system tells (Linux: `VmHWM` in proc(5)).
fn peak_memory() -> Option<u64> {
    let status = std::fs::read_to_string("/proc/self/status").ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"))?;
    line.trim().strip_suffix("kB")?.trim().parse::<u64>().ok()?.checked_mul(1024)
}
