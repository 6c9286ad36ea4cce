//! Whole runs of a tiny encoder.

use std::path::Path;

use clap::Parser;
use relayops_intent::dataset::Splits;
use relayops_intent::train::base::Base;
use relayops_intent::train::compact::{Hyperparameters, Manifest, Request, train};
use relayops_intent::train::data::{Account, Data, Sample};
use relayops_intent::train::soft::SoftTargets;
use relayops_intent::train::{CHECKPOINT, Event, LOG};
use relayops_intent::{IntentError, Result};
use serde_json::Value;

use super::tiny;

#[derive(Parser)]
struct Options {
    #[command(flatten)]
    hyper: Hyperparameters,
}

/// Hyperparameters as the command line would read them.
fn hyper(options: &str) -> Hyperparameters {
    Options::parse_from(["train"].into_iter().chain(options.split_whitespace())).hyper
}

fn samples(texts: &[(&str, usize)]) -> Vec<Sample> {
    texts.iter().map(|(text, label)| Sample { text: (*text).to_owned(), label: *label }).collect()
}

/// Sixteen messages of six labels; the same are looked at. Some of those for the temperature have wrong labels, since
/// messages that are all right do not determine it.
fn data() -> Data {
    let train = samples(&[
        ("restart my router", 0),
        ("reboot the modem", 0),
        ("reset my device please", 0),
        ("is my router online", 1),
        ("status of the modem", 1),
        ("is the device online", 1),
        ("what is a modem", 2),
        ("how do i reset a device", 2),
        ("why is the internet slow", 2),
        ("why is my bill so high", 3),
        ("i want to pay the charge", 3),
        ("hello", 4),
        ("hi thanks", 4),
        ("my password", 5),
        ("what is the password", 5),
        ("how is the weather", 5),
    ]);
    let mut temperature = train.clone();
    temperature[0].label = 3;
    temperature[5].label = 2;
    Data {
        labels: ["a", "b", "c", "d", "e", "f"].map(str::to_owned).to_vec(),
        splits: Splits { train: Vec::new(), val: Vec::new(), test: Vec::new() },
        validation: train.clone(),
        choose: train.clone(),
        temperature,
        train,
        account: Account { train: 16, extra: 0, templates: 0, sha256: "0".repeat(64) },
    }
}

/// Runs, and stops as if killed after `stop` steps in all.
fn run(base: &Base, options: &str, out: &Path, resume: bool, stop: Option<usize>) -> Result<Manifest> {
    taught(base, None, options, (out, resume, stop))
}

/// As [`run`], with a teacher.
fn taught(
    base: &Base,
    teacher: Option<&SoftTargets>,
    options: &str,
    (out, resume, stop): (&Path, bool, Option<usize>),
) -> Result<Manifest> {
    let (data, hyper) = (data(), hyper(options));
    let request = Request { base, data: &data, teacher, hyper: &hyper, out, resume, checkpoint_every: 3 };
    train(&request, &mut |event| match event {
        Event::Step { steps, .. } if Some(steps) == stop => Err(IntentError::Training("killed".to_owned())),
        _ => Ok(()),
    })
}

/// The log without its times.
fn log(out: &Path) -> Vec<Value> {
    let text = std::fs::read_to_string(out.join(LOG)).unwrap();
    let line = |line: &str| {
        let mut line: Value = serde_json::from_str(line).unwrap();
        let object = line.as_object_mut().unwrap();
        object.retain(|name, _| !name.ends_with("seconds"));
        line
    };
    text.lines().map(line).collect()
}

#[test]
fn sixteen_examples_are_learnt_by_heart() {
    let folder = tempfile::tempdir().unwrap();
    let base = tiny::base(folder.path(), 32, 2);
    let options = "--epochs 90 --batch 8 --noise 0 --dropout 0 --encoder-rate 2e-3 --head-rate 5e-3 \
                   --label-smoothing 0 --decay cosine";
    let manifest = run(&base, options, &folder.path().join("out"), false, None).unwrap();
    let last = manifest.training.epochs.last().unwrap();
    assert_eq!(last["validation"]["accuracy"], 1.0, "{last}");
    assert!(last["validation"]["nll"].as_f64().unwrap() < 0.02, "{last}");
    let first = &manifest.training.epochs[0];
    assert!(first["loss"].as_f64().unwrap() > 5.0 * last["loss"].as_f64().unwrap(), "{first} {last}");
    // Two of sixteen labels are wrong, so confidence must fall.
    assert!(manifest.temperature > 1.0, "{}", manifest.temperature);
}

