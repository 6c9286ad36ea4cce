//! `relayops-intent eval`, as a program is run.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test fails by panicking")]

use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use relayops_testkit::{QWEN_05B, TinyQwen2, real_model};
use serde_json::Value;

fn relayops(args: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_relayops-intent")).args(args).output().unwrap()
}

fn stdout(output: &Output) -> String {
    String::from_utf8(output.stdout.clone()).unwrap()
}

fn stderr(output: &Output) -> String {
    String::from_utf8(output.stderr.clone()).unwrap()
}

#[track_caller]
fn json(args: &[&str]) -> Value {
    let output = relayops(args);
    assert!(output.status.success(), "{args:?}: {}", stderr(&output));
    serde_json::from_slice(&output.stdout).unwrap()
}

const LINES: &str = r#"{"text": "please restart my router", "intent": "reset_device", "other": 1}

{"text": "why was I charged twice", "intent": "billing", "slice": "money", "group": "a"}
{"text": "is there a fee for that", "intent": "billing", "slice": "money", "group": "a"}
{"text": "hello there", "intent": "unknown"}
"#;

fn file(folder: &Path, name: &str, content: &str) -> String {
    let path = folder.join(name);
    std::fs::write(&path, content).unwrap();
    path.to_str().unwrap().to_owned()
}

fn tiny(folder: &Path) -> PathBuf {
    let path = folder.join("tiny.gguf");
    TinyQwen2::default().write_file(&path).unwrap();
    path
}

#[test]
fn one_model_and_one_file_print_the_object_itself() {
    let folder = tempfile::tempdir().unwrap();
    let lines = file(folder.path(), "lines.jsonl", LINES);
    let result = json(&["eval", "--model", "keyword", "--jsonl", &lines, "--json"]);
    assert_eq!((&result["model"], &result["set"]), (&"keyword".into(), &lines.as_str().into()));
    assert_eq!((&result["n"], &result["units"]), (&4.into(), &3.into()));
    assert_eq!(result["accuracy"], 0.75);
    assert_eq!(result["confusion"]["unknown"]["greeting"], 1);
    assert_eq!(result["per_class"]["billing"]["support"], 2);
    assert_eq!(result["slices"]["money"]["n"], 2);
    assert_eq!(result["unsafe_local_rate"].as_f64().unwrap() * 3.0, result["unsafe_local"].as_f64().unwrap());
    let error = &result["errors"][0];
    assert_eq!(
        (&error["text"], &error["expected"], &error["predicted"]),
        (&"hello there".into(), &"unknown".into(), &"greeting".into())
    );
    assert!(error["confidence"].as_f64().unwrap() > 0.2);
    for field in ["macro_f1", "ece", "coverage", "brier", "nll", "aurc", "augrc", "temperature", "threshold"]
    {
        assert!(result[field].is_number(), "{field}");
    }
    // At threshold 0 all that the policy allows stays: all but what is answered billing.
    let open = json(&["eval", "--model", "keyword", "--jsonl", &lines, "--json", "--threshold", "0"]);
    assert_eq!((&open["coverage"], &open["unsafe_local"]), (&0.5.into(), &1.into()));
}

#[test]
fn several_models_and_sets_print_results_and_differences() {
    let result =
        json(&["eval", "--model", "keyword", "complement-nb", "--set", "dev", "adversarial", "--json"]);
    let results = result["results"].as_array().unwrap();
    let names: Vec<(&str, &str)> =
        results.iter().map(|r| (r["set"].as_str().unwrap(), r["model"].as_str().unwrap())).collect();
    assert_eq!(
        names,
        [
            ("dev", "keyword"),
            ("dev", "complement-nb"),
            ("adversarial", "keyword"),
            ("adversarial", "complement-nb")
        ]
    );
    let differences = result["differences"].as_array().unwrap();
    assert_eq!(differences.len(), 2);
    let accuracy = |index: usize| results[index]["accuracy"].as_f64().unwrap();
    let difference = differences[0]["accuracy"].as_f64().unwrap();
    assert!((difference - (accuracy(1) - accuracy(0))).abs() < 1e-12);
    let interval = differences[0]["accuracy_interval"].as_array().unwrap();
    assert!(interval[0].as_f64().unwrap() < difference && difference < interval[1].as_f64().unwrap());
    assert!(results[2]["near_out_of_scope"]["n"].as_u64().unwrap() >= 10);
}

