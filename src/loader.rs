//! From the bytes of a model file to a classifier.

use std::fs::File;
use std::io::Read;
use std::path::Path;

use crate::backend::Backend;
use crate::backend::cpu::Cpu;
use crate::classifier::{Classifier, LabelModel, ModelInfo};
use crate::gguf::{Gguf, GgufStream};
use crate::model::qwen2::{Qwen2, Qwen2Config};
use crate::pack::IntentConfig;
use crate::scoring::{Scorer, Scores};
use crate::tokenizer::Tokenizer;
use crate::{IntentError, Result};

/// Bytes read from a file, or taken from a caller, at a time.
const CHUNK: usize = 1 << 20;

/// Builds a classifier from the bytes of a GGUF file as they arrive, in order, in chunks of any size.
pub struct Loader {
    stream: GgufStream,
    config: IntentConfig,
    sizes: Option<Qwen2Config>,
    backend: Cpu,
}

impl Loader {
    /// `file` names the file in errors; `total` is its length where known.
    ///
    /// # Errors
    /// `invalid_config`.
    pub fn new(file: &str, total: Option<u64>, config: IntentConfig) -> Result<Self> {
        config.check()?;
        Ok(Self { stream: GgufStream::new(file, total), config, sizes: None, backend: Cpu::default() })
    }

    /// Builds the model on [`Cpu::exact`].
    #[must_use]
    pub fn exact(self) -> Self {
        Self { backend: Cpu::exact(), ..self }
    }

    /// Reads a whole file.
    ///
    /// # Errors
    /// `io`, and as [`push`](Self::push).
    pub fn read_file(path: &Path, config: IntentConfig) -> Result<Self> {
        let io = |error| IntentError::io(path.display(), error);
        let mut file = File::open(path).map_err(io)?;
        let total = file.metadata().map_err(io)?.len();
        let mut loader = Self::new(&path.display().to_string(), Some(total), config)?;
        let mut chunk = vec![0; CHUNK];
        loop {
            match file.read(&mut chunk) {
                Ok(0) => return Ok(loader),
                Ok(count) => loader.push(&chunk[..count])?,
                Err(error) if error.kind() == std::io::ErrorKind::Interrupted => {}
                Err(error) => return Err(io(error)),
            }
        }
    }

    /// Takes the next bytes. Architecture, sizes and tensor shapes are checked as soon as the header is there.
    ///
    /// # Errors
    /// As [`GgufStream::push`] and [`Qwen2Config::from_header`].
    pub fn push(&mut self, chunk: &[u8]) -> Result<()> {
        // In pieces, so that a file given at once is not held twice and is checked before its weights are taken.
        for piece in chunk.chunks(CHUNK) {
            self.stream.push(piece)?;
            self.check_header()?;
        }
        Ok(())
    }

    fn check_header(&mut self) -> Result<()> {
        if let (None, Some(header)) = (self.sizes, self.stream.header()) {
            self.sizes = Some(Qwen2Config::from_header(header)?);
        }
        Ok(())
    }

    /// Ends the file, builds tokenizer and model, and computes the prefix.
    ///
    /// # Errors
    /// `truncated`, and every error of building the parts.
    pub fn finish(self) -> Result<Classifier> {
        let config = self.config.clone();
        let (scorer, info) = self.finish_scorer()?;
        Classifier::new(Box::new(QwenModel { scorer, info }), config)
    }

    /// As [`finish`](Self::finish), but stops at the scorer: for measurements and tests of its parts.
    ///
    /// # Errors
    /// As [`finish`](Self::finish).
    pub fn finish_scorer(mut self) -> Result<(Scorer<Cpu>, ModelInfo)> {
        self.stream.end()?;
        self.check_header()?;
        let mut gguf = self.stream.finish()?;
        let Some(sizes) = self.sizes else {
            return Err(gguf.metadata.invalid("header", "was not read"));
        };
        let tokenizer = Tokenizer::from_metadata(&gguf.metadata)?;
        let mut info = describe(&gguf, &self.backend);
        let scorer = Scorer::new(Qwen2::new(self.backend, sizes, &mut gguf)?, tokenizer, &self.config)?;
        info.prefix_tokens = scorer.prompt().prefix.len();
        Ok((scorer, info))
    }
}

fn describe(gguf: &Gguf, backend: &Cpu) -> ModelInfo {
    let tensors = || gguf.tensors.values();
    ModelInfo {
        stage: "qwen2".to_owned(),
        architecture: "qwen2".to_owned(),
        backend: backend.name(),
        threads: backend.threads(),
        parameters: tensors().map(|t| t.rows() as u64 * t.cols() as u64).sum(),
        weight_bytes: tensors().map(|t| t.bytes() as u64).sum(),
        prefix_tokens: 0,
    }
}

/// A scorer as a [`LabelModel`].
struct QwenModel {
    scorer: Scorer<Cpu>,
    info: ModelInfo,
}

impl LabelModel for QwenModel {
    fn score(&mut self, text: &str, token_confidence: bool) -> Result<Scores> {
        self.scorer.score(text, token_confidence)
    }

    fn info(&self) -> &ModelInfo {
        &self.info
    }
}
