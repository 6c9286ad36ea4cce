//! The server as a process of its own: what it logs, and how a termination request ends it.

use std::io::{BufRead, BufReader, Read};
use std::path::Path;
use std::process::{Child, Command, ExitStatus, Stdio};

use serde_json::{Value, json};

use crate::kit::{Client, folder, inbox_file, key, message};

/// What stands in every message that is sent.
const SAID: &str = "said-by-a-customer";

fn start(root: &Path, further: &[&str]) -> (Child, Client) {
    let mut child = Command::new(env!("CARGO_BIN_EXE_relayops-intent"))
        .args(["serve", "--port", "0", "--root"])
        .arg(root)
        .arg("--inbox")
        .arg(inbox_file(root))
        .args(further)
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let mut line = String::new();
    BufReader::new(child.stdout.take().unwrap()).read_line(&mut line).unwrap();
    let address = line.trim().trim_start_matches("listening on http://").trim_end_matches('/');
    let client = Client::new(address.parse().unwrap_or_else(|error| panic!("{error}: {line:?}")));
    (child, client)
}

/// Asks it to end, as an operator's `systemctl stop` does; its status and its log.
fn terminate(mut child: Child) -> (ExitStatus, String) {
    let asked = Command::new("kill").args(["-TERM", &child.id().to_string()]).status().unwrap();
    assert!(asked.success());
    let mut log = String::new();
    child.stderr.take().unwrap().read_to_string(&mut log).unwrap();
    (child.wait().unwrap(), log)
}

/// A message that is taken, one sent again, some that are refused, and what agents do.
fn talk(client: &Client) {
    let said = message(SAID);
    assert_eq!(client.submit(&key(1), &said).status, 201);
    assert_eq!(client.submit(&key(1), &said).status, 200);
    assert_eq!(client.submit(&key(1), &message(&format!("{SAID} again"))).status, 409);
    let mut broken = said.clone();
    broken["confidence"] = json!(SAID);
    assert_eq!(client.submit(&key(2), &broken).status, 400);
    broken[SAID] = json!(1);
    assert_eq!(client.submit(&key(3), &broken).status, 400);
    assert_eq!(client.patch(1, &json!({"handled": true, "corrected_intent": "billing"})).status, 200);
    assert_eq!(client.get(&format!("/api/escalations?intent={SAID}")).status, 200);
    assert!(client.get("/api/escalations/export?labels=all").body.contains(SAID));
}

#[cfg(unix)]
#[test]
fn the_log_has_no_message_unless_asked_and_a_termination_request_ends_the_server_in_order() {
    for (further, is_logged) in [(&[][..], false), (&["--log-messages"], true)] {
        let folder = folder();
        let (child, client) = start(folder.path(), further);
        talk(&client);
        let (status, log) = terminate(child);
        assert!(status.success(), "{status}");
        let lines: Vec<Value> = log
            .lines()
            .map(|line| serde_json::from_str(line).unwrap_or_else(|error| panic!("{error}: {line}")))
            .collect();
        assert!(lines.iter().filter(|line| line["message"] == "request").count() >= 8, "{log}");
        let stored: Vec<_> = lines.iter().filter(|line| line["message"] == "stored").collect();
        assert_eq!(stored.len(), 2, "{log}");
        assert_eq!(stored[0]["reason"], "intent:billing");
        assert_eq!(log.contains(SAID), is_logged, "{log}");
        assert!(
            !inbox_file(folder.path()).with_extension("sqlite3-wal").exists(),
            "the log of changes is tidied away"
        );
        // And what was acknowledged is there.
        let (child, client) = start(folder.path(), &[]);
        assert_eq!(client.all()[0]["text"], SAID);
        terminate(child);
    }
}
