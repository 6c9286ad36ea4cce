//! The crate's one error type and its stable codes.

use std::fmt;

/// Everything that can go wrong, with the place where it did.
///
/// [`IntentError::code`] is stable: it is what JavaScript sees as `error.code`, what the gate puts
/// behind `error:` in its reason, and what scripts may match on. Messages may change.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum IntentError {
    /// `invalid_argument`: the caller passed something that can't be used.
    #[error("{argument}: {detail}")]
    InvalidArgument {
        /// Name of the argument, flag or option.
        argument: String,
        /// What is wrong with it.
        detail: String,
    },
    /// `empty_message`: nothing is left of the text after trimming.
    #[error("the message is empty")]
    EmptyMessage,
    /// `invalid_gguf`: the header breaks the GGUF format or a limit this crate sets on it.
    #[error("{file}: {field}: {detail}")]
    InvalidGguf {
        /// File name or URL as the caller gave it.
        file: String,
        /// Header field, metadata key or tensor.
        field: String,
        /// What is wrong with it.
        detail: String,
    },
    /// `truncated`: the bytes end before the header says they do.
    #[error("{file}: ends at byte {length} while reading {field}")]
    Truncated {
        /// File name or URL as the caller gave it.
        file: String,
        /// What was being read.
        field: String,
        /// Bytes received.
        length: u64,
    },
    /// `unsupported_model`: a sound file that this engine does not run (architecture, tensor type, format version).
    #[error("{file}: {field}: {detail}")]
    UnsupportedModel {
        /// File name or URL as the caller gave it.
        file: String,
        /// Metadata key or tensor.
        field: String,
        /// What is not supported, and what would be.
        detail: String,
    },
    /// `invalid_tensor`: a tensor is missing, unexpected or has another shape or type than the architecture asks for.
    #[error("{file}: tensor {tensor}: {detail}")]
    InvalidTensor {
        /// File name or URL as the caller gave it.
        file: String,
        /// Tensor name.
        tensor: String,
        /// What is wrong with it.
        detail: String,
    },
    /// `invalid_config`: labels, prompt pieces, temperature or policy that can't work.
    #[error("{field}: {detail}")]
    InvalidConfig {
        /// Path of the field inside the configuration.
        field: String,
        /// What is wrong with it.
        detail: String,
    },
    /// `invalid_pack`: a pack's manifest breaks its format, or its files are not what the manifest says.
    #[error("pack: {field}: {detail}")]
    InvalidPack {
        /// Field of the manifest, or file of the pack.
        field: String,
        /// What is wrong with it.
        detail: String,
    },
    /// `golden_mismatch`: what runs does not answer the golden messages of its pack or adapter as it must.
    #[error("{pack}: {backend} does not answer as it must: {detail}")]
    GoldenMismatch {
        /// The pack or adapter.
        pack: String,
        /// Backend with its instruction set.
        backend: String,
        /// The message, and how far off the answer is.
        detail: String,
    },
    /// `wrong_base`: an adapter was trained for another base than the one that is loaded.
    #[error("the adapter is for {base}, SHA-256 {expected}; that of the base here is {actual}")]
    WrongBase {
        /// Name of the base that it is for.
        base: String,
        /// Its digest, hex.
        expected: String,
        /// That of the base here, hex, or that it is not known.
        actual: String,
    },
    /// `wrong_base`: nothing says which base an adapter was trained for.
    #[error(
        "the adapter has no intent.json, so the base that it was trained for is not known: it is taken only when forced \
         (--force-adapter, in JavaScript force: true)"
    )]
    UnknownBase,
    /// `invalid_data`: a data file, or what is made of it, breaks a rule that it is checked for.
    #[error("{place}: {detail}")]
    InvalidData {
        /// File, and the line where there is one: `data/seeds.jsonl:12`.
        place: String,
        /// What is wrong there.
        detail: String,
    },
    /// `tokenizer`: the tokenizer can't be built, or it failed on a text.
    #[error("tokenizer: {0}")]
    Tokenizer(String),
    /// `out_of_memory`: an allocation was refused.
    #[error("out of memory: {}", refused(*bytes, what))]
    OutOfMemory {
        /// What the memory was for.
        what: String,
        /// How much was asked for; 0 where whoever refused does not say.
        bytes: u64,
    },
    /// `inference`: the forward pass produced something that is not a distribution, or a request did not fit the model.
    #[error("inference: {0}")]
    Inference(String),
    /// `device_lost`: the GPU went away, and all that was on it.
    #[error("the GPU was lost: {0}")]
    DeviceLost(String),
    /// `training`: a training run can't go on.
    #[error("training: {0}")]
    Training(String),
    /// `unavailable`: the request is sound, this model can't answer it.
    #[error("{0}")]
    Unavailable(String),
    /// `io`: reading or writing failed.
    #[error("{path}: {source}")]
    Io {
        /// File, folder or address.
        path: String,
        /// What the system said.
        source: std::io::Error,
    },
    /// `network`: a transfer failed for good.
    #[error("{url}: {detail}")]
    Network {
        /// Address.
        url: String,
        /// What went wrong, after how many tries.
        detail: String,
    },
    /// `checksum`: the bytes are complete but are not the ones that were promised.
    #[error("{file}: SHA-256 is {actual}, expected {expected}")]
    Checksum {
        /// File.
        file: String,
        /// Promised digest, hex.
        expected: String,
        /// Digest of what arrived, hex.
        actual: String,
    },
}

