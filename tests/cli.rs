//! The command line, as a program is run.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test fails by panicking")]

use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

use relayops_intent::profile::Part;
use relayops_testkit::{QWEN_05B, TinyQwen2, real_model};
use serde_json::Value;

struct Model {
    _folder: tempfile::TempDir,
    path: PathBuf,
}

fn tiny() -> Model {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("tiny.gguf");
    TinyQwen2::default().write_file(&path).unwrap();
    Model { _folder: folder, path }
}

fn relayops(args: &[&str], input: &str) -> Output {
    let mut child = Command::new(env!("CARGO_BIN_EXE_relayops-intent"))
        .args(args)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let mut stdin = child.stdin.take().unwrap();
    // A command that refuses its arguments never reads.
    let _ = stdin.write_all(input.as_bytes());
    drop(stdin);
    child.wait_with_output().unwrap()
}

fn classify(model: &Path, args: &[&str], input: &str) -> Output {
    relayops(&[&["classify", "--model", model.to_str().unwrap()], args].concat(), input)
}

fn stdout(output: &Output) -> String {
    String::from_utf8(output.stdout.clone()).unwrap()
}

fn stderr(output: &Output) -> String {
    String::from_utf8(output.stderr.clone()).unwrap()
}

fn assert_is_result(line: &str) -> Value {
    let result: Value = serde_json::from_str(line).unwrap();
    let keys: Vec<&String> = result.as_object().unwrap().keys().collect();
    let expected = [
        "intent",
        "json",
        "confidence",
        "probabilities",
        "margin",
        "decision",
        "stage",
        "backend",
        "threads",
        "ms",
    ];
    assert_eq!(keys, expected);
    let probabilities = result["probabilities"].as_object().unwrap();
    let sum: f64 = probabilities.values().map(|p| p.as_f64().unwrap()).sum();
    assert!(probabilities.len() == 6 && (sum - 1.0).abs() < 1e-5, "{line}");
    assert_eq!(result["json"], format!("{{\"intent\": {}}}", result["intent"]));
    result
}

#[test]
fn prints_strict_json_a_line_and_nothing_else() {
    let model = tiny();
    let output = classify(&model.path, &["my internet is down", "<|im_end|>"], "");
    assert!(output.status.success() && output.stderr.is_empty(), "{}", stderr(&output));
    let labels = ["reset_device", "device_status", "device_faq", "billing", "greeting", "unknown"];
    let lines = stdout(&output);
    assert_eq!(lines.lines().count(), 2);
    for line in lines.lines() {
        assert!(labels.iter().any(|label| line == format!("{{\"intent\": \"{label}\"}}")), "{line}");
    }
}

#[test]
fn json_prints_the_whole_result() {
    let model = tiny();
    let output = classify(&model.path, &["--json", "hello"], "");
    assert_is_result(stdout(&output).trim());
    let output = classify(&model.path, &["--json", "--token-confidence", "hello"], "");
    let result: Value = serde_json::from_str(&stdout(&output)).unwrap();
    let confidence = result["token_confidence"].as_f64().unwrap();
    assert!(confidence > 0.0 && confidence < 1.0);
}

#[test]
fn jsonl_streams_line_for_line_from_a_file_and_from_standard_input() {
    let model = tiny();
    let lines = "{\"text\": \"hello\", \"id\": 7}\n\n{\"text\": \"is it up?\"}\n";
    let piped = classify(&model.path, &["--json", "--jsonl", "-"], lines);
    assert!(piped.status.success(), "{}", stderr(&piped));
    assert_eq!(stdout(&piped).lines().map(assert_is_result).count(), 2);
    let file = model.path.with_file_name("messages.jsonl");
    std::fs::write(&file, lines).unwrap();
    let read = classify(&model.path, &["--jsonl", file.to_str().unwrap()], "");
    let expected: Vec<String> = stdout(&piped)
        .lines()
        .map(|line| assert_is_result(line)["json"].as_str().unwrap().to_owned())
        .collect();
    assert_eq!(stdout(&read).lines().collect::<Vec<_>>(), expected);
}

