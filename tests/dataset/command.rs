//! `relayops-intent dataset`, as a program is run.

use std::path::Path;
use std::process::{Command, Output};

use relayops_intent::dataset;
use serde_json::Value;

use super::published;

fn relayops(args: &[&str], folder: &Path) -> Output {
    Command::new(env!("CARGO_BIN_EXE_relayops-intent")).args(args).current_dir(folder).output().unwrap()
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8(bytes.to_vec()).unwrap()
}

#[test]
fn without_out_it_prints_a_summary_and_writes_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let output = relayops(&["dataset"], folder.path());
    assert!(output.status.success(), "{}", text(&output.stderr));
    let table = text(&output.stdout);
    for row in [
        "intent ",
        "billing        template_noise",
        "all ",
        "families used",
        "near ",
        "leaks ",
        "train.jsonl ",
    ] {
        assert!(table.lines().any(|line| line.starts_with(row)), "{row}: {table}");
    }
    assert!(table.contains("not written"));
    assert!(output.stderr.is_empty());
    assert_eq!(folder.path().read_dir().unwrap().count(), 0);
}

#[test]
fn with_out_it_writes_what_the_library_gives() {
    let folder = tempfile::tempdir().unwrap();
    let out = folder.path().join("a/b");
    std::fs::create_dir_all(&out).unwrap();
    std::fs::write(out.join("test.jsonl"), "old").unwrap();
    let output = relayops(&["dataset", "--out", "a/b", "--json"], folder.path());
    assert!(output.status.success(), "{}", text(&output.stderr));
    let summary: Value = serde_json::from_slice(&output.stdout).unwrap();
    for (name, part) in published().parts() {
        let file = std::fs::read_to_string(out.join(format!("{name}.jsonl"))).unwrap();
        assert_eq!(file, dataset::jsonl(part).unwrap());
    }
    let files = summary["files"].as_array().unwrap();
    assert_eq!(files.len(), 6);
    for file in files {
        let bytes = std::fs::read(out.join(file["file"].as_str().unwrap())).unwrap();
        assert_eq!(file["sha256"], dataset::sha256(&bytes));
        assert_eq!(file["lines"], text(&bytes).lines().count());
    }
    // Nothing unfinished is left beside them.
    assert_eq!(out.read_dir().unwrap().count(), 4);
    assert_eq!(out.join("chat").read_dir().unwrap().count(), 3);
    assert_eq!((&summary["examples"], &summary["seed"]), (&2400.into(), &13.into()));
    let counts = summary["counts"].as_array().unwrap();
    let test: u64 = counts.iter().map(|count| count["splits"][2].as_u64().unwrap()).sum();
    assert_eq!(test, 720);
    assert_eq!(summary["splits"]["sizes"], serde_json::json!([1428, 252, 720]));
}

#[test]
fn a_folder_that_can_not_be_is_a_failure_that_names_it() {
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("taken"), "").unwrap();
    let output = relayops(&["dataset", "--out", "taken"], folder.path());
    assert_eq!(output.status.code(), Some(1));
    assert!(text(&output.stderr).starts_with("relayops-intent: io: taken"), "{}", text(&output.stderr));
    assert!(output.stdout.is_empty());
    assert_eq!(std::fs::read(folder.path().join("taken")).unwrap(), b"");
}

#[test]
fn bad_usage_and_help() {
    let folder = tempfile::tempdir().unwrap();
    assert_eq!(relayops(&["dataset", "--seed", "7"], folder.path()).status.code(), Some(2));
    let help = relayops(&["dataset", "--help"], folder.path());
    assert!(help.status.success() && text(&help.stdout).contains("--out <DIR>"));
}
