//! Model families, written in the operations of a [`crate::backend::Backend`].

pub mod qwen2;

/// Index into a model's vocabulary.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct TokenId(pub u32);