#[test]
fn without_json_it_is_a_table_and_a_report_is_one_file() {
    let folder = tempfile::tempdir().unwrap();
    let lines = file(folder.path(), "lines.jsonl", LINES);
    let report = folder.path().join("deep/report");
    let output = relayops(&["eval", "--jsonl", &lines, "--report", report.to_str().unwrap()]);
    assert!(output.status.success(), "{}", stderr(&output));
    let text = stdout(&output);
    for expected in ["n = 4, 3 groups", "complement-nb", "macro-F1", "reset_device"] {
        assert!(text.contains(expected), "{expected}: {text}");
    }
    let html = std::fs::read_to_string(report.join("report.html")).unwrap();
    assert!(
        html.starts_with("<!DOCTYPE html>") && html.contains("complement-nb") && !html.contains("<script")
    );
    assert_eq!(std::fs::read_dir(&report).unwrap().count(), 1);
}

#[test]
fn bad_lines_are_named_by_file_and_line() {
    let folder = tempfile::tempdir().unwrap();
    let good = "{\"text\": \"hello\", \"intent\": \"greeting\"}\n";
    for (name, bad, named) in [
        ("a.jsonl", "not json", "a.jsonl:2"),
        ("b.jsonl", "{\"text\": \"x\", \"intent\": \"small_talk\"}", "small_talk"),
        ("c.jsonl", "{\"text\": \" \", \"intent\": \"greeting\"}", "c.jsonl:2"),
        ("d.jsonl", "{\"intent\": \"greeting\"}", "text"),
    ] {
        let path = file(folder.path(), name, &format!("{good}{bad}\n"));
        let output = relayops(&["eval", "--jsonl", &path]);
        assert_eq!(output.status.code(), Some(2), "{name}");
        let text = stderr(&output);
        assert!(text.contains(named) && text.contains(&format!("{name}:2")), "{text}");
        assert!(output.stdout.is_empty());
    }
    let empty = file(folder.path(), "empty.jsonl", "\n");
    assert!(stderr(&relayops(&["eval", "--jsonl", &empty])).contains("holds no message"));
    assert_eq!(relayops(&["eval", "--jsonl", "/no/such/file"]).status.code(), Some(1));
}

#[test]
fn bad_usage_exits_2_and_names_the_option() {
    let folder = tempfile::tempdir().unwrap();
    let model = tiny(folder.path());
    let model = model.to_str().unwrap();
    for (args, named) in [
        (vec!["--model", "nonsense"], "--model"),
        (vec!["--set", "train"], "--set"),
        (vec!["--threshold", "1.5"], "--threshold"),
        (vec!["--sgr-risk", "0"], "--sgr-risk"),
        (vec!["--sgr-risk", "0.1", "--sgr-delta", "1"], "--sgr-delta"),
        (vec!["--sgr-delta", "0.1"], "--sgr-risk"),
        (vec!["--sgr-risk", "0.1", "--threshold", "0.5"], "--threshold"),
        (vec!["--model", "keyword", "--system-prompt", model], "--system-prompt"),
        (vec!["--model", "keyword", "complement-nb", "--save-config", "x"], "--save-config"),
        (vec!["--model", "keyword", "keyword"], "--model"),
        (vec!["--set", "adversarial", "adversarial"], "--set"),
        (vec!["--jsonl", model, "--jsonl", model], "--jsonl"),
        (vec!["--cross-validate", "--model", model], "--cross-validate"),
        (vec!["--cross-validate", "--set", "dev"], "--cross-validate"),
    ] {
        let output = relayops(&[&["eval"], &args[..]].concat());
        assert_eq!(output.status.code(), Some(2), "{args:?}: {}", stderr(&output));
        assert!(stderr(&output).contains(named), "{args:?}: {}", stderr(&output));
        assert!(output.stdout.is_empty());
    }
    assert!(stdout(&relayops(&["eval", "--help"])).contains("Usage:"));
}

