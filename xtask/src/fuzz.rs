//! Fuzzing of whatever reads from outside: the targets of `fuzz/`, one after the other.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, bail};
use clap::Args;

use crate::run::{cargo, command, run, target_dir};
use crate::setup;

/// Targets with the longest input that is tried, in bytes.
const TARGETS: [(&str, u32); 5] = [
    ("gguf", 65_536),
    ("manifest", 16_384),
    ("adapter", 32_768),
    ("tokenizer", 8_192),
    ("escalation", 16_384),
];

/// Bounds of one input. The sanitizer and libFuzzer's tables are part of the first.
const RSS_MB: u32 = 1_024;
const MALLOC_MB: u32 = 256;
const SECONDS: u32 = 10;

/// What to fuzz, and how long.
#[derive(Args)]
pub(crate) struct Options {
    /// Seconds for each target
    #[arg(long, default_value_t = 60)]
    seconds: u32,
    /// Only this target; may be given several times [default: all]
    #[arg(long = "target", value_name = "NAME", value_parser = TARGETS.map(|(name, _)| name))]
    targets: Vec<String>,
    /// `address` also finds what unsafe code does wrong; `none` is faster
    #[arg(long, default_value = "address", value_parser = ["address", "none"])]
    sanitizer: String,
}

/// Fuzzes each target; ends at the first that crashes, hangs or takes too much memory.
pub(crate) fn all(options: &Options) -> Result<()> {
    let work = target_dir()?.join("fuzz");
    // Its tests write the seeds.
    // The same choice of packages as all native tests have, so that nothing is built twice.
    let seeding = ["test", "--workspace", "--exclude", "xtask", "--profile", "ci", "--test", "fuzz"];
    run(&mut cargo(&seeding))?;
    let seeds = target_dir()?.join("tmp").join("fuzz-seeds");
    let tool = setup::cargo_tool("cargo-fuzz")?;
    let fuzz = Fuzz { tool, work, sanitizer: &options.sanitizer };
    run(&mut fuzz.command("build"))?;
    for (target, longest) in TARGETS {
        if options.targets.is_empty() || options.targets.iter().any(|named| named == target) {
            fuzz.target(target, longest, &seeds.join(target), options.seconds)?;
        }
    }
    Ok(())
}

struct Fuzz<'a> {
    tool: PathBuf,
    /// Builds, corpora and findings: the instrumented builds share nothing with the others.
    work: PathBuf,
    sanitizer: &'a str,
}

impl Fuzz<'_> {
    fn command(&self, verb: &str) -> Command {
        let mut fuzz = command(&self.tool.to_string_lossy(), &["fuzz", verb, "--fuzz-dir", "fuzz"]);
        fuzz.args(["--sanitizer", self.sanitizer]).env("CARGO_TARGET_DIR", &self.work);
        // Sanitizers are options of nightly compilers; the pinned one has them too when it is told that this is no mistake.
        fuzz.env("RUSTC_BOOTSTRAP", "1");
        fuzz
    }

    fn target(&self, target: &str, longest: u32, seeds: &Path, seconds: u32) -> Result<()> {
        eprintln!("\n== {target}");
        let folder = |name: &str| {
            let folder = self.work.join(name).join(target);
            fs::create_dir_all(&folder).with_context(|| folder.display().to_string()).map(|()| folder)
        };
        let (corpus, findings) = (folder("corpus")?, folder("artifacts")?);
        let mut fuzz = self.command("run");
        fuzz.arg(target).args([&corpus, seeds]).arg("--");
        fuzz.args([format!("-max_total_time={seconds}"), format!("-max_len={longest}")]);
        fuzz.args([format!("-timeout={SECONDS}"), format!("-rss_limit_mb={RSS_MB}")]);
        fuzz.args([format!("-malloc_limit_mb={MALLOC_MB}"), "-print_final_stats=1".to_owned()]);
        fuzz.arg(format!("-artifact_prefix={}{}", findings.display(), std::path::MAIN_SEPARATOR));
        if run(&mut fuzz).is_err() {
            bail!("{target}: see above; the input is in {}", findings.display());
        }
        Ok(())
    }
}