#[test]
fn a_bad_line_escalates_is_named_and_the_others_are_answered() {
    let model = tiny();
    let long = "a".repeat(2_001);
    let lines = format!(
        "not json\n{{\"text\": \" \"}}\n{{\"text\": \"hello\"}}\n{{\"text\": 5}}\n{{\"text\": \"{long}\"}}\n"
    );
    let output = classify(&model.path, &["--json", "--threshold", "0.5", "--jsonl", "-"], &lines);
    assert_eq!(output.status.code(), Some(1));
    let text = stdout(&output);
    let mut results: Vec<Value> = text.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert!(results.remove(2)["confidence"].is_f64());
    let reasons: Vec<&str> = results.iter().map(|r| r["decision"]["reason"].as_str().unwrap()).collect();
    assert_eq!(
        reasons,
        ["error:invalid_argument", "error:empty_message", "error:invalid_argument", "too_long"]
    );
    for result in &results {
        assert_eq!(
            (&result["intent"], &result["decision"]["route"]),
            (&"unknown".into(), &"escalate".into())
        );
        assert_eq!((&result["confidence"], &result["probabilities"]), (&Value::Null, &Value::Null));
    }
    for place in ["standard input:1", "standard input:2", "standard input:4"] {
        assert!(stderr(&output).contains(place), "{}", stderr(&output));
    }
}

#[test]
fn bad_usage_exits_2_and_names_the_argument() {
    let model = tiny();
    let path = model.path.to_str().unwrap();
    for (args, named) in [
        (vec!["classify", "--model", "nothing", "hello"], "--model"),
        (vec!["classify", "--model", path], "TEXT"),
        (vec!["classify", "--model", path, "hello", "  "], "TEXT 2"),
        (vec!["classify", "--model", path, "--threshold", "2", "hello"], "--threshold"),
        (vec!["classify", "--model", path, "--jsonl", "-", "hello"], "--jsonl"),
        (vec!["classify", "--model", path, "--token-confidence", "hello"], "--json"),
        (vec!["fetch", "qwen9"], "qwen9"),
        (vec!["serve", "--host", "0.0.0.0"], "host"),
        (vec!["nonsense"], "nonsense"),
    ] {
        let output = relayops(&args, "");
        assert_eq!(output.status.code(), Some(2), "{args:?}: {}", stderr(&output));
        assert!(stderr(&output).contains(named), "{args:?}: {}", stderr(&output));
        assert!(output.stdout.is_empty());
    }
}

#[test]
fn failures_exit_1_and_name_the_file() {
    let model = tiny();
    let cut = model.path.with_file_name("cut.gguf");
    let bytes = std::fs::read(&model.path).unwrap();
    std::fs::write(&cut, &bytes[..bytes.len() / 2]).unwrap();
    let missing = model.path.with_file_name("missing.gguf");
    for (path, code) in [(&cut, "truncated"), (&missing, "io")] {
        let output = classify(path, &["hello"], "");
        assert_eq!(output.status.code(), Some(1));
        assert!(stderr(&output).starts_with(&format!("relayops-intent: {code}: {}", path.display())));
    }
}

#[test]
fn every_command_has_help() {
    for command in ["classify", "eval", "dataset", "train", "pack", "fetch", "serve", "bench"] {
        let output = relayops(&[command, "--help"], "");
        assert!(output.status.success() && stdout(&output).contains("Usage:"), "{command}");
    }
}

#[test]
fn the_system_prompt_can_be_replaced() {
    let model = tiny();
    let file = model.path.with_file_name("prompt.txt");
    std::fs::write(&file, "Label it.").unwrap();
    let with = |args: &[&str]| {
        assert_is_result(stdout(&classify(&model.path, args, "")).trim())["probabilities"].clone()
    };
    let prompted = with(&["--json", "--system-prompt", file.to_str().unwrap(), "hello"]);
    assert_ne!(prompted, with(&["--json", "hello"]));
}

/// What `bench` says of the tiny model, with label flips over two messages.
fn bench(further: &[&str]) -> String {
    let model = tiny();
    let messages = model.path.with_file_name("messages.jsonl");
    std::fs::write(&messages, "{\"text\": \"hello\"}\n{\"text\": \"is it up?\"}\n").unwrap();
    let (model, messages) = (model.path.to_str().unwrap(), messages.to_str().unwrap());
    let args = ["bench", "--model", model, "--rounds", "1", "--flips", messages];
    let output = relayops(&[&args, further].concat(), "");
    assert!(output.status.success(), "{}", stderr(&output));
    stdout(&output)
}

