//! relayops-intent: telecom chat intents, read on the customer's own device.
mod error;
#[cfg(not(target_arch = "wasm32"))]
pub mod fetch;
#[cfg(not(target_arch = "wasm32"))]
pub mod serve;
pub use error::{IntentError, Result};
