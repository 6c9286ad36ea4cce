//! PEFT's ways of naming modules.

use regex::{Regex, RegexBuilder};

use super::config::unsupported;
use crate::Result;

/// Most bytes of an expression as it is written: its parts take a hundred times as many while it is read.
const MAX_SOURCE_BYTES: usize = 1 << 16;
/// Most bytes of a compiled expression, of which there are two.
const MAX_BYTES: usize = 1 << 18;
/// Most bytes of a compiled key, of which there may be two thousand, and of what is kept while it is matched.
const MAX_KEY_BYTES: usize = 1 << 15;

/// A regular expression of the configuration that a whole name must match, as Python's `re.fullmatch`.
///
/// # Errors
/// `unsupported_model` naming the field, where it is none or of a kind that only Python has.
pub(super) fn whole(field: &str, pattern: &str) -> Result<Regex> {
    compiled(field, pattern, MAX_BYTES)
}

fn compiled(field: &str, pattern: &str, most: usize) -> Result<Regex> {
    if pattern.len() > MAX_SOURCE_BYTES {
        let detail =
            format!("{} bytes of a regular expression; at most {MAX_SOURCE_BYTES} are read", pattern.len());
        return Err(unsupported(field, detail));
    }
    let mut expression = RegexBuilder::new(&format!("^(?:{pattern})$"));
    expression.size_limit(most).dfa_size_limit(most).build().map_err(|error| {
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
        Some(anchored) => compiled(field, anchored, MAX_KEY_BYTES),
        None => compiled(field, &format!(r"(?:.*\.)?(?:{key})"), MAX_KEY_BYTES),
    }
}
