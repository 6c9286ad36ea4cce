//! Everything that is not a test: format, lints, documentation, types, dependencies.

use anyhow::Result;

use crate::run::{Steps, WEBGPU, cargo, npm, run};
use crate::{deny, setup, web};

/// The profile of the tests, so that what both need is built once.
const PROFILE: &str = "--profile=ci";

/// Runs every check, also after one failed; `not_run` is told the name of what could not be checked, and why.
pub(crate) fn all(not_run: &dyn Fn(&str, &str) -> Result<()>) -> Result<()> {
    setup::without_browser()?;
    let mut steps = Steps::default();
    steps.run("format", || {
        run(&mut cargo(&["fmt", "--all", "--check"]))?;
        run(&mut cargo(&["fmt", "--manifest-path", "fuzz/Cargo.toml", "--check"]))
    });
    steps.run("clippy, native", || {
        run(&mut cargo(&["clippy", "--workspace", "--all-targets", PROFILE, WEBGPU, "--", "-D", "warnings"]))
    });
    steps.run("clippy, wasm32", || {
        let target = ["--target", "wasm32-unknown-unknown"];
        let mut clippy = cargo(&["clippy", "--lib", PROFILE]);
        for package in ["relayops-intent", "relayops-wasm-tests", "relayops-bench-wasm"] {
            clippy.args(["-p", package]).arg(format!("--features={package}/relaxed-simd"));
        }
        // Flags from the environment would replace those of .cargo/config.toml.
        clippy.env_remove("RUSTFLAGS").env_remove("CARGO_ENCODED_RUSTFLAGS");
        clippy.args([WEBGPU, "--features=relayops-wasm-tests/webgpu"]);
        run(clippy.args(target).args(["--", "-D", "warnings"]))
    });
    steps.run("rustdoc", || {
        let mut doc = cargo(&["doc", "--no-deps", "--workspace", PROFILE, WEBGPU]);
        run(doc.env("RUSTDOCFLAGS", "-D warnings"))
    });
    steps.run("types (tsc, strict)", || {
        // pkg/ imports the generated module, so its declarations have to be there.
        if !web::is_built() {
            web::build(web::Profile::Ci)?;
        }
        run(&mut npm(&["run", "--silent", "check"]))
    });
    steps.run("types of the benchmark", || {
        setup::bench_node_modules()?;
        run(&mut npm(&["run", "--silent", "check:bench"]))
    });
    steps.run("dependencies", || dependencies(not_run));
    steps.finish()
}

/// Dependencies alone.
pub(crate) fn dependencies(not_run: &dyn Fn(&str, &str) -> Result<()>) -> Result<()> {
    match deny::check()? {
        Some(reason) => not_run("advisories of dependencies", &reason),
        None => Ok(()),
    }
}
