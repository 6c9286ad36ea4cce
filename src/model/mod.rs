//! Model families, written in the operations of a [`crate::backend::Backend`].

pub mod bert;
pub mod qwen2;

use std::collections::HashMap;

use crate::gguf::Header;
use crate::{IntentError, Result};

/// Index into a model's vocabulary.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct TokenId(pub u32);

/// The family and sizes of a model, as its header states them: the one place where architectures part.
#[derive(Debug, Clone, PartialEq)]
pub enum Architecture {
    /// A decoder that answers a prompt.
    Qwen2(qwen2::Qwen2Config),
    /// An encoder with a head over the labels.
    Bert(bert::BertConfig),
}

impl Architecture {
    /// Reads and checks a header.
    ///
    /// # Errors
    /// `unsupported_model` for another architecture, and the errors of the family's own check.
    pub fn from_header(header: &Header) -> Result<Self> {
        const KEY: &str = "general.architecture";
        match header.metadata.text(KEY)? {
            "qwen2" => qwen2::Qwen2Config::from_header(header).map(Self::Qwen2),
            "bert" => bert::BertConfig::from_header(header).map(Self::Bert),
            other => {
                let detail = format!("{other:?}; \"bert\" and \"qwen2\" are run");
                Err(header.metadata.unsupported(KEY, detail))
            }
        }
    }
}

impl Architecture {
    /// The name that GGUF headers have for it.
    #[must_use]
    pub fn name(&self) -> &'static str {
        match self {
            Self::Qwen2(_) => "qwen2",
            Self::Bert(_) => "bert",
        }
    }
}

/// Name and shape (`[rows, cols]`) of a tensor that a file must hold, and whether it may be missing.
type Expected = (String, [usize; 2], bool);

/// Compares the directory with the architecture before a byte of weights has arrived; `what` says what would have
/// these tensors.
fn check_tensors(header: &Header, expected: Vec<Expected>, what: &str) -> Result<()> {
    let error = |tensor: &str, detail: String| IntentError::InvalidTensor {
        file: header.metadata.file().to_owned(),
        tensor: tensor.to_owned(),
        detail,
    };
    let mut listed: HashMap<&str, &[usize]> =
        header.tensors.iter().map(|(name, info)| (name.as_str(), info.shape.dims())).collect();
    for (name, shape, optional) in expected {
        match listed.remove(name.as_str()) {
            None if optional => {}
            None => return Err(error(&name, "is missing".to_owned())),
            Some(dims) if dims == shape || (shape[0] == 1 && dims == &shape[1..]) => {}
            Some(dims) => return Err(error(&name, format!("shape {dims:?}, expected {shape:?}"))),
        }
    }
    match listed.keys().min() {
        None => Ok(()),
        Some(name) => Err(error(name, format!("is not part of {what}"))),
    }
}
