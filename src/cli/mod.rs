//! The command line. Data goes to stdout, progress and errors to stderr; exit code 0 on success, 1 on failure,
//! 2 on bad usage.

mod bench;
mod classify;
mod dataset;
mod eval;
mod eval_table;
mod fetch;
#[cfg_attr(not(feature = "webgpu"), path = "no_gpu.rs")]
mod gpu;
mod model;
mod output;
mod pack;
mod progress;
mod serve;
mod sweep_table;
mod train;
mod train_lora;
mod train_soften;

use std::io::Write;
use std::process::ExitCode;

use clap::{Parser, Subcommand};

use crate::{IntentError, Result};

/// Reads a telecom customer's message and answers with one of six intents as strict JSON, on this machine.
#[derive(Parser)]
#[command(name = "relayops-intent", version, arg_required_else_help = true)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    Bench(bench::BenchArgs),
    Classify(classify::ClassifyArgs),
    Dataset(dataset::DatasetArgs),
    Eval(eval::EvalArgs),
    Fetch(fetch::FetchArgs),
    Pack(pack::PackArgs),
    Serve(serve::ServeArgs),
    Train(train::TrainArgs),
}

/// Prints one line of data. A closed pipe is an error, not a panic.
fn say(line: impl std::fmt::Display) -> Result<()> {
    let mut out = std::io::stdout().lock();
    let written = writeln!(out, "{line}").and_then(|()| out.flush());
    written.map_err(|error| IntentError::io("standard output", error))
}

/// Parses the arguments and runs the command.
#[must_use]
pub fn run() -> ExitCode {
    let result = match Cli::parse().command {
        Command::Bench(args) => bench::run(&args),
        Command::Classify(args) => classify::run(&args),
        Command::Dataset(args) => dataset::run(&args),
        Command::Eval(args) => eval::run(&args),
        Command::Fetch(args) => fetch::run(&args),
        Command::Pack(args) => pack::run(&args),
        Command::Serve(args) => serve::run(args),
        Command::Train(args) => train::run(&args),
    };
    match result {
        Ok(code) => code,
        Err(error) => {
            eprintln!("relayops-intent: {}: {error}", error.code());
            let usage = matches!(error, IntentError::InvalidArgument { .. } | IntentError::EmptyMessage);
            ExitCode::from(if usage { 2 } else { 1 })
        }
    }
}
