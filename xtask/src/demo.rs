//! From a fresh clone to the page in a browser.

use std::path::PathBuf;

use anyhow::{Context, Result};

use crate::run::{binary, cargo, command, output, root, run};
use crate::{setup, web};

/// Builds and, if asked to, serves on `port`; `with` names a larger model to fetch and offer.
pub(crate) fn start(port: u16, with: Option<&str>, models: Option<PathBuf>, serve: bool) -> Result<()> {
    setup::without_browser()?;
    web::build(web::Profile::Wasm)?;
    run(&mut cargo(&["build", "--release", "--bin", "relayops-intent"]))?;
    let tool = binary("release")?.to_string_lossy().into_owned();
    let models = match with {
        Some(name) => Some(fetch(&tool, name, models)?),
        None => models,
    };
    let port_text = port.to_string();
    let mut server = command(&tool, &["serve", "--port", &port_text, "--root"]);
    server.arg(root());
    if let Some(models) = models {
        server.arg("--models").arg(models);
    }
    if !serve {
        println!("ready to serve");
        return Ok(());
    }
    match port {
        0 => println!("serving on the address that follows; Ctrl-C stops"),
        port => println!("open http://127.0.0.1:{port}/ ; Ctrl-C stops"),
    }
    run(&mut server)
}

/// Fetches a model and returns its folder. A file that is there and verifies is kept, one that broke off is continued.
fn fetch(tool: &str, name: &str, models: Option<PathBuf>) -> Result<PathBuf> {
    let mut fetch = command(tool, &["fetch", name]);
    if let Some(folder) = models {
        fetch.arg("--out").arg(std::path::absolute(folder)?);
    }
    if let Some(shelf) = std::env::var_os("RELAYOPS_TEST_MODELS").filter(|shelf| !shelf.is_empty()) {
        fetch.arg("--from").arg(std::path::absolute(shelf)?);
    }
    // Prints the path of the file; progress goes to stderr.
    let file = PathBuf::from(output(&mut fetch)?.trim());
    let folder = file.parent().with_context(|| format!("{} is in no folder", file.display()))?;
    Ok(folder.to_owned())
}
