//! All tests, and by name those that could not run.

use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result};

use crate::run::{Steps, WEBGPU, binary, cargo, npm, run, target_dir};
use crate::{api, check, setup, web};

/// Folder with the real models, for the tests that run on them.
const MODELS: &str = "RELAYOPS_TEST_MODELS";

/// File that a test which can't run its subject appends a line to: the test harness keeps what
/// passing tests print to itself.
const NOT_RUN: &str = "RELAYOPS_NOT_RUN_FILE";

/// Set-up, checks, native tests, browser tests.
pub(crate) fn all() -> Result<()> {
    setup::without_browser()?;
    setup::vulkan();
    let given = Given::new()?;
    let mut steps = Steps::default();
    // First, because the type check reads what it generates.
    let built = steps.run("build-web", || web::build(web::Profile::Ci))
        && steps.run("build-web-tests", web::build_kernel_tests);
    steps.run("check", || check::all(&|name, reason| given.not_run(name, reason)));
    // One by one: together, the tools' features would have the engine's dependencies built again.
    steps.run("native tests", || {
        let mut test = cargo(&["test", "--workspace", "--exclude", "xtask", "--profile", "ci"]);
        run(given.to(test.args([WEBGPU, "--no-fail-fast"])))
    });
    steps.run("API description", || api(&given));
    steps.run("xtask tests", || run(&mut cargo(&["test", "--package", "xtask", "--profile", "ci"])));
    if built {
        steps.run("browser tests", || browser(&given));
    } else {
        steps.skip("browser tests", "there is nothing to test without the builds");
    }
    let result = steps.finish();
    given.print_not_run()?;
    result
}

/// The API's description alone.
pub(crate) fn api_only() -> Result<()> {
    let given = Given::new()?;
    api(&given)?;
    given.print_not_run()
}

/// Holds the server to its description, where the tool for that can be installed.
fn api(given: &Given) -> Result<()> {
    let python = match setup::api_python() {
        Ok(python) => python,
        Err(error) => return given.not_run("API description", &format!("schemathesis: {error:#}")),
    };
    bins()?;
    api::check(&python, &binary("ci")?)
}

/// The programs, with the native tests' choice of packages, so that nothing is built twice.
fn bins() -> Result<()> {
    run(&mut cargo(&["build", "--workspace", "--exclude", "xtask", "--profile", "ci", "--bins", WEBGPU]))
}

/// Drives the page; the tool that serves it is the one that the native tests were built with.
fn browser(given: &Given) -> Result<()> {
    let chromium = setup::chromium()?;
    setup::nginx();
    bins()?;
    let tool = binary("ci")?;
    let mut test = npm(&["test"]);
    test.env("CHROMIUM", chromium).env("RELAYOPS_BIN", tool).env("CARGO_TARGET_DIR", target_dir()?);
    run(given.to(&mut test))
}

/// What the tests are told through their environment.
struct Given {
    models: Option<PathBuf>,
    not_run: PathBuf,
}

impl Given {
    fn new() -> Result<Self> {
        let named = std::env::var_os(MODELS).filter(|named| !named.is_empty()).map(PathBuf::from);
        // Tests run in folders of their own, where a relative name would mean something else.
        let models = match named {
            Some(named) => Some(
                std::path::absolute(&named)
                    .and_then(|folder| folder.read_dir().map(|_| folder))
                    .with_context(|| format!("{MODELS} names {}", named.display()))?,
            ),
            None => None,
        };
        let target = target_dir()?;
        fs::create_dir_all(&target).with_context(|| target.display().to_string())?;
        let not_run = target.join("tests-not-run.txt");
        fs::write(&not_run, "").with_context(|| not_run.display().to_string())?;
        Ok(Self { models, not_run })
    }

    fn to<'a>(&self, command: &'a mut Command) -> &'a mut Command {
        command.env(NOT_RUN, &self.not_run);
        match &self.models {
            Some(folder) => command.env(MODELS, folder),
            None => command.env_remove(MODELS),
        }
    }

    /// Notes what could not run, as tests do.
    fn not_run(&self, name: &str, reason: &str) -> Result<()> {
        // On one line, whatever the reason looks like.
        let line = format!("NOT RUN: {name}: {}", reason.split_whitespace().collect::<Vec<_>>().join(" "));
        eprintln!("{line}");
        let mut file = fs::OpenOptions::new().append(true).open(&self.not_run)?;
        writeln!(file, "{line}").with_context(|| self.not_run.display().to_string())
    }

    fn print_not_run(&self) -> Result<()> {
        let lines = read_lines(&self.not_run)?;
        if lines.is_empty() {
            eprintln!("\nEvery test ran its subject.");
            return Ok(());
        }
        eprintln!("\n== {} tests were NOT RUN", lines.len());
        for line in &lines {
            eprintln!("{line}");
        }
        if self.models.is_none() {
            eprintln!("{MODELS} names no folder with the model files.");
        }
        Ok(())
    }
}

fn read_lines(path: &Path) -> Result<Vec<String>> {
    let text = fs::read_to_string(path).with_context(|| path.display().to_string())?;
    let mut lines: Vec<_> = text.lines().filter(|line| !line.trim().is_empty()).map(str::to_owned).collect();
    lines.sort();
    lines.dedup();
    Ok(lines)
}
