//! The API's description against the server that runs: schemathesis sends what it allows and what it forbids.

use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Child, Command, Stdio};

use anyhow::{Context, Result, bail};

use crate::run::{root, run, target_dir};

/// Requests for each operation and kind of test.
const EXAMPLES: &str = "40";

/// With it, what happens without one is tested too.
const TOKEN: &str = "api-test-token-0123456789";

/// Ends without an answer only when the server does; native tests read it.
const STREAM: &str = "/api/escalations/stream";

/// Asks everything that the description offers.
pub(crate) fn check(python: &Path, tool: &Path) -> Result<()> {
    let folder = target_dir()?.join("api-tests").join("inbox");
    if folder.exists() {
        std::fs::remove_dir_all(&folder).with_context(|| folder.display().to_string())?;
    }
    std::fs::create_dir_all(&folder).with_context(|| folder.display().to_string())?;
    let token_file = folder.join("token");
    std::fs::write(&token_file, TOKEN).with_context(|| token_file.display().to_string())?;
    let mut server = Server::start(tool, &folder.join("inbox.sqlite3"), &token_file)?;
    let schemathesis = python.with_file_name(format!("schemathesis{}", std::env::consts::EXE_SUFFIX));
    let mut command = Command::new(schemathesis);
    // Its caches stay out of the checkout.
    command.current_dir(&folder).args(["run", &format!("{}/api/openapi.json", server.origin)]);
    command.args(["--checks", "all", "--max-examples", EXAMPLES, "--exclude-path", STREAM]);
    command.args(["--request-timeout", "20", "--seed", "1", "--no-color", "--generation-database", "none"]);
    command.args(["--header", &format!("Authorization: Bearer {TOKEN}")]);
    let result = run(&mut command);
    server.stop();
    result
}

/// Stopped when it is dropped.
struct Server {
    child: Child,
    origin: String,
}

impl Server {
    fn start(tool: &Path, inbox: &Path, token_file: &Path) -> Result<Self> {
        let mut command = Command::new(tool);
        command.args(["serve", "--port", "0", "--rate", "100000", "--burst", "100000", "--log", "off"]);
        command.arg("--root").arg(root()).arg("--inbox").arg(inbox).arg("--token-file").arg(token_file);
        let mut child = command.stdout(Stdio::piped()).spawn().context("the server could not be started")?;
        let out = child.stdout.take().context("the server has no output")?;
        let mut server = Self { child, origin: String::new() };
        let mut line = String::new();
        BufReader::new(out).read_line(&mut line)?;
        match line.trim().strip_prefix("listening on ") {
            Some(origin) => server.origin = origin.trim_end_matches('/').to_owned(),
            None => bail!("the server did not listen"),
        }
        Ok(server)
    }

    fn stop(&mut self) {
        // Errors mean that it has ended already.
        drop(self.child.kill());
        drop(self.child.wait());
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.stop();
    }
}
