//! PEFT's ways of naming modules.

use regex::{Regex, RegexBuilder};

use super::config::unsupported;
use crate::Result;

/// Most bytes of an expression as it is written: its parts take a hundred times as many while it is read.
const MAX_SOURCE_BYTES: usize = 1 << 16;
/// Most bytes of a compiled expression, of which there are two.
const MAX_BYTES: usize = 1 << 18;
/// Most bytes of a key's compiled expression, and of what is kept while it is matched.
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
/// as a whole only. PEFT takes all of them for regular expressions; those that are names cost next to nothing here, and
/// an adapter may have one for each module.
pub(super) enum Key {
    /// A name; `None` stands for any character.
    Name { bytes: Vec<Option<u8>>, whole: bool },
    /// Anything else.
    Expression(Regex),
}

impl Key {
    /// # Errors
    /// As [`whole`].
    pub(super) fn new(field: &str, key: &str) -> Result<Self> {
        let (text, whole) = key.strip_prefix('^').map_or((key, false), |anchored| (anchored, true));
        if let Some(bytes) = name(text) {
            return Ok(Self::Name { bytes, whole });
        }
        let expression = if whole { text.to_owned() } else { format!(r"(?:.*\.)?(?:{text})") };
        compiled(field, &expression, MAX_KEY_BYTES).map(Self::Expression)
    }

    /// Whether it is none of a plain name.
    pub(super) fn is_expression(&self) -> bool {
        matches!(self, Self::Expression(_))
    }

    /// Whether a module's name, which is ASCII, matches.
    pub(super) fn matches(&self, module: &str) -> bool {
        match self {
            Self::Expression(expression) => expression.is_match(module),
            Self::Name { bytes, whole } => {
                let Some(at) = module.len().checked_sub(bytes.len()) else { return false };
                let (before, end) = module.as_bytes().split_at(at);
                let stands = before.is_empty() || (!whole && before.ends_with(b"."));
                stands && bytes.iter().zip(end).all(|(byte, actual)| byte.is_none_or(|byte| byte == *actual))
            }
        }
    }
}

/// The characters of an expression that is a name: letters, digits, `_`, `-`, the dot that stands for any character, and
/// the escaped dot.
fn name(expression: &str) -> Option<Vec<Option<u8>>> {
    let (mut bytes, mut rest) = (Vec::new(), expression.bytes());
    while let Some(byte) = rest.next() {
        bytes.push(match byte {
            b'.' => None,
            b'\\' if rest.next() == Some(b'.') => Some(b'.'),
            b'_' | b'-' => Some(byte),
            _ if byte.is_ascii_alphanumeric() => Some(byte),
            _ => return None,
        });
    }
    Some(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_match_as_the_expressions_that_they_are() {
        let modules =
            ["q_proj", "a.q_proj", "model.layers.1.self_attn.q_proj", "aq_proj", "proj", "", "a.b-1.q_proj"];
        for key in [
            "q_proj",
            "^q_proj",
            ".q_proj",
            r"1\.self_attn.q_proj",
            "^model.layers.1.self_attn.q_proj",
            "q.proj",
            "",
            "^",
            "b-1.q_proj",
        ] {
            let plain = Key::new("f", key).unwrap();
            assert!(!plain.is_expression(), "{key}");
            let anchored = key.strip_prefix('^');
            let source =
                anchored.map_or_else(|| format!(r"^(?:.*\.)?(?:{key})$"), |text| format!("^(?:{text})$"));
            let expression = Regex::new(&source).unwrap();
            for module in modules {
                assert_eq!(plain.matches(module), expression.is_match(module), "{key:?}, {module:?}");
            }
        }
        for key in [r"q\d", "q|k", "(q)", "q*", "\u{e9}", r"\"] {
            assert!(Key::new("f", key).map_or(true, |key| key.is_expression()), "{key}");
        }
    }
}
