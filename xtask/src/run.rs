//! Running programs, and where things are.

use std::ffi::OsStr;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::LazyLock;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, anyhow, bail};

/// Top folder of the checkout: cargo names it to what it runs. Two checkouts that share a folder of builds also share
/// this program, so the folder that it was built in may be another one.
pub(crate) fn root() -> &'static Path {
    static ROOT: LazyLock<PathBuf> = LazyLock::new(|| {
        let here =
            std::env::var_os("CARGO_MANIFEST_DIR").unwrap_or_else(|| env!("CARGO_MANIFEST_DIR").into());
        Path::new(&here).parent().map(Path::to_path_buf).unwrap_or_default()
    });
    &ROOT
}

/// The feature with which everything native is checked and tested, so that what all need is built once.
pub(crate) const WEBGPU: &str = "--features=relayops-intent/webgpu";

/// Folder of the JavaScript tests and of the tools that npm installs.
pub(crate) fn web_tests() -> PathBuf {
    root().join("tests").join("web")
}

/// `program` with `arguments`, in the top folder.
pub(crate) fn command<S: AsRef<OsStr>>(program: &str, arguments: &[S]) -> Command {
    let mut command = Command::new(program);
    command.args(arguments).current_dir(root());
    command
}

/// The cargo that runs this, with `arguments`.
pub(crate) fn cargo(arguments: &[&str]) -> Command {
    command(&std::env::var("CARGO").unwrap_or_else(|_| "cargo".to_owned()), arguments)
}

/// Folder of the browser benchmark.
pub(crate) fn web_bench() -> PathBuf {
    root().join("benches").join("web")
}

/// npm in tests/web.
pub(crate) fn npm(arguments: &[&str]) -> Command {
    npm_in(&web_tests(), arguments)
}

/// npm in `folder`.
pub(crate) fn npm_in(folder: &Path, arguments: &[&str]) -> Command {
    let mut npm = command(if cfg!(windows) { "npm.cmd" } else { "npm" }, arguments);
    npm.current_dir(folder);
    npm
}

/// Shows and runs `command`; its failure is an error that repeats it.
pub(crate) fn run(command: &mut Command) -> Result<()> {
    let shown = shown(command);
    eprintln!("$ {shown}");
    let status = command.status().with_context(|| format!("`{shown}` could not be started"))?;
    if !status.success() {
        bail!("`{shown}` failed ({status})");
    }
    Ok(())
}

/// What `command` writes to stdout; its stderr is shown.
pub(crate) fn output(command: &mut Command) -> Result<String> {
    let shown = shown(command);
    let output = command
        .stderr(Stdio::inherit())
        .output()
        .with_context(|| format!("`{shown}` could not be started"))?;
    if !output.status.success() {
        bail!("`{shown}` failed ({})", output.status);
    }
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}

fn shown(command: &Command) -> String {
    let program = Path::new(command.get_program()).file_name().unwrap_or(command.get_program());
    let words = std::iter::once(program).chain(command.get_args());
    words.map(|word| word.to_string_lossy()).collect::<Vec<_>>().join(" ")
}

/// Where cargo puts what it builds, as its configuration and CARGO_TARGET_DIR say.
pub(crate) fn target_dir() -> Result<PathBuf> {
    let text = output(&mut cargo(&["metadata", "--no-deps", "--format-version", "1"]))?;
    let metadata: serde_json::Value = serde_json::from_str(&text).context("cargo metadata")?;
    let folder = metadata.get("target_directory").and_then(|folder| folder.as_str());
    folder.map(PathBuf::from).ok_or_else(|| anyhow!("cargo metadata names no target_directory"))
}

/// The command line tool as built with `profile`.
pub(crate) fn binary(profile: &str) -> Result<PathBuf> {
    Ok(target_dir()?.join(profile).join(format!("relayops-intent{}", std::env::consts::EXE_SUFFIX)))
}

/// What became of a step.
enum Outcome {
    Passed(Duration),
    Failed(anyhow::Error),
    Skipped(String),
}

/// Steps that run one after the other, with all failures told at the end.
#[derive(Default)]
pub(crate) struct Steps {
    done: Vec<(String, Outcome)>,
}

impl Steps {
    /// Runs `step`; whether it passed.
    pub(crate) fn run(&mut self, name: &str, step: impl FnOnce() -> Result<()>) -> bool {
        eprintln!("\n== {name}");
        let start = Instant::now();
        let outcome = match step() {
            Ok(()) => Outcome::Passed(start.elapsed()),
            Err(error) => {
                eprintln!("{name}: {error:#}");
                Outcome::Failed(error)
            }
        };
        let passed = matches!(outcome, Outcome::Passed(_));
        self.done.push((name.to_owned(), outcome));
        passed
    }

    /// Notes a step that can't run, and why.
    pub(crate) fn skip(&mut self, name: &str, reason: &str) {
        self.done.push((name.to_owned(), Outcome::Skipped(reason.to_owned())));
    }

    /// Prints the summary; an error when anything did not pass.
    pub(crate) fn finish(self) -> Result<()> {
        eprintln!("\n== Summary");
        let mut missed = Vec::new();
        for (name, outcome) in &self.done {
            match outcome {
                Outcome::Passed(time) => eprintln!("passed   {name} ({:.1} s)", time.as_secs_f64()),
                Outcome::Failed(error) => eprintln!("FAILED   {name}: {error:#}"),
                Outcome::Skipped(reason) => eprintln!("SKIPPED  {name}: {reason}"),
            }
            if !matches!(outcome, Outcome::Passed(_)) {
                missed.push(name.as_str());
            }
        }
        if missed.is_empty() { Ok(()) } else { Err(anyhow!("did not pass: {}", missed.join(", "))) }
    }
}