#[test]
fn a_run_that_was_killed_ends_like_one_that_was_not() {
    let folder = tempfile::tempdir().unwrap();
    let base = tiny::base(folder.path(), 32, 2);
    // Four steps an epoch, sixteen in all; checkpoints after 3, 4 (epoch), 6, 8, ... steps.
    let common = "--epochs 4 --batch 4 --encoder-rate 1e-3 --noise 0.5";
    let variants = [
        "--dropout 0.1",
        "--ema 0.9 --keep best",
        "--average-epochs 2 --qat q4_0 --qat-epochs 2 --r-drop 0.5 --adversarial 0.1 --layer-decay 0.8",
    ];
    for (number, variant) in variants.into_iter().enumerate() {
        let options = format!("{common} {variant}");
        let whole = folder.path().join(format!("whole{number}")).join("out");
        let manifest = run(&base, &options, &whole, false, None).unwrap();
        assert_eq!(manifest.training.epochs.len(), 4);
        for stops in [vec![1], vec![3], vec![5, 6, 14], vec![8, 16]] {
            let parts = folder.path().join(format!("parts{number}-{}", stops[0])).join("out");
            let mut resume = false;
            for stop in stops {
                let error = run(&base, &options, &parts, resume, Some(stop)).unwrap_err();
                assert_eq!(error.to_string(), "training: killed");
                resume = parts.join(CHECKPOINT).exists();
            }
            run(&base, &options, &parts, resume, None).unwrap();
            for file in ["model.safetensors", "intent.json", "config.json", "tokenizer.json"] {
                let [a, b] = [&whole, &parts].map(|out| std::fs::read(out.join(file)).unwrap());
                assert!(a == b, "{variant}: {file} differs");
            }
            assert_eq!(log(&whole), log(&parts), "{variant}");
            assert!(!parts.join(CHECKPOINT).exists());
        }
    }
}

#[test]
fn seeds_decide() {
    let folder = tempfile::tempdir().unwrap();
    let base = tiny::base(folder.path(), 16, 1);
    let weights = |options: &str, name: &str| {
        let out = folder.path().join(name);
        run(&base, options, &out, false, None).unwrap();
        std::fs::read(out.join("model.safetensors")).unwrap()
    };
    let options = "--epochs 2 --batch 5 --noise 0.5";
    let first = weights(&format!("{options} --seed 1"), "a");
    assert!(first == weights(&format!("{options} --seed 1"), "b"));
    assert!(first != weights(&format!("{options} --seed 2"), "c"));
}

#[test]
fn a_checkpoint_of_another_run_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let base = tiny::base(folder.path(), 16, 1);
    let out = folder.path().join("out");
    run(&base, "--epochs 2 --batch 4", &out, false, Some(5)).unwrap_err();
    let error = run(&base, "--epochs 2 --batch 4 --seed 14", &out, true, None).unwrap_err();
    assert_eq!(error.code(), "invalid_argument");
    let text = error.to_string();
    assert!(text.contains("hyperparameters.seed is 13 there and 14 here"), "{text}");
    std::fs::write(out.join(CHECKPOINT), "rubbish").unwrap();
    let error = run(&base, "--epochs 2 --batch 4", &out, true, None).unwrap_err();
    assert_eq!(error.code(), "invalid_config");
    assert!(error.to_string().contains(CHECKPOINT), "{error}");
}

/// The file of a teacher that calls messages of label 1 label 4, with probability 0.9, and knows all others.
fn teacher_file() -> String {
    let labels = data().labels;
    let header = serde_json::json!({
        "format": 1, "labels": labels, "base": "tiny", "base_sha256": "1".repeat(64),
        "adapter": {"adapter_config.json": "2".repeat(64), "adapter_model.safetensors": "3".repeat(64)},
        "prompt_sha256": "4".repeat(64), "products": "f32",
    });
    let line = |sample: Sample| {
        let label = if sample.label == 1 { 4 } else { sample.label };
        let of = |other| if other == label { 0.9f32.ln() } else { 0.02f32.ln() };
        let log_probabilities: Vec<f32> = (0..labels.len()).map(of).collect();
        serde_json::json!({"text": sample.text, "log_probabilities": log_probabilities}).to_string() + "\n"
    };
    format!("{header}\n") + &data().train.into_iter().map(line).collect::<String>()
}

