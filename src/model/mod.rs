//! Model families, written in the operations of a [`crate::backend::Backend`].

pub mod qwen2;