/// Shorthand for results of this crate.
pub type Result<T> = std::result::Result<T, IntentError>;

/// What was refused, with the bytes where they are known.
fn refused(bytes: u64, what: &str) -> String {
    if bytes == 0 { what.to_owned() } else { format!("{bytes} bytes for {what}") }
}

impl IntentError {
    /// The stable code of this error: lower case, snake case.
    #[must_use]
    pub fn code(&self) -> &'static str {
        match self {
            Self::InvalidArgument { .. } => "invalid_argument",
            Self::EmptyMessage => "empty_message",
            Self::InvalidGguf { .. } => "invalid_gguf",
            Self::Truncated { .. } => "truncated",
            Self::UnsupportedModel { .. } => "unsupported_model",
            Self::InvalidTensor { .. } => "invalid_tensor",
            Self::InvalidConfig { .. } => "invalid_config",
            Self::InvalidPack { .. } => "invalid_pack",
            Self::GoldenMismatch { .. } => "golden_mismatch",
            Self::WrongBase { .. } | Self::UnknownBase => "wrong_base",
            Self::InvalidData { .. } => "invalid_data",
            Self::Tokenizer(_) => "tokenizer",
            Self::OutOfMemory { .. } => "out_of_memory",
            Self::Inference(_) => "inference",
            Self::DeviceLost(_) => "device_lost",
            Self::Training(_) => "training",
            Self::Unavailable(_) => "unavailable",
            Self::Io { .. } => "io",
            Self::Network { .. } => "network",
            Self::Checksum { .. } => "checksum",
        }
    }

    /// An [`IntentError::InvalidArgument`].
    pub fn argument(argument: impl Into<String>, detail: impl fmt::Display) -> Self {
        Self::InvalidArgument { argument: argument.into(), detail: detail.to_string() }
    }

    /// An [`IntentError::InvalidConfig`].
    pub fn config(field: impl Into<String>, detail: impl fmt::Display) -> Self {
        Self::InvalidConfig { field: field.into(), detail: detail.to_string() }
    }

    /// An [`IntentError::InvalidPack`].
    pub fn pack(field: impl Into<String>, detail: impl fmt::Display) -> Self {
        Self::InvalidPack { field: field.into(), detail: detail.to_string() }
    }

    /// An [`IntentError::InvalidData`].
    pub fn data(place: impl Into<String>, detail: impl fmt::Display) -> Self {
        Self::InvalidData { place: place.into(), detail: detail.to_string() }
    }

    /// An [`IntentError::Io`] at `path`.
    pub fn io(path: impl fmt::Display, source: std::io::Error) -> Self {
        Self::Io { path: path.to_string(), source }
    }
}
