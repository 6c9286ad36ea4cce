//! `train soften`: what a base with an adapter says of messages, as soft targets for a smaller model (distillation,
//! Hinton et al. 2015).
//!
//! Computed by the forward pass of training, which packs many messages into one pass and shares the prompt's rows among
//! them.

use std::collections::HashSet;
use std::fs::{File, OpenOptions};
use std::io::{Read, Seek, SeekFrom, Write};
use std::path::Path;

use candle_core::Device;
use serde::Deserialize;

use super::examples::{Example, Examples};
use super::paths::{paths_of, weights};
use super::{Base, task};
use crate::adapter::{AdapterFiles, Digests};
use crate::pack::IntentConfig;
use crate::tokenizer::Tokenizer;
use crate::train::qwen2::{Network, Products};
use crate::train::soft::{self, FORMAT, Header, Line};
use crate::train::{Weights, failed};
use crate::{IntentError, Result, dataset};

/// Messages of a pass. Files are written and continued in whole passes, so that a message's sums do not depend on where
/// an earlier run was stopped.
const PASS: usize = 32;

/// A run of `train soften`.
pub struct Request<'a> {
    /// The base model.
    pub base: Base,
    /// The adapter.
    pub adapter: &'a AdapterFiles,
    /// The messages; one that stands there twice is scored once.
    pub texts: &'a [String],
    /// Where it computes.
    pub device: &'a Device,
    /// How products with frozen matrices are computed on the CPU.
    pub products: Products,
    /// The file; what is there already is continued.
    pub out: &'a Path,
}

/// A base with its adapter, ready to score.
struct Teacher {
    network: Network,
    weights: Weights,
    examples: Examples,
    tokenizer: Tokenizer,
}

/// Scores the messages into the file, from where an earlier run was stopped. `observe` is told how many are done, of how
/// many; an error of it ends the run.
///
/// # Errors
/// `wrong_base` for an adapter of another base, `invalid_argument` for one whose paths differ between layers and for a
/// file of another run, `invalid_data`, `training`, `io`, and whatever `observe` returns.
pub fn soften(request: Request, observe: &mut dyn FnMut(usize, usize) -> Result<()>) -> Result<()> {
    let Request { base, adapter, texts, device, products, out } = request;
    // Of an adapter from elsewhere it is not known, and nobody can check it here.
    if adapter.intent().is_some() {
        adapter.check_base(Some(&base.sha256))?;
    }
    let texts = distinct(texts);
    let mut file = Continued::open(out, &header(&base, adapter, products)?, &texts)?;
    let done = file.done;
    observe(done, texts.len())?;
    let teacher = Teacher::new(base, adapter, device, products)?;
    let rest = texts.get(done..).unwrap_or_default();
    let mut count = done;
    for chunk in rest.chunks(PASS) {
        let scored = teacher.scores(chunk)?;
        file.append(&scored)?;
        count = count.saturating_add(chunk.len());
        observe(count, texts.len())?;
    }
    Ok(())
}

/// The messages without those that stood before.
fn distinct(texts: &[String]) -> Vec<&str> {
    let mut seen = HashSet::new();
    texts.iter().map(String::as_str).filter(|text| seen.insert(*text)).collect()
}

fn header(base: &Base, adapter: &AdapterFiles, products: Products) -> Result<Header> {
    let IntentConfig { labels, prompt, .. } = adapter.intent_config();
    let asked = serde_json::to_vec(&(labels, prompt)).map_err(failed)?;
    let products = serde_json::to_value(products).map_err(failed)?;
    Ok(Header {
        format: FORMAT,
        labels: labels.clone(),
        base: base.name.clone(),
        base_sha256: base.sha256.clone(),
        adapter: Digests::of(&adapter.config, &adapter.tensors),
        prompt_sha256: dataset::sha256(&asked),
        products: products.as_str().unwrap_or_default().to_owned(),
    })
}

