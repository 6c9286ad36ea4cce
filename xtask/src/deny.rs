//! What the dependencies are allowed to be: `deny.toml`, by cargo-deny.

use std::process::Command;

use anyhow::Result;

use crate::run::{command, run};
use crate::setup;

/// Checks licences, origins and bans, which needs nothing but the sources; then the advisories, where their database can
/// be fetched. Returns why they were not checked.
pub(crate) fn check() -> Result<Option<String>> {
    run(deny()?.args(["check", "bans", "licenses", "sources"]))?;
    let mut fetch = deny()?;
    // Nobody is asked for a password, and a connection that stalls is given up.
    fetch.env("GIT_TERMINAL_PROMPT", "0");
    fetch.env("GIT_HTTP_LOW_SPEED_LIMIT", "1000").env("GIT_HTTP_LOW_SPEED_TIME", "20");
    if let Err(error) = run(fetch.args(["fetch", "db"])) {
        return Ok(Some(format!("the database of advisories can't be had: {error:#}")));
    }
    run(deny()?.args(["check", "advisories"]))?;
    Ok(None)
}

fn deny() -> Result<Command> {
    let tool = setup::cargo_tool("cargo-deny")?;
    Ok(command(&tool.to_string_lossy(), &["--workspace", "--color", "never"]))
}
