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
    assert_eq!((&result["must_escalate"], &result["unsafe_local"]), (&3.into(), &0.into()));
    assert_eq!((&result["file"], &result["trained_on"]["extra"]), (&Value::Null, &false.into()));
    assert_eq!(result["temperature_from"]["on"], "dev.jsonl, ids 0 modulo 4");
    assert_eq!(
        result["interval_method"],
        serde_json::json!({
            "figures": "cluster-bootstrap over groups", "rates": "cluster-bootstrap over groups", "n": 4, "groups": 3
        })
    );
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
    assert!((open["unsafe_local_rate"].as_f64().unwrap() - 1.0 / 3.0).abs() < 1e-12);
    assert_eq!(open["threshold_from"]["kind"], "argument");
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
    let output = relayops(&[
        "eval",
        "--model",
        "complement-nb",
        "--jsonl",
        &lines,
        "--report",
        report.to_str().unwrap(),
    ]);
    assert!(output.status.success(), "{}", stderr(&output));
    let text = stdout(&output);
    let tables = text.lines().filter(|line| line.starts_with(' ') || line.starts_with('─'));
    assert!(tables.map(|line| line.chars().count()).max().unwrap() <= 120, "{text}");
    for expected in [
        "n = 4 in 3 groups; intervals: cluster-bootstrap over groups",
        "macro-F1",
        "AURC",
        "threshold",
        "temp.",
        "over",
        "reset_device",
        "  trained on 1428 messages: the train part for seed 13, without extra.jsonl",
        "fitted on 145 messages (dev.jsonl, ids 0 modulo 4)",
    ] {
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
        (vec!["--model", "keyword", "--save-config", "x"], "keyword takes no --config"),
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
fn a_threshold_is_chosen_for_a_stated_risk() {
    let args = ["eval", "--model", "complement-nb", "--set", "dev", "--json"];
    let result = json(&[&args[..], &["--sgr-risk", "0.6", "--sgr-delta", "0.1"]].concat());
    let guarantee = &result["guarantee"];
    assert_eq!((&guarantee["found"], &guarantee["risk"]), (&true.into(), &0.6.into()));
    assert_eq!((&guarantee["delta"], &guarantee["n"]), (&0.1.into(), &146.into()));
    // Not what the temperature was fitted on.
    assert_eq!(guarantee["chosen_on"], "dev.jsonl, ids 2 modulo 4");
    assert_eq!(result["temperature_from"]["on"], "dev.jsonl, ids 0 modulo 4");
    assert!(guarantee["bound"].as_f64().unwrap() <= 0.6 && guarantee["accepted"].as_u64().unwrap() > 0);
    let [chosen, in_force] = [guarantee, &result].map(|object| object["threshold"].as_f64().unwrap());
    assert!((chosen - in_force).abs() < 1e-7, "{chosen} {in_force}");
}

#[test]
fn one_model_without_a_promise_does_not_end_the_others() {
    let folder = tempfile::tempdir().unwrap();
    let lines = file(folder.path(), "lines.jsonl", LINES);
    let args = ["eval", "--model", "keyword", "complement-nb", "--jsonl", &lines, "--sgr-risk", "0.6"];
    let output = relayops(&[&args[..], &["--json"]].concat());
    assert!(output.status.success(), "{}", stderr(&output));
    let result: Value = serde_json::from_slice(&output.stdout).unwrap();
    let [keyword, nb] = [0, 1].map(|index| &result["results"][index]);
    assert_eq!((&keyword["guarantee"]["found"], &nb["guarantee"]["found"]), (&false.into(), &true.into()));
    assert!(keyword["guarantee"]["threshold"].is_null() && keyword["guarantee"]["n"] == 146);
    assert_eq!(
        (&keyword["threshold"], &keyword["threshold_from"]["kind"]),
        (&0.55.into(), &"configuration".into())
    );
    let told = stderr(&output);
    assert_eq!(told.matches("no threshold keeps the share of wrong labels under 0.6").count(), 1, "{told}");
    assert!(told.contains("keyword: no threshold") && told.contains("nothing is promised"), "{told}");
    let table = stdout(&relayops(&args));
    assert!(table.contains("no promise") && table.contains("risk <= "), "{table}");
}

#[test]
fn what_a_model_fails_on_is_counted_and_fails_the_command() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("short.gguf");
    let context = Some(candle_core::quantized::gguf_file::Value::U32(64));
    let metadata = vec![("qwen2.context_length".to_owned(), context)];
    TinyQwen2 { metadata, ..TinyQwen2::default() }.write_file(&path).unwrap();
    let long = "the tea is cold ".repeat(60);
    let lines = format!(
        "{}\n{}\n{}\n",
        serde_json::json!({ "text": long, "intent": "unknown" }),
        serde_json::json!({ "text": format!("{long} again"), "intent": "greeting" }),
        serde_json::json!({ "text": "x ".repeat(1_500), "intent": "unknown" }),
    );
    let lines = file(folder.path(), "lines.jsonl", &format!("{LINES}{lines}"));
    let system = file(folder.path(), "system.txt", "Intents.");
    let config = folder.path().join("config.json");
    let args = [
        "eval",
        "--model",
        path.to_str().unwrap(),
        "--jsonl",
        &lines,
        "--system-prompt",
        &system,
        "--save-config",
        config.to_str().unwrap(),
        "--json",
    ];
    let output = relayops(&args);
    assert_eq!(output.status.code(), Some(1), "{}", stderr(&output));
    let told = stderr(&output);
    assert!(told.contains("2 of 7 messages") && told.contains("(2 error:inference)"), "{told}");
    assert!(told.contains("is not written") && !config.exists(), "{told}");
    // Everything else is there all the same.
    let result: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!((&result["n"], &result["failed"], &result["unscored"]), (&7.into(), &2.into(), &3.into()));
    assert_eq!(result["unscored_reasons"], serde_json::json!({ "error:inference": 2, "too_long": 1 }));
    // `unknown` is what the first is labelled and what a caller gets; still wrong. The third is a policy's answer.
    let wrong: Vec<&Value> =
        result["errors"].as_array().unwrap().iter().filter(|e| e["predicted"].is_null()).collect();
    assert_eq!(wrong.len(), 2);
    assert!(wrong.iter().any(|error| error["expected"] == "unknown"));
    assert_eq!(result["per_class"]["unknown"]["failed"], 1);
    assert!(result["configuration"].as_str().unwrap().ends_with("system.txt"));
}

