//! Soft targets of a base with its adapter.

use std::path::{Path, PathBuf};

use candle_core::Device;
use relayops_intent::adapter::{AdapterFiles, INTENT};
use relayops_intent::classifier::Reading;
use relayops_intent::loader::Loader;
use relayops_intent::pack::IntentConfig;
use relayops_intent::train::lora::soften::{Request, soften};
use relayops_intent::train::lora::{Base, default_config};
use relayops_intent::train::qwen2::Products;
use relayops_intent::train::soft::SoftTargets;
use relayops_intent::{IntentError, Result};

use super::{runs, tiny};

/// A tiny model, an adapter that was trained for it, and messages of more than two passes.
struct Case {
    folder: tempfile::TempDir,
    model: PathBuf,
    texts: Vec<String>,
}

impl Case {
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let model = tiny::file(folder.path(), &tiny::model());
        let options = "--epochs 3 --batch 8 --rate 1e-2 --rank 4 --targets q,v,down --top-layers 2";
        runs::run(&model, options, &folder.path().join("adapter"), false, None).unwrap();
        let things = ["router", "modem", "bill", "phone \u{1f621}", "line"];
        let texts = (0..70).map(|number| format!("my {} is down {number} times", things[number % 5]));
        Self { texts: texts.collect(), folder, model }
    }

    fn adapter(&self) -> AdapterFiles {
        AdapterFiles::read_or(&self.folder.path().join("adapter"), || Ok(default_config())).unwrap()
    }

    fn out(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// Scores `texts`, and stops as if killed when `stop` of them are done.
    fn run(&self, texts: &[String], out: &Path, stop: Option<usize>) -> Result<()> {
        let request = Request {
            base: Base::read(&self.model)?,
            adapter: &self.adapter(),
            texts,
            device: &Device::Cpu,
            products: Products::F32,
            out,
        };
        soften(request, &mut |done, of| {
            assert!(done <= of);
            if Some(done) == stop { Err(IntentError::Training("killed".to_owned())) } else { Ok(()) }
        })
    }
}

#[test]
fn soft_targets_are_the_engines_answers() {
    let case = Case::new();
    let out = case.out("soft.jsonl");
    case.run(&case.texts, &out, None).unwrap();
    let targets = SoftTargets::read(&out).unwrap();
    let labels = default_config().labels;
    assert_eq!(targets.header.base_sha256, Base::read(&case.model).unwrap().sha256);
    assert_eq!(targets.header.products, "f32");
    let soft = targets.of(&labels, case.texts.iter().map(String::as_str)).unwrap();
    let mut engine =
        Loader::read_base(&case.model, IntentConfig::default()).unwrap().exact().finish().unwrap();
    engine.set_adapter(Some(&case.adapter()), false).unwrap();
    let mut spread = 0f32;
    for (text, soft) in case.texts.iter().zip(&soft) {
        let Reading::Scored { scores, .. } = engine.read(text, false).unwrap() else { panic!("{text}") };
        for (ours, theirs) in soft.iter().zip(&scores.log_probabilities) {
            assert!((ours - theirs).abs() < 1e-3, "{text}: {soft:?} for {:?}", scores.log_probabilities);
        }
        spread = soft.iter().zip(&soft[1..]).fold(spread, |most, (a, b)| most.max((a - b).abs()));
    }
    assert!(spread > 0.1, "the adapter tells labels apart: {spread}");
}

#[test]
fn a_run_that_was_killed_ends_like_one_that_was_not() {
    let case = Case::new();
    // Some stand there twice.
    let texts: Vec<String> = case.texts.iter().chain(&case.texts[3..9]).cloned().collect();
    let (whole, parts) = (case.out("whole.jsonl"), case.out("parts.jsonl"));
    case.run(&texts, &whole, None).unwrap();
    let whole = std::fs::read(&whole).unwrap();
    assert_eq!(whole.iter().filter(|byte| **byte == b'\n').count(), 71);
    for cut in [0, 40, 0, 200] {
        case.run(&texts, &parts, Some(32)).unwrap_err();
        // Bytes of a line that a kill has cut, and what is left of the pass before.
        let mut bytes = std::fs::read(&parts).unwrap();
        bytes.truncate(bytes.len() - cut);
        bytes.extend_from_slice(&whole[bytes.len()..][..cut / 2]);
        std::fs::write(&parts, &bytes).unwrap();
    }
    case.run(&texts, &parts, Some(64)).unwrap_err();
    std::fs::write(&parts, &whole[..std::fs::read(&parts).unwrap().len() + 150]).unwrap();
    case.run(&texts, &parts, None).unwrap();
    assert!(std::fs::read(&parts).unwrap() == whole);
    case.run(&texts, &parts, None).unwrap();
    assert!(std::fs::read(&parts).unwrap() == whole, "there was nothing left to do");
    std::fs::write(&parts, &whole[..30]).unwrap();
    case.run(&texts, &parts, None).unwrap();
    assert!(std::fs::read(&parts).unwrap() == whole, "the header was cut");
}

