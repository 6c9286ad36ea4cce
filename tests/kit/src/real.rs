//! Real weights, for the tests that need them.

use std::io::Write;
use std::path::PathBuf;

/// The 0.5B file that the reference figures were made with.
pub const QWEN_05B: &str = "qwen2.5-coder-0.5b-instruct-q4_k_m.gguf";
/// The 1.5B file.
pub const QWEN_15B: &str = "qwen2.5-coder-1.5b-instruct-q4_k_m.gguf";

/// The folder of compact's base, in the hub's layout.
pub const MINILM: &str = "all-MiniLM-L6-v2";

/// As [`real_model`], for a folder.
///
/// # Panics
/// As [`real_model`].
#[must_use]
pub fn real_folder(test: &str, folder: &str) -> Option<PathBuf> {
    real_model(test, &format!("{folder}/model.safetensors"))?.parent().map(std::path::Path::to_path_buf)
}

/// The model file in the folder that `RELAYOPS_TEST_MODELS` names. Where it is not there, says so ([`not_run`]).
///
/// # Panics
/// Where the variable names a folder that is not one: then somebody meant these tests to run.
#[must_use]
pub fn real_model(test: &str, file: &str) -> Option<PathBuf> {
    let reason = match std::env::var_os("RELAYOPS_TEST_MODELS").filter(|folder| !folder.is_empty()) {
        None => "RELAYOPS_TEST_MODELS is not set".to_owned(),
        Some(folder) => {
            let folder = PathBuf::from(folder);
            assert!(folder.is_dir(), "RELAYOPS_TEST_MODELS names no folder: {}", folder.display());
            let path = folder.join(file);
            if path.is_file() {
                return Some(path);
            }
            format!("RELAYOPS_TEST_MODELS has no {file}")
        }
    };
    not_run(test, &reason);
    None
}

/// Says that `test` could not run its subject, on stderr and in the file that `RELAYOPS_NOT_RUN_FILE` names.
///
/// # Panics
/// Where that file can't be written.
pub fn not_run(test: &str, reason: &str) {
    let line = format!("NOT RUN: {test}: {reason}");
    eprintln!("{line}");
    if let Some(path) = std::env::var_os("RELAYOPS_NOT_RUN_FILE") {
        let file = std::fs::OpenOptions::new().create(true).append(true).open(path);
        assert!(
            file.and_then(|mut file| writeln!(file, "{line}")).is_ok(),
            "RELAYOPS_NOT_RUN_FILE can't be written"
        );
    }
}
