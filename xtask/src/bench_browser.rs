//! The benchmark in Chromium: builds what it compares, then hands over to benches/web/run.js.

use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};
use clap::{Args, ValueEnum};

use crate::run::{binary, cargo, command, run, target_dir, web_bench};
use crate::{setup, web};

/// Folder with models for tests and benchmarks.
const MODELS: &str = "RELAYOPS_TEST_MODELS";

/// The encoder that compact starts from, as a folder of [`MODELS`].
const ENCODER: &str = "all-MiniLM-L6-v2";

/// The base models, as `fetch` names their files.
const SMALL: &str = "qwen2.5-coder-0.5b-instruct-q4_k_m.gguf";
const LARGE: &str = "qwen2.5-coder-1.5b-instruct-q4_k_m.gguf";

/// The classification pack of the smaller one, as a folder of [`MODELS`].
const PACK: &str = "qwen2.5-0.5b";

/// What can be left out.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Part {
    /// The compact model against onnxruntime-web.
    Compact,
    /// Qwen2.5 with 0.5B parameters against wllama and llama.cpp; rates of the kernels; peak memory.
    #[value(name = "0.5b")]
    Small,
    /// Qwen2.5 with 1.5B parameters against wllama and llama.cpp.
    #[value(name = "1.5b")]
    Large,
    /// llama.cpp outside the browser.
    Native,
    /// Peak memory of a tab.
    Memory,
}

/// What to compare, and how thoroughly.
#[derive(Args)]
pub(crate) struct Options {
    /// As few rounds as there can be: shows that it works, not how fast it is
    #[arg(long)]
    quick: bool,
    /// Write every cell, the ratios, and what was measured on what
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,
    /// Folder with the two GGUF files that `fetch` fetches, all-MiniLM-L6-v2 and a pack qwen2.5-0.5b; may be repeated,
    /// and is searched in order [default: the folder that RELAYOPS_TEST_MODELS names]
    #[arg(long, value_name = "DIR")]
    models: Vec<PathBuf>,
    /// The pack of Qwen2.5 0.5B, as `relayops-intent pack` writes it [default: qwen2.5-0.5b in a folder of --models]
    #[arg(long, value_name = "DIR")]
    qwen_pack: Option<PathBuf>,
    /// Weights of compact's peer: config.json, model.safetensors and tokenizer.json, as Hugging Face lays them out
    /// [default: all-MiniLM-L6-v2 in a folder of --models]
    #[arg(long, value_name = "DIR")]
    encoder: Option<PathBuf>,
    /// Model to load in place of the compact one that the package brings along
    #[arg(long, value_name = "FILE")]
    pack: Option<PathBuf>,
    /// Leave a part out, and the ratios that it gives; may be repeated
    #[arg(long, value_name = "PART")]
    skip: Vec<Part>,
}

impl Options {
    fn wants(&self, part: Part) -> bool {
        !self.skip.contains(&part)
    }

    /// `given`, else `name` in one of the folders; `option` is what would name it.
    fn find(&self, given: Option<&Path>, name: &str, option: &str) -> Result<PathBuf> {
        let shelves = match std::env::var_os(MODELS).filter(|shelf| !shelf.is_empty()) {
            Some(shelf) if self.models.is_empty() => vec![PathBuf::from(shelf)],
            _ => self.models.clone(),
        };
        let Some(found) = given
            .map(Path::to_path_buf)
            .or_else(|| shelves.iter().map(|shelf| shelf.join(name)).find(|path| path.exists()))
        else {
            let searched: Vec<_> = shelves.iter().map(|shelf| shelf.display().to_string()).collect();
            let place =
                if searched.is_empty() { "no folder was named".to_owned() } else { searched.join(", ") };
            bail!(
                "{name} is missing ({place}): name its folder with --models or {MODELS}{option}, or leave its part out \
                 with --skip"
            );
        };
        let found = std::path::absolute(found)?;
        found.metadata().with_context(|| found.display().to_string())?;
        Ok(found)
    }
}

/// Builds, exports the peer, measures.
pub(crate) fn all(options: &Options) -> Result<()> {
    let work = target_dir()?.join("bench-web");
    // First, because what is missing should not show after minutes.
    let mut arguments = models(options)?;
    let encoder = match options.wants(Part::Compact) {
        true => Some(options.find(options.encoder.as_deref(), ENCODER, " or give --encoder")?),
        false => None,
    };
    setup::without_browser()?;
    setup::bench_node_modules()?;
    let chromium = setup::chromium()?;
    web::build(web::Profile::Wasm)?;
    if options.wants(Part::Compact) {
        // The server of its pages; with the browser tests' choice of packages, so that nothing is built twice.
        run(&mut cargo(&["build", "--workspace", "--exclude", "xtask", "--profile", "ci", "--bins"]))?;
    }
    if options.wants(Part::Small) {
        arguments.push(("--modules", web::build_bench_modules()?));
    }
    if let Some(encoder) = encoder {
        let peer = work.join("peer");
        export(&encoder, &peer)?;
        arguments.extend([("--peer", peer), ("--site", work.join("site"))]);
        if let Some(pack) = &options.pack {
            arguments.push(("--pack", std::path::absolute(pack)?));
        }
    }
    if let Some(file) = &options.json {
        // A relative name means something else in another folder.
        arguments.push(("--json", std::path::absolute(file)?));
    }
    let mut bench = command("node", &[web_bench().join("run.js")]);
    bench.args(options.quick.then_some("--quick"));
    bench.args((!options.wants(Part::Native)).then_some("--no-native"));
    bench.args((!options.wants(Part::Memory)).then_some("--no-memory"));
    for (name, path) in arguments {
        bench.arg(name).arg(path);
    }
    run(bench.env("CHROMIUM", chromium).env("RELAYOPS_BIN", binary("ci")?))
}

/// The large models that are wanted.
fn models(options: &Options) -> Result<Vec<(&'static str, PathBuf)>> {
    let (small, large) = (options.wants(Part::Small), options.wants(Part::Large));
    let mut found = Vec::new();
    if small || large {
        // Its prompt is everybody's.
        let pack = options.find(options.qwen_pack.as_deref(), PACK, " or give --qwen-pack")?;
        found.push(("--qwen-pack", pack));
    }
    if small {
        found.push(("--small", options.find(None, SMALL, "")?));
    }
    if large {
        found.push(("--large", options.find(None, LARGE, "")?));
    }
    Ok(found)
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
