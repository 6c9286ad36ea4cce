//! The body of `POST /api/escalations`.

use relayops_intent::serve::inbox::{Escalation, MAX_TEXT_CHARS};

/// Reads a body, and reads again what is written of it.
pub fn take(data: &[u8]) -> bool {
    let Ok(escalation) = Escalation::from_json(data) else { return false };
    let length = escalation.text.chars().count();
    assert!((1..=MAX_TEXT_CHARS).contains(&length), "a text of {length} characters");
    for name in [&escalation.intent, &escalation.reason].into_iter().chain(&escalation.stage) {
        assert!(!name.is_empty() && name.len() <= 4 * 128 && !name.chars().any(|c| c.is_ascii_control()));
    }
    let written = serde_json::to_vec(&escalation).expect("an escalation can be written");
    let again = Escalation::from_json(&written).expect("what was written can be read");
    assert_eq!((again.text, again.created_ms), (escalation.text, escalation.created_ms));
    assert_eq!((again.redactions, again.truncated), (escalation.redactions, escalation.truncated));
    true
}
