//! Reads a telecom customer's chat message on the customer's own device and answers with exactly one of six
//! intents as strict JSON, `{"intent": "<label>"}`, with the model's own confidence. A deterministic [`gate`]
//! then decides whether the answer stays local or escalates. Only escalations may ever leave the device.
//!
//! # From text to decision
//! 1. [`message`] trims, normalises and limits the text.
//! 2. [`tokenizer`] turns it into ordinary tokens; [`prompt`] holds the tokens around it.
//! 3. One forward pass on a [`backend`], by [`scoring`] with [`model::qwen2`]: the constant prefix is cached, and the
//!    [`trie`] of labels adds a row only where labels part. The answer is never generated, it is scored. Or by
//!    [`encoder`] with [`model::bert`], which has no prompt: a head over the labels reads the mean of the message.
//! 4. [`classifier`] calibrates the distribution, asks the [`gate`] and reports.
//! 5. A [`cascade`] asks a larger model only where a smaller one is unsure.
//!
//! # Layers
//! Dependencies point downwards only.
//!
//! | layer | modules |
//! |---|---|
//! | ways in | [`cli`] and `main` natively, `wasm` in the browser, [`fetch`] and [`serve`] beside them |
//! | making models | [`packing`]: weights rounded, vocabulary cut, golden answers taken; natively only |
//! | judgement | [`eval`]: metrics, calibration, reports; [`baselines`] to compare with; natively only |
//! | training | [`train`]: fine-tuning on the examples, natively only |
//! | examples | [`dataset`]: messages with labels, their splits, and what keeps training and evaluation apart |
//! | task | [`loader`], [`cascade`], [`classifier`], [`scoring`], [`encoder`] |
//! | text | [`prompt`], [`trie`], [`tokenizer`], [`message`] |
//! | model | [`model`], written in the coarse operations of [`backend`]: the CPU, or with the feature `webgpu` a GPU |
//! | data | [`pack`] (labels, prompt, calibration, policy, manifests), [`gguf`] (files as they stream in), [`adapter`] |
//! | numbers | [`quant`]: block formats, the matrix product and its kernels |
//!
//! [`gate`] and [`error`](IntentError) depend on nothing. Labels, prompt, temperature, threshold and policy are data
//! ([`pack::IntentConfig`]): another taxonomy is another file, not another program.

pub mod adapter;
pub mod backend;
#[cfg(not(target_arch = "wasm32"))]
pub mod baselines;
#[cfg(not(target_arch = "wasm32"))]
pub mod builtin;
pub mod cascade;
pub mod classifier;
#[cfg(not(target_arch = "wasm32"))]
pub mod cli;
#[cfg(not(target_arch = "wasm32"))]
pub mod dataset;
pub mod encoder;
mod error;
#[cfg(not(target_arch = "wasm32"))]
pub mod eval;
#[cfg(not(target_arch = "wasm32"))]
pub mod fetch;
pub mod gate;
pub mod gguf;
#[cfg(not(target_arch = "wasm32"))]
pub mod hub;
pub mod loader;
mod memory;
pub mod message;
pub mod model;
pub mod pack;
#[cfg(not(target_arch = "wasm32"))]
pub mod packing;
pub mod parallel;
pub mod profile;
pub mod prompt;
pub mod quant;
pub mod scoring;
#[cfg(not(target_arch = "wasm32"))]
pub mod serve;
pub mod tokenizer;
#[cfg(not(target_arch = "wasm32"))]
pub mod train;
pub mod trie;
#[cfg(target_arch = "wasm32")]
pub mod wasm;

pub use error::{IntentError, Result};
