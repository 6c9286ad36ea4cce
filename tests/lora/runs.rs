//! Whole runs on a tiny model.

use std::path::Path;

use candle_core::Device;
use clap::Parser;
use relayops_intent::adapter::{AdapterFiles, CONFIG, INTENT, Intent, TENSORS};
use relayops_intent::dataset::Splits;
use relayops_intent::train::data::{Account, Data, Sample};
use relayops_intent::train::lora::{Base, Hyperparameters, Request, Start, default_config, train};
use relayops_intent::train::{CHECKPOINT, Event, LOG};
use relayops_intent::{IntentError, Result};
use relayops_testkit::TinyQwen2;
use serde_json::Value;

use super::tiny;

#[derive(Parser)]
struct Options {
    #[command(flatten)]
    hyper: Hyperparameters,
}

/// Hyperparameters as the command line would read them.
/// The arithmetic that is compared here is not rounded to bf16, which is the default on machines that are fast at it.
fn hyper(options: &str) -> Hyperparameters {
    let exact = if options.contains("--products") { "" } else { "--products f32" };
    let words = exact.split_whitespace().chain(options.split_whitespace());
    Options::parse_from(["train"].into_iter().chain(words)).hyper
}

/// Sixteen messages of six labels; the same are looked at. Some of those for the temperature have wrong labels, since
/// messages that are all right do not determine it.
fn data() -> Data {
    let train: Vec<Sample> = [
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
    ]
    .iter()
    .map(|(text, label)| Sample { text: (*text).to_owned(), label: *label })
    .collect();
    let mut temperature = train.clone();
    temperature[0].label = 3;
    temperature[5].label = 2;
    Data {
        labels: default_config().labels,
        splits: Splits { train: Vec::new(), val: Vec::new(), test: Vec::new() },
        validation: train.clone(),
        choose: train.clone(),
        temperature,
        train,
        account: Account { train: 16, extra: 0, templates: 0, sha256: "0".repeat(64) },
    }
}

/// Runs, and stops as if killed after `stop` steps in all.
pub(crate) fn run(
    model: &Path,
    options: &str,
    out: &Path,
    resume: bool,
    stop: Option<usize>,
) -> Result<Intent> {
    run_from(None, model, options, out, resume, stop)
}

/// The same, from the adapter in the folder `start`.
fn run_from(
    start: Option<&Path>,
    model: &Path,
    options: &str,
    out: &Path,
    resume: bool,
    stop: Option<usize>,
) -> Result<Intent> {
    let former = start.map(AdapterFiles::read).transpose()?;
    let start = former.as_ref().map(|files| Start { name: "former".to_owned(), files });
    let (data, hyper, config) = (data(), hyper(options), default_config());
    let request = Request {
        config_from: Vec::new(),
        start,
        base: Base::read(model)?,
        data: &data,
        config: &config,
        hyper: &hyper,
        device: &Device::Cpu,
        checkpointing: None,
        out,
        resume,
        checkpoint_every: 3,
    };
    train(request, &mut |event| match event {
        Event::Step { steps, .. } if Some(steps) == stop => Err(IntentError::Training("killed".to_owned())),
        _ => Ok(()),
    })
}

/// The log without its times.
fn log(out: &Path) -> Vec<Value> {
    let text = std::fs::read_to_string(out.join(LOG)).unwrap();
    let line = |line: &str| {
        let mut line: Value = serde_json::from_str(line).unwrap();
        line.as_object_mut().unwrap().retain(|name, _| !name.ends_with("seconds"));
        line
    };
    text.lines().map(line).collect()
}

