//! The `relayops-intent` command.

use std::process::ExitCode;

fn main() -> ExitCode {
    relayops_intent::cli::run()
}
