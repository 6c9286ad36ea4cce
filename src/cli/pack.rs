//! `relayops-intent pack`

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::Args;
use comfy_table::presets::UTF8_HORIZONTAL_ONLY;
use comfy_table::{CellAlignment, Table};
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::Value;

use super::model::{COMPACT, PromptArgs, adapter};
use super::{progress, say};
use crate::pack::manifest::{MAX_FILE_BYTES, sha256};
use crate::pack::{IntentConfig, Manifest, check_threshold};
use crate::packing::decoder::{self, Source};
use crate::packing::formats::{Formats, GroupReport, format_name};
use crate::packing::{self, Settings, Threshold};
use crate::train::lora::{Base, resolve};
use crate::{IntentError, Result};

/// Make a pack: quantized weights, tokenizer, labels, calibration and golden answers, verified when they are loaded.
#[derive(Args)]
pub(super) struct PackArgs {
    /// What is packed. An encoder: a folder with config.json, tokenizer.json, model.safetensors (BERT with a classifier)
    /// and intent.json, as training writes it. Qwen2: a GGUF file, a folder in the hub's layout, or the name of a model
    /// that `fetch` brings; all that is left of its output matrix are the labels' rows.
    #[arg(long, value_name = "GGUF|DIR")]
    base: String,
    /// Qwen2: merge the adapter of DIR into the base; the pack has its labels, prompt, temperature, threshold and policy.
    /// Where DIR has PEFT's two files and no intent.json, it has those of --config, and --force-adapter is needed.
    #[arg(long, value_name = "DIR")]
    adapter: Option<PathBuf>,
    /// Merge the adapter although it was trained for another base, or for one that is not known.
    #[arg(long, requires = "adapter")]
    force_adapter: bool,
    #[command(flatten)]
    prompt: PromptArgs,
    /// Folder for the pack; made where it is missing.
    #[arg(long, value_name = "DIR")]
    out: PathBuf,
    /// Replace the pack that is in the folder, once the new one is whole.
    #[arg(long)]
    overwrite: bool,
    /// Name of the pack, which results show [default: compact for an encoder, else that of the base].
    #[arg(long)]
    name: Option<String>,
    /// Formats as FORMAT, GROUP=FORMAT,... or both, where FORMAT alone is for every group but the head; "f32" rounds
    /// nothing. Groups of an encoder: embedding, positions, attention, feed-forward, head; of Qwen2: embedding,
    /// attention, feed-forward (gate and up), down, head (the labels' rows). Formats: f32, f16, q4_0, q5_0, q8_0, q4_k,
    /// q6_k; where rows are no multiple of 256, q5_0 is taken for q4_k and q8_0 for q6_k. [default of an encoder:
    /// embedding=q4_0,positions=q8_0,attention=q5_0,feed-forward=q4_0,head=f32; of Qwen2: q4_0]
    #[arg(long, value_name = "FORMATS", verbatim_doc_comment)]
    quant: Option<String>,
    /// Encoders: leave pieces out that have letters of other scripts than Latin, and reserved ones.
    #[arg(long)]
    prune_vocabulary: bool,
    /// Temperature of the calibration [default: "temperature" in intent.json].
    #[arg(long, value_name = "T")]
    temperature: Option<f32>,
    /// Least confidence that stays local, 0 to 1 [default: "threshold" in intent.json].
    #[arg(long, value_name = "P", conflicts_with = "max_unsafe")]
    threshold: Option<f32>,
    /// Encoders: choose the threshold as `eval --max-unsafe` does, on the messages of dev.jsonl whose id leaves 2 when
    /// divided by 4, which no temperature is fitted on.
    #[arg(long, value_name = "R")]
    max_unsafe: Option<f64>,
    /// JSON file that says where the weights come from: {"base", "sha256", "licence", "notices"}
    /// [default: "origin" in intent.json; for Qwen2 what the catalog of `fetch` or the adapter know].
    #[arg(long, value_name = "FILE")]
    origin: Option<PathBuf>,
    /// JSON file with what `eval --json` printed of this pack, for its manifest.
    #[arg(long, value_name = "FILE")]
    figures: Option<PathBuf>,
    /// Most bytes of one file of the pack.
    #[arg(long, value_name = "N", default_value_t = MAX_FILE_BYTES)]
    max_file_bytes: u64,
    /// Print the result as one JSON object.
    #[arg(long)]
    json: bool,
}

