//! Commands in manifests.

use std::fmt::Write;

use serde::Serialize;
use serde_json::Value;

use super::failed;
use crate::Result;

/// `start`, then the options `named` in their order, then all of `options` spelt out, so that the command means the same
/// when defaults change.
///
/// # Errors
/// `training` where the options can't be written, which does not happen.
pub(super) fn spelt_out(start: &str, named: &[(&str, &str)], options: &impl Serialize) -> Result<String> {
    let mut command = start.to_owned();
    for (name, value) in named {
        // Writing to a string can't fail.
        let _ = write!(command, " --{name} {}", quoted(value));
    }
    let options = serde_json::to_value(options).map_err(failed)?;
    for (name, value) in options.as_object().into_iter().flatten() {
        let name = name.replace('_', "-");
        let written = match value {
            Value::Bool(false) => continue,
            Value::Bool(true) => String::new(),
            Value::String(text) => format!(" {text}"),
            Value::Array(values) => {
                let texts: Vec<&str> = values.iter().filter_map(Value::as_str).collect();
                format!(" {}", texts.join(","))
            }
            other => format!(" {other}"),
        };
        let _ = write!(command, " --{name}{written}");
    }
    Ok(command)
}

/// A word of a command line.
fn quoted(word: &str) -> String {
    let plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.' | '/');
    if !word.is_empty() && word.chars().all(plain) {
        word.to_owned()
    } else {
        format!("'{}'", word.replace('\'', r"'\''"))
    }
}
