//! What counts as a message.

use unicode_normalization::UnicodeNormalization;

use crate::{IntentError, Result};

/// Longest message in characters (Unicode scalar values after trimming and normalisation), for every model.
pub const MAX_MESSAGE_CHARS: usize = 2_000;

/// A caller's text, trimmed and in NFC.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Message {
    /// To be classified.
    Text(String),
    /// Longer than [`MAX_MESSAGE_CHARS`]: escalated unread.
    TooLong,
}

impl Message {
    /// Trims white space (Unicode `White_Space`) and normalises.
    ///
    /// # Errors
    /// `empty_message` where nothing is left.
    pub fn new(raw: &str) -> Result<Self> {
        let trimmed = raw.trim();
        if trimmed.is_empty() {
            return Err(IntentError::EmptyMessage);
        }
        // Lazily: a pasted book is not normalised to its end.
        let text: String = trimmed.nfc().take(MAX_MESSAGE_CHARS + 1).collect();
        Ok(if text.chars().count() > MAX_MESSAGE_CHARS { Self::TooLong } else { Self::Text(text) })
    }

    /// What is to be classified, where it is short enough.
    #[must_use]
    pub fn text(&self) -> Option<&str> {
        match self {
            Self::Text(text) => Some(text),
            Self::TooLong => None,
        }
    }
}
