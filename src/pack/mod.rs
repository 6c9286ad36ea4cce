//! What belongs to a task rather than to the engine: labels, prompt, calibration and policy.

mod config;

pub(crate) use config::check_threshold;
pub use config::{AnswerConfig, IntentConfig, Piece, PromptConfig};
