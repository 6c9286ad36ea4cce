//! The pretrained encoder that fine-tuning starts from.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use candle_core::Device;
use tokenizers::{Tokenizer, TruncationParams};

use super::Weights;
use super::bert::{BertConfig, weights};
use crate::dataset;
use crate::fetch::{Artifact, FetchRequest, Progress, fetch, models_dir};
use crate::message::Message;
use crate::{IntentError, Result};

/// The base that is fetched where none is named, as the hub calls it.
pub const DEFAULT: &str = "sentence-transformers/all-MiniLM-L6-v2";

/// Files of a base folder.
pub const CONFIG: &str = "config.json";
/// Weights.
pub const WEIGHTS: &str = "model.safetensors";
/// Vocabulary and normalisation.
pub const TOKENIZER: &str = "tokenizer.json";

/// The files of [`DEFAULT`]: name, size in bytes, SHA-256.
const FILES: [(&str, u64, &str); 3] = [
    (CONFIG, 612, "953f9c0d463486b10a6871cc2fd59f223b2c70184f49815e7efbcab5d8908b41"),
    (TOKENIZER, 466_247, "be50c3628f2bf5bb5e3a7f17b1f74611b2561a3a27eeab05e5aa30f411572037"),
    (WEIGHTS, 90_868_376, "53aa51172d142c89d9012cce15ae4d6cc0ca6895895114379cacb4fab128d9db"),
];

/// An encoder as it comes.
pub struct Base {
    /// Name of its folder.
    pub name: String,
    /// SHA-256 of its weights' file.
    pub sha256: String,
    /// Sizes.
    pub config: BertConfig,
    /// `config.json` as it stands.
    pub config_json: String,
    /// `tokenizer.json` as it stands.
    pub tokenizer_json: String,
    /// Every tensor of the file.
    pub weights: Weights,
    tokenizer: Tokenizer,
}

impl Base {
    /// The licence of weights that are known by their digest, an SPDX expression.
    #[must_use]
    pub fn licence(&self) -> Option<&'static str> {
        FILES.iter().any(|(_, _, sha256)| *sha256 == self.sha256).then_some("Apache-2.0")
    }

    /// Reads a folder with `config.json`, `model.safetensors` and `tokenizer.json`; messages are cut to `max_tokens`.
    ///
    /// # Errors
    /// Naming the file and the field or tensor: `io`, `invalid_config`, `unsupported_model`, `invalid_tensor`,
    /// `tokenizer`; `invalid_argument` where `max_tokens` is beyond the encoder.
    pub fn read(folder: &Path, max_tokens: usize) -> Result<Self> {
        let text = |file: &str| {
            let path = folder.join(file);
            std::fs::read_to_string(&path).map_err(|error| IntentError::io(path.display(), error))
        };
        let (config_json, tokenizer_json) = (text(CONFIG)?, text(TOKENIZER)?);
        let config = BertConfig::from_json(&config_json, &folder.join(CONFIG).display().to_string())?;
        let most = config.max_position_embeddings;
        if !(3..=most).contains(&max_tokens) {
            return Err(IntentError::argument("--max-tokens", format!("{max_tokens} is not in 3..={most}")));
        }
        let path = folder.join(WEIGHTS);
        let file = path.display().to_string();
        let bytes = std::fs::read(&path).map_err(|error| IntentError::io(&file, error))?;
        let tensors = candle_core::safetensors::load_buffer(&bytes, &Device::Cpu)
            .map_err(|error| IntentError::config(&file, error))?;
        let weights: Weights = BTreeMap::from_iter(tensors);
        weights::check(&weights, &config, &file)?;
        Ok(Self {
            name: name(folder)?,
            sha256: dataset::sha256(&bytes),
            tokenizer: tokenizer(&tokenizer_json, max_tokens, config.vocab_size)?,
            config,
            config_json,
            tokenizer_json,
            weights,
        })
    }

    /// Token ids of a message, with the marks of beginning and end.
    ///
    /// # Errors
    /// `empty_message`, `tokenizer`.
    pub fn encode(&self, text: &str) -> Result<Vec<u32>> {
        let Message::Text(text) = Message::new(text)? else {
            return Err(IntentError::argument("text", "is longer than any message that is classified"));
        };
        let encoding = self.tokenizer.encode_fast(text, true).map_err(broken)?;
        Ok(encoding.get_ids().to_vec())
    }
}

fn broken(error: impl std::fmt::Display) -> IntentError {
    IntentError::Tokenizer(format!("{TOKENIZER}: {error}"))
}

fn tokenizer(json: &str, max_tokens: usize, vocabulary: usize) -> Result<Tokenizer> {
    let mut tokenizer = Tokenizer::from_bytes(json.as_bytes()).map_err(broken)?;
    if tokenizer.get_vocab_size(true) > vocabulary {
        let detail = format!("{} tokens for an embedding of {vocabulary}", tokenizer.get_vocab_size(true));
        return Err(broken(detail));
    }
    tokenizer.with_padding(None);
    let truncation = TruncationParams { max_length: max_tokens, ..TruncationParams::default() };
    tokenizer.with_truncation(Some(truncation)).map_err(broken)?;
    Ok(tokenizer)
}

/// Last part of a folder's path.
fn name(folder: &Path) -> Result<String> {
    let whole = folder.canonicalize().map_err(|error| IntentError::io(folder.display(), error))?;
    Ok(whole.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default())
}

/// The folder that `--base` means: a folder; the name of one in [`models_dir`]; or [`DEFAULT`], whose files are then in
/// [`models_dir`], fetched from the hub where they are not there yet.
///
/// # Errors
/// `invalid_argument` for anything else, and those of [`fetch`].
pub fn resolve(base: &str, progress: &mut dyn FnMut(&str, Progress)) -> Result<PathBuf> {
    let path = PathBuf::from(base);
    if path.is_dir() {
        return Ok(path);
    }
    let models = models_dir()?;
    let short = DEFAULT.rsplit('/').next().unwrap_or(DEFAULT);
    if base == DEFAULT || base == short {
        return fetched(&models.join(short), progress);
    }
    let cached = models.join(base);
    if !base.contains(['/', '\\']) && !base.starts_with('.') && cached.is_dir() {
        return Ok(cached);
    }
    Err(IntentError::argument(
        "--base",
        format!("{base:?} is no folder, none in {}, and not {DEFAULT}", models.display()),
    ))
}

/// The folder of [`DEFAULT`], complete and verified.
fn fetched(folder: &Path, progress: &mut dyn FnMut(&str, Progress)) -> Result<PathBuf> {
    for (file, bytes, sha256) in FILES {
        let artifact = Artifact {
            name: Cow::Borrowed(file),
            repo: Cow::Borrowed(DEFAULT),
            file: Cow::Borrowed(file),
            bytes,
            sha256: Cow::Borrowed(sha256),
        };
        fetch(&FetchRequest::new(artifact, folder), &mut |report| progress(file, report))?;
    }
    Ok(folder.to_owned())
}
