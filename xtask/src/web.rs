//! pkg/wasm, pkg/types and pkg/models: what the npm package has beside its sources; and www/data, which the page has.

use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};

use std::process::Command;

use anyhow::{Context, Result};
use flate2::Compression;
use flate2::write::GzEncoder;
use sha2::{Digest, Sha256};
use wasm_bindgen_cli_support::Bindgen;

use crate::run::{cargo, npm, root, run, target_dir, web_tests};
use crate::{budget, notices, setup};

const TARGET: &str = "wasm32-unknown-unknown";
const NAME: &str = "relayops_intent";
const KERNEL_TESTS: &str = "relayops_wasm_tests";
const BENCH: &str = "relayops_bench_wasm";

/// Cargo profile of the wasm build.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum Profile {
    /// Quick to build, with checks and function names.
    Ci,
    /// For users: small and fast.
    Wasm,
}

impl Profile {
    fn name(self) -> &'static str {
        match self {
            Self::Ci => "ci",
            Self::Wasm => "wasm",
        }
    }
}

/// One of the builds that a browser gets to choose from: `pkg/engine/builds.js` has the same.
struct Build {
    /// Folder below pkg/wasm.
    name: &'static str,
    relaxed_simd: bool,
    threads: bool,
    webgpu: bool,
}

const BUILDS: [Build; 5] = [
    Build { name: "simd128", relaxed_simd: false, threads: false, webgpu: false },
    Build { name: "relaxed-simd", relaxed_simd: true, threads: false, webgpu: false },
    Build { name: "simd128-threads", relaxed_simd: false, threads: true, webgpu: false },
    Build { name: "relaxed-simd-threads", relaxed_simd: true, threads: true, webgpu: false },
    // Apart, so that nobody fetches it who has no use for it.
    Build { name: "webgpu", relaxed_simd: false, threads: false, webgpu: true },
];

/// What shared memory asks of the linker. Its largest size is the format's own limit; a page may import less.
const THREADS_LINK: [&str; 7] = [
    "--shared-memory",
    "--import-memory",
    "--max-memory=4294967296",
    "--export=__wasm_init_tls",
    "--export=__tls_size",
    "--export=__tls_align",
    "--export=__tls_base",
];

impl Build {
    /// Compiles the library of `package`; returns where the module is until the next build.
    fn compile(&self, package: &str, name: &str, profile: Profile) -> Result<PathBuf> {
        let mut build = cargo(&["build", "--lib", "--package", package, "--target", TARGET]);
        build.args(["--profile", profile.name()]);
        build.args(self.relaxed_simd.then(|| format!("--features={package}/relaxed-simd")));
        build.args(self.webgpu.then(|| format!("--features={package}/webgpu")));
        let target = if self.threads { with_threads(&mut build)? } else { target_dir()? };
        // Flags from the environment would replace those of .cargo/config.toml, and simd128 with them.
        run(build.env_remove("RUSTFLAGS").env_remove("CARGO_ENCODED_RUSTFLAGS"))?;
        Ok(target.join(TARGET).join(profile.name()).join(format!("{name}.wasm")))
    }
}

/// The standard library as it is shipped has no atomics: it is compiled too, which stable Rust does only when told to do
/// as nightly does. Apart from all else, because that setting has build scripts run again. Returns cargo's folder.
fn with_threads(build: &mut Command) -> Result<PathBuf> {
    // These come after `.cargo/config.toml`'s, which have simd128.
    let mut flags = vec!["-C".to_owned(), "target-feature=+atomics,+bulk-memory,+mutable-globals".to_owned()];
    flags.extend(THREADS_LINK.iter().flat_map(|arg| ["-C".to_owned(), format!("link-arg={arg}")]));
    build.arg("--config").arg(format!("target.{TARGET}.rustflags={flags:?}"));
    let target = target_dir()?.join("web-threads");
    build.arg("-Zbuild-std=std,panic_abort").arg("--target-dir").arg(&target);
    build.env("RUSTC_BOOTSTRAP", "1");
    Ok(target)
}

/// Whether pkg/wasm has declarations, of whatever age.
pub(crate) fn is_built() -> bool {
    let wasm = root().join("pkg").join("wasm");
    BUILDS.iter().all(|build| wasm.join(build.name).join(format!("{NAME}.d.ts")).is_file())
}

/// Builds them all, and holds the package to its budgets.
pub(crate) fn build(profile: Profile) -> Result<()> {
    setup::without_browser()?;
    notices::write()?;
    let out = root().join("pkg").join("wasm");
    remove_others(&out)?;
    for build in &BUILDS {
        let out = out.join(build.name);
        bindings(&build.compile("relayops-intent", NAME, profile)?, NAME, &out, profile)?;
        let wasm = out.join(format!("{NAME}_bg.wasm"));
        if profile == Profile::Wasm {
            compress(&wasm)?;
        }
        print_size(build.name, &wasm)?;
    }
    copy_models()?;
    copy_sets()?;
    run(&mut npm(&["run", "--silent", "types"]))?;
    budget::check(profile.name())
}

/// Removes from `out` what is no build: what earlier versions left there would ship too.
fn remove_others(out: &Path) -> Result<()> {
    if !out.is_dir() {
        return Ok(());
    }
    for path in folder(out)? {
        if BUILDS.iter().any(|build| path == out.join(build.name)) {
            continue;
        }
        let removed = if path.is_dir() { fs::remove_dir_all(&path) } else { fs::remove_file(&path) };
        removed.with_context(|| path.display().to_string())?;
    }
    Ok(())
}

