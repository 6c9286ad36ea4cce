//! `pack.json`: what a pack is, what belongs to it, and what it must answer.

use serde::{Deserialize, Serialize};
use serde_json::Value;
use sha2::{Digest, Sha256};

use super::{Golden, IntentConfig};
use crate::{IntentError, Result};

/// Name of the manifest in a pack's folder.
pub const MANIFEST: &str = "pack.json";
/// The format that this version writes and reads.
pub const FORMAT: u64 = 1;
/// A file of a pack has at most this many bytes.
pub const MAX_FILE_BYTES: u64 = 33_554_432;
/// A manifest has at most this many bytes.
pub const MAX_MANIFEST_BYTES: usize = 4 << 20;
/// A pack has at most this many files: 8 GiB.
pub(crate) const MAX_FILES: usize = 256;

/// A pack's manifest.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Manifest {
    /// [`FORMAT`].
    pub format: u64,
    /// Name, which results show as the stage: lower-case letters, digits, `.` and `-`.
    pub name: String,
    /// Architecture, as the GGUF header names it.
    pub architecture: String,
    /// SPDX expression for the pack as a whole.
    pub licence: String,
    /// Where the weights come from.
    pub origin: Origin,
    /// Labels, prompt, calibration and policy.
    pub config: IntentConfig,
    /// Where `config.threshold` comes from: `{"kind": "argument"}`, `{"kind": "configuration"}` (the base's) or what it was
    /// fitted on. Not interpreted.
    #[serde(default, skip_serializing_if = "Value::is_null")]
    pub threshold_from: Value,
    /// Byte ranges of one GGUF file, in order.
    pub files: Vec<PackFile>,
    /// What every backend must answer.
    pub golden: Golden,
    /// How it was trained: command, seed, data. Not interpreted.
    pub training: Value,
    /// Figures of exactly these bytes, one object a set, named as `eval --json` names them; `null` where it was not
    /// measured. Not interpreted.
    pub figures: Value,
    /// The command that wrote the pack.
    pub command: String,
}

/// Where weights come from.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Origin {
    /// Name of the base model.
    pub base: String,
    /// SHA-256 of the base's weights, hex.
    pub sha256: String,
    /// SPDX expression of the base.
    pub licence: String,
    /// Notices that go with it.
    pub notices: String,
}

/// One file of a pack.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PackFile {
    /// Plain name beside the manifest.
    pub path: String,
    /// Size.
    pub bytes: u64,
    /// SHA-256, lower-case hex.
    pub sha256: String,
}

impl Manifest {
    /// Reads and checks a manifest.
    ///
    /// # Errors
    /// `invalid_pack` naming the field.
    pub fn from_json(json: &[u8]) -> Result<Self> {
        if json.len() > MAX_MANIFEST_BYTES {
            let detail = format!("{} bytes are more than the {MAX_MANIFEST_BYTES} allowed", json.len());
            return Err(IntentError::pack(MANIFEST, detail));
        }
        let value: Value =
            serde_json::from_slice(json).map_err(|error| IntentError::pack(MANIFEST, error))?;
        // First, so that a later format is not called broken.
        match value.get("format").and_then(Value::as_u64) {
            Some(FORMAT) => {}
            Some(newer) if newer > FORMAT => {
                let detail = format!(
                    "{newer}, but this version of relayops-intent reads {FORMAT}: update relayops-intent, or take a \
                     pack of format {FORMAT}"
                );
                return Err(IntentError::pack("format", detail));
            }
            _ => return Err(IntentError::pack("format", "is not a version number from 1 on")),
        }
        let manifest: Self =
            serde_json::from_value(value).map_err(|error| IntentError::pack(MANIFEST, error))?;
        manifest.check()?;
        Ok(manifest)
    }

    /// Checks what the types do not.
    ///
    /// # Errors
    /// `invalid_pack` naming the field.
    pub fn check(&self) -> Result<()> {
        check_name(&self.name).map_err(|detail| IntentError::pack("name", detail))?;
        for (field, text) in [("architecture", &self.architecture), ("licence", &self.licence)] {
            if text.is_empty() {
                return Err(IntentError::pack(field, "is empty"));
            }
        }
        if !is_sha256(&self.origin.sha256) {
            return Err(IntentError::pack("origin.sha256", "is not 64 lower-case hex digits"));
        }
        self.config.check().map_err(|error| IntentError::pack("config", error))?;
        self.check_files()?;
        self.golden
            .check(self.config.labels.len())
            .map_err(|(field, detail)| IntentError::pack(format!("golden.{field}"), detail))
    }

    fn check_files(&self) -> Result<()> {
        if !(1..=MAX_FILES).contains(&self.files.len()) {
            return Err(IntentError::pack("files", format!("{} is not 1 to {MAX_FILES}", self.files.len())));
        }
        for (index, file) in self.files.iter().enumerate() {
            let field = |part: &str| format!("files[{index}].{part}");
            if !is_plain_name(&file.path) {
                let detail = format!("{:?} is not a plain file name", file.path);
                return Err(IntentError::pack(field("path"), detail));
            }
            if file.path == MANIFEST || self.files[..index].iter().any(|other| other.path == file.path) {
                return Err(IntentError::pack(field("path"), format!("{} stands twice", file.path)));
            }
            if !(1..=MAX_FILE_BYTES).contains(&file.bytes) {
                let detail = format!("{} is not 1 to {MAX_FILE_BYTES}", file.bytes);
                return Err(IntentError::pack(field("bytes"), detail));
            }
            if !is_sha256(&file.sha256) {
                return Err(IntentError::pack(field("sha256"), "is not 64 lower-case hex digits"));
            }
        }
        Ok(())
    }

    /// The manifest as it is written: stable, two spaces deep, with a line end.
    ///
    /// # Errors
    /// None that its values can bring about.
    pub fn to_json(&self) -> Result<String> {
        let json = serde_json::to_string_pretty(self).map_err(|error| IntentError::pack(MANIFEST, error))?;
        Ok(json + "\n")
    }

    /// Bytes of all files.
    #[must_use]
    pub fn total_bytes(&self) -> u64 {
        self.files.iter().map(|file| file.bytes).sum()
    }
}

/// Lower-case hex SHA-256 of `bytes`; that of its `pack.json` is a pack's identity.
#[must_use]
pub fn sha256(bytes: &[u8]) -> String {
    hex(&Sha256::digest(bytes))
}

/// Lower-case hex.
pub(crate) fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// A pack's name stands in results and addresses.
pub(crate) fn check_name(name: &str) -> std::result::Result<(), String> {
    let plain = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '.' || c == '-';
    if (1..=64).contains(&name.len()) && name.chars().all(plain) {
        return Ok(());
    }
    Err(format!("{name:?} is not 1 to 64 lower-case letters, digits, '.' and '-'"))
}

/// Whether it is 64 lower-case hex digits.
pub(crate) fn is_sha256(text: &str) -> bool {
    text.len() == 64 && text.bytes().all(|b| b.is_ascii_digit() || (b'a'..=b'f').contains(&b))
}

/// One component, of characters that mean themselves on every system and in every URL.
fn is_plain_name(name: &str) -> bool {
    (1..=128).contains(&name.len())
        && !name.starts_with('.')
        && !name.ends_with('.')
        && name.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'-' | b'_'))
}
