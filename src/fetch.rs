//! Model files from the Hugging Face hub, from a mirror or from a folder: resumable and verified.
//!
//! A transfer lands in `<file>.part` and takes its final name only when every byte is there and the
//! SHA-256 agrees, so that a file under its final name is always whole. The digest is the one the
//! hub reports for the file; where nothing is reported (plain mirrors, folders) it is the catalog's.

mod http;
mod part;

use std::borrow::Cow;
use std::fs::File;
use std::io::Read;
use std::path::{Path, PathBuf};
use std::str::FromStr;
use std::time::Duration;

use etcetera::BaseStrategy;
use sha2::{Digest, Sha256};

use crate::{IntentError, Result};
use http::Remote;
use part::Part;

/// The public hub that `fetch` asks when no source is given.
pub const HUB: &str = "https://huggingface.co";

/// Bytes moved at a time, between looks at the clock and the progress report.
const CHUNK: usize = 128 * 1024;

/// One model file that can be fetched: where the hub keeps it and what it must be.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Artifact {
    /// Name on the command line.
    pub name: Cow<'static, str>,
    /// Hub repository, `owner/name`.
    pub repo: Cow<'static, str>,
    /// File name, in the repository and on disk; no folders.
    pub file: Cow<'static, str>,
    /// Size in bytes.
    pub bytes: u64,
    /// SHA-256, 64 lower-case hex digits.
    pub sha256: Cow<'static, str>,
}

/// The files this project knows by name.
pub const CATALOG: [Artifact; 2] = [
    Artifact {
        name: Cow::Borrowed("qwen2.5-0.5b"),
        repo: Cow::Borrowed("Qwen/Qwen2.5-Coder-0.5B-Instruct-GGUF"),
        file: Cow::Borrowed("qwen2.5-coder-0.5b-instruct-q4_k_m.gguf"),
        bytes: 491_400_064,
        sha256: Cow::Borrowed("1d9614638d18024d0fbb36575a15f1302a3adf044df10345688ec4f6e1c4ff32"),
    },
    Artifact {
        name: Cow::Borrowed("qwen2.5-1.5b"),
        repo: Cow::Borrowed("Qwen/Qwen2.5-Coder-1.5B-Instruct-GGUF"),
        file: Cow::Borrowed("qwen2.5-coder-1.5b-instruct-q4_k_m.gguf"),
        bytes: 1_117_320_768,
        sha256: Cow::Borrowed("cc324af070c2ecbfd324a30884d2f951a7ff756aba85cb811a6ec436933bb046"),
    },
];

impl Artifact {
    /// The hub's repository of the model before it was quantized.
    #[must_use]
    pub fn unquantized(&self) -> &str {
        self.repo.strip_suffix("-GGUF").unwrap_or(&self.repo)
    }
}

/// The catalog's entry with that digest.
#[must_use]
pub fn known(sha256: &str) -> Option<Artifact> {
    CATALOG.into_iter().find(|artifact| artifact.sha256 == sha256)
}

/// The catalog's entry called `name`.
///
/// # Errors
/// `invalid_argument` that lists the known names.
pub fn find(name: &str) -> Result<Artifact> {
    CATALOG.into_iter().find(|artifact| artifact.name == name).ok_or_else(|| {
        let known: Vec<_> = CATALOG.iter().map(|artifact| artifact.name.to_string()).collect();
        IntentError::argument("name", format!("no model is called '{name}'; known: {}", known.join(", ")))
    })
}

/// Where a file comes from when not from the public hub.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Source {
    /// A folder that holds the file under its own name.
    Dir(PathBuf),
    /// A mirror: the hub's protocol at `{url}/{repo}/resolve/main/{file}`, or the plain file at
    /// `{url}/{file}` where the first address answers 404.
    Url(String),
}

impl FromStr for Source {
    type Err = IntentError;

    /// `http://` and `https://` are mirrors, any other scheme is refused, the rest are folders.
    fn from_str(text: &str) -> Result<Self> {
        match text.split_once("://") {
            Some(("http" | "https", rest)) if !rest.is_empty() => {
                Ok(Self::Url(text.trim_end_matches('/').to_owned()))
            }
            Some((scheme, _)) => Err(IntentError::argument(
                "from",
                format!("'{text}': {scheme} addresses are not supported, use http, https or a folder"),
            )),
            None if text.is_empty() => Err(IntentError::argument("from", "the source is empty")),
            None => Ok(Self::Dir(PathBuf::from(text))),
        }
    }
}

/// How patient a transfer is.
#[derive(Debug, Clone)]
pub struct RetryPolicy {
    /// Tries in a row that may bring less than 1 MiB of new bytes before the transfer fails.
    pub tries: u32,
    /// Upper bound of the first pause; it doubles with every further one. The pause itself is drawn
    /// evenly from the upper half, so that many clients do not return at the same moment.
    pub first_delay: Duration,
    /// Largest pause, also for what a server asks with Retry-After.
    pub max_delay: Duration,
    /// Limit for opening a connection, TLS included.
    pub connect_timeout: Duration,
    /// Limit for each wait for further bytes: a connection that is silent for longer is given up.
    pub read_timeout: Duration,
}