#[test]
fn a_student_learns_what_its_teacher_says() {
    let folder = tempfile::tempdir().unwrap();
    let base = tiny::base(folder.path(), 32, 2);
    let teacher = SoftTargets::parse("soft.jsonl", &teacher_file()).unwrap();
    let common = "--epochs 90 --batch 8 --noise 0 --encoder-rate 2e-3 --head-rate 5e-3 \
                  --label-smoothing 0 --contrastive 0 --decay cosine";
    let last = |options: &str, name: &str| {
        let out = folder.path().join(name);
        let options = format!("{common} {options}");
        let manifest = taught(&base, Some(&teacher), &options, (&out, false, None)).unwrap();
        assert_eq!(manifest.training.teacher.as_ref(), Some(&teacher.teacher()));
        let command = manifest.training.command;
        assert!(
            command.contains(" --teacher soft.jsonl ") && command.contains(" --teacher-weight "),
            "{command}"
        );
        let steps: Vec<Value> = log(&out).into_iter().filter(|line| line.get("step").is_some()).collect();
        (manifest.training.epochs.last().unwrap().clone(), steps.last().unwrap().clone())
    };
    // Three of sixteen are called something else than in the labels: no label is learnt but the teacher's.
    let (figures, step) = last("--teacher-weight 1 --dropout 0", "teacher");
    assert_eq!(figures["validation"]["accuracy"], 0.8125, "{figures}");
    assert!(step["teacher"].as_f64().unwrap() < 0.01, "it says what the teacher says: {step}");
    assert!((step["loss"].as_f64().unwrap() - step["teacher"].as_f64().unwrap()).abs() < 1e-5, "{step}");
    assert!(step["cross_entropy"].as_f64().unwrap() > 0.3, "{step}");
    // At a small weight the labels win.
    let (figures, step) =
        last("--teacher-weight 0.1 --teacher-temperature 2 --r-drop 0.1 --dropout 0.01", "labels");
    assert_eq!(figures["validation"]["accuracy"], 1.0, "{figures}");
    let part = |name: &str| step[name].as_f64().unwrap();
    let sum = 0.9 * part("cross_entropy") + 0.1 * part("teacher") + 0.1 * part("divergence");
    assert!((part("loss") - sum).abs() < 1e-4, "{step}");
}

#[test]
fn teachers_that_do_not_fit_are_refused() {
    let folder = tempfile::tempdir().unwrap();
    let base = tiny::base(folder.path(), 16, 1);
    let out = folder.path().join("out");
    let file = teacher_file();
    let lines: Vec<&str> = file.lines().collect();
    let failure = |text: &str| {
        let read = SoftTargets::parse("soft.jsonl", text);
        let run =
            |teacher| taught(&base, Some(&teacher), "--teacher-weight 0.5", (&out, false, None)).map(|_| ());
        let error = read.and_then(run).unwrap_err();
        assert_eq!(error.code(), "invalid_data", "{error}");
        assert!(!out.exists(), "nothing is left of a run that could not start");
        error.to_string()
    };
    let lacking: String = lines[..5].iter().chain(&lines[6..]).map(|line| format!("{line}\n")).collect();
    assert_eq!(failure(&lacking), "soft.jsonl: it lacks the message \"status of the modem\"");
    let swapped = file.replacen(r#"["a","b""#, r#"["b","a""#, 1);
    assert!(
        failure(&swapped).starts_with("soft.jsonl: its labels are [\"b\", \"a\""),
        "{}",
        failure(&swapped)
    );
    for (text, place) in [
        (String::new(), "soft.jsonl, line 1: "),
        (file.replacen("\"format\":1", "\"format\":2", 1), "soft.jsonl, line 1: format: 2"),
        (file.trim_end().to_owned(), "soft.jsonl: its last line has no end"),
        (format!("{file}{}\n", lines[3]), "soft.jsonl, line 18: the message stands in the file twice"),
        (
            format!("{file}{{\"text\":\"x\",\"log_probabilities\":[0]}}\n"),
            "soft.jsonl, line 18: log_probabilities",
        ),
        (file.replacen("\"text\"", "\"test\"", 1), "soft.jsonl, line 2: "),
    ] {
        let found = failure(&text);
        assert!(found.starts_with(place), "{found}");
    }
    let teacher = SoftTargets::parse("soft.jsonl", &file).unwrap();
    for (teacher, options, named) in
        [(Some(&teacher), "", "--teacher-weight"), (None, "--teacher-weight 1", "--teacher:")]
    {
        let error = taught(&base, teacher, options, (&out, false, None)).unwrap_err();
        assert_eq!(error.code(), "invalid_argument");
        assert!(error.to_string().starts_with(named), "{error}");
    }
    // Another teacher is another run.
    taught(&base, Some(&teacher), "--teacher-weight 1 --batch 4", (&out, false, Some(5))).unwrap_err();
    let other = SoftTargets::parse("soft.jsonl", &file.replacen("tiny", "huge", 1)).unwrap();
    let error = taught(&base, Some(&other), "--teacher-weight 1 --batch 4", (&out, true, None)).unwrap_err();
    assert!(error.to_string().contains("teacher"), "{error}");
}

#[test]
fn a_width_that_can_not_be_quantized_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let base = tiny::base(folder.path(), 16, 1);
    let error = run(&base, "--qat q4_0", &folder.path().join("out"), false, None).unwrap_err();
    assert_eq!(error.code(), "invalid_argument");
    assert!(error.to_string().starts_with("--qat: ") && error.to_string().contains("hidden_size"), "{error}");
}