/// Builds the suites of the kernels and the shaders that tests/web runs.
pub(crate) fn build_kernel_tests() -> Result<()> {
    let out = web_tests().join("wasm-kernels");
    for build in &BUILDS {
        let built = build.compile("relayops-wasm-tests", KERNEL_TESTS, Profile::Ci)?;
        bindings(&built, KERNEL_TESTS, &out.join(build.name), Profile::Ci)?;
    }
    Ok(())
}

/// Builds the package's fastest modules with what the browser benchmark measures inside them, under the package's own
/// names, so that the package's own scripts start them. Returns the folder, which has one for each build.
pub(crate) fn build_bench_modules() -> Result<PathBuf> {
    let out = target_dir()?.join("bench-web").join("wasm");
    for build in BUILDS.iter().filter(|build| build.relaxed_simd) {
        let built = build.compile("relayops-bench-wasm", BENCH, Profile::Wasm)?;
        bindings(&built, NAME, &out.join(build.name), Profile::Wasm)?;
    }
    Ok(out)
}

/// Writes the JavaScript side of `built` and the module without its custom sections to `out`,
/// unless that is what is there.
fn bindings(built: &Path, name: &str, out: &Path, profile: Profile) -> Result<()> {
    let input = fs::read(built).with_context(|| built.display().to_string())?;
    // The digest, not the date: going back to the other profile changes the input for an older one.
    let wanted = format!("{:x} {}", Sha256::digest(&input), profile.name());
    let stamp = out.join(".built-from-sha256");
    let outputs = [format!("{name}.js"), format!("{name}.d.ts"), format!("{name}_bg.wasm")];
    let complete = outputs.iter().all(|name| out.join(name).is_file());
    if complete && fs::read_to_string(&stamp).is_ok_and(|found| found == wanted) {
        eprintln!("{} is current", out.display());
        return Ok(());
    }
    if out.exists() {
        fs::remove_dir_all(out).with_context(|| out.display().to_string())?;
    }
    let mut bindgen = Bindgen::new();
    bindgen.input_path(built).out_name(name).typescript(true);
    // Names are for stack traces; users would download them for nothing.
    bindgen.remove_name_section(profile == Profile::Wasm).remove_producers_section(true);
    bindgen.web(true)?.generate(out).context("wasm-bindgen")?;
    fs::write(&stamp, wanted).with_context(|| stamp.display().to_string())
}

/// Puts the brotli form beside a file, so that a server need not make it while a page waits.
fn compress(file: &Path) -> Result<()> {
    let packed = file.with_extension("wasm.br");
    if packed.is_file() {
        return Ok(());
    }
    let bytes = fs::read(file).with_context(|| file.display().to_string())?;
    let mut out = Vec::new();
    brotli::BrotliCompress(&mut bytes.as_slice(), &mut out, &brotli::enc::BrotliEncoderParams::default())?;
    fs::write(&packed, out).with_context(|| packed.display().to_string())
}

/// Copies the packs of models/ to pkg/models, since npm takes no files from above its folder. Adapters stay: they are of
/// use only beside a base that is no part of the package.
fn copy_models() -> Result<()> {
    let out = root().join("pkg").join("models");
    if out.exists() {
        fs::remove_dir_all(&out).with_context(|| out.display().to_string())?;
    }
    for pack in packs()? {
        let Some(name) = pack.file_name() else { continue };
        let to = out.join(name);
        fs::create_dir_all(&to).with_context(|| to.display().to_string())?;
        for file in folder(&pack)? {
            let Some(name) = file.file_name() else { continue };
            fs::copy(&file, to.join(name)).with_context(|| file.display().to_string())?;
        }
    }
    Ok(())
}

/// Folders of the packs that ship; adapters, which lie beside them, do not come with the package.
pub(crate) fn packs() -> Result<Vec<PathBuf>> {
    let all = folder(&root().join("models"))?;
    Ok(all.into_iter().filter(|path| path.join("pack.json").is_file()).collect())
}

/// Copies the set that the page evaluates models on to www/data, since www/ is all that a host of the page has.
fn copy_sets() -> Result<()> {
    let out = root().join("www").join("data");
    fs::create_dir_all(&out).with_context(|| out.display().to_string())?;
    let set = root().join("data").join("adversarial.jsonl");
    fs::copy(&set, out.join("adversarial.jsonl")).with_context(|| set.display().to_string())?;
    Ok(())
}

/// What is in `path`.
fn folder(path: &Path) -> Result<Vec<PathBuf>> {
    let entries = fs::read_dir(path).with_context(|| path.display().to_string())?;
    entries.map(|entry| Ok(entry?.path())).collect()
}

fn print_size(build: &str, module: &Path) -> Result<()> {
    let bytes = fs::read(module).with_context(|| module.display().to_string())?;
    let mut packed = GzEncoder::new(Vec::new(), Compression::best());
    packed.write_all(&bytes)?;
    let packed = packed.finish()?.len();
    println!("pkg/wasm/{build}/{NAME}_bg.wasm: {} bytes, {packed} with gzip", bytes.len());
    Ok(())
}
