//! `relayops-intent train soften`

use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::{Duration, Instant};

use clap::Args;
use serde::Deserialize;

use super::{progress, say};
use crate::adapter::AdapterFiles;
use crate::message::Message;
use crate::train::data::Data;
use crate::train::lora::soften::{Request, soften};
use crate::train::lora::{self, Base};
use crate::train::qwen2::Products;
use crate::{IntentError, Result};

/// Time between lines of progress where there is no bar.
const TELL: Duration = Duration::from_secs(60);

/// Score messages with a Qwen2 model and its adapter, as soft targets for `train compact --teacher`.
///
/// Writes JSON lines: first labels and digests of base, adapter and prompt, then for each message its text and the
/// log-probabilities of the labels. A run that was interrupted goes on where it was, by the same command.
#[derive(Args)]
pub(super) struct SoftenArgs {
    /// GGUF file, a folder with config.json, tokenizer.json and model.safetensors, or qwen2.5-0.5b or qwen2.5-1.5b as
    /// `fetch` brings them.
    #[arg(long, value_name = "FILE|DIR|NAME")]
    base: String,
    /// Folder with adapter_config.json, adapter_model.safetensors and intent.json.
    #[arg(long, value_name = "DIR")]
    adapter: PathBuf,
    /// File for the result; what it has already is kept.
    #[arg(long, value_name = "FILE")]
    out: PathBuf,
    /// Score what may be trained on of data/extra.jsonl too.
    #[arg(long, conflicts_with = "texts")]
    extra: bool,
    /// Score up to so many further messages drawn from each family of the train split.
    #[arg(long, value_name = "N", default_value_t = 0, conflicts_with = "texts")]
    templates: usize,
    /// Score the messages of this file instead of those that are trained on: one JSON object a line, with the message
    /// in "text".
    #[arg(long, value_name = "FILE")]
    texts: Option<PathBuf>,
    /// How products with the frozen matrices are computed on the CPU; the faster one on this machine where absent.
    #[arg(long, value_enum, value_name = "TYPE", default_value_t = Products::fastest())]
    products: Products,
    /// cpu, cuda or metal, with :N for another than the first; the latter two take a program built with that feature.
    #[arg(long, value_name = "DEVICE", default_value = "cpu")]
    device: String,
}

pub(super) fn run(args: &SoftenArgs) -> Result<ExitCode> {
    let device = lora::device(&args.device)?;
    let texts = match &args.texts {
        Some(path) => read_texts(path)?,
        None => {
            let data = Data::read(args.extra, args.templates)?;
            data.train.into_iter().map(|sample| sample.text).collect()
        }
    };
    let adapter = AdapterFiles::read_or(&args.adapter, || Ok(lora::default_config()))?;
    let base = Base::read(&lora::resolve(&args.base)?)?;
    eprintln!("relayops-intent: {} messages, base {}", texts.len(), base.name);
    let request = Request {
        base,
        adapter: &adapter,
        texts: &texts,
        device: &device,
        products: args.products,
        out: &args.out,
    };
    watched(|observe| soften(request, observe))?;
    say(args.out.display())?;
    Ok(ExitCode::SUCCESS)
}

/// Scores behind a progress bar or, where stderr is no terminal, with a line now and then.
fn watched(score: impl FnOnce(&mut dyn FnMut(usize, usize) -> Result<()>) -> Result<()>) -> Result<()> {
    let bar = progress::bar(Some(0), "{bar:32} message {pos} of {len}, {elapsed} gone, {eta} left");
    let (mut first, mut told) = (true, Instant::now());
    let result = score(&mut |done, of| {
        bar.set_length(of as u64);
        bar.set_position(done as u64);
        if std::mem::take(&mut first) {
            bar.reset_eta();
        }
        if bar.is_hidden() && (done == of || told.elapsed() > TELL) {
            told = Instant::now();
            eprintln!("relayops-intent: message {done} of {of}, {:.0} s left", bar.eta().as_secs_f64());
        }
        Ok(())
    });
    bar.finish_and_clear();
    result
}

#[derive(Deserialize)]
struct Text {
    text: String,
}

fn read_texts(path: &Path) -> Result<Vec<String>> {
    let text = std::fs::read_to_string(path).map_err(|error| IntentError::io(path.display(), error))?;
    let read = |(number, line): (usize, &str)| {
        let place = || format!("{}, line {}", path.display(), number.saturating_add(1));
        let Text { text } = serde_json::from_str(line).map_err(|error| IntentError::data(place(), error))?;
        match Message::new(&text).map_err(|error| IntentError::data(place(), error))? {
            Message::Text(_) => Ok(text),
            Message::TooLong => {
                Err(IntentError::data(place(), "the message is longer than any that is classified"))
            }
        }
    };
    text.lines().enumerate().filter(|(_, line)| !line.trim().is_empty()).map(read).collect()
}