#[derive(Serialize)]
struct Summary {
    name: String,
    bytes: u64,
    identity: String,
    threshold: f32,
    tolerance: f32,
    files: usize,
    /// Of an encoder's vocabulary.
    #[serde(skip_serializing_if = "Option::is_none")]
    pieces: Option<usize>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pieces_of_base: Option<usize>,
    groups: Vec<GroupSummary>,
}

#[derive(Serialize)]
struct GroupSummary {
    group: &'static str,
    format: &'static str,
    weights: u64,
    bytes: u64,
    rmse: f64,
    relative: f64,
}

pub(super) fn run(args: &PackArgs) -> Result<ExitCode> {
    packing::output::check(&args.out, args.overwrite)?;
    let summary = if is_encoder(Path::new(&args.base)) { pack_encoder(args)? } else { pack_decoder(args)? };
    if args.json {
        let json = serde_json::to_string(&summary).map_err(|error| IntentError::data("summary", error))?;
        say(json)?;
    } else {
        say(table(&summary))?;
    }
    Ok(ExitCode::SUCCESS)
}

/// Whether a base is a folder, and not one of a Qwen2.
fn is_encoder(base: &Path) -> bool {
    #[derive(serde::Deserialize)]
    struct Config {
        model_type: String,
    }
    base.is_dir()
        && !read::<Config>(&base.join("config.json")).is_ok_and(|config| config.model_type == "qwen2")
}

fn settings(args: &PackArgs, name: &str, formats: Formats) -> Result<Settings> {
    let name = args.name.as_deref().unwrap_or(name).to_owned();
    let formats = match &args.quant {
        Some(quant) => formats.changed(quant)?,
        None => formats,
    };
    Ok(Settings {
        command: command(args, &name, &formats),
        name,
        formats,
        prune_vocabulary: args.prune_vocabulary,
        temperature: args.temperature,
        threshold: threshold(args)?,
        origin: args.origin.as_deref().map(read).transpose()?,
        figures: args.figures.as_deref().map(read).transpose()?.unwrap_or(Value::Null),
        max_file_bytes: args.max_file_bytes,
    })
}

fn pack_encoder(args: &PackArgs) -> Result<Summary> {
    let given = args.adapter.as_ref().map(|_| "--adapter").or(args.prompt.given());
    if let Some(option) = given {
        return Err(IntentError::argument(option, "is for Qwen2; an encoder's folder has its own"));
    }
    let packed = packing::pack(Path::new(&args.base), settings(args, COMPACT, Formats::default())?)?;
    packed.write(&args.out, args.overwrite)?;
    summary(&packed.manifest, &packed.groups, Some(packed.pieces))
}

fn pack_decoder(args: &PackArgs) -> Result<Summary> {
    let adapter = args.adapter.as_deref().map(|folder| adapter(folder, &args.prompt)).transpose()?;
    let config = match &adapter {
        Some(files) => files.intent_config().clone(),
        None => args.prompt.read_or(IntentConfig::default)?,
    };
    let base = Base::read(&resolve(&args.base)?)?;
    let settings = settings(args, &decoder::default_name(&base), Formats::decoder())?;
    let source = Source { base, adapter: adapter.as_ref(), forced: args.force_adapter, config };
    let bar = progress::bar(None, "{bar:40} {percent}%, {eta} left");
    let written = decoder::pack(source, settings, &args.out, args.overwrite, &mut |done, total| {
        bar.set_length(total);
        bar.set_position(done);
    })?;
    bar.finish_and_clear();
    summary(&written.manifest, &written.groups, None)
}