impl Teacher {
    fn new(mut base: Base, files: &AdapterFiles, device: &Device, products: Products) -> Result<Self> {
        let adapter = files.adapter(&base.sizes)?;
        let paths = paths_of(&adapter, &base.sizes)?;
        let network = Network::new(&mut base.gguf, base.sizes, paths, device, products)?;
        let weights = weights(&network, &adapter)?;
        let examples = Examples::new(&network, &base.tokenizer, files.intent_config())?;
        Ok(Self { network, weights, examples, tokenizer: base.tokenizer })
    }

    /// Scores the messages of one pass.
    fn scores(&self, texts: &[&str]) -> Result<Vec<Line>> {
        let example = |text: &&str| {
            let tokens = task::tokens(&self.tokenizer, &self.examples, text)?;
            Ok(Example { tokens, wanted: Vec::new() })
        };
        let examples = texts.iter().map(example).collect::<Result<Vec<_>>>()?;
        let examples: Vec<&Example> = examples.iter().collect();
        let scores = task::pass(&self.network, &self.examples, &self.weights, &examples)?;
        let line = |(text, scores): (&&str, crate::scoring::Scores)| Line {
            text: (*text).to_owned(),
            log_probabilities: scores.log_probabilities,
        };
        Ok(texts.iter().zip(scores).map(line).collect())
    }
}

/// The file that grows.
struct Continued<'a> {
    path: &'a Path,
    file: File,
    /// Messages that are in it.
    done: usize,
}

impl<'a> Continued<'a> {
    /// Opens the file behind its last whole pass, with the header where it is new.
    fn open(path: &'a Path, header: &Header, texts: &[&str]) -> Result<Self> {
        let io = |error| IntentError::io(path.display(), error);
        let mut file =
            OpenOptions::new().create(true).truncate(false).read(true).write(true).open(path).map_err(io)?;
        let mut bytes = Vec::new();
        file.read_to_end(&mut bytes).map_err(io)?;
        let first = soft::line(header)?;
        let (done, length) = if bytes.contains(&b'\n') {
            there(&bytes, &first, texts).map_err(|why| {
                IntentError::argument("--out", format!("{} is of another run: {why}", path.display()))
            })?
        } else if first.as_bytes().starts_with(&bytes) {
            (0, 0)
        } else {
            let detail = format!("{} is there and no file of soft targets", path.display());
            return Err(IntentError::argument("--out", detail));
        };
        file.set_len(length).map_err(io)?;
        file.seek(SeekFrom::End(0)).map_err(io)?;
        let mut continued = Self { path, file, done };
        if length == 0 {
            continued.write(&first)?;
        }
        Ok(continued)
    }

    fn append(&mut self, lines: &[Line]) -> Result<()> {
        let text = lines.iter().map(soft::line).collect::<Result<String>>()?;
        self.write(&text)
    }

    fn write(&mut self, text: &str) -> Result<()> {
        self.file.write_all(text.as_bytes()).map_err(|error| IntentError::io(self.path.display(), error))
    }
}

/// How many of `texts` the file `bytes` has in whole passes, and how many bytes they take with the header; else why it
/// can't be continued.
fn there(bytes: &[u8], header: &str, texts: &[&str]) -> std::result::Result<(usize, u64), String> {
    let mut lines = bytes.split_inclusive(|byte| *byte == b'\n').filter(|line| line.ends_with(b"\n"));
    let first = lines.next().unwrap_or_default();
    if first != header.as_bytes() {
        return Err(format!("its first line is not {}", header.trim_end()));
    }
    let (mut whole, mut length) = ((0, first.len()), first.len());
    for (number, line) in lines.enumerate() {
        let at = number.saturating_add(2);
        let line_text = |line: &[u8]| {
            #[derive(Deserialize)]
            struct Text {
                text: String,
            }
            serde_json::from_slice::<Text>(line).map(|line| line.text)
        };
        let text = line_text(line).map_err(|error| format!("line {at}: {error}"))?;
        if texts.get(number) != Some(&text.as_str()) {
            return Err(format!("line {at} is of the message {text:?}, which does not stand there now"));
        }
        length = length.saturating_add(line.len());
        let count = number.saturating_add(1);
        if count.is_multiple_of(PASS) || count == texts.len() {
            whole = (count, length);
        }
    }
    Ok((whole.0, whole.1 as u64))
}
