//! `relayops-intent bench`

use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::{Duration, Instant};

use clap::Args;

use super::model::{self, COMPACT, ConfigArgs};
use super::{classify, progress, say};
use crate::adapter::AdapterFiles;
use crate::cascade::{Cascade, CascadeOptions};
use crate::classifier::{Classification, Classifier, ModelInfo};
use crate::profile::{self, Part};
use crate::{IntentError, Result};

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

/// Measure a model on this machine: time to load, memory, time per message and its parts, throughput of batches; with
/// --adapter, and without a cascade, also what it costs.
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
    /// Also count the labels that change when float weights multiply unrounded activations (slow), over the
    /// messages of FILE.
    #[arg(long, value_name = "FILE")]
    flips: Option<PathBuf>,
    /// Also count the labels that change on this machine's GPU, over the messages of FILE. For builds with the feature
    /// webgpu.
    #[arg(long, value_name = "FILE")]
    gpu_flips: Option<PathBuf>,
}

pub(super) fn run(args: &BenchArgs) -> Result<ExitCode> {
    let start = Instant::now();
    let mut classifier = model::open(&args.model, &args.config)?;
    let load = start.elapsed();
    describe(&classifier, args, load)?;
    let mut times = time(&mut classifier, args.rounds)?;
    times.sort_by(f64::total_cmp);
    say(format_args!(
        "message, ms    median {:.1}, 10% {:.1}, 90% {:.1}, n = {}",
        quantile(&times, 0.5),
        quantile(&times, 0.1),
        quantile(&times, 0.9),
        times.len()
    ))?;
    if let Some(peak) = peak_memory() {
        say(format_args!("peak           {:.1} MiB", mebibytes(peak)))?;
    }
    throughput(&mut classifier, args.rounds)?;
    parts(&mut classifier, args.rounds)?;
    if let Some(path) = &args.flips {
        let exact = model::open_exact(&args.model, &args.config)?;
        flips(&mut classifier, exact, "exact weights", path)?;
    }
    if let Some(path) = &args.gpu_flips {
        let gpu = model::open_on_gpu(&args.model, &args.config)?;
        flips(&mut classifier, gpu, "GPU", path)?;
    }
    // Last: it takes the adapter off.
    match args.config.adapter()? {
        Some(files) if classifier.depth() == 1 => adapter_cost(&mut classifier, &files, args)?,
        // Most messages do not come to it, and whether they do depends on the adapter's prompt.
        Some(_) => {
            say("adapter        its cost is measured without a cascade: --model with what --then names")?
        }
        None => {}
    }
    Ok(ExitCode::SUCCESS)
}

/// What was loaded, and what that took.
fn describe(classifier: &Cascade, args: &BenchArgs, load: Duration) -> Result<()> {
    let peak = peak_memory();
    let infos: Vec<&ModelInfo> = classifier.stages().map(Classifier::info).collect();
    say(format_args!("model          {}", args.model))?;
    for info in infos.iter().filter(|_| infos.len() > 1) {
        say(format_args!("stage          {}, weights {:.1} MiB", info.stage, mebibytes(info.weight_bytes)))?;
    }
    let info = classifier.last().info();
    say(format_args!("runs on        {}, {} threads", info.backend, info.threads))?;
    say(format_args!("load           {:.2} s", load.as_secs_f64()))?;
    let weights = infos.iter().map(|info| info.weight_bytes).sum();
    say(format_args!("weights        {:.1} MiB", mebibytes(weights)))?;
    match peak {
        Some(peak) => say(format_args!("peak at load   {:.1} MiB", mebibytes(peak))),
        None => Ok(()),
    }
}

fn adapter_cost(classifier: &mut Cascade, files: &AdapterFiles, args: &BenchArgs) -> Result<()> {
    let ratios = adapter_ratios(classifier, files, args)?;
    let percent = |share| (quantile(&ratios, share) - 1.0) * 100.0;
    say(format_args!(
        "adapter        {:+.1}% of a message's time (10% {:+.1}, 90% {:+.1}, n = {} pairs)",
        percent(0.5),
        percent(0.1),
        percent(0.9),
        ratios.len()
    ))
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
    ratios.sort_by(f64::total_cmp);
    Ok(ratios)
}

