//! relayops-intent: telecom chat intents, read on the customer's own device.
pub mod backend;
pub mod classifier;
#[cfg(not(target_arch = "wasm32"))]
pub mod cli;
mod error;
pub mod gate;
pub mod gguf;
pub mod loader;
pub mod message;
pub mod model;
pub mod pack;
pub mod prompt;
pub mod quant;
pub mod scoring;
pub mod tokenizer;
pub mod trie;
#[cfg(target_arch = "wasm32")]
pub mod wasm;

pub use error::{IntentError, Result};
