//! The bytes of the exported files.

use serde::Serialize;
use sha2::{Digest, Sha256};

use super::Example;
use super::files::Message;
use crate::Result;
use crate::pack::IntentConfig;

/// One [`Example`] a line.
///
/// # Errors
/// None that strings can bring about.
pub fn jsonl(examples: &[Example]) -> Result<String> {
    lines(examples.iter())
}

/// One message a line, as in `extra.jsonl`, where it may be put as it is.
///
/// # Errors
/// None that strings can bring about.
pub fn extra_jsonl(examples: &[Example]) -> Result<String> {
    lines(examples.iter().map(Message::from))
}

#[derive(Serialize)]
struct Chat {
    messages: [Turn; 3],
}

#[derive(Serialize)]
struct Turn {
    role: &'static str,
    content: String,
}

/// One conversation a line, as chat trainers read it: the system prompt of `config`, the message, and the strict
/// JSON as the assistant's turn.
///
/// # Errors
/// `invalid_config` where `config` has no prompt.
pub fn chat_jsonl(examples: &[Example], config: &IntentConfig) -> Result<String> {
    let prompt = config.require_prompt()?;
    let answer = &prompt.answer;
    lines(examples.iter().map(|example| Chat {
        messages: [
            Turn { role: "system", content: prompt.system.clone() },
            Turn { role: "user", content: example.text.clone() },
            Turn { role: "assistant", content: format!("{}{}{}", answer.open, example.intent, answer.close) },
        ],
    }))
}

/// Lower-case hexadecimal SHA-256.
#[must_use]
pub fn sha256(bytes: &[u8]) -> String {
    Sha256::digest(bytes).iter().map(|byte| format!("{byte:02x}")).collect()
}

fn lines(items: impl Iterator<Item = impl Serialize>) -> Result<String> {
    let mut text = String::new();
    for item in items {
        let line = serde_json::to_string(&item).map_err(|error| crate::IntentError::data("export", error))?;
        text.push_str(&line);
        text.push('\n');
    }
    Ok(text)
}