impl Default for RetryPolicy {
    fn default() -> Self {
        Self {
            tries: 6,
            first_delay: Duration::from_millis(500),
            max_delay: Duration::from_secs(30),
            connect_timeout: Duration::from_secs(15),
            read_timeout: Duration::from_secs(30),
        }
    }
}

/// What [`fetch`] is asked to do.
#[derive(Clone)]
pub struct FetchRequest {
    /// The file.
    pub artifact: Artifact,
    /// Its source; `None` is the public hub.
    pub from: Option<Source>,
    /// Folder that the file ends up in; created when missing.
    pub folder: PathBuf,
    /// Bearer token. It is sent to the configured source alone, never to where that redirects, and
    /// only over https or to this machine.
    pub token: Option<String>,
    /// Patience.
    pub retry: RetryPolicy,
}

impl FetchRequest {
    /// A request for `artifact` into `folder`, from the public hub, with no token. Nothing is read
    /// from the environment.
    #[must_use]
    pub fn new(artifact: Artifact, folder: impl Into<PathBuf>) -> Self {
        Self { artifact, from: None, folder: folder.into(), token: None, retry: RetryPolicy::default() }
    }

    /// A request for the catalog's file called `name`, with the token of the environment variable
    /// `HF_TOKEN` when that is set.
    ///
    /// # Errors
    /// `invalid_argument` when the catalog has no such name.
    pub fn named(name: &str, folder: impl Into<PathBuf>) -> Result<Self> {
        let token = std::env::var("HF_TOKEN").ok().filter(|token| !token.trim().is_empty());
        Ok(Self { token, ..Self::new(find(name)?, folder) })
    }
}

/// What a transfer is doing.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum Phase {
    /// Reading a file, or the part of one, that is already on disk.
    Verify,
    /// Asking the source for size and digest.
    Connect,
    /// Receiving.
    Download,
    /// Copying from a folder.
    Copy,
    /// Pausing after a failed try.
    Wait {
        /// Length of the pause.
        pause: Duration,
        /// Why the last try failed.
        reason: String,
    },
    /// What arrived does not match its digest; everything is transferred once more.
    Corrupted,
    /// The hub reports another digest than the catalog: it has another version of the file. The
    /// transfer goes on and is verified against what the hub reports.
    OtherVersion {
        /// The hub's digest, hex.
        sha256: String,
    },
    /// The file is in place.
    Done,
}

/// One progress report.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Progress {
    /// What is being done.
    pub phase: Phase,
    /// Bytes handled so far in this phase; a resumed download starts with the bytes it already has.
    pub done: u64,
    /// Bytes in all.
    pub total: u64,
}

/// Receives progress reports.
pub(crate) type Report<'a> = &'a mut dyn FnMut(Progress);

/// What the bytes must be.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Wanted {
    /// SHA-256, lower-case hex.
    sha256: String,
    /// Size in bytes.
    bytes: u64,
}

impl Wanted {
    fn pinned(artifact: &Artifact) -> Self {
        Self { sha256: artifact.sha256.to_ascii_lowercase(), bytes: artifact.bytes }
    }
}

/// The folder that models are kept in: the environment variable `RELAYOPS_MODELS`, else
/// `relayops-intent/models` in the platform's cache folder.
///
/// # Errors
/// `invalid_argument` when neither can be determined.
pub fn models_dir() -> Result<PathBuf> {
    if let Some(folder) = std::env::var_os("RELAYOPS_MODELS").filter(|folder| !folder.is_empty()) {
        return Ok(PathBuf::from(folder));
    }
    let platform = etcetera::base_strategy::choose_native_strategy().map_err(|error| {
        IntentError::argument("RELAYOPS_MODELS", format!("not set, and there is no cache folder: {error}"))
    })?;
    Ok(platform.cache_dir().join("relayops-intent").join("models"))
}

/// Fetches a file and returns its path. A file that is already there and verifies is kept; a
/// transfer that was interrupted, in this process or an earlier one, is continued.
///
/// # Errors
/// `checksum` when what arrived twice does not match its digest (nothing is left under the final
/// name), `network` when the source can't be reached or does not have the file, `io` for the disk,
/// `unavailable` while another process transfers the same file, `invalid_argument` for a request
/// that can't work.
pub fn fetch(request: &FetchRequest, progress: &mut dyn FnMut(Progress)) -> Result<PathBuf> {
    let pinned = Wanted::pinned(&request.artifact);
    let target = request.folder.join(plain_name(&request.artifact.file)?);
    std::fs::create_dir_all(&request.folder)
        .map_err(|error| IntentError::io(request.folder.display(), error))?;
    if !is_at(&target, &pinned, progress)? {
        match &request.from {
            Some(Source::Dir(folder)) => copy(request, folder, &target, &pinned, progress)?,
            Some(Source::Url(base)) => download(request, base, &target, &pinned, progress)?,
            None => download(request, HUB, &target, &pinned, progress)?,
        }
    }
    let total = std::fs::metadata(&target).map_err(|error| IntentError::io(target.display(), error))?.len();
    progress(Progress { phase: Phase::Done, done: total, total });
    Ok(target)
}

