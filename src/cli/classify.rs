//! `relayops-intent classify`

use std::fs::File;
use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::Args;
use serde::Deserialize;

use super::model::{self, COMPACT, ConfigArgs};
use super::{progress, say};
use crate::cascade::{Cascade, CascadeOptions};
use crate::classifier::Classification;
use crate::eval::sets::BYTE_ORDER_MARK;
use crate::gate::Decision;
use crate::{IntentError, Result};

/// Classify messages: one line of strict JSON each, in the order of the input.
#[derive(Args)]
pub(super) struct ClassifyArgs {
    /// compact, cascade (with --then), keyword, complement-nb, a pack's folder or a model file (GGUF, architecture qwen2 or bert).
    #[arg(long, value_name = "M", default_value = COMPACT)]
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
    /// Least confidence that stays local [default: the model's, 0.55]. For a cascade one for all its stages, or one
    /// each.
    #[arg(long, value_name = "P[,P]", value_delimiter = ',')]
    threshold: Vec<f32>,
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
    model::check_thresholds(std::slice::from_ref(&args.model), &args.threshold)?;
    let input = args.jsonl.as_deref().map(open).transpose()?;
    let model = model::open(&args.model, &args.config)?;
    let options =
        CascadeOptions { thresholds: args.threshold.clone(), token_confidence: args.token_confidence };
    let mut run = Run { model, options, json: args.json, failures: 0 };
    match input {
        Some(input) => run.stream(input)?,
        None => {
            for (index, text) in args.text.iter().enumerate() {
                run.answer(|| Ok(text.clone()), &|line| eprintln!("{line}"), &format!("TEXT {}", index + 1))?;
            }
        }
    }
    Ok(if run.failures == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE })
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

/// One run of the command.
struct Run {
    model: Cascade,
    options: CascadeOptions,
    /// Print whole results.
    json: bool,
    /// Messages that could not be read or classified.
    failures: u64,
}

impl Run {
    /// One result for each line that is not blank, in order.
    fn stream(&mut self, mut input: Input) -> Result<()> {
        let known = input.bytes.is_some();
        let template = if known { "{bar:40} {percent}%, {eta} left" } else { "{pos} messages, {per_sec}" };
        let bar = progress::bar(input.bytes, template);
        let (mut line, mut number) = (Vec::new(), 0u64);
        loop {
            line.clear();
            let read = input.reader.read_until(b'\n', &mut line);
            let read = read.map_err(|error| IntentError::io(&input.name, error))?;
            if read == 0 {
                break;
            }
            number += 1;
            if number == 1 && line.starts_with(BYTE_ORDER_MARK) {
                line.drain(..BYTE_ORDER_MARK.len());
            }
            bar.inc(if known { read as u64 } else { 1 });
            if !line.trim_ascii().is_empty() {
                let place = format!("{}:{number}", input.name);
                self.answer(|| text_of(&line), &|line| bar.suspend(|| eprintln!("{line}")), &place)?;
            }
        }
        bar.finish_and_clear();
        Ok(())
    }

    /// Prints one result. What can't be read or classified is escalated like any failure, told with its place, and
    /// makes the command fail at its end.
    fn answer(
        &mut self,
        text: impl FnOnce() -> Result<String>,
        tell: &dyn Fn(&str),
        place: &str,
    ) -> Result<()> {
        let result = text().and_then(|text| self.model.classify(&text, &self.options));
        let result = result.unwrap_or_else(|error| {
            tell(&format!("relayops-intent: {}: {place}: {error}", error.code()));
            self.model.unclassified(Decision::error(&error))
        });
        if let Some(code) = result.decision.reason.strip_prefix("error:") {
            tell(&format!("relayops-intent: {place}: not classified, escalated ({code})"));
            self.failures += 1;
        }
        print(&result, self.json)
    }
}

fn text_of(line: &[u8]) -> Result<String> {
    let line: Line = serde_json::from_slice(line).map_err(|error| IntentError::argument("line", error))?;
    Ok(line.text)
}

fn print(result: &Classification, json: bool) -> Result<()> {
    if json {
        say(serde_json::to_string(result).map_err(|error| IntentError::Inference(error.to_string()))?)
    } else {
        say(&result.json)
    }
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
        let line = if index == 0 { line.trim_start_matches('\u{feff}') } else { &line };
        if !line.trim().is_empty() {
            let place = || format!("{}:{}", path.display(), index + 1);
            let line: Line =
                serde_json::from_str(line).map_err(|error| IntentError::argument(place(), error))?;
            texts.push(line.text);
        }
    }
    Ok(texts)
}
