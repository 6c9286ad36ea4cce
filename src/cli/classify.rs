//! `relayops-intent classify`

use std::fs::File;
use std::io::{BufRead, BufReader, Write};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::Args;
use serde::Deserialize;

use super::model::{self, ConfigArgs};
use super::progress;
use crate::classifier::{Classification, Classifier, ClassifyOptions};
use crate::gate::Decision;
use crate::pack::check_threshold;
use crate::{IntentError, Result};

/// Classify messages: one line of strict JSON each, in the order of the input.
#[derive(Args)]
pub(super) struct ClassifyArgs {
    /// keyword, complement-nb or a model file (GGUF, architecture qwen2).
    #[arg(long, value_name = "M")]
    model: String,
    #[command(flatten)]
    config: ConfigArgs,
    /// Read messages from FILE, one JSON object with a "text" a line; - is standard input.
    #[arg(long, value_name = "FILE|-", conflicts_with = "text")]
    jsonl: Option<PathBuf>,
    /// Print the whole result a line: probabilities, decision, backend, time.
    #[arg(long)]
    json: bool,
    /// Also report the mean full-softmax probability of the answer's tokens (shown with --json).
    #[arg(long, requires = "json")]
    token_confidence: bool,
    /// Least confidence that stays local [default: the model's, 0.55].
    #[arg(long, value_name = "P")]
    threshold: Option<f32>,
    /// Messages.
    #[arg(value_name = "TEXT", required_unless_present = "jsonl")]
    text: Vec<String>,
}

/// A line of `--jsonl`; other fields are left alone.
#[derive(Deserialize)]
struct Line {
    text: String,
}

pub(super) fn run(args: &ClassifyArgs) -> Result<ExitCode> {
    // What the caller got wrong is said before a model is read.
    for (index, text) in args.text.iter().enumerate() {
        if text.trim().is_empty() {
            return Err(IntentError::argument(format!("TEXT {}", index + 1), "the message is empty"));
        }
    }
    if let Some(threshold) = args.threshold {
        check_threshold(threshold).map_err(|detail| IntentError::argument("--threshold", detail))?;
    }
    let input = args.jsonl.as_deref().map(open).transpose()?;
    let mut classifier = model::open(&args.model, &args.config)?;
    let options = ClassifyOptions { threshold: args.threshold, token_confidence: args.token_confidence };
    let mut out = std::io::stdout().lock();
    match input {
        Some(input) => stream(&mut classifier, options, input, args, &mut out),
        None => {
            for text in &args.text {
                print(&mut out, &classifier.classify(text, options)?, args.json)?;
            }
            Ok(ExitCode::SUCCESS)
        }
    }
}

struct Input {
    name: String,
    bytes: Option<u64>,
    reader: Box<dyn BufRead>,
}

fn open(path: &Path) -> Result<Input> {
    if path == Path::new("-") {
        let reader = Box::new(BufReader::new(std::io::stdin()));
        return Ok(Input { name: "standard input".to_owned(), bytes: None, reader });
    }
    let io = |error| IntentError::io(path.display(), error);
    let file = File::open(path).map_err(io)?;
    let bytes = file.metadata().map_err(io)?.len();
    Ok(Input { name: path.display().to_string(), bytes: Some(bytes), reader: Box::new(BufReader::new(file)) })
}

/// One result a line of input, so that line N of the output answers line N of the input; blank lines are skipped.
/// A line that can't be read is escalated like any failure, reported, and makes the command fail at its end.
fn stream(
    classifier: &mut Classifier,
    options: ClassifyOptions,
    mut input: Input,
    args: &ClassifyArgs,
    out: &mut impl Write,
) -> Result<ExitCode> {
    let bar = progress::bar(
        input.bytes,
        if input.bytes.is_some() { "{bar:40} {percent}%, {eta} left" } else { "{pos} messages, {per_sec}" },
    );
    let (mut line, mut number, mut failures) = (Vec::new(), 0u64, 0u64);
    loop {
        line.clear();
        let read =
            input.reader.read_until(b'\n', &mut line).map_err(|error| IntentError::io(&input.name, error))?;
        if read == 0 {
            break;
        }
        number += 1;
        bar.inc(if input.bytes.is_some() { read as u64 } else { 1 });
        if line.trim_ascii().is_empty() {
            continue;
        }
        let result = match classify_line(classifier, options, &line) {
            Ok(result) => result,
            Err(error @ IntentError::InvalidArgument { .. }) if args.threshold.is_some() && number == 1 => {
                return Err(error);
            }
            Err(error) => {
                failures += 1;
                bar.suspend(|| {
                    eprintln!("relayops-intent: {}: {}:{number}: {error}", error.code(), input.name)
                });
                classifier.unclassified(Decision::error(&error))
            }
        };
        print(out, &result, args.json)?;
    }
    bar.finish_and_clear();
    Ok(if failures == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

fn classify_line(
    classifier: &mut Classifier,
    options: ClassifyOptions,
    line: &[u8],
) -> Result<Classification> {
    let line: Line = serde_json::from_slice(line).map_err(|error| IntentError::argument("line", error))?;
    classifier.classify(&line.text, options)
}

fn print(out: &mut impl Write, result: &Classification, json: bool) -> Result<()> {
    let line = if json {
        serde_json::to_string(result).map_err(|error| IntentError::Inference(error.to_string()))?
    } else {
        result.json.clone()
    };
    writeln!(out, "{line}")
        .and_then(|()| out.flush())
        .map_err(|error| IntentError::io("standard output", error))
}

/// All texts of a JSON Lines file.
///
/// # Errors
/// `io`, or `invalid_argument` naming file and line.
pub(super) fn read_texts(path: &Path) -> Result<Vec<String>> {
    let io = |error| IntentError::io(path.display(), error);
    let mut texts = Vec::new();
    for (index, line) in BufReader::new(File::open(path).map_err(io)?).lines().enumerate() {
        let line = line.map_err(io)?;
        if !line.trim().is_empty() {
            let place = || format!("{}:{}", path.display(), index + 1);
            let line: Line =
                serde_json::from_str(&line).map_err(|error| IntentError::argument(place(), error))?;
            texts.push(line.text);
        }
    }
    Ok(texts)
}