/// `name` when it is a file name and nothing more.
fn plain_name(name: &str) -> Result<&str> {
    let bare = Path::new(name).file_name().is_some_and(|last| last == name);
    if bare && !name.contains(['/', '\\']) {
        Ok(name)
    } else {
        Err(IntentError::argument("artifact.file", format!("'{name}' is not a plain file name")))
    }
}

/// Whether the wanted bytes are at `path`.
fn is_at(path: &Path, wanted: &Wanted, report: Report) -> Result<bool> {
    let mut file = match File::open(path) {
        Ok(file) => file,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(false),
        Err(error) => return Err(IntentError::io(path.display(), error)),
    };
    let at = |error| IntentError::io(path.display(), error);
    if file.metadata().map_err(at)?.len() != wanted.bytes {
        return Ok(false);
    }
    let mut hasher = Sha256::new();
    hash_into(&mut hasher, &mut file, wanted.bytes, report).map_err(at)?;
    Ok(hex(&hasher.finalize()) == wanted.sha256)
}

/// Feeds all of `from` to `hasher`, reporting as [`Phase::Verify`].
fn hash_into(hasher: &mut Sha256, from: &mut impl Read, total: u64, report: Report) -> std::io::Result<()> {
    let mut chunk = vec![0; CHUNK];
    let mut done = 0_u64;
    loop {
        let n = from.read(&mut chunk)?;
        if n == 0 {
            return Ok(());
        }
        hasher.update(chunk.get(..n).unwrap_or_default());
        done = done.saturating_add(n as u64);
        report(Progress { phase: Phase::Verify, done, total });
    }
}

fn hex(digest: &[u8]) -> String {
    use std::fmt::Write;
    digest.iter().fold(String::with_capacity(64), |mut text, byte| {
        // Writing to a String does not fail.
        let _ = write!(text, "{byte:02x}");
        text
    })
}

/// Copies the file out of `folder`, which keeps its own.
fn copy(request: &FetchRequest, folder: &Path, target: &Path, wanted: &Wanted, report: Report) -> Result<()> {
    let source = folder.join(request.artifact.file.as_ref());
    let at = |error| IntentError::io(source.display(), error);
    let mut from = File::open(&source).map_err(at)?;
    let found = from.metadata().map_err(at)?.len();
    if found != wanted.bytes {
        let detail = format!("{} has {found} bytes, expected {}", source.display(), wanted.bytes);
        return Err(IntentError::argument("from", detail));
    }
    let mut part = Part::open(target, wanted, report)?;
    part.restart()?;
    let mut chunk = vec![0; CHUNK];
    loop {
        let n = from.read(&mut chunk).map_err(at)?;
        if n == 0 {
            break;
        }
        part.append(chunk.get(..n).unwrap_or_default())?;
        report(Progress { phase: Phase::Copy, done: part.len(), total: wanted.bytes });
    }
    match part.mismatch() {
        None => part.finish(target),
        Some(actual) => {
            part.discard()?;
            Err(checksum(&source.display().to_string(), wanted, actual))
        }
    }
}

/// Downloads from the hub or mirror at `base`.
fn download(
    request: &FetchRequest,
    base: &str,
    target: &Path,
    pinned: &Wanted,
    report: Report,
) -> Result<()> {
    let remote = Remote::new(base, request)?;
    let (url, wanted) = remote.locate(&request.artifact, report)?;
    if wanted.sha256 != pinned.sha256 {
        let phase = Phase::OtherVersion { sha256: wanted.sha256.clone() };
        report(Progress { phase, done: 0, total: wanted.bytes });
        if is_at(target, &wanted, report)? {
            return Ok(());
        }
    }
    let mut part = Part::open(target, &wanted, report)?;
    remote.transfer(&url, &mut part, wanted.bytes, report)?;
    if part.mismatch().is_some() {
        // One more time from zero: a part that an earlier process left, or a proxy, may be at fault.
        report(Progress { phase: Phase::Corrupted, done: 0, total: wanted.bytes });
        part.restart()?;
        remote.transfer(&url, &mut part, wanted.bytes, report)?;
    }
    match part.mismatch() {
        None => part.finish(target),
        Some(actual) => {
            part.discard()?;
            Err(checksum(&url, &wanted, actual))
        }
    }
}

fn checksum(file: &str, wanted: &Wanted, actual: String) -> IntentError {
    IntentError::Checksum { file: file.to_owned(), expected: wanted.sha256.clone(), actual }
}
