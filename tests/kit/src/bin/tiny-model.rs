//! `tiny-model OUT.gguf` writes the default tiny model.

use std::path::Path;
use std::process::ExitCode;

fn main() -> ExitCode {
    let Some(path) = std::env::args_os().nth(1) else {
        eprintln!("usage: tiny-model OUT.gguf");
        return ExitCode::from(2);
    };
    match relayops_testkit::TinyQwen2::default().write_file(Path::new(&path)) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("tiny-model: {error}");
            ExitCode::FAILURE
        }
    }
}
