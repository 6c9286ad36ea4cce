//! PEFT's ways of naming modules.

use regex::{Regex, RegexBuilder};

use super::config::unsupported;
use crate::Result;

/// Most bytes of a compiled expression: there may be a thousand of them.
const MAX_BYTES: usize = 1 << 18;

/// A regular expression of the configuration that a whole name must match, as Python's `re.fullmatch`.
///
/// # Errors
/// `unsupported_model` naming the field, where it is none or of a kind that only Python has.
pub(super) fn whole(field: &str, pattern: &str) -> Result<Regex> {
    RegexBuilder::new(&format!("^(?:{pattern})$")).size_limit(MAX_BYTES).build().map_err(|error| {
        let detail = format!("{pattern:?} can't be read as a regular expression: {error}");
        unsupported(field, detail)
    })
}

/// A key of `rank_pattern` or `alpha_pattern`, which a name matches as a whole or behind a dot; one that begins with `^`
/// as a whole only.
///
/// # Errors
/// As [`whole`].
pub(super) fn key(field: &str, key: &str) -> Result<Regex> {
    match key.strip_prefix('^') {
        Some(anchored) => whole(field, anchored),
        None => whole(field, &format!(r"(?:.*\.)?(?:{key})")),
    }
}
