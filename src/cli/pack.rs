//! `relayops-intent pack`

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::Args;
use comfy_table::presets::UTF8_HORIZONTAL_ONLY;
use comfy_table::{CellAlignment, Table};
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::Value;

use super::say;
use crate::eval::unsafe_local::check_limit;
use crate::pack::check_threshold;
use crate::pack::manifest::sha256;
use crate::packing::weights::{Formats, format_name};
use crate::packing::{self, Packed, Settings, Threshold};
use crate::{IntentError, Result};

/// Make a pack: quantized weights, tokenizer, labels, calibration and golden answers, verified when they are loaded.
#[derive(Args)]
pub(super) struct PackArgs {
    /// Folder with config.json, tokenizer.json, model.safetensors (BERT with a classifier) and intent.json, as
    /// training writes it.
    #[arg(long, value_name = "DIR")]
    base: PathBuf,
    /// Folder for the pack; made where it is missing.
    #[arg(long, value_name = "DIR")]
    out: PathBuf,
    /// Name of the pack, which results show.
    #[arg(long, default_value = "compact")]
    name: String,
    /// Formats as GROUP=FORMAT,...; groups: embedding, positions, attention, feed-forward, head; formats: f32, f16,
    /// q4_0, q5_0, q8_0. "f32" alone rounds nothing.
    #[arg(
        long,
        value_name = "FORMATS",
        default_value = "embedding=q4_0,positions=q8_0,attention=q5_0,feed-forward=q4_0,head=f32"
    )]
    quant: String,
    /// Leave pieces out that have letters of other scripts than Latin, and reserved ones.
    #[arg(long)]
    prune_vocabulary: bool,
    /// Least confidence that stays local, 0 to 1 [default: "threshold" in intent.json].
    #[arg(long, value_name = "P", conflicts_with = "unsafe_local")]
    threshold: Option<f32>,
    /// Choose the threshold: the smallest, in hundredths, at which at most a share R of the messages that must escalate
    /// stays local. It is chosen on the messages of dev.jsonl whose id leaves 2 when divided by 4.
    #[arg(long, value_name = "R")]
    unsafe_local: Option<f64>,
    /// JSON file that says where the weights come from: {"base", "sha256", "licence", "notices"}
    /// [default: "origin" in intent.json].
    #[arg(long, value_name = "FILE")]
    origin: Option<PathBuf>,
    /// JSON file with what `eval --json` printed of this pack, for its manifest.
    #[arg(long, value_name = "FILE")]
    figures: Option<PathBuf>,
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
    pieces: usize,
    pieces_of_base: usize,
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
    let formats: Formats = args.quant.parse()?;
    let settings = Settings {
        name: args.name.clone(),
        formats,
        prune_vocabulary: args.prune_vocabulary,
        threshold: threshold(args)?,
        origin: args.origin.as_deref().map(read).transpose()?,
        figures: args.figures.as_deref().map(read).transpose()?.unwrap_or(Value::Null),
        command: command(args),
    };
    let packed = packing::pack(&args.base, settings)?;
    packed.write(&args.out)?;
    let summary = summary(&packed)?;
    if args.json {
        let json = serde_json::to_string(&summary).map_err(|error| IntentError::data("summary", error))?;
        say(json)?;
    } else {
        say(table(&summary))?;
    }
    Ok(ExitCode::SUCCESS)
}

fn threshold(args: &PackArgs) -> Result<Threshold> {
    Ok(match (args.threshold, args.unsafe_local) {
        (Some(threshold), _) => {
            check_threshold(threshold).map_err(|detail| IntentError::argument("--threshold", detail))?;
            Threshold::Given(threshold)
        }
        (None, Some(limit)) => {
            check_limit(limit)?;
            Threshold::UnsafeLocal(limit)
        }
        (None, None) => Threshold::OfBase,
    })
}

fn read<T: DeserializeOwned>(path: &Path) -> Result<T> {
    let text = std::fs::read_to_string(path).map_err(|error| IntentError::io(path.display(), error))?;
    serde_json::from_str(&text).map_err(|error| IntentError::data(path.display().to_string(), error))
}

/// The command that makes the same bytes, in one form however it was typed.
fn command(args: &PackArgs) -> String {
    let mut command =
        format!("relayops-intent pack --base {} --out {}", args.base.display(), args.out.display());
    command += &format!(" --name {} --quant {}", args.name, args.quant);
    if args.prune_vocabulary {
        command += " --prune-vocabulary";
    }
    if let Some(threshold) = args.threshold {
        command += &format!(" --threshold {threshold}");
    }
    if let Some(limit) = args.unsafe_local {
        command += &format!(" --unsafe-local {limit}");
    }
    for (option, path) in [("--origin", &args.origin), ("--figures", &args.figures)] {
        if let Some(path) = path {
            command += &format!(" {option} {}", path.display());
        }
    }
    command
}

fn summary(packed: &Packed) -> Result<Summary> {
    let group = |report: &packing::weights::GroupReport| GroupSummary {
        group: report.group.name(),
        format: format_name(report.format),
        weights: report.weights,
        bytes: report.bytes,
        rmse: report.rmse,
        relative: report.relative,
    };
    let json = packed.manifest.to_json()?;
    Ok(Summary {
        name: packed.manifest.name.clone(),
        bytes: packed.manifest.total_bytes() + json.len() as u64,
        identity: sha256(json.as_bytes()),
        threshold: packed.manifest.config.threshold,
        tolerance: packed.manifest.golden.tolerance,
        pieces: packed.pieces[1],
        pieces_of_base: packed.pieces[0],
        groups: packed.groups.iter().map(group).collect(),
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
    format!(
        "{table}\n{}: {} bytes with its manifest, {} of {} pieces, threshold {}, golden tolerance {}\nSHA-256 of pack.json: {}",
        summary.name,
        summary.bytes,
        summary.pieces,
        summary.pieces_of_base,
        summary.threshold,
        summary.tolerance,
        summary.identity
    )
}