#[test]
fn options_that_can_not_work_are_named() {
    for (options, named) in [
        ("--epochs 0", "--epochs"),
        ("--batch 0", "--batch"),
        ("--noise 1.5", "--noise"),
        ("--dropout 1", "--dropout"),
        ("--label-smoothing -0.1", "--label-smoothing"),
        ("--encoder-rate nan", "--encoder-rate"),
        ("--head-rate 0", "--head-rate"),
        ("--contrastive-temperature 0", "--contrastive-temperature"),
        ("--ema 0.9 --average-epochs 2", "--average-epochs"),
        ("--r-drop 1 --dropout 0", "--r-drop"),
        ("--teacher-weight 1.5", "--teacher-weight"),
        ("--teacher-temperature 0", "--teacher-temperature"),
        ("--beta2 1", "--beta2"),
        ("--clip -1", "--clip"),
        ("--weight-decay 2", "--weight-decay"),
        ("--epsilon 0", "--epsilon"),
    ] {
        let options: Vec<String> = options.split_whitespace().map(str::to_owned).collect();
        // A value that begins with a minus sign must be joined to its option.
        let joined = options.chunks(2).map(|pair| pair.join("="));
        let parsed = Options::try_parse_from(["train".to_owned()].into_iter().chain(joined)).unwrap();
        let error = parsed.hyper.check().unwrap_err();
        assert_eq!(error.code(), "invalid_argument");
        assert!(error.to_string().starts_with(named), "{error}");
    }
}

#[test]
fn what_is_written_is_complete() {
    let folder = tempfile::tempdir().unwrap();
    let base = tiny::base(folder.path(), 16, 1);
    let out = folder.path().join("my out");
    let manifest = run(&base, "--epochs 1 --batch 8", &out, false, None).unwrap();
    let read: Value = serde_json::from_slice(&std::fs::read(out.join("intent.json")).unwrap()).unwrap();
    assert_eq!(read.to_string(), serde_json::to_string(&manifest).unwrap());
    let command = read["training"]["command"].as_str().unwrap();
    assert!(
        command.starts_with("relayops-intent train compact --base tiny-bert --out 'my out' --templates 0"),
        "{command}"
    );
    // The command means the same run.
    let words = command.split_once("'my out' ").unwrap().1;
    assert_eq!(hyper(words), hyper("--epochs 1 --batch 8"));
    let text = read.to_string();
    assert!(!text.contains(folder.path().to_str().unwrap()), "{text}");
    assert_eq!(read["training"]["base"]["sha256"], base.sha256);
    assert_eq!(read["training"]["base"]["licence"], Value::Null, "of an unknown base");
    let tensors =
        candle_core::safetensors::load(out.join("model.safetensors"), &candle_core::Device::Cpu).unwrap();
    assert_eq!(tensors.len(), base.weights.len() + 2);
    assert_eq!(tensors["classifier.weight"].dims(), [6, 16]);
    assert_eq!(tensors["classifier.bias"].dims(), [6]);
    for (name, tensor) in &base.weights {
        assert_eq!(tensor.dims(), tensors[name].dims(), "{name}");
    }
}
