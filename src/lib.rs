//! relayops-intent: telecom chat intents, read on the customer's own device.
mod error;
pub use error::{IntentError, Result};
