//! `relayops-intent train compact`, as a program is run, on the project's data.

use std::path::Path;
use std::process::{Command, Output, Stdio};
use std::time::{Duration, Instant};

use serde_json::Value;

use super::tiny;

const SMALL: &str = "--epochs 1 --max-tokens 48 --checkpoint-every 5";

fn command(folder: &Path, base: &str, out: &str, more: &str) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_relayops-intent"));
    command.args(["train", "compact", "--base", base, "--out", out]).args(more.split_whitespace());
    command.current_dir(folder).stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    command
}

fn run(folder: &Path, base: &str, out: &str, more: &str) -> Output {
    command(folder, base, out, more).output().unwrap()
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8(bytes.to_vec()).unwrap()
}

#[test]
fn it_trains_is_killed_and_goes_on() {
    let folder = tempfile::tempdir().unwrap();
    tiny::write(&folder.path().join("tiny-bert"), 16, 1);
    let whole =
        run(folder.path(), "tiny-bert", "runs/whole/out", &format!("{SMALL} --json --choose --templates 1"));
    let errors = text(&whole.stderr);
    assert!(whole.status.success(), "{errors}");
    assert!(errors.contains("dev-choose accuracy 0.") && errors.contains("macro-F1 0."), "{errors}");
    let manifest: Value = serde_json::from_slice(&whole.stdout).unwrap();
    assert_eq!(manifest["labels"].as_array().unwrap().len(), 6);
    assert!((manifest["threshold"].as_f64().unwrap() - 0.55).abs() < 1e-6);
    assert!(manifest["temperature"].as_f64().unwrap() > 0.0);
    assert_eq!(manifest["training"]["data"]["train"], 1428);
    assert_eq!(manifest["training"]["data"]["extra"], 0);
    assert!(manifest["training"]["data"]["templates"].as_u64().unwrap() > 100);

    // A real kill, at whatever moment, and the rest.
    let options = format!("{SMALL} --templates 1");
    // `--resume` from the first time on: there may be nothing yet to go on from.
    let resumed = format!("{options} --resume");
    let mut child = command(folder.path(), "tiny-bert", "runs/parts/out", &resumed).spawn().unwrap();
    let checkpoint = folder.path().join("runs/parts/out/checkpoint.safetensors");
    let started = Instant::now();
    while !checkpoint.exists() {
        assert!(child.try_wait().unwrap().is_none(), "it ended before its first checkpoint");
        assert!(started.elapsed() < Duration::from_secs(300));
        std::thread::sleep(Duration::from_millis(2));
    }
    child.kill().unwrap();
    child.wait().unwrap();
    let again = run(folder.path(), "tiny-bert", "runs/parts/out", &options);
    assert_eq!(again.status.code(), Some(2));
    assert!(text(&again.stderr).contains("--resume"), "{}", text(&again.stderr));
    let rest = run(folder.path(), "tiny-bert", "runs/parts/out", &resumed);
    assert!(rest.status.success(), "{}", text(&rest.stderr));
    assert_eq!(text(&rest.stdout), "runs/parts/out\n");
    for file in ["model.safetensors", "intent.json"] {
        let [a, b] = ["whole", "parts"]
            .map(|run| std::fs::read(folder.path().join("runs").join(run).join("out").join(file)).unwrap());
        assert!(a == b, "{file} differs");
    }

    let finished = run(folder.path(), "tiny-bert", "runs/parts/out", &resumed);
    assert_eq!(finished.status.code(), Some(2));
    assert!(text(&finished.stderr).contains("finished"), "{}", text(&finished.stderr));
    let unasked = run(folder.path(), "tiny-bert", "runs/parts/out", &options);
    assert_eq!(unasked.status.code(), Some(2));
    assert!(text(&unasked.stderr).contains("--overwrite"), "{}", text(&unasked.stderr));
}

#[test]
fn bad_usage_and_help() {
    let folder = tempfile::tempdir().unwrap();
    let missing = run(folder.path(), "./nothing", "out", "");
    assert_eq!(missing.status.code(), Some(2));
    assert!(text(&missing.stderr).contains("--base"), "{}", text(&missing.stderr));
    let wrong = run(folder.path(), "./nothing", "out", "--noise 2");
    assert_eq!(wrong.status.code(), Some(2));
    assert!(text(&wrong.stderr).contains("--noise: 2"), "{}", text(&wrong.stderr));
    assert!(!folder.path().join("out").exists(), "nothing is left of a run that could not start");
    let alone = run(folder.path(), "./nothing", "out", "--teacher-weight 0.5");
    assert_eq!(alone.status.code(), Some(2));
    assert!(text(&alone.stderr).contains("--teacher: is missing"), "{}", text(&alone.stderr));
    let absent = run(folder.path(), "./nothing", "out", "--teacher-weight 0.5 --teacher soft.jsonl");
    assert_eq!(absent.status.code(), Some(1));
    assert!(text(&absent.stderr).contains("soft.jsonl"), "{}", text(&absent.stderr));
    let help = run(folder.path(), "x", "y", "--help");
    let help_text = text(&help.stdout);
    assert!(help.status.success());
    for option in [
        "--base",
        "--out",
        "--resume",
        "--extra",
        "--templates",
        "--noise",
        "--seed",
        "--epochs",
        "--batch",
        "--label-smoothing",
        "--contrastive",
        "--r-drop",
        "--adversarial",
        "--dropout",
        "--teacher",
        "--teacher-weight",
        "--teacher-temperature",
        "--encoder-rate",
        "--head-rate",
        "--layer-decay",
        "--warmup",
        "--decay",
        "--weight-decay",
        "--clip",
        "--ema",
        "--average-epochs",
        "--qat",
        "--choose",
        "--keep",
        "--checkpoint-every",
    ] {
        assert!(help_text.contains(option), "{option}: {help_text}");
    }
}
