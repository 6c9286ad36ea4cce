//! Packs: made, loaded, damaged.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test fails by panicking")]

use std::path::Path;
use std::process::Command;

use candle_core::quantized::{GgmlDType, QTensor};
use candle_core::{Device, Tensor};
use relayops_intent::classifier::{Classifier, ClassifyOptions};
use relayops_intent::dataset::CalibrationPart;
use relayops_intent::eval::metrics::bootstrap::Bootstrap;
use relayops_intent::eval::sets::calibration;
use relayops_intent::eval::{Evaluator, Options, evaluate};
use relayops_intent::loader::{Loader, PackLoader};
use relayops_intent::pack::Manifest;
use relayops_intent::pack::manifest::{MAX_FILE_BYTES, sha256};
use relayops_intent::packing::{self, Packed, Settings, Threshold, encode::encode, formats::Formats};
use relayops_intent::quant::{Format, QuantMatrix};
use relayops_intent::{IntentError, Result};
use relayops_testkit::{MINILM, TinyBert, head, real_folder};
use serde_json::{Value, json};

fn settings(formats: &str) -> Settings {
    Settings {
        name: "tiny".to_owned(),
        formats: formats.parse().unwrap(),
        prune_vocabulary: false,
        temperature: None,
        threshold: Threshold::OfBase,
        origin: None,
        figures: json!({ "accuracy": 1.0 }),
        command: "a test".to_owned(),
        max_file_bytes: MAX_FILE_BYTES,
    }
}

fn pack(model: &TinyBert, settings: Settings) -> Result<Packed> {
    let folder = tempfile::tempdir().unwrap();
    model.write_folder(folder.path()).unwrap();
    packing::pack(folder.path(), settings)
}

fn tiny() -> Packed {
    pack(&TinyBert::default(), settings("embedding=q8_0,attention=q8_0,feed-forward=q8_0")).unwrap()
}

/// Loads a pack from its parts.
fn load(manifest: &Value, files: &[&[u8]]) -> Result<Classifier> {
    let mut loader = PackLoader::new(manifest.to_string().as_bytes())?;
    for (index, file) in files.iter().enumerate() {
        for chunk in file.chunks(10_007) {
            loader.push(index, chunk)?;
        }
    }
    loader.finish()
}

fn json_of(packed: &Packed) -> Value {
    serde_json::from_str(&packed.manifest.to_json().unwrap()).unwrap()
}

fn log_probabilities(classifier: &mut Classifier, text: &str) -> Vec<f32> {
    let result = classifier.classify(text, ClassifyOptions::default()).unwrap();
    result.probabilities.unwrap().into_iter().map(|(_, p)| p).collect()
}

#[test]
fn a_written_pack_answers_as_its_file_does() {
    let packed = tiny();
    let folder = tempfile::tempdir().unwrap();
    packed.write(folder.path(), false).unwrap();
    let loader = PackLoader::read_folder(folder.path()).unwrap();
    assert_eq!(loader.identity(), sha256(&std::fs::read(folder.path().join("pack.json")).unwrap()));
    assert_eq!(*loader.manifest(), packed.manifest);
    let mut from_pack = loader.finish().unwrap();
    assert_eq!(from_pack.info().stage, "tiny");
    assert_eq!((from_pack.config().temperature, from_pack.config().threshold), (1.25, 0.6));
    let mut loader = Loader::new("f", None, packed.manifest.config.clone()).unwrap();
    loader.push(&packed.gguf).unwrap();
    let mut from_file = loader.finish().unwrap();
    for text in ["hi", "my internet is down", "why was I charged twice"] {
        assert_eq!(log_probabilities(&mut from_pack, text), log_probabilities(&mut from_file, text));
    }
    // Without rounding of activations it passes its golden answers too, at the tolerance of other arithmetic.
    PackLoader::read_folder(folder.path()).unwrap().exact().finish().unwrap();
}

