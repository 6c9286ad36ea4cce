//! What is done with each input. A target's `take` panics where something is wrong with the code, never because something
//! is wrong with the input, and says whether the input was taken.
//!
//! `tests/fuzz` compiles this too: there the seeds and whatever was once found go through the same code.

pub mod adapter;
pub mod escalation;
pub mod gguf;
pub mod manifest;
pub mod tokenizer;
