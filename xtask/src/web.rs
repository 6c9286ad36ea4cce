//! pkg/wasm, pkg/types and pkg/models: what the npm package has beside its sources.

use std::fs;
use std::io::Write;
use std::path::Path;

use anyhow::{Context, Result};
use flate2::Compression;
use flate2::write::GzEncoder;
use sha2::{Digest, Sha256};
use wasm_bindgen_cli_support::Bindgen;

use crate::run::{cargo, npm, root, run, target_dir, web_tests};
use crate::{notices, setup};

const TARGET: &str = "wasm32-unknown-unknown";
const NAME: &str = "relayops_intent";
const KERNEL_TESTS: &str = "relayops_wasm_tests";

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

/// Whether pkg/wasm has declarations, of whatever age.
pub(crate) fn is_built() -> bool {
    root().join("pkg").join("wasm").join(format!("{NAME}.d.ts")).is_file()
}

/// Builds them all.
pub(crate) fn build(profile: Profile) -> Result<()> {
    setup::without_browser()?;
    notices::write()?;
    let out = root().join("pkg").join("wasm");
    module("relayops-intent", NAME, &out, profile)?;
    let wasm = out.join(format!("{NAME}_bg.wasm"));
    if profile == Profile::Wasm {
        compress(&wasm)?;
    }
    copy_models()?;
    run(&mut npm(&["run", "--silent", "types"]))?;
    print_size(&wasm)
}

/// Builds the kernel suite that tests/web runs.
pub(crate) fn build_kernel_tests() -> Result<()> {
    let out = web_tests().join("wasm-kernels");
    module("relayops-wasm-tests", KERNEL_TESTS, &out, Profile::Ci)
}

/// Compiles the library of `package` and writes module and bindings to `out`.
fn module(package: &str, name: &str, out: &Path, profile: Profile) -> Result<()> {
    // Flags from the environment would replace those of .cargo/config.toml, and simd128 with them.
    let build = ["build", "--lib", "--package", package, "--target", TARGET, "--profile", profile.name()];
    run(cargo(&build).env_remove("RUSTFLAGS").env_remove("CARGO_ENCODED_RUSTFLAGS"))?;
    let built = target_dir()?.join(TARGET).join(profile.name()).join(format!("{name}.wasm"));
    bindings(&built, name, out, profile)
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
    for pack in folder(&root().join("models"))? {
        let Some(name) = pack.file_name().filter(|_| pack.join("pack.json").is_file()) else { continue };
        let to = out.join(name);
        fs::create_dir_all(&to).with_context(|| to.display().to_string())?;
        for file in folder(&pack)? {
            let Some(name) = file.file_name() else { continue };
            fs::copy(&file, to.join(name)).with_context(|| file.display().to_string())?;
        }
    }
    Ok(())
}

/// What is in `path`.
fn folder(path: &Path) -> Result<Vec<std::path::PathBuf>> {
    let entries = fs::read_dir(path).with_context(|| path.display().to_string())?;
    entries.map(|entry| Ok(entry?.path())).collect()
}

fn print_size(module: &Path) -> Result<()> {
    let bytes = fs::read(module).with_context(|| module.display().to_string())?;
    let mut packed = GzEncoder::new(Vec::new(), Compression::best());
    packed.write_all(&bytes)?;
    let packed = packed.finish()?.len();
    println!("pkg/wasm/{NAME}_bg.wasm: {} bytes, {packed} with gzip", bytes.len());
    Ok(())
}