#[test]
fn the_same_base_gives_the_same_bytes() {
    let (a, b) = (tiny(), tiny());
    assert_eq!(a.gguf, b.gguf);
    assert_eq!(a.manifest.to_json().unwrap(), b.manifest.to_json().unwrap());
}

#[test]
fn unrounded_packs_are_the_models_own_weights() {
    let model = TinyBert::default();
    let packed = pack(&model, settings("f32")).unwrap();
    assert!(packed.groups.iter().all(|group| group.rmse == 0.0));
    // The test kit writes the same model as GGUF by itself.
    let mut loader = Loader::new("f", None, packed.manifest.config.clone()).unwrap();
    loader.push(&model.bytes().unwrap()).unwrap();
    let mut other = loader.finish().unwrap();
    let mut ours = load(&json_of(&packed), &[&packed.gguf]).unwrap();
    for text in ["hi", "my internet is down [SEP]", "caf\u{e9} \u{1f600}"] {
        assert_eq!(log_probabilities(&mut ours, text), log_probabilities(&mut other, text), "{text}");
    }
}

#[test]
fn other_labels_are_another_pack() {
    let labels = ["order", "refund", "greeting", "unknown"].map(str::to_owned).to_vec();
    let folder = tempfile::tempdir().unwrap();
    let model = TinyBert { labels: labels.clone(), ..TinyBert::default() };
    model.write_folder(folder.path()).unwrap();
    // Without a policy it would be today's, which escalates `billing`.
    let error = packing::pack(folder.path(), settings("f32")).map(|_| ()).unwrap_err();
    assert_eq!(error.code(), "invalid_data", "{error}");
    assert!(error.to_string().contains("policy.always_escalate[0]"), "{error}");
    let mut intent = model.intent();
    intent["policy"] = json!({ "always_escalate": ["unknown"], "patterns": [] });
    std::fs::write(folder.path().join("intent.json"), intent.to_string()).unwrap();
    let packed = packing::pack(folder.path(), settings("f32")).unwrap();
    let mut classifier = load(&json_of(&packed), &[&packed.gguf]).unwrap();
    let result = classifier.classify("hello there", ClassifyOptions::default()).unwrap();
    assert!(labels.contains(&result.intent));
    assert_eq!(result.probabilities.unwrap().len(), 4);
}

#[test]
fn the_threshold_says_where_it_comes_from() {
    let of = |threshold| {
        let packed = pack(&TinyBert::default(), Settings { threshold, ..settings("f32") }).unwrap();
        let manifest = json_of(&packed);
        (manifest["config"]["threshold"].as_f64().unwrap(), manifest["threshold_from"].clone(), packed)
    };
    let (threshold, from, _) = of(Threshold::OfBase);
    assert!((threshold - 0.6).abs() < 1e-6);
    assert_eq!(from, json!({ "kind": "configuration" }));
    let (threshold, from, _) = of(Threshold::Given(0.25));
    assert_eq!((threshold, from), (0.25, json!({ "kind": "argument" })));

    let (_, from, packed) = of(Threshold::MaxUnsafe(0.05));
    let sample = calibration(CalibrationPart::Threshold).unwrap();
    let mut evaluator = Evaluator::new("tiny", load(&json_of(&packed), &[&packed.gguf]).unwrap());
    evaluator.read(&sample.messages, || {}).unwrap();
    let mut at = |threshold: f32| {
        evaluator.set_thresholds(&[threshold]).unwrap();
        let bootstrap = Bootstrap { replicates: 1, ..Bootstrap::default() };
        let gate = evaluate(&evaluator, &sample, Options { bootstrap, sweep: false }).unwrap().gate;
        (gate.unsafe_local, gate.must_escalate)
    };
    let chosen = packed.manifest.config.threshold;
    let (kept, must) = at(chosen);
    assert!(kept as f64 <= 0.05 * must as f64, "{kept} of {must}");
    assert_eq!(
        from,
        json!({
            "kind": "fitted", "on": "dev.jsonl, ids 2 modulo 4", "n": sample.messages.len(), "max_unsafe": 0.05,
            "must_escalate": must, "unsafe_local": kept
        })
    );
}