#[test]
fn a_model_file_is_evaluated_and_its_configuration_saved_and_used() {
    let folder = tempfile::tempdir().unwrap();
    let lines = file(folder.path(), "lines.jsonl", LINES);
    let model = tiny(folder.path());
    let config = folder.path().join("config.json");
    let (model, config) = (model.to_str().unwrap(), config.to_str().unwrap());
    let eval =
        |more: &[&str]| json(&[&["eval", "--model", model, "--jsonl", &lines, "--json"], more].concat());
    let saved = eval(&["--threshold", "0.125", "--save-config", config]);
    assert_eq!((&saved["model"], &saved["threshold"]), (&"tiny".into(), &0.125.into()));
    let mut content: Value = serde_json::from_str(&std::fs::read_to_string(config).unwrap()).unwrap();
    content["temperature"] = 3.0.into();
    std::fs::write(config, content.to_string()).unwrap();
    let used = eval(&["--config", config]);
    assert_eq!((&used["threshold"], &used["temperature"]), (&0.125.into(), &3.0.into()));
    assert_ne!(used["nll"], saved["nll"]);
    assert_eq!(used["accuracy"], saved["accuracy"]);
}

#[test]
fn a_threshold_is_chosen_for_a_stated_risk_or_refused() {
    let args = ["eval", "--model", "complement-nb", "--set", "dev", "--json"];
    let result = json(&[&args[..], &["--sgr-risk", "0.6", "--sgr-delta", "0.1"]].concat());
    let guarantee = &result["guarantee"];
    assert!(guarantee["bound"].as_f64().unwrap() <= 0.6 && guarantee["accepted"].as_u64().unwrap() > 0);
    let [chosen, in_force] = [guarantee, &result].map(|object| object["threshold"].as_f64().unwrap());
    assert!((chosen - in_force).abs() < 1e-7, "{chosen} {in_force}");
    let refused = relayops(&[&args[..], &["--sgr-risk", "0.0001"]].concat());
    assert_eq!(refused.status.code(), Some(1));
    assert!(stderr(&refused).contains("no threshold keeps the risk under 0.0001"), "{}", stderr(&refused));
}

#[test]
fn cross_validation_prints_mean_and_spread() {
    let result = json(&["eval", "--cross-validate", "--model", "keyword", "complement-nb", "--json"]);
    assert_eq!(result["seeds"], serde_json::json!([13, 29, 47, 71, 101]));
    assert_eq!(result["results"].as_array().unwrap().len(), 4);
    assert_eq!(result["results"][2]["runs"].as_array().unwrap().len(), 5);
    let table = stdout(&relayops(&["eval", "--cross-validate"]));
    assert!(table.contains('±') && table.contains("held-out"), "{table}");
}

#[test]
fn baselines_classify_like_models() {
    let output = relayops(&["classify", "--model", "keyword", "why was I charged twice"]);
    assert_eq!(stdout(&output), "{\"intent\": \"billing\"}\n");
    let output = relayops(&["classify", "--model", "complement-nb", "--json", "please restart my router"]);
    let result: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!((&result["intent"], &result["stage"]), (&"reset_device".into(), &"complement-nb".into()));
}

#[test]
fn real_weights_are_evaluated() {
    let Some(path) = real_model("real_weights_are_evaluated", QWEN_05B) else { return };
    let folder = tempfile::tempdir().unwrap();
    // Messages that the model is sure of; the third label is wrong on purpose.
    let lines = [
        ("please reboot my router", "reset_device"),
        ("hello there", "greeting"),
        ("is my modem online?", "billing"),
    ]
    .map(|(text, intent)| format!("{{\"text\": \"{text}\", \"intent\": \"{intent}\"}}\n"));
    let lines = file(folder.path(), "lines.jsonl", &lines.concat());
    let result = json(&["eval", "--model", path.to_str().unwrap(), "--jsonl", &lines, "--json"]);
    assert_eq!((&result["n"], &result["unscored"]), (&3.into(), &0.into()));
    assert!((result["accuracy"].as_f64().unwrap() - 2.0 / 3.0).abs() < 1e-9);
    assert_eq!(result["confusion"]["billing"]["device_status"], 1);
}
