//! From the bytes of a model file, or of a pack, to a classifier.

mod golden;
mod pack;
mod questions;
mod qwen;

pub use golden::golden_of_adapter;
pub use pack::{Checked, GoldenCheck, PackLoader};

use std::collections::HashMap;
use std::fs::File;
use std::io::Read;
use std::path::Path;

use sha2::{Digest, Sha256};

use crate::backend::Backend;
use crate::backend::cpu::Cpu;
use crate::classifier::{Classifier, LabelModel, ModelInfo};
use crate::encoder::Encoder;
use crate::gguf::GgufStream;
use crate::model::Architecture;
use crate::model::bert::{Bert, BertConfig};
use crate::model::qwen2::{Qwen2, Qwen2Config, Weights};
use crate::pack::IntentConfig;
use crate::pack::manifest::hex;
use crate::quant::QuantMatrix;
use crate::scoring::Scorer;
use crate::tokenizer::{Tokenizer, WordPiece};
use crate::{IntentError, Result};
use qwen::QwenModel;

/// Bytes read from a file, or taken from a caller, at a time.
const CHUNK: usize = 1 << 20;

/// What a pack's manifest says of its file.
struct Promise {
    /// Name of the stage.
    stage: String,
    architecture: String,
    /// See [`ModelInfo::identity`].
    identity: String,
}

/// Builds a classifier from the bytes of a GGUF file as they arrive, in order, in chunks of any size.
pub struct Loader<B: Backend = Cpu> {
    stream: GgufStream,
    config: IntentConfig,
    architecture: Option<Architecture>,
    /// What a pack promises.
    promised: Option<Promise>,
    backend: B,
    /// Matrices of a decoder's layers, which the backend has as soon as they are complete: the host need never hold them
    /// all beside a device.
    early: HashMap<String, B::Matrix>,
    counts: Counts,
    /// Of all bytes so far, where adapters are to be compared with them.
    hash: Option<Sha256>,
}

/// Sums over tensors.
#[derive(Debug, Clone, Copy, Default)]
struct Counts {
    parameters: u64,
    bytes: u64,
}

impl Counts {
    fn add(&mut self, tensor: &QuantMatrix) {
        self.parameters += tensor.rows() as u64 * tensor.cols() as u64;
        self.bytes += tensor.bytes() as u64;
    }
}

impl Loader<Cpu> {
    /// `file` names the file in errors; `total` is its length where known.
    ///
    /// # Errors
    /// `invalid_config`.
    pub fn new(file: &str, total: Option<u64>, config: IntentConfig) -> Result<Self> {
        config.check()?;
        Ok(Self {
            stream: GgufStream::new(file, total),
            config,
            architecture: None,
            promised: None,
            backend: Cpu::default(),
            early: HashMap::new(),
            counts: Counts::default(),
            hash: None,
        })
    }

    /// Calls the stage as `promised` and refuses files of another architecture.
    #[must_use]
    fn promised(self, promised: Promise) -> Self {
        Self { promised: Some(promised), ..self }
    }

    /// Builds the model on [`Cpu::exact`].
    #[must_use]
    pub fn exact(self) -> Self {
        self.on(Cpu::exact())
    }

    /// Reads a whole file.
    ///
    /// # Errors
    /// `io`, and as [`push`](Self::push).
    pub fn read_file(path: &Path, config: IntentConfig) -> Result<Self> {
        Self::read(path, |name, total| Self::new(name, Some(total), config))
    }

    /// As [`read_file`](Self::read_file) and [`digested`](Self::digested): a base for adapters.
    ///
    /// # Errors
    /// As [`read_file`](Self::read_file).
    pub fn read_base(path: &Path, config: IntentConfig) -> Result<Self> {
        Self::read(path, |name, total| Self::new(name, Some(total), config).map(Self::digested))
    }

    fn read(path: &Path, new: impl FnOnce(&str, u64) -> Result<Self>) -> Result<Self> {
        let total = std::fs::metadata(path).map_err(|error| IntentError::io(path.display(), error))?.len();
        let mut loader = new(&path.display().to_string(), total)?;
        loader.push_file(path)?;
        Ok(loader)
    }
}

impl<B: Backend> Loader<B> {
    /// Builds the model on another backend. One that has taken weights over already keeps them, and the model can't be built.
    #[must_use]
    pub fn on<C: Backend>(self, backend: C) -> Loader<C> {
        let Self { stream, config, architecture, promised, backend: _, early: _, counts, hash } = self;
        Loader { stream, config, architecture, promised, backend, early: HashMap::new(), counts, hash }
    }