#[test]
fn sixteen_examples_are_learnt_by_heart() {
    let folder = tempfile::tempdir().unwrap();
    let model = tiny::file(folder.path(), &tiny::model());
    let before = std::fs::read(&model).unwrap();
    let out = folder.path().join("out");
    let intent = run(&model, "--epochs 40 --batch 8 --rate 1e-2 --rank 8", &out, false, None).unwrap();
    let figures = intent.training["figures"].as_array().unwrap();
    let (first, last) = (&figures[0], figures.last().unwrap());
    assert_eq!(last["validation"]["accuracy"], 1.0, "{last}");
    assert!(last["validation"]["nll"].as_f64().unwrap() < 0.01, "{last}");
    assert!(first["loss"].as_f64().unwrap() > 1.0, "{first}");
    // Two of sixteen labels are wrong, so confidence must fall.
    assert!(intent.config.temperature > 1.0, "{}", intent.config.temperature);
    assert!(before == std::fs::read(&model).unwrap(), "the base has changed");
}

#[test]
fn a_run_that_was_killed_ends_like_one_that_was_not() {
    let folder = tempfile::tempdir().unwrap();
    let model = tiny::file(folder.path(), &tiny::model());
    // Four steps an epoch, twelve in all; checkpoints after 3, 4 (epoch), 6, 8, ... steps.
    let common = "--epochs 3 --batch 4 --rank 2 --rate 3e-3";
    let variants = [
        "--keep last --dropout 0.1 --noise 0.5",
        "--evaluate-every 3 --pass 3 --label-smoothing 0.1",
        "--evaluate-every 1 --patience 2 --rate 0.5 --limit 13 --top-layers 2 --rslora",
    ];
    for (number, variant) in variants.into_iter().enumerate() {
        let options =
            format!("{common} {variant}").replace("--rate 3e-3 --evaluate-every 1", "--evaluate-every 1");
        let whole = folder.path().join(format!("whole{number}")).join("out");
        let intent = run(&model, &options, &whole, false, None).unwrap();
        let looks = intent.training["figures"].as_array().unwrap().len();
        match number {
            0 => assert_eq!(looks, 3),
            1 => assert_eq!(looks, 6),
            _ => assert!(looks < 12, "such a rate can't get better for ever: {looks}"),
        }
        for stops in [vec![1], vec![3], vec![2, 4], vec![5, 6, 11]] {
            let parts = folder.path().join(format!("parts{number}-{}", stops[0])).join("out");
            let mut resume = false;
            for stop in stops {
                match run(&model, &options, &parts, resume, Some(stop)) {
                    Err(error) => assert_eq!(error.to_string(), "training: killed"),
                    // Early stopping came first.
                    Ok(_) => assert_eq!(number, 2),
                }
                resume = parts.join(CHECKPOINT).exists();
                if !resume && parts.join(INTENT).exists() {
                    break;
                }
            }
            if !parts.join(INTENT).exists() {
                run(&model, &options, &parts, resume, None).unwrap();
            }
            for file in [TENSORS, CONFIG, INTENT] {
                let [a, b] = [&whole, &parts].map(|out| std::fs::read(out.join(file)).unwrap());
                assert!(a == b, "{variant}: {file} differs");
            }
            assert_eq!(log(&whole), log(&parts), "{variant}");
            assert!(!parts.join(CHECKPOINT).exists());
        }
    }
}