#[test]
fn files_are_byte_ranges_of_one_gguf() {
    let packed = tiny();
    let (first, second) = packed.gguf.split_at(packed.gguf.len() / 3);
    let mut manifest = json_of(&packed);
    let entry =
        |path: &str, bytes: &[u8]| json!({ "path": path, "bytes": bytes.len(), "sha256": sha256(bytes) });
    manifest["files"] = json!([entry("a.part", first), entry("b.part", second)]);
    load(&manifest, &[first, second]).unwrap();

    let error = load(&manifest, &[second, first]).map(|_| ()).unwrap_err();
    assert_eq!(error.code(), "invalid_pack", "longer than the first: {error}");
    let error = load(&manifest, &[first]).map(|_| ()).unwrap_err();
    assert_eq!(error.code(), "invalid_pack");
    assert!(error.to_string().contains("b.part: ends at byte 0"), "{error}");
    let error = load(&manifest, &[&first[..first.len() - 1], second]).map(|_| ()).unwrap_err();
    assert!(error.to_string().contains("a.part (file 0) is not complete"), "{error}");
    let error = load(&manifest, &[first, second, &[0]]).map(|_| ()).unwrap_err();
    assert!(error.to_string().contains("all files are complete"), "{error}");
}

#[test]
fn a_damaged_byte_anywhere_is_found() {
    let packed = tiny();
    let manifest = json_of(&packed);
    let step = packed.gguf.len() / 40;
    for at in (0..packed.gguf.len()).step_by(step).chain([packed.gguf.len() - 1]) {
        let mut bytes = packed.gguf.clone();
        bytes[at] ^= 4;
        let error = load(&manifest, &[&bytes]).map(|_| ()).unwrap_err();
        // A damaged header may be noticed before the file's end.
        assert!(
            [
                "checksum",
                "invalid_gguf",
                "invalid_tensor",
                "unsupported_model",
                "invalid_config",
                "truncated"
            ]
            .contains(&error.code()),
            "byte {at}: {} {error}",
            error.code()
        );
        if at > packed.gguf.len() / 2 {
            assert_eq!(error.code(), "checksum", "byte {at}: {error}");
        }
    }
}

#[test]
fn wrong_answers_are_refused_and_name_the_backend() {
    let packed = tiny();
    let mut manifest = json_of(&packed);
    let tolerance = manifest["golden"]["tolerance"].as_f64().unwrap();
    assert!(tolerance <= 2e-3, "{tolerance}");
    let other = manifest["golden"]["tolerance_other_order"].as_f64().unwrap();
    assert!((0.05..0.5).contains(&other), "{other}");
    let value = manifest["golden"]["vectors"][1]["log_probabilities"][2].as_f64().unwrap();
    manifest["golden"]["vectors"][1]["log_probabilities"][2] = json!(value - 2.0 * tolerance);
    let error = load(&manifest, &[&packed.gguf]).map(|_| ()).unwrap_err();
    assert_eq!(error.code(), "golden_mismatch");
    let message = error.to_string();
    assert!(message.contains("pack tiny: cpu-") && message.contains("my internet is down"), "{message}");
}

/// What becomes of a manifest with `change`.
fn refused(change: impl FnOnce(&mut Value)) -> IntentError {
    let mut manifest = json_of(&tiny());
    change(&mut manifest);
    let error = Manifest::from_json(manifest.to_string().as_bytes()).unwrap_err();
    assert_eq!(error.code(), "invalid_pack", "{error}");
    error
}