/// Of what is sorted and not empty.
fn quantile(sorted: &[f64], share: f64) -> f64 {
    sorted[((sorted.len() - 1) as f64 * share) as usize]
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
fn throughput(classifier: &mut Cascade, rounds: u16) -> Result<()> {
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
    for (size, mut seconds) in BATCHES.into_iter().zip(seconds) {
        seconds.sort_by(f64::total_cmp);
        let each = quantile(&seconds, 0.5) / texts.len() as f64;
        say(format_args!(
            "{size:2} together    {:.1} ms each, {:.1} messages a second, n = {}",
            1e3 * each,
            1.0 / each,
            seconds.len()
        ))?;
    }
    Ok(())
}

/// Where the time goes, over all messages.
fn parts(classifier: &mut Cascade, rounds: u16) -> Result<()> {
    let start = Instant::now();
    let (times, spent) = profile::record(|| time(classifier, rounds));
    // One to warm up, too.
    let (times, total) = ((times?.len() + 1) as f64, start.elapsed().as_secs_f64());
    let mut known = 0.0;
    for part in Part::ALL {
        let seconds = spent[part as usize].as_secs_f64();
        known += seconds;
        say(format_args!(
            "  {:24} {:8.3} ms {:5.1}%",
            part.name(),
            1e3 * seconds / times,
            1e2 * seconds / total
        ))?;
    }
    let rest = total - known;
    say(format_args!("  {:24} {:8.3} ms {:5.1}%", "all else", 1e3 * rest / times, 1e2 * rest / total))?;
    let matmul: f64 = Part::ALL
        .iter()
        .filter(|part| part.is_matmul())
        .map(|part| spent[*part as usize].as_secs_f64())
        .sum();
    say(format_args!("outside matmul {:.1}%", 1e2 * (1.0 - matmul / total)))
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

/// Compares `classifier` with the same model computed otherwise.
fn flips(classifier: &mut Cascade, mut other: Cascade, name: &str, messages: &Path) -> Result<()> {
    let texts = classify::read_texts(messages)?;
    let bar = progress::bar(Some(texts.len() as u64), "{bar:40} {pos} of {len}, {eta} left");
    let (mut flipped, mut confident, mut gate_flipped, mut largest) = (0, 0, 0, 0f32);
    let threshold = classifier.own_thresholds().last().copied().unwrap_or(1.0);
    for text in &texts {
        let (a, b) = (classified(classifier, text)?, classified(&mut other, text)?);
        if a.intent != b.intent {
            flipped += 1;
            confident += usize::from(is_confident(&a, threshold) || is_confident(&b, threshold));
            let lead = b.margin.unwrap_or(0.0);
            say(format_args!(
                "flip           {} for {}, which leads by {lead:.3}: {text}",
                a.intent, b.intent
            ))?;
        }
        gate_flipped += usize::from(a.decision.route != b.decision.route);
        let pairs = a.probabilities.iter().flatten().zip(b.probabilities.iter().flatten());
        largest = pairs.map(|((_, a), (_, b))| (a - b).abs()).fold(largest, f32::max);
        bar.inc(1);
    }
    bar.finish_and_clear();
    say(format_args!(
        "{name:14} {flipped} labels of {} flip, {confident} where either side is sure of its own (from {threshold} on); \
         {gate_flipped} routes flip; probabilities differ by up to {largest:.3}",
        texts.len()
    ))
}

fn is_confident(result: &Classification, threshold: f32) -> bool {
    result.confidence.is_some_and(|confidence| confidence >= threshold)
}

fn mebibytes(bytes: u64) -> f64 {
    bytes as f64 / f64::from(1 << 20)
}

/// Peak resident memory of this process in bytes, where the system tells (Linux: `VmHWM` in proc(5)).
fn peak_memory() -> Option<u64> {
    let status = std::fs::read_to_string("/proc/self/status").ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"))?;
    line.trim().strip_suffix("kB")?.trim().parse::<u64>().ok()?.checked_mul(1024)
}
