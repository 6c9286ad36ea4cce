//! Developer verbs of relayops-intent: `cargo xtask <verb>`.

mod api;
mod bench_browser;
mod budget;
mod check;
mod demo;
mod deny;
mod fuzz;
mod notices;
mod run;
mod setup;
mod test;
mod web;

use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Parser, Subcommand};

/// Developer verbs of relayops-intent.
#[derive(Parser)]
#[command(name = "cargo xtask", bin_name = "cargo xtask")]
struct Arguments {
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Subcommand)]
enum Verb {
    /// Install what building and testing need and this machine lacks
    Setup,
    /// Build pkg/wasm and pkg/types
    BuildWeb {
        /// `wasm` for release (minutes), `ci` for tests (quick)
        #[arg(long, default_value = "wasm")]
        profile: web::Profile,
    },
    /// Build the kernel suite that the browser tests run inside of WebAssembly, as `test` does
    BuildKernelTests,
    /// Format, lints, documentation, types and dependencies: everything that is not a test
    Check,
    /// Licences, origins, bans and advisories of dependencies, as `check` does
    Deny,
    /// Set up, check, and run every test, natively and in Chromium
    Test,
    /// Build the suites of the kernels and the shaders that the tests in Chromium run, as `test` does
    BuildWebTests,
    /// Hold the running server to its API's description with schemathesis, as `test` does
    TestApi,
    /// Fuzz what reads from outside, with bounds on time and memory; needs no nightly compiler
    ///
    /// fuzz/README.md says what was run and what it found. The first build takes minutes.
    Fuzz(fuzz::Options),
    /// Compare with what else runs in a browser, in one Chromium run: a table, and JSON of every cell
    ///
    /// Loads the package's own model and the same architecture in onnxruntime-web into one page,
    /// asks them in turns, and starts each in new browsers for the time to its first answer. Keep
    /// the machine idle meanwhile. benches/web/README.md says how it is kept fair.
    BenchBrowser(bench_browser::Options),
    /// Build everything and serve the page
    Demo {
        /// Port to listen on; 0 takes a free one
        #[arg(long, default_value_t = 8080)]
        port: u16,
        /// Fetch a larger model too, and offer it on the page with the adapter that ships: qwen2.5-0.5b or qwen2.5-1.5b
        #[arg(long, value_name = "NAME")]
        with: Option<String>,
        /// Folder with GGUF files, packs and adapters to offer; with --with the folder to fetch to
        /// [default for --with: RELAYOPS_MODELS, else the platform's cache folder]
        #[arg(long, value_name = "DIR")]
        models: Option<PathBuf>,
        /// Stop when everything is ready to be served
        #[arg(long)]
        no_serve: bool,
    },
}

fn say_not_run(name: &str, reason: &str) -> anyhow::Result<()> {
    eprintln!("NOT RUN: {name}: {reason}");
    Ok(())
}

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    let done = match arguments.verb {
        Verb::Setup => setup::all(),
        Verb::BuildWeb { profile } => web::build(profile),
        Verb::BuildKernelTests => web::build_kernel_tests(),
        Verb::Check => check::all(&say_not_run),
        Verb::Deny => check::dependencies(&say_not_run),
        Verb::Test => test::all(),
        Verb::BuildWebTests => web::build_kernel_tests(),
        Verb::TestApi => test::api_only(),
        Verb::Fuzz(options) => fuzz::all(&options),
        Verb::BenchBrowser(options) => bench_browser::all(&options),
        Verb::Demo { port, with, models, no_serve } => demo::start(port, with.as_deref(), models, !no_serve),
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("\nxtask: {error:#}");
            ExitCode::FAILURE
        }
    }
}