#[test]
fn a_run_goes_on_from_an_adapter() {
    let folder = tempfile::tempdir().unwrap();
    let model = tiny::file(folder.path(), &tiny::model());
    let [first, second, parts, other] =
        ["first", "second", "parts", "other"].map(|name| folder.path().join(name));
    let options = "--epochs 10 --batch 16 --rate 1e-2 --rank 3 --alpha 5 --keep last";
    run(&model, options, &first, false, None).unwrap();
    let intent = run_from(Some(&first), &model, options, &second, false, None).unwrap();
    let losses = |out: &Path| -> Vec<f64> {
        log(out).iter().filter_map(|line| line.get("step").and(line["loss"].as_f64())).collect()
    };
    let (former, further) = (losses(&first), losses(&second));
    assert!(former[0] > 1.5 && further[0] < 0.7 * former[0], "{former:?} {further:?}");
    // The first step sees what the former run left.
    let figures = std::fs::read_to_string(first.join(LOG)).unwrap();
    let left: Value = serde_json::from_str(figures.lines().last().unwrap()).unwrap();
    assert!((left["validation"]["nll"].as_f64().unwrap() - further[0]).abs() < 2e-3, "{left} {further:?}");
    let made = Intent::from_json(&std::fs::read_to_string(first.join(INTENT)).unwrap()).unwrap();
    assert_eq!(intent.training["adapter"]["name"], "former");
    assert_eq!(intent.training["adapter"]["files"], serde_json::to_value(made.files.unwrap()).unwrap());
    let command = intent.training["command"].as_str().unwrap();
    assert!(command.contains(" --adapter former "), "{command}");
    // Killed and continued it ends the same, but not from another adapter.
    run_from(Some(&first), &model, options, &parts, false, Some(4)).unwrap_err();
    let error = run_from(None, &model, options, &parts, true, None).unwrap_err();
    assert!(error.to_string().contains("adapter is {\"name\":\"former\""), "{error}");
    run_from(Some(&first), &model, options, &parts, true, None).unwrap();
    assert!(std::fs::read(second.join(TENSORS)).unwrap() == std::fs::read(parts.join(TENSORS)).unwrap());
    for wrong in [
        "--rank 2 --alpha 5",
        "--rank 3",
        "--rank 3 --alpha 5 --targets q",
        "--rank 3 --alpha 5 --top-layers 1",
    ] {
        let error = run_from(Some(&first), &model, wrong, &other, false, None).unwrap_err();
        assert_eq!(error.code(), "invalid_argument");
        assert!(error.to_string().starts_with("--adapter"), "{error}");
    }
    let elsewhere = tiny::file(folder.path(), &TinyQwen2 { seed: 77, ..tiny::model() });
    let error = run_from(Some(&first), &elsewhere, options, &other, false, None).unwrap_err();
    assert_eq!(error.code(), "wrong_base");
    assert!(!other.exists(), "nothing is begun");
}

#[test]
fn a_pass_in_parts_is_the_same_step() {
    let folder = tempfile::tempdir().unwrap();
    let model = tiny::file(folder.path(), &tiny::model());
    let losses = |options: &str, name: &str| -> Vec<f64> {
        let out = folder.path().join(name);
        run(&model, options, &out, false, None).unwrap();
        log(&out).iter().filter_map(|line| line.get("step").and(line["loss"].as_f64())).collect()
    };
    let common = "--epochs 2 --batch 8 --rate 3e-3 --rank 2";
    let (whole, parts) = (losses(common, "a"), losses(&format!("{common} --pass 3"), "b"));
    assert_eq!(whole.len(), 4);
    for (a, b) in whole.iter().zip(&parts) {
        assert!((a - b).abs() < 1e-4, "{whole:?} {parts:?}");
    }
}

#[test]
fn a_checkpoint_of_another_run_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let model = tiny::file(folder.path(), &tiny::model());
    let out = folder.path().join("out");
    run(&model, "--batch 4 --rank 2", &out, false, Some(3)).unwrap_err();
    run(&model, "--batch 4 --rank 2 --epochs 2", &out, false, Some(4)).unwrap_err();
    let error = run(&model, "--batch 4 --rank 3 --epochs 2", &out, true, None).unwrap_err();
    assert_eq!(error.code(), "invalid_argument");
    assert!(error.to_string().contains("hyperparameters.rank is 2 there and 3 here"), "{error}");
}

#[test]
fn options_that_can_not_work_are_named() {
    for (options, named) in [
        ("--epochs 0", "--epochs"),
        ("--batch 0", "--batch"),
        ("--rank 0", "--rank"),
        ("--alpha 0", "--alpha"),
        ("--rate nan", "--rate"),
        ("--noise 2", "--noise"),
        ("--dropout 1", "--dropout"),
        ("--targets q,k,q_proj", "--targets"),
        ("--patience 1 --keep last", "--patience"),
        ("--clip nan", "--clip"),
    ] {
        let error = hyper(options).check().unwrap_err();
        assert_eq!(error.code(), "invalid_argument");
        assert!(error.to_string().starts_with(named), "{error}");
    }
    assert!(Options::try_parse_from(["train", "--targets", "embed_tokens"]).is_err());
    let folder = tempfile::tempdir().unwrap();
    let model = tiny::file(folder.path(), &tiny::model());
    let error = run(&model, "--top-layers 4", &folder.path().join("out"), false, None).unwrap_err();
    assert!(error.to_string().starts_with("--top-layers"), "{error}");
}

