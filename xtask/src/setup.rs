//! What building and testing need, installed where this machine lacks it.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, anyhow, bail};
use sha2::{Digest, Sha256};

use crate::run::{command, npm_in, output, root, run, target_dir, web_bench, web_tests};

const WASM: &str = "wasm32-unknown-unknown";
const COMPONENTS: [&str; 3] = ["rustfmt", "clippy", "rust-src"];
const NODE_MAJOR: u32 = 20;
const PYTHON: (u32, u32) = (3, 11);
const BROWSERS: [&str; 4] = ["chromium", "chromium-browser", "google-chrome", "google-chrome-stable"];
const MAC_CHROME: &str = "/Applications/Google Chrome.app/Contents/MacOS/Google Chrome";

/// Everything.
pub(crate) fn all() -> Result<()> {
    without_browser()?;
    let browser = chromium()?;
    eprintln!("setup: ready; browser {}", browser.display());
    Ok(())
}

/// Everything that the page itself needs.
pub(crate) fn without_browser() -> Result<()> {
    rust()?;
    node_modules()
}

/// Target and components of rust-toolchain.toml. rustup adds them by itself only where
/// RUSTUP_AUTO_INSTALL allows it.
pub(crate) fn rust() -> Result<()> {
    let Ok(targets) = output(&mut command("rustup", &["target", "list", "--installed"])) else {
        return rust_without_rustup();
    };
    if !targets.lines().any(|line| line.trim() == WASM) {
        run(&mut command("rustup", &["target", "add", WASM]))?;
    }
    let installed = output(&mut command("rustup", &["component", "list", "--installed"]))?;
    for component in COMPONENTS {
        // Host components are listed with the host's name behind theirs.
        if !installed.lines().any(|line| line.trim().starts_with(component)) {
            run(&mut command("rustup", &["component", "add", component]))?;
        }
    }
    Ok(())
}

fn rust_without_rustup() -> Result<()> {
    let sysroot = output(&mut command("rustc", &["--print", "sysroot"]))?;
    let target = Path::new(sysroot.trim()).join("lib").join("rustlib").join(WASM);
    if target.is_dir() {
        return Ok(());
    }
    bail!("the Rust target {WASM} is missing and there is no rustup to add it: install https://rustup.rs")
}

/// Node and the locked packages of tests/web.
pub(crate) fn node_modules() -> Result<()> {
    node()?;
    locked_packages(&web_tests())
}

/// The locked packages of the browser benchmark: the peers.
pub(crate) fn bench_node_modules() -> Result<()> {
    node()?;
    locked_packages(&web_bench())
}

fn locked_packages(folder: &Path) -> Result<()> {
    let install = || run(&mut npm_in(folder, &["ci", "--no-audit", "--no-fund"]));
    once(&folder.join("package-lock.json"), &folder.join("node_modules"), install)
}

/// The Python that exports the benchmark's peer, with its packages, in a folder of its own under
/// cargo's.
pub(crate) fn bench_python() -> Result<PathBuf> {
    python(&target_dir()?.join("bench-web").join("venv"), &web_bench().join("requirements.txt"))
}

/// The Python that has schemathesis.
pub(crate) fn api_python() -> Result<PathBuf> {
    let list = root().join("tests").join("api").join("requirements.txt");
    python(&target_dir()?.join("api-tests").join("venv"), &list)
}

/// A subcommand of cargo, as `xtask/tools/<name>.txt` pins it, in a folder of its own under cargo's.
pub(crate) fn cargo_tool(name: &str) -> Result<PathBuf> {
    let list = root().join("xtask").join("tools").join(format!("{name}.txt"));
    let python = python(&target_dir()?.join("tools").join(name), &list)?;
    Ok(python.with_file_name(format!("{name}{}", std::env::consts::EXE_SUFFIX)))
}

/// A Python of its own in `venv`, with the packages of `requirements`.
fn python(venv: &Path, requirements: &Path) -> Result<PathBuf> {
    let python =
        if cfg!(windows) { venv.join("Scripts").join("python.exe") } else { venv.join("bin").join("python") };
    once(requirements, venv, || {
        let system = python_program()?;
        let create = [Path::new("-m"), Path::new("venv"), Path::new("--clear"), venv];
        run(&mut command(system, &create)).context("on Debian, python3-venv has the module venv")?;
        let mut install = command(&python.to_string_lossy(), &["-m", "pip", "install", "--quiet", "-r"]);
        run(install.arg(requirements))
    })?;
    Ok(python)
}