    /// Takes the digest of the bytes that follow, so that adapters can be told whether they are for this base.
    #[must_use]
    pub fn digested(self) -> Self {
        Self { hash: Some(Sha256::new()), ..self }
    }

    /// Takes the bytes of a file.
    ///
    /// # Errors
    /// `io`, and as [`push`](Self::push).
    pub fn push_file(&mut self, path: &Path) -> Result<()> {
        let mut file = File::open(path).map_err(|error| IntentError::io(path.display(), error))?;
        read_chunks(path, &mut file, |chunk| self.push(chunk))
    }

    /// Takes the next bytes. Architecture, sizes and tensor shapes are checked as soon as the header is there.
    ///
    /// # Errors
    /// As [`GgufStream::push`] and [`Architecture::from_header`].
    pub fn push(&mut self, chunk: &[u8]) -> Result<()> {
        // In pieces, so that a file given at once is not held twice and is checked before its weights are taken.
        for piece in chunk.chunks(CHUNK) {
            if let Some(hash) = &mut self.hash {
                hash.update(piece);
            }
            self.stream.push(piece)?;
            self.check_header()?;
            self.hand_over()?;
        }
        Ok(())
    }

    fn hand_over(&mut self) -> Result<()> {
        if !self.backend.takes_early() || !matches!(self.architecture, Some(Architecture::Qwen2(_))) {
            return Ok(());
        }
        for (name, matrix) in self.stream.take_layers() {
            self.counts.add(&matrix);
            self.early.insert(name, self.backend.matrix(matrix)?);
        }
        Ok(())
    }

    fn check_header(&mut self) -> Result<()> {
        if let (None, Some(header)) = (&self.architecture, self.stream.header()) {
            let architecture = Architecture::from_header(header)?;
            check_config(&architecture, header.metadata.file(), &self.config)?;
            let promised = self.promised.as_ref().map(|promised| &promised.architecture);
            if let Some(promised) = promised.filter(|promised| *promised != architecture.name()) {
                let detail = format!("{promised:?}, but the file's is {:?}", architecture.name());
                return Err(IntentError::pack("architecture", detail));
            }
            self.architecture = Some(architecture);
        }
        Ok(())
    }

    /// Ends the file, builds tokenizer and model, and computes the prefix where there is one.
    ///
    /// # Errors
    /// `truncated`, and every error of building the parts.
    pub fn finish(self) -> Result<Classifier> {
        let config = self.config.clone();
        let digest = self.hash.clone().map(|hash| hex(&hash.finalize()));
        let model: Box<dyn LabelModel + Send> = match self.parts()? {
            (Architecture::Qwen2(sizes), parts) => {
                let (scorer, mut info) = parts.scorer(sizes)?;
                info.identity = info.identity.or_else(|| digest.clone());
                Box::new(QwenModel::new(scorer, info, digest))
            }
            (Architecture::Bert(sizes), parts) => Box::new(parts.encoder(sizes)?),
        };
        Classifier::new(model, config)
    }

    /// As [`finish`](Self::finish), but stops at the scorer of a model that answers prompts: for measurements and
    /// tests of its parts.
    ///
    /// # Errors
    /// As [`finish`](Self::finish), and `unavailable` for other models.
    pub fn finish_scorer(self) -> Result<(Scorer<B>, ModelInfo)> {
        match self.parts()? {
            (Architecture::Qwen2(sizes), parts) => parts.scorer(sizes),
            (Architecture::Bert(_), _) => {
                Err(IntentError::Unavailable("an encoder has no prompt to score".to_owned()))
            }
        }
    }

    /// As [`finish`](Self::finish), but stops at the encoder.
    ///
    /// # Errors
    /// As [`finish`](Self::finish), and `unavailable` for other models.
    pub fn finish_encoder(self) -> Result<Encoder<B>> {
        match self.parts()? {
            (Architecture::Bert(sizes), parts) => parts.encoder(sizes),
            (Architecture::Qwen2(_), _) => {
                Err(IntentError::Unavailable("a model that answers prompts is no encoder".to_owned()))
            }
        }
    }

    fn parts(mut self) -> Result<(Architecture, Parts<B>)> {
        self.stream.end()?;
        self.check_header()?;
        let gguf = self.stream.finish()?;
        let Some(architecture) = self.architecture else {
            return Err(gguf.metadata.invalid("header", "was not read"));
        };
        let (stage, identity) = match self.promised {
            Some(Promise { stage, identity, .. }) => (stage, Some(identity)),
            None => (architecture.name().to_owned(), None),
        };
        let mut counts = self.counts;
        gguf.tensors.values().for_each(|tensor| counts.add(tensor));
        let Self { backend, config, early, .. } = self;
        Ok((
            architecture,
            Parts { weights: Weights { gguf, early }, counts, stage, identity, backend, config },
        ))
    }
}