#[test]
fn two_files_of_one_name_are_told_apart() {
    let folder = tempfile::tempdir().unwrap();
    let lines = file(folder.path(), "lines.jsonl", LINES);
    let paths = [("a", 13), ("b", 14)].map(|(name, seed)| {
        std::fs::create_dir(folder.path().join(name)).unwrap();
        let path = folder.path().join(name).join("tiny.gguf");
        TinyQwen2 { seed, ..TinyQwen2::default() }.write_file(&path).unwrap();
        path.to_str().unwrap().to_owned()
    });
    let result = json(&["eval", "--model", &paths[0], &paths[1], "--jsonl", &lines, "--json"]);
    for (result, (title, path)) in
        result["results"].as_array().unwrap().iter().zip([("a/tiny", &paths[0]), ("b/tiny", &paths[1])])
    {
        let bytes = std::fs::read(path).unwrap();
        assert_eq!(result["model"], title);
        let sha256 = relayops_intent::dataset::sha256(&bytes);
        assert_eq!(
            result["file"],
            serde_json::json!({ "path": path, "bytes": bytes.len(), "sha256": sha256 })
        );
        assert_eq!((&result["trained_on"], &result["configuration"]), (&Value::Null, &"built in".into()));
        assert_eq!(result["temperature_from"]["kind"], "configuration");
    }
    assert_eq!(result["differences"][0]["model"], "b/tiny");
}

#[test]
fn a_configuration_replaces_the_old_one_whole_or_not_at_all() {
    let folder = tempfile::tempdir().unwrap();
    let lines = file(folder.path(), "lines.jsonl", LINES);
    let model = tiny(folder.path());
    let out = folder.path().join("out");
    std::fs::create_dir(&out).unwrap();
    let config = file(&out, "config.json", "old");
    let args = ["eval", "--model", model.to_str().unwrap(), "--jsonl", &lines, "--save-config", &config];
    // Nothing can be promised, so nothing is to be relied on.
    let output = relayops(&[&args[..], &["--sgr-risk", "0.0001"]].concat());
    assert_eq!(output.status.code(), Some(1));
    assert!(stderr(&output).contains("is not written: no threshold was found"), "{}", stderr(&output));
    // A report that can't be written comes first.
    let output = relayops(&[&args[..], &["--report", &lines]].concat());
    assert_eq!(output.status.code(), Some(1));
    assert_eq!(std::fs::read_to_string(&config).unwrap(), "old");
    assert!(relayops(&args).status.success());
    assert!(std::fs::read_to_string(&config).unwrap().starts_with('{'));
    assert_eq!(std::fs::read_dir(&out).unwrap().count(), 1, "nothing unfinished is left");
}

#[test]
fn a_byte_order_mark_is_no_part_of_a_line() {
    let folder = tempfile::tempdir().unwrap();
    let marked = file(folder.path(), "marked.jsonl", &format!("\u{feff}{LINES}"));
    let result = json(&["eval", "--model", "keyword", "--jsonl", &marked, "--json"]);
    assert_eq!((&result["n"], &result["accuracy"]), (&4.into(), &0.75.into()));
    let output = relayops(&["classify", "--model", "keyword", "--jsonl", &marked]);
    assert!(output.status.success(), "{}", stderr(&output));
    assert_eq!(stdout(&output).lines().next(), Some("{\"intent\": \"reset_device\"}"));
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
