//! Killed under load, many times: what was acknowledged is there.

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader};
use std::net::SocketAddr;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use crate::kit::{Client, folder, inbox_file, key, message};

const KILLS: u64 = 25;
const CLIENTS: usize = 8;

/// The server as a process of its own, with its address.
fn start(root: &Path) -> (Child, SocketAddr) {
    let mut child = Command::new(env!("CARGO_BIN_EXE_relayops-intent"))
        .args(["serve", "--port", "0", "--rate", "1000000", "--burst", "1000000", "--log", "off", "--root"])
        .arg(root)
        .arg("--inbox")
        .arg(inbox_file(root))
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut line = String::new();
    BufReader::new(child.stdout.take().unwrap()).read_line(&mut line).unwrap();
    let address = line.trim().trim_start_matches("listening on http://").trim_end_matches('/');
    let address = address.parse().unwrap_or_else(|error| panic!("{error}: {line:?}"));
    (child, address)
}

/// Sends until the server is gone; the numbers that were acknowledged, and those that were sent and were not.
fn send(address: SocketAddr, numbers: &AtomicU64) -> (Vec<u64>, Vec<u64>) {
    let client = Client::new(address);
    let mut acknowledged = Vec::new();
    loop {
        let number = numbers.fetch_add(1, Ordering::Relaxed);
        match client.try_submit(&key(number), &message(&format!("message {number}"))) {
            Ok(answer) if answer.status == 201 => acknowledged.push(number),
            Ok(answer) if answer.status == 503 => return (acknowledged, vec![number]),
            Ok(answer) => panic!("{}: {}", answer.status, answer.body),
            Err(_) => return (acknowledged, vec![number]),
        }
    }
}

#[test]
fn kill_9_loses_nothing_that_was_acknowledged() {
    let folder = folder();
    let numbers = AtomicU64::new(0);
    let (mut acknowledged, mut open) = (Vec::new(), Vec::new());
    for round in 0..KILLS {
        let (mut child, address) = start(folder.path());
        let killed_after = Duration::from_millis(40 + 37 * round % 300);
        std::thread::scope(|scope| {
            let senders: Vec<_> = (0..CLIENTS).map(|_| scope.spawn(|| send(address, &numbers))).collect();
            std::thread::sleep(killed_after);
            // SIGKILL where there are signals.
            child.kill().unwrap();
            for sender in senders {
                let (sent, unsure) = sender.join().unwrap();
                acknowledged.extend(sent);
                open.extend(unsure);
            }
        });
        child.wait().unwrap();
    }
    let (mut child, address) = start(folder.path());
    let client = Client::new(address);
    let mut stored: BTreeMap<String, usize> = BTreeMap::new();
    for item in client.all() {
        *stored.entry(item["text"].as_str().unwrap().to_owned()).or_default() += 1;
    }
    let lost: Vec<_> =
        acknowledged.iter().filter(|number| !stored.contains_key(&format!("message {number}"))).collect();
    println!("MEASURED inbox killed {KILLS} times: {} acknowledged, {} lost", acknowledged.len(), lost.len());
    assert!(acknowledged.len() > 100, "there was load: {}", acknowledged.len());
    assert!(lost.is_empty(), "{lost:?}");
    assert!(stored.values().all(|count| *count == 1), "none is there twice");
    // Those in between are sent again, as an outbox does, and are there once then.
    for number in &open {
        let answer = client.submit(&key(*number), &message(&format!("message {number}")));
        let known = stored.contains_key(&format!("message {number}"));
        assert_eq!(answer.status, if known { 200 } else { 201 });
    }
    let after = client.all();
    assert_eq!(after.len(), acknowledged.len() + open.len());
    child.kill().unwrap();
    child.wait().unwrap();
}