/// A Python that is new enough for the pinned packages.
fn python_program() -> Result<&'static str> {
    let check = format!("import sys; sys.exit(sys.version_info < {PYTHON:?})");
    let fits = |name: &&str| output(&mut command(name, &["-c", &check])).is_ok();
    let (major, minor) = PYTHON;
    ["python3", "python"]
        .into_iter()
        .find(fits)
        .ok_or_else(|| anyhow!("Python {major}.{minor} or later is needed: install it"))
}

/// Calls `install`, which fills `folder` as `list` says, unless it did so for the same list.
fn once(list: &Path, folder: &Path, install: impl FnOnce() -> Result<()>) -> Result<()> {
    let text = fs::read(list).with_context(|| list.display().to_string())?;
    let wanted = format!("{:x}", Sha256::digest(&text));
    // Written last, so that an install that broke off is repeated.
    let stamp = folder.join(".installed-lock-sha256");
    if fs::read_to_string(&stamp).is_ok_and(|found| found == wanted) {
        return Ok(());
    }
    install()?;
    fs::create_dir_all(folder)?;
    fs::write(&stamp, wanted).with_context(|| stamp.display().to_string())
}

fn node() -> Result<()> {
    let remedy = || format!("install Node.js {NODE_MAJOR} or later (https://nodejs.org)");
    let version = output(&mut command("node", &["--version"])).with_context(remedy)?;
    let major = version.trim().trim_start_matches('v').split('.').next().unwrap_or_default();
    match major.parse::<u32>() {
        Ok(major) if major >= NODE_MAJOR => Ok(()),
        _ => Err(anyhow!("found Node.js {}", version.trim())).with_context(remedy),
    }
}

/// The browser that the tests drive, installed where that can be done unasked.
pub(crate) fn chromium() -> Result<PathBuf> {
    if let Some(named) = std::env::var_os("CHROMIUM").filter(|named| !named.is_empty()) {
        let path = PathBuf::from(named);
        if !path.is_file() {
            bail!("CHROMIUM names {}, which is not a file", path.display());
        }
        return Ok(path);
    }
    if let Some(found) = find_browser() {
        return Ok(found);
    }
    if is_debian() && is_root() {
        let install = ["install", "-y", "--no-install-recommends", "chromium"];
        let installed = run(&mut command("apt-get", &["update"]))
            .and_then(|()| run(command("apt-get", &install).env("DEBIAN_FRONTEND", "noninteractive")));
        match (installed, find_browser()) {
            (_, Some(found)) => return Ok(found),
            (Err(error), None) => eprintln!("setup: {error:#}"),
            (Ok(()), None) => {}
        }
    }
    let remedy = if is_debian() {
        "run `sudo apt-get update && sudo apt-get install -y chromium`"
    } else {
        "install Chromium or Google Chrome"
    };
    bail!("the browser tests need Chromium: {remedy}, or set CHROMIUM to the path of its binary")
}

/// nginx, for the test of its configuration; installed without being started where that can be done unasked. Without it
/// the test says that it did not run.
pub(crate) fn nginx() {
    let found = || output(&mut command("nginx", &["-v"])).is_ok() || Path::new("/usr/sbin/nginx").is_file();
    if found() || !is_debian() || !is_root() {
        return;
    }
    let install = ["install", "-y", "--no-install-recommends", "nginx-light"];
    let installed = run(&mut command("apt-get", &["update"])).and_then(|()| {
        let mut apt = command("apt-get", &install);
        // The run level in which nothing is started.
        run(apt.env("DEBIAN_FRONTEND", "noninteractive").env("RUNLEVEL", "1"))
    });
    if let Err(error) = installed {
        eprintln!("setup: {error:#}");
    }
}

fn find_browser() -> Option<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let folders: Vec<_> = std::env::split_paths(&path).collect();
    let on_path = BROWSERS.iter().flat_map(|name| folders.iter().map(move |folder| folder.join(name)));
    on_path.chain([PathBuf::from(MAC_CHROME)]).find(|candidate| candidate.is_file())
}

fn is_debian() -> bool {
    fs::read_to_string("/etc/os-release").is_ok_and(|text| text.lines().any(|line| line == "ID=debian"))
}

fn is_root() -> bool {
    output(&mut command("id", &["-u"])).is_ok_and(|id| id.trim() == "0")
}