fn threshold(args: &PackArgs) -> Result<Threshold> {
    Ok(match (args.threshold, args.max_unsafe) {
        (Some(threshold), _) => {
            check_threshold(threshold).map_err(|detail| IntentError::argument("--threshold", detail))?;
            Threshold::Given(threshold)
        }
        (None, Some(limit)) => {
            if !(0.0..=1.0).contains(&limit) {
                return Err(IntentError::argument("--max-unsafe", format!("{limit} is not between 0 and 1")));
            }
            Threshold::MaxUnsafe(limit)
        }
        (None, None) => Threshold::OfBase,
    })
}

fn read<T: DeserializeOwned>(path: &Path) -> Result<T> {
    let text = std::fs::read_to_string(path).map_err(|error| IntentError::io(path.display(), error))?;
    serde_json::from_str(&text).map_err(|error| IntentError::data(path.display().to_string(), error))
}

/// The command that makes the same bytes, in one form however it was typed and whatever is the default later.
fn command(args: &PackArgs, name: &str, formats: &Formats) -> String {
    let mut command = format!("relayops-intent pack --base {} --out {}", args.base, args.out.display());
    let number = |option: &str, value: Option<f32>| {
        value.map_or_else(String::new, |value| format!(" {option} {value}"))
    };
    let path = |option: &str, value: &Option<PathBuf>| {
        value.as_ref().map_or_else(String::new, |value| format!(" {option} {}", value.display()))
    };
    let flag = |option: &str, given: bool| if given { format!(" {option}") } else { String::new() };
    command += &path("--adapter", &args.adapter);
    command += &flag("--force-adapter", args.force_adapter);
    command += &path("--config", &args.prompt.config);
    command += &path("--system-prompt", &args.prompt.system_prompt);
    command += &format!(" --name {name} --quant {formats}");
    command += &flag("--prune-vocabulary", args.prune_vocabulary);
    command += &number("--temperature", args.temperature);
    command += &number("--threshold", args.threshold);
    if let Some(limit) = args.max_unsafe {
        command += &format!(" --max-unsafe {limit}");
    }
    command += &path("--origin", &args.origin);
    command += &path("--figures", &args.figures);
    if args.max_file_bytes != MAX_FILE_BYTES {
        command += &format!(" --max-file-bytes {}", args.max_file_bytes);
    }
    command
}

fn summary(manifest: &Manifest, groups: &[GroupReport], pieces: Option<[usize; 2]>) -> Result<Summary> {
    let group = |report: &GroupReport| GroupSummary {
        group: report.group.name(),
        format: format_name(report.format),
        weights: report.weights,
        bytes: report.bytes,
        rmse: report.rmse,
        relative: report.relative,
    };
    let json = manifest.to_json()?;
    Ok(Summary {
        name: manifest.name.clone(),
        bytes: manifest.total_bytes() + json.len() as u64,
        identity: sha256(json.as_bytes()),
        threshold: manifest.config.threshold,
        tolerance: manifest.golden.tolerance,
        files: manifest.files.len(),
        pieces: pieces.map(|pieces| pieces[1]),
        pieces_of_base: pieces.map(|pieces| pieces[0]),
        groups: groups.iter().map(group).collect(),
    })
}

fn table(summary: &Summary) -> String {
    let mut table = Table::new();
    table.load_style(UTF8_HORIZONTAL_ONLY);
    table.set_header(["tensors", "format", "weights", "bytes", "RMSE", "relative"]);
    for column in table.column_iter_mut().skip(2) {
        column.set_cell_alignment(CellAlignment::Right);
    }
    for group in &summary.groups {
        table.add_row([
            group.group.to_owned(),
            group.format.to_owned(),
            group.weights.to_string(),
            group.bytes.to_string(),
            format!("{:.6}", group.rmse),
            format!("{:.2}%", 100.0 * group.relative),
        ]);
    }
    let pieces = summary.pieces.zip(summary.pieces_of_base);
    let pieces = pieces.map_or_else(String::new, |(pieces, of)| format!("{pieces} of {of} pieces, "));
    format!(
        "{table}\n{}: {} bytes in {} files with its manifest, {pieces}threshold {}, golden tolerance {}\nSHA-256 of pack.json: {}",
        summary.name,
        summary.bytes,
        summary.files + 1,
        summary.threshold,
        summary.tolerance,
        summary.identity
    )
}