#[test]
fn later_formats_say_what_to_update() {
    let message = refused(|manifest| manifest["format"] = json!(2)).to_string();
    assert!(message.contains("format: 2") && message.contains("update relayops-intent"), "{message}");
    // Even where nothing else is as it was.
    let error = Manifest::from_json(br#"{"format": 7, "weights": []}"#).unwrap_err();
    assert!(error.to_string().contains("update relayops-intent"), "{error}");
    for other in [json!(0), json!("1"), json!(1.5), Value::Null] {
        assert!(refused(|manifest| manifest["format"] = other).to_string().contains("pack: format: "));
    }
}

#[test]
fn manifests_are_read_strictly() {
    for path in [
        "../model.gguf",
        "/etc/passwd",
        "a/b",
        "a\\b",
        "..",
        ".hidden",
        "",
        "c:model",
        "model.gguf.",
        "a b",
        "pack.json",
        "m%2e.gguf",
        "\u{e9}.gguf",
    ] {
        let message = refused(|manifest| manifest["files"][0]["path"] = json!(path)).to_string();
        assert!(message.contains("files[0].path"), "{path}: {message}");
    }
    for bytes in [0, MAX_FILE_BYTES + 1] {
        let message = refused(|manifest| manifest["files"][0]["bytes"] = json!(bytes)).to_string();
        assert!(message.contains("files[0].bytes"), "{message}");
    }
    for sha in ["", "A", &"g".repeat(64), &"F".repeat(64)] {
        let message = refused(|manifest| manifest["files"][0]["sha256"] = json!(sha)).to_string();
        assert!(message.contains("files[0].sha256"), "{message}");
    }
    refused(|manifest| manifest["files"] = json!([]));
    refused(|manifest| {
        let file = manifest["files"][0].clone();
        manifest["files"] = json!([file, file]);
    });
    refused(|manifest| manifest["more"] = json!(1));
    refused(|manifest| manifest["files"][0]["more"] = json!(1));
    refused(|manifest| manifest["golden"]["tolerance"] = json!(0.0));
    refused(|manifest| manifest["golden"]["tolerance_other_order"] = json!(-1.0));
    refused(|manifest| manifest["golden"]["vectors"] = json!([]));
    refused(|manifest| manifest["golden"]["vectors"][0]["log_probabilities"] = json!([0.0]));
    refused(|manifest| manifest["golden"]["vectors"][0]["text"] = json!("x".repeat(2_001)));
    refused(|manifest| manifest["name"] = json!("Compact!"));
    refused(|manifest| manifest["origin"]["sha256"] = json!("12"));
    refused(|manifest| manifest["config"]["temperature"] = json!(0.0));
    refused(|manifest| {
        manifest.as_object_mut().unwrap().remove("licence");
    });
    assert_eq!(Manifest::from_json(b"{").unwrap_err().code(), "invalid_pack");
}

#[test]
fn labels_and_architecture_must_be_the_files() {
    let packed = tiny();
    let mut manifest = json_of(&packed);
    manifest["config"]["labels"].as_array_mut().unwrap().swap(0, 1);
    let error = load(&manifest, &[&packed.gguf]).map(|_| ()).unwrap_err();
    assert!(error.code() == "invalid_config" && error.to_string().starts_with("labels: "), "{error}");
    let mut manifest = json_of(&packed);
    manifest["architecture"] = json!("qwen2");
    let error = load(&manifest, &[&packed.gguf]).map(|_| ()).unwrap_err();
    assert!(error.code() == "invalid_pack" && error.to_string().contains("architecture"), "{error}");
}

#[test]
fn pruning_keeps_what_latin_text_becomes() {
    let model = TinyBert::default();
    let folder = tempfile::tempdir().unwrap();
    model.write_folder(folder.path()).unwrap();
    assert_pruned(
        folder.path(),
        &["my internet is down", "caf\u{e9} [SEP] \u{20ac}5 \u{1f600}!", "restarted on-line #1"],
        5,
    );
}

/// English text falls into the same pieces; `lost` pieces at least are gone.
fn assert_pruned(folder: &Path, texts: &[&str], lost: usize) {
    let packed =
        |prune: bool| packing::pack(folder, Settings { prune_vocabulary: prune, ..settings("f32") }).unwrap();
    let (whole, pruned) = (packed(false), packed(true));
    assert!(pruned.pieces[1] + lost <= pruned.pieces[0], "{:?}", pruned.pieces);
    let encoder = |packed: &Packed| {
        let mut loader = Loader::new("f", None, packed.manifest.config.clone()).unwrap();
        loader.push(&packed.gguf).unwrap();
        loader.finish_encoder().unwrap()
    };
    let pieces = |packed: &Packed| -> Vec<String> {
        let mut stream = relayops_intent::gguf::GgufStream::new("f", None);
        stream.push(&packed.gguf).unwrap();
        let gguf = stream.finish().unwrap();
        gguf.metadata.texts("tokenizer.ggml.tokens").unwrap().iter().map(|t| (*t).to_owned()).collect()
    };
    let (mut a, mut b) = (encoder(&whole), encoder(&pruned));
    let (all, kept) = (pieces(&whole), pieces(&pruned));
    let mut order = all.iter();
    assert!(kept.iter().all(|piece| order.any(|other| other == piece)), "the order stays");
    for text in texts {
        let spelled = |ids: &[relayops_intent::tokenizer::TokenId], pieces: &[String]| -> Vec<String> {
            ids.iter().map(|id| pieces[id.0 as usize].clone()).collect()
        };
        let (x, y) = (a.tokenizer().sequence(text).unwrap(), b.tokenizer().sequence(text).unwrap());
        assert_eq!(spelled(&x, &all), spelled(&y, &kept), "{text}");
        // The same pieces have the same vectors.
        assert_eq!(a.log_probabilities(text).unwrap(), b.log_probabilities(text).unwrap(), "{text}");
    }
    // Other scripts are unknown words, not faults.
    let foreign = b.tokenizer().encode("\u{431}\u{431} \u{4e16}").unwrap();
    assert!(foreign.iter().all(|id| kept[id.0 as usize] == "[UNK]"), "{foreign:?}");
}

/// The base's folder with a random head beside it.
fn real_base(folder: &Path) -> tempfile::TempDir {
    let base = tempfile::tempdir().unwrap();
    for file in ["config.json", "tokenizer.json"] {
        std::fs::copy(folder.join(file), base.path().join(file)).unwrap();
    }
    std::fs::write(base.path().join("intent.json"), TinyBert::default().intent().to_string()).unwrap();
    let mut tensors = candle_core::safetensors::load(folder.join("model.safetensors"), &Device::Cpu).unwrap();
    tensors.extend(head(3, 6, 384).unwrap());
    candle_core::safetensors::save(&tensors, base.path().join("model.safetensors")).unwrap();
    base
}

#[test]
fn the_real_vocabulary_loses_no_piece_of_english() {
    let Some(folder) = real_folder("the_real_vocabulary_loses_no_piece_of_english", MINILM) else { return };
    let base = real_base(&folder);
    let seeds = include_str!("../data/seeds.jsonl").lines().step_by(40);
    let seeds: Vec<String> = seeds
        .map(|line| serde_json::from_str::<Value>(line).unwrap()["text"].as_str().unwrap().to_owned())
        .collect();
    let mut texts: Vec<&str> = seeds.iter().map(String::as_str).collect();
    texts.extend([
        "na\u{ef}ve r\u{e9}sum\u{e9} \u{142}\u{f3}d\u{17a} \u{2014} \u{a3}100 \u{bd} 5\u{b0}",
        "km\u{b2} \u{2192} \u{201c}ok\u{201d}",
    ]);
    assert_pruned(base.path(), &texts, 2_000);
}

#[test]
fn the_default_pack_of_the_real_weights_fits() {
    let Some(folder) = real_folder("the_default_pack_of_the_real_weights_fits", MINILM) else { return };
    let base = real_base(&folder);
    let settings = Settings { prune_vocabulary: true, formats: Formats::default(), ..settings("f32") };
    let packed = packing::pack(base.path(), settings).unwrap();
    let bytes = packed.gguf.len() + packed.manifest.to_json().unwrap().len();
    assert!(bytes <= 14_000_000, "{bytes} bytes");
    load(&json_of(&packed), &[&packed.gguf]).unwrap();
}

fn random(count: usize) -> Vec<f32> {
    let mut state = 7u64;
    let mut unit = || {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (state >> 40) as f32 / (1u64 << 23) as f32 - 1.0
    };
    // Sums of a few are near a normal distribution, as weights are.
    (0..count).map(|_| 0.05 * (unit() + unit() + unit() + unit())).collect()
}

fn squared_error(matrix: &QuantMatrix, values: &[f32]) -> f64 {
    let mut row = vec![0.0; matrix.cols()];
    let mut error = 0.0;
    for (r, values) in values.chunks_exact(matrix.cols()).enumerate() {
        matrix.dequantize_row(r, &mut row);
        error += row.iter().zip(values).map(|(a, b)| f64::from(a - b).powi(2)).sum::<f64>();
    }
    error
}

#[test]
fn searched_scales_beat_rounding_to_the_largest_value() {
    let (rows, cols) = (64, 384);
    let values = random(rows * cols);
    let tensor = Tensor::from_slice(&values, (rows, cols), &Device::Cpu).unwrap();
    for (format, dtype, most) in [
        (Format::Q4_0, GgmlDType::Q4_0, 0.9),
        (Format::Q5_0, GgmlDType::Q5_0, 0.95),
        (Format::Q8_0, GgmlDType::Q8_0, 1.0),
    ] {
        let ours = squared_error(&encode(format, rows, cols, &values).unwrap(), &values);
        let candle = QTensor::quantize(&tensor, dtype).unwrap().data().unwrap().into_owned();
        let candle = squared_error(&QuantMatrix::new(format, rows, cols, candle).unwrap(), &values);
        println!("{format:?}: {:.3} of the squared error", ours / candle);
        assert!(ours <= most * candle, "{format:?}: {ours}, candle {candle}");
    }
}

#[test]
fn odd_blocks_are_encoded() {
    for format in [Format::Q4_0, Format::Q5_0, Format::Q8_0] {
        let mut values = vec![0.0; 128];
        values[40] = -1e-30;
        values[64..96].fill(0.5);
        values[100] = 3e4;
        let matrix = encode(format, 1, 128, &values).unwrap();
        let mut row = vec![1.0; 128];
        matrix.dequantize_row(0, &mut row);
        assert!(row[..64].iter().all(|value| value.abs() <= 1e-20), "{format:?}");
        assert!(row[64..96].iter().all(|value| (value - 0.5).abs() < 2e-3), "{format:?} {row:?}");
        assert!((row[100] - 3e4).abs() < 50.0, "{format:?} {}", row[100]);
        let error = encode(format, 1, 32, &[f32::NAN; 32]).map(|_| ()).unwrap_err();
        assert_eq!(error.code(), "invalid_argument");
    }
}

fn run(arguments: &[&str]) -> (i32, String, String) {
    let output = Command::new(env!("CARGO_BIN_EXE_relayops-intent")).args(arguments).output().unwrap();
    let text = |bytes: Vec<u8>| String::from_utf8(bytes).unwrap();
    (output.status.code().unwrap(), text(output.stdout), text(output.stderr))
}

#[test]
fn the_command_makes_a_pack_that_classify_and_bench_take() {
    let folder = tempfile::tempdir().unwrap();
    let at = |name: &str| folder.path().join(name).display().to_string();
    let model = TinyBert { positions: 512, ..TinyBert::default() };
    model.write_folder(&folder.path().join("base")).unwrap();
    std::fs::write(
        folder.path().join("figures.json"),
        r#"{"model": "x", "n": 3, "accuracy": 0.5, "errors": []}"#,
    )
    .unwrap();
    let (base, out, figures) = (at("base"), at("out"), at("figures.json"));
    let arguments = ["pack", "--base", &base, "--out", &out, "--prune-vocabulary", "--figures", &figures];
    let (code, stdout, stderr) = run(&arguments);
    assert_eq!(code, 0, "{stderr}");
    for word in ["embedding", "q4_0", "feed-forward", "RMSE", "SHA-256 of pack.json"] {
        assert!(stdout.contains(word), "{word}: {stdout}");
    }
    let manifest: Value =
        serde_json::from_slice(&std::fs::read(folder.path().join("out/pack.json")).unwrap()).unwrap();
    assert_eq!(manifest["figures"], json!([{ "n": 3, "accuracy": 0.5 }]));
    assert_eq!(manifest["name"], "compact");
    assert!(manifest["command"].as_str().unwrap().contains("--prune-vocabulary"));
    let (_, stdout, _) = run(&[&arguments[..], &["--overwrite", "--json"]].concat());
    let summary: Value = serde_json::from_str(&stdout).unwrap();
    let written = std::fs::read(folder.path().join("out/pack.json")).unwrap();
    assert_eq!(summary["identity"], sha256(&written));

    let (code, stdout, stderr) = run(&["classify", "--model", &out, "--json", "my internet is down"]);
    assert_eq!(code, 0, "{stderr}");
    let result: Value = serde_json::from_str(&stdout).unwrap();
    assert_eq!(result["stage"], "compact");
    let (code, stdout, stderr) = run(&["bench", "--model", &out, "--rounds", "1"]);
    assert_eq!(code, 0, "{stderr}");
    assert!(stdout.contains("message, ms"), "{stdout}");
    let (code, _, stderr) = run(&["classify", "--model", &out, "--system-prompt", &figures, "hi"]);
    assert_eq!(code, 2, "{stderr}");
    assert!(stderr.contains("--system-prompt"), "{stderr}");
}

#[test]
fn bases_that_do_not_fit_are_refused() {
    let refused = |file: &str, change: &dyn Fn(&mut Value)| {
        let folder = tempfile::tempdir().unwrap();
        TinyBert::default().write_folder(folder.path()).unwrap();
        let path = folder.path().join(file);
        let mut value: Value = serde_json::from_slice(&std::fs::read(&path).unwrap()).unwrap();
        change(&mut value);
        std::fs::write(&path, value.to_string()).unwrap();
        let error = packing::pack(folder.path(), settings("f32")).map(|_| ()).unwrap_err();
        (error.code(), error.to_string())
    };
    for (file, pointer, value, code) in [
        ("config.json", "/model_type", json!("roberta"), "unsupported_model"),
        ("config.json", "/hidden_act", json!("gelu_new"), "unsupported_model"),
        ("config.json", "/hidden_size", json!(32), "invalid_data"),
        ("config.json", "/num_attention_heads", json!(5), "invalid_config"),
        ("config.json", "/max_position_embeddings", json!(1), "invalid_config"),
        ("tokenizer.json", "/normalizer/lowercase", json!(false), "invalid_data"),
        ("tokenizer.json", "/model/max_input_chars_per_word", json!(50), "invalid_data"),
        ("tokenizer.json", "/added_tokens", json!([]), "invalid_data"),
        ("tokenizer.json", "/model/vocab/hello", json!(3), "invalid_data"),
        ("intent.json", "/temperature", json!(-1), "invalid_data"),
        ("intent.json", "/labels", json!(["a", "b"]), "invalid_data"),
    ] {
        let (actual, message) = refused(file, &|json| *json.pointer_mut(pointer).unwrap() = value.clone());
        assert_eq!(actual, code, "{file} {pointer}: {message}");
    }
    let (code, message) = refused("intent.json", &|json| {
        json.as_object_mut().unwrap().remove("origin");
    });
    assert!(code == "invalid_argument" && message.contains("--origin"), "{message}");
    for bad in [
        "embedding",
        "embedding=q2_k",
        "nonsense=q4_0",
        "vectors=q4_0",
        "down=q4_0",
        "embedding=q8_0,q4_0",
        "",
    ] {
        let error = bad.parse::<Formats>().unwrap_err();
        assert!(error.to_string().starts_with("--quant: "), "{error}");
    }
}