#[test]
fn files_of_other_runs_are_not_continued() {
    let case = Case::new();
    let out = case.out("soft.jsonl");
    case.run(&case.texts, &out, Some(32)).unwrap_err();
    let before = std::fs::read(&out).unwrap();
    let others: Vec<String> = case.texts.iter().rev().cloned().collect();
    let error = case.run(&others, &out, None).unwrap_err();
    assert_eq!(error.code(), "invalid_argument");
    assert!(error.to_string().starts_with("--out: ") && error.to_string().contains("line 2"), "{error}");
    assert!(std::fs::read(&out).unwrap() == before, "it is as it was");
    for foreign in ["{\"text\":\"hi\"}\n", "someone's"] {
        std::fs::write(&out, foreign).unwrap();
        let error = case.run(&case.texts, &out, None).unwrap_err();
        assert!(error.to_string().starts_with("--out: "), "{error}");
        assert_eq!(std::fs::read_to_string(&out).unwrap(), foreign);
    }
    // The adapter of another base.
    let intent = case.folder.path().join("adapter").join(INTENT);
    let text = std::fs::read_to_string(&intent).unwrap();
    let sha256 = Base::read(&case.model).unwrap().sha256;
    std::fs::write(&intent, text.replace(&sha256, &"0".repeat(64))).unwrap();
    assert_eq!(case.run(&case.texts, &case.out("new"), None).unwrap_err().code(), "wrong_base");
    assert!(!case.out("new").exists());
}

#[test]
fn adapters_that_differ_between_layers_are_refused() {
    let case = Case::new();
    let sizes = Base::read(&case.model).unwrap().sizes;
    let whole = case.adapter().adapter(&sizes).unwrap();
    let paths = relayops_intent::train::lora::paths_of(&whole, &sizes).unwrap();
    assert_eq!((paths.rank, paths.first_layer, paths.projections.len()), (4, 1, 3));
    assert!((paths.scale - 4.0).abs() < 1e-6, "alpha 16, rank 4: {}", paths.scale);
    let mut missing = whole.clone();
    missing.paths.pop_last();
    let mut scaled = whole.clone();
    scaled.paths.last_entry().unwrap().get_mut().scale = 1.0;
    let mut low = whole.clone();
    low.paths.last_entry().unwrap().get_mut().rank = 2;
    for other in [missing, scaled, low, relayops_intent::adapter::Adapter::default()] {
        let error = relayops_intent::train::lora::paths_of(&other, &sizes).unwrap_err();
        assert!(error.to_string().starts_with("--adapter: "), "{error}");
    }
}

/// Runs the command on the messages of `file`.
fn command(case: &Case, file: &str) -> std::process::Output {
    let mut command = std::process::Command::new(env!("CARGO_BIN_EXE_relayops-intent"));
    command.current_dir(case.folder.path());
    command.args(["train", "soften", "--products", "f32", "--base", "tiny.gguf", "--adapter", "adapter"]);
    command.args(["--out", "soft.jsonl", "--texts", file]).output().unwrap()
}

#[test]
fn the_command_reads_texts_from_a_file() {
    let case = Case::new();
    let write = |text: &str| std::fs::write(case.out("texts.jsonl"), text).unwrap();
    write("{\"text\": \"hello\"}\n\n{\"text\": \"my \\\"line\\\"\\nis down\", \"intent\": \"not read\"}\n");
    let output = command(&case, "texts.jsonl");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    assert_eq!(output.stdout, b"soft.jsonl\n");
    let errors = String::from_utf8(output.stderr).unwrap();
    assert!(errors.contains("2 messages, base tiny") && errors.contains("message 2 of 2"), "{errors}");
    let targets = SoftTargets::read(&case.out("soft.jsonl")).unwrap();
    let texts = ["my \"line\"\nis down", "hello"];
    let soft = targets.of(&default_config().labels, texts.into_iter()).unwrap();
    assert!(soft.len() == 2 && soft[0] != soft[1]);
    for (text, place) in [
        ("{\"text\": \"hello\"}\n{\"text\": \" \"}\n", "texts.jsonl, line 2: the message is empty"),
        ("{\"message\": \"hello\"}\n", "texts.jsonl, line 1: "),
        (
            &format!("{{\"text\": \"{}\"}}", "hello ".repeat(500)),
            "texts.jsonl, line 1: the message is longer",
        ),
    ] {
        write(text);
        let output = command(&case, "texts.jsonl");
        assert_eq!(output.status.code(), Some(1));
        let errors = String::from_utf8(output.stderr).unwrap();
        assert!(errors.starts_with(&format!("relayops-intent: invalid_data: {place}")), "{errors}");
    }
    assert_eq!(command(&case, "nothing.jsonl").status.code(), Some(1));
}
