//! From a fresh clone to the page in a browser.

use std::path::PathBuf;

use anyhow::{Context, Result};
use etcetera::BaseStrategy;

use crate::run::{binary, cargo, command, root, run};
use crate::{setup, web};

/// The model that the page opens with.
const MODEL: &str = "qwen2.5-0.5b";

/// Builds, fetches and, if asked to, serves on `port`.
pub(crate) fn start(port: u16, models: Option<PathBuf>, serve: bool) -> Result<()> {
    setup::without_browser()?;
    web::build(web::Profile::Wasm)?;
    run(&mut cargo(&["build", "--release", "--bin", "relayops-intent"]))?;
    let tool = binary("release")?.to_string_lossy().into_owned();
    let models = match models {
        Some(folder) => std::path::absolute(folder)?,
        None => models_dir()?,
    };
    // Keeps a file that is there and verifies, continues one that broke off.
    let mut fetch = command(&tool, &["fetch", MODEL, "--out"]);
    fetch.arg(&models);
    if let Some(shelf) = std::env::var_os("RELAYOPS_TEST_MODELS").filter(|shelf| !shelf.is_empty()) {
        fetch.arg("--from").arg(std::path::absolute(shelf)?);
    }
    run(&mut fetch)?;
    let port_text = port.to_string();
    let mut server = command(&tool, &["serve", "--port", &port_text, "--root"]);
    server.arg(root()).arg("--models").arg(&models);
    if !serve {
        println!("ready; the model is in {}", models.display());
        return Ok(());
    }
    match port {
        0 => println!("serving on the address that follows; Ctrl-C stops"),
        port => println!("open http://127.0.0.1:{port}/ ; Ctrl-C stops"),
    }
    run(&mut server)
}

/// The folder that the command line tool uses by default.
fn models_dir() -> Result<PathBuf> {
    if let Some(folder) = std::env::var_os("RELAYOPS_MODELS").filter(|folder| !folder.is_empty()) {
        return std::path::absolute(folder).context("RELAYOPS_MODELS");
    }
    let platform = etcetera::base_strategy::choose_native_strategy()
        .context("there is no cache folder: name one with --models")?;
    Ok(platform.cache_dir().join("relayops-intent").join("models"))
}
