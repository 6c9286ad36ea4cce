//! What the tests of `fetch` share.

use std::borrow::Cow;
use std::fs;
use std::path::PathBuf;
use std::time::Duration;

use relayops_intent::Result;
use relayops_intent::fetch::{Artifact, FetchRequest, Progress, RetryPolicy, Source, fetch};
use sha2::{Digest, Sha256};
use tempfile::TempDir;

use super::Hub;

pub(crate) const SIZE: usize = 300_001;
pub(crate) const FILE: &str = "tiny.gguf";

/// Pseudo-random bytes from `seed` (xorshift64).
pub(crate) fn bytes(seed: u64, size: usize) -> Vec<u8> {
    let mut state = seed.wrapping_mul(0x9E37_79B9_7F4A_7C15) | 1;
    let step = |_| {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state.to_le_bytes()[4]
    };
    (0..size).map(step).collect()
}

pub(crate) fn digest(bytes: &[u8]) -> String {
    Sha256::digest(bytes).iter().map(|byte| format!("{byte:02x}")).collect()
}

pub(crate) fn artifact(body: &[u8]) -> Artifact {
    Artifact {
        name: Cow::Borrowed("tiny"),
        repo: Cow::Borrowed("Owner/Repo-GGUF"),
        file: Cow::Borrowed(FILE),
        bytes: body.len() as u64,
        sha256: Cow::Owned(digest(body)),
    }
}

pub(crate) fn hub(body: &[u8]) -> Hub {
    Hub::start(&format!("/Owner/Repo-GGUF/resolve/main/{FILE}"), body, &digest(body))
}

/// A folder, a body and requests for it, quick to lose patience.
pub(crate) struct Case {
    pub(crate) folder: TempDir,
    pub(crate) body: Vec<u8>,
}

impl Case {
    pub(crate) fn new(seed: u64) -> Self {
        Self { folder: tempfile::tempdir().unwrap(), body: bytes(seed, SIZE) }
    }

    pub(crate) fn request(&self, from: Source) -> FetchRequest {
        let mut request = FetchRequest::new(artifact(&self.body), self.folder.path());
        request.from = Some(from);
        request.retry = RetryPolicy {
            tries: 4,
            first_delay: Duration::from_millis(2),
            max_delay: Duration::from_millis(20),
            connect_timeout: Duration::from_secs(5),
            read_timeout: Duration::from_secs(5),
        };
        request
    }

    pub(crate) fn from(&self, hub: &Hub) -> FetchRequest {
        self.request(hub.url.parse().unwrap())
    }

    pub(crate) fn path(&self, suffix: &str) -> PathBuf {
        self.folder.path().join(format!("{FILE}{suffix}"))
    }

    /// The file is there with the right bytes, and nothing else is.
    pub(crate) fn assert_whole(&self, got: &Result<PathBuf>) {
        assert_eq!(got.as_ref().unwrap(), &self.path(""));
        assert_eq!(digest(&fs::read(self.path("")).unwrap()), digest(&self.body));
        let left: Vec<_> = fs::read_dir(&self.folder).unwrap().map(|entry| entry.unwrap().path()).collect();
        assert_eq!(left, [self.path("")]);
    }

    pub(crate) fn assert_failed(&self, got: Result<PathBuf>, code: &str) -> String {
        let error = got.unwrap_err();
        assert_eq!(error.code(), code, "{error}");
        assert!(!self.path("").exists(), "a failed transfer left a file under its final name");
        error.to_string()
    }
}

pub(crate) fn quiet(request: &FetchRequest) -> Result<PathBuf> {
    fetch(request, &mut |_| {})
}

pub(crate) fn watched(request: &FetchRequest) -> (Result<PathBuf>, Vec<Progress>) {
    let mut seen = Vec::new();
    let got = fetch(request, &mut |progress| seen.push(progress));
    (got, seen)
}

pub(crate) fn from_byte(n: usize) -> Option<String> {
    (n > 0).then(|| format!("bytes={n}-"))
}
