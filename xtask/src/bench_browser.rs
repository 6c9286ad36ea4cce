//! The benchmark in Chromium: builds what it compares, then hands over to benches/web/run.js.

use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};
use clap::Args;

use crate::run::{binary, cargo, command, run, target_dir, web_bench};
use crate::{setup, web};

/// Folder with models for tests and benchmarks.
const MODELS: &str = "RELAYOPS_TEST_MODELS";

/// The encoder that compact starts from, as a folder of [`MODELS`].
const ENCODER: &str = "all-MiniLM-L6-v2";

/// What to compare, and how thoroughly.
#[derive(Args)]
pub(crate) struct Options {
    /// One round and two starts each: shows that it works, not how fast it is
    #[arg(long)]
    quick: bool,
    /// Write every cell, the ratios, and what was measured on what
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,
    /// The peer's weights: config.json, model.safetensors and tokenizer.json, as Hugging Face lays
    /// them out [default: all-MiniLM-L6-v2 in the folder that RELAYOPS_TEST_MODELS names]
    #[arg(long, value_name = "DIR")]
    encoder: Option<PathBuf>,
    /// Model to load in place of the one that the package brings along
    #[arg(long, value_name = "FILE")]
    pack: Option<PathBuf>,
}

/// Builds, exports the peer, measures.
pub(crate) fn all(options: &Options) -> Result<()> {
    let encoder = encoder(options.encoder.as_deref())?;
    setup::without_browser()?;
    setup::bench_node_modules()?;
    let chromium = setup::chromium()?;
    web::build(web::Profile::Wasm)?;
    // With the browser tests' choice of packages, so that nothing is built twice.
    run(&mut cargo(&["build", "--workspace", "--exclude", "xtask", "--profile", "ci", "--bins"]))?;
    let work = target_dir()?.join("bench-web");
    let peer = work.join("peer");
    export(&encoder, &peer)?;
    let mut bench = command("node", &[web_bench().join("run.js")]);
    bench.arg("--peer").arg(peer).arg("--site").arg(work.join("site"));
    bench.args(options.quick.then_some("--quick"));
    for (name, file) in [("--json", &options.json), ("--pack", &options.pack)] {
        if let Some(file) = file {
            // A relative name means something else in another folder.
            bench.arg(name).arg(std::path::absolute(file)?);
        }
    }
    run(bench.env("CHROMIUM", chromium).env("RELAYOPS_BIN", binary("ci")?))
}

/// Folder of the peer's weights.
fn encoder(named: Option<&Path>) -> Result<PathBuf> {
    let shelf = std::env::var_os(MODELS).filter(|shelf| !shelf.is_empty());
    let folder = match (named, shelf) {
        (Some(folder), _) => folder.to_owned(),
        (None, Some(shelf)) => PathBuf::from(shelf).join(ENCODER),
        (None, None) => bail!(
            "the peer needs an encoder's weights: give --encoder DIR, or set {MODELS} to a folder that holds {ENCODER}"
        ),
    };
    let folder = std::path::absolute(folder)?;
    folder.read_dir().with_context(|| format!("the encoder's folder {}", folder.display()))?;
    Ok(folder)
}

/// Writes the peer's graphs and their reference answers to `out`.
fn export(encoder: &Path, out: &Path) -> Result<()> {
    let python = setup::bench_python()?;
    let bench = web_bench();
    let mut export = command(&python.to_string_lossy(), &[bench.join("export_onnx.py")]);
    export.arg("--messages").arg(bench.join("messages.json"));
    // Compiled scripts would be left beside them, in the checkout.
    run(export.arg("--encoder").arg(encoder).arg("--out").arg(out).env("PYTHONDONTWRITEBYTECODE", "1"))
}