#[test]
fn a_run_in_the_place_of_another_leaves_nothing_of_it() {
    let folder = tempfile::tempdir().unwrap();
    let model = tiny::file(folder.path(), &tiny::model());
    let out = folder.path().join("out");
    run(&model, "--batch 4 --rank 2", &out, false, None).unwrap();
    // Killed before its first checkpoint.
    run(&model, "--batch 4 --rank 2 --seed 5", &out, false, Some(1)).unwrap_err();
    let left: Vec<_> = std::fs::read_dir(&out).unwrap().map(|entry| entry.unwrap().file_name()).collect();
    assert_eq!(left, [LOG]);
    // What no run has left stays until there is something for its place.
    std::fs::write(out.join(TENSORS), "someone's").unwrap();
    run(&model, "--batch 4 --rank 2", &out, false, Some(1)).unwrap_err();
    assert_eq!(std::fs::read(out.join(TENSORS)).unwrap(), b"someone's");
}

#[test]
fn known_bases_are_called_by_their_names() {
    let folder = tempfile::tempdir().unwrap();
    let mut base = Base::read(&tiny::file(folder.path(), &tiny::model())).unwrap();
    assert_eq!([base.argument(), base.repository()], ["tiny.gguf", "tiny.gguf"]);
    base.sha256 = relayops_intent::fetch::find("qwen2.5-0.5b").unwrap().sha256.into_owned();
    assert_eq!([base.argument(), base.repository()], ["qwen2.5-0.5b", "Qwen/Qwen2.5-Coder-0.5B-Instruct"]);
    let hub = Base::read(&super::peft::base_folder(folder.path())).unwrap();
    assert_eq!([hub.argument(), hub.repository()], ["base", "base"]);
}

#[test]
fn what_is_written_is_complete() {
    let folder = tempfile::tempdir().unwrap();
    let model = tiny::file(folder.path(), &tiny::model());
    let out = folder.path().join("my out");
    let options = "--batch 8 --rank 2 --alpha 5 --targets q,down --top-layers 2";
    let intent = run(&model, options, &out, false, None).unwrap();
    let text = std::fs::read_to_string(out.join(INTENT)).unwrap();
    assert_eq!(Intent::from_json(&text).unwrap(), intent);
    assert!(!text.contains(folder.path().to_str().unwrap()), "{text}");
    let command = intent.training["command"].as_str().unwrap();
    assert!(
        command.starts_with("relayops-intent train lora --base tiny.gguf --out 'my out' --templates 0"),
        "{command}"
    );
    // The command means the same run.
    assert_eq!(hyper(command.split_once("'my out' ").unwrap().1), hyper(options));
    let config: Value = serde_json::from_slice(&std::fs::read(out.join(CONFIG)).unwrap()).unwrap();
    assert_eq!(config["base_model_name_or_path"], "tiny.gguf");
    assert_eq!(config["r"], 2);
    assert_eq!(config["lora_alpha"], 5.0);
    assert_eq!(config["target_modules"], serde_json::json!(["q_proj", "down_proj"]));
    assert_eq!(config["layers_to_transform"], serde_json::json!([1, 2]));
    let tensors = candle_core::safetensors::load(out.join(TENSORS), &Device::Cpu).unwrap();
    assert_eq!(tensors.len(), 2 * 2 * 2);
    let b = &tensors["base_model.model.model.layers.2.mlp.down_proj.lora_B.weight"];
    assert_eq!(b.dims(), [64, 2]);
    assert_eq!(b.dtype(), candle_core::DType::F16);
    assert_eq!(intent.golden.vectors.len(), 4);
}