/// Hands all of `file` to `take`, a chunk at a time.
fn read_chunks(path: &Path, file: &mut File, mut take: impl FnMut(&[u8]) -> Result<()>) -> Result<()> {
    let mut chunk = vec![0; CHUNK];
    loop {
        match file.read(&mut chunk) {
            Ok(0) => return Ok(()),
            Ok(count) => take(&chunk[..count])?,
            Err(error) if error.kind() == std::io::ErrorKind::Interrupted => {}
            Err(error) => return Err(IntentError::io(path.display(), error)),
        }
    }
}

/// A head's rows stand for labels in an order of their own; a configuration must have the same.
fn check_config(architecture: &Architecture, file: &str, config: &IntentConfig) -> Result<()> {
    match architecture {
        Architecture::Qwen2(_) => config.require_prompt().map(|_| ()),
        Architecture::Bert(sizes) if sizes.labels == config.labels => Ok(()),
        Architecture::Bert(sizes) => {
            let detail = format!("{:?}; {file} answers with {:?}", config.labels, sizes.labels);
            Err(IntentError::config("labels", detail))
        }
    }
}

/// What a model is built from.
struct Parts<B: Backend> {
    weights: Weights<B>,
    counts: Counts,
    stage: String,
    identity: Option<String>,
    backend: B,
    config: IntentConfig,
}

impl<B: Backend> Parts<B> {
    fn scorer(self, sizes: Qwen2Config) -> Result<(Scorer<B>, ModelInfo)> {
        let tokenizer = Tokenizer::from_metadata(&self.weights.gguf.metadata)?;
        let mut info = self.describe("qwen2");
        let scorer = Scorer::new(Qwen2::new(self.backend, sizes, self.weights)?, tokenizer, &self.config)?;
        info.prefix_tokens = scorer.prompt().prefix.len();
        Ok((scorer, info))
    }

    fn encoder(mut self, sizes: BertConfig) -> Result<Encoder<B>> {
        let tokenizer = WordPiece::from_metadata(&self.weights.gguf.metadata)?;
        let info = self.describe("bert");
        // Encoders are small: room is cheaper than decoding the weights for each message.
        let model = Bert::new(self.backend.for_small_model(), sizes, &mut self.weights.gguf)?;
        Ok(Encoder::new(model, tokenizer, info))
    }

    fn describe(&self, architecture: &str) -> ModelInfo {
        ModelInfo {
            stage: self.stage.clone(),
            architecture: architecture.to_owned(),
            backend: self.backend.name(),
            threads: self.backend.threads(),
            parameters: self.counts.parameters,
            weight_bytes: self.counts.bytes,
            prefix_tokens: 0,
            identity: self.identity.clone(),
        }
    }
}

#[cfg(all(test, feature = "webgpu"))]
#[allow(clippy::unwrap_used, reason = "a test fails by panicking")]
mod tests {
    use futures_util::FutureExt;
    use relayops_testkit::{TinyQwen2, not_run};

    use super::Loader;
    use crate::backend::gpu::Gpu;
    use crate::pack::IntentConfig;

    #[test]
    fn a_device_has_the_matrices_of_all_layers_before_the_file_ends() {
        let test = "a_device_has_the_matrices_of_all_layers_before_the_file_ends";
        if std::env::var_os("RELAYOPS_NO_GPU").is_some_and(|value| value == "1") {
            return not_run(test, "RELAYOPS_NO_GPU declares that there is no GPU");
        }
        let gpu = Gpu::open_within_defaults().now_or_never().unwrap().unwrap();
        let tiny = TinyQwen2::default();
        let bytes = tiny.bytes().unwrap();
        let loader = Loader::new("tiny.gguf", Some(bytes.len() as u64), IntentConfig::default()).unwrap();
        let mut loader = loader.on(gpu);
        loader.push(&bytes).unwrap();
        assert_eq!(loader.early.len(), 7 * tiny.layers);
        let (_, parts) = loader.parts().unwrap();
        let left = parts.weights.gguf.tensors.iter();
        let left: Vec<_> =
            left.filter(|(name, matrix)| name.starts_with("blk.") && matrix.rows() > 1).collect();
        assert!(left.is_empty(), "{:?}", left.iter().map(|(name, _)| name).collect::<Vec<_>>());
    }
}