#[test]
fn bench_prints_its_table() {
    let table = bench(&[]);
    let row = |start: &str| {
        table.lines().find(|line| line.starts_with(start)).unwrap_or_else(|| panic!("{start}: {table}"))
    };
    for start in ["load ", "  of it prefix ", "weights ", "exact weights"] {
        row(start);
    }
    assert!(row("message, ms").ends_with("n = 10"), "{table}");
    for start in [" 1 together", " 8 together", "32 together"] {
        let numbers: Vec<f64> = row(start).split([' ', ',']).filter_map(|word| word.parse().ok()).collect();
        let [_, each, rate, n] = numbers[..] else { panic!("{}", row(start)) };
        // Both are rounded to a tenth.
        assert!(
            n == 1.0 && each > 0.0 && (rate - 1e3 / each).abs() < 0.06 * (1.0 + 1e3 / each / each),
            "{table}"
        );
    }
    let share = |start: &str| -> f64 {
        let (_, share) = row(start).trim_end_matches('%').rsplit_once(' ').unwrap();
        share.parse().unwrap()
    };
    let parts = Part::ALL.map(|part| share(&format!("  {} ", part.name())));
    let all = parts.iter().sum::<f64>() + share("  all else ");
    assert!((all - 100.0).abs() < 0.6, "{all}: {table}");
    let matmul: f64 = Part::ALL.iter().zip(parts).filter(|(part, _)| part.is_matmul()).map(|(_, p)| p).sum();
    assert!(matmul > 0.0 && (share("outside matmul ") - (100.0 - matmul)).abs() < 0.6, "{table}");
}

#[test]
fn bench_prints_one_object() {
    let printed = bench(&["--json"]);
    let all: Value = serde_json::from_str(&printed).unwrap();
    let number = |value: &Value| value.as_f64().unwrap_or_else(|| panic!("{printed}"));
    let positive = |value: &Value| assert!(number(value) > 0.0, "{printed}");
    assert_eq!(all["stages"][0]["stage"], "qwen2");
    for name in ["threads", "load_seconds", "weight_bytes"] {
        positive(&all[name]);
    }
    // Two layers with keys and values of 2 heads of 64, 4 bytes each.
    let prefix = &all["prefix"];
    assert_eq!(
        number(&prefix["bytes"]),
        number(&prefix["tokens"]) * f64::from(2 * 2 * 2 * 64 * 4),
        "{printed}"
    );
    assert!(number(&prefix["ms"]) > 0.0 && number(&prefix["ms"]) < 1e3 * number(&all["load_seconds"]));
    let message = &all["message"];
    let [p10, median, p90] = ["p10_ms", "median_ms", "p90_ms"].map(|name| number(&message[name]));
    assert!(0.0 < p10 && p10 <= median && median <= p90 && message["n"] == 10, "{printed}");
    for (throughput, together) in all["throughput"].as_array().unwrap().iter().zip([1, 8, 32]) {
        assert!(throughput["together"] == together && throughput["n"] == 1, "{printed}");
        let product = number(&throughput["ms_each"]) * number(&throughput["messages_per_second"]);
        assert!((product - 1e3).abs() < 1e-6, "{printed}");
    }
    let parts = all["parts"].as_array().unwrap();
    let names: Vec<&str> = parts.iter().map(|part| part["part"].as_str().unwrap()).collect();
    assert_eq!(names, [&Part::ALL.map(Part::name)[..], &["all else"]].concat());
    parts.iter().for_each(|part| positive(&part["ms"]));
    let shares: f64 = parts.iter().map(|part| number(&part["share"])).sum();
    assert!((shares - 1.0).abs() < 1e-9, "{printed}");
    assert!((0.0..1.0).contains(&number(&all["outside_matmul"])), "{printed}");
    assert_eq!((&all["flips"][0]["against"], &all["flips"][0]["n"]), (&"exact weights".into(), &2.into()));
    assert_eq!(all["adapter"], Value::Null);
}

#[test]
fn bench_of_an_encoder_has_no_prefix() {
    let output = relayops(&["bench", "--rounds", "1", "--json"], "");
    assert!(output.status.success(), "{}", stderr(&output));
    let all: Value = serde_json::from_str(&stdout(&output)).unwrap();
    assert_eq!((&all["stages"][0]["stage"], &all["prefix"]), (&"compact".into(), &Value::Null));
}

#[test]
fn real_weights_answer() {
    let Some(path) = real_model("real_weights_answer", QWEN_05B) else { return };
    let output =
        classify(&path, &["--json", "hello there", "please reboot my router", "is my modem online?"], "");
    let intents: Vec<String> = stdout(&output)
        .lines()
        .map(|line| assert_is_result(line)["intent"].as_str().unwrap().to_owned())
        .collect();
    assert_eq!(intents, ["greeting", "reset_device", "device_status"]);
}
