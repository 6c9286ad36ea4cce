//! What belongs to a task rather than to the engine: labels, prompt, calibration and policy, and the manifest of what is
//! shipped together.

mod config;
mod golden;
pub mod manifest;

pub(crate) use config::check_threshold;
pub use config::{AnswerConfig, CascadeConfig, IntentConfig, MAX_LABELS, Piece, PromptConfig};
pub use golden::{Golden, GoldenVector};
pub use manifest::Manifest;
