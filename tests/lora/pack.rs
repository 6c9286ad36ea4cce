//! Packs of Qwen2: adapters merged and rounded, shards, what a pack leaves out, what is refused.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::Command;

use candle_core::quantized::GgmlDType;
use candle_core::quantized::gguf_file::Value as Entry;
use relayops_intent::adapter::{
    Adapter, AdapterConfig, AdapterFiles, Asked, BaseModel, Intent, Precision, Projection,
};
use relayops_intent::backend::cpu::Cpu;
use relayops_intent::classifier::{Classifier, ClassifyOptions, Reading};
use relayops_intent::gguf::{Gguf, GgufStream};
use relayops_intent::loader::{Loader, PackLoader};
use relayops_intent::model::qwen2::{LABEL_ROWS, LABEL_TOKENS, Qwen2};
use relayops_intent::pack::manifest::{MAX_FILE_BYTES, Origin};
use relayops_intent::pack::{CascadeConfig, IntentConfig, Manifest};
use relayops_intent::pack::{Golden, GoldenVector};
use relayops_intent::packing::decoder::{self, Source, Written};
use relayops_intent::packing::formats::{Formats, fitting, format_name};
use relayops_intent::packing::{Settings, Threshold};
use relayops_intent::quant::Format;
use relayops_intent::scoring::Scorer;
use relayops_intent::train::lora::{Base, default_config};
use relayops_intent::{IntentError, Result};
use relayops_testkit::TinyQwen2;
use serde_json::{Value, json};

use super::peft;
use super::tiny::{self, MESSAGES, random};

pub(crate) fn origin() -> Origin {
    Origin {
        base: "tiny".to_owned(),
        sha256: "0".repeat(64),
        licence: "MIT".to_owned(),
        notices: String::new(),
    }
}

pub(crate) fn settings(quant: &str) -> Settings {
    Settings {
        name: "tiny".to_owned(),
        formats: Formats::decoder().changed(quant).unwrap(),
        prune_vocabulary: false,
        temperature: None,
        threshold: Threshold::OfBase,
        origin: Some(origin()),
        figures: Value::Null,
        command: "a test".to_owned(),
        max_file_bytes: MAX_FILE_BYTES,
    }
}

/// An adapter with a path of random numbers beside every matrix, and a calibration of its own.
fn adapter(base: &Path) -> AdapterFiles {
    let base = Base::read(base).unwrap();
    let projections = Projection::ALL;
    let mut adapter = Adapter::default();
    for layer in 0..base.sizes.layers {
        for (number, projection) in (7 * layer as u64..).zip(projections) {
            let [out, width] = projection.shape(&base.sizes);
            let values = |seed, shape| {
                let tensor = (random(seed, shape) * 0.15).unwrap().flatten_all().unwrap();
                tensor.to_dtype(candle_core::DType::F32).unwrap().to_vec1().unwrap()
            };
            let (a, b) = (values(2 * number, [4, width]), values(2 * number + 1, [out, 4]));
            let path = relayops_intent::adapter::Path { rank: 4, scale: 2.0, a, b };
            adapter.paths.insert((layer, projection), path);
        }
    }
    let config = AdapterConfig::uniform("tiny", 4, 8.0, 0.0, false, &projections, None);
    // Packs have golden answers of their own: whatever the adapter's base answers is good enough.
    let vector = GoldenVector { text: "hi".to_owned(), log_probabilities: vec![-1.8; 6] };
    let golden = Golden { tolerance: 1e3, tolerance_other_order: None, vectors: vec![vector] };
    let intent = Intent {
        base: BaseModel { name: base.name, sha256: base.sha256, licence: None },
        config: IntentConfig {
            temperature: 1.5,
            threshold: 0.7,
            cascade: Some(CascadeConfig { first: "0".repeat(64), thresholds: [0.9, 0.8] }),
            ..default_config()
        },
        golden,
        files: None,
        training: json!({ "seed": 13 }),
        figures: Value::Null,
    };
    let tensors = adapter.to_safetensors(Precision::F32).unwrap();
    AdapterFiles { asked: Asked::Intent(Box::new(intent)), config: config.to_json().unwrap(), tensors }
}

fn pack(base: &Path, adapter: Option<&AdapterFiles>, settings: Settings, out: &Path) -> Result<Written> {
    let source = Source { base: Base::read(base)?, adapter, forced: false, config: IntentConfig::default() };
    decoder::pack(source, settings, out, true, &mut |_, _| ())
}

pub(crate) fn scores(classifier: &mut Classifier) -> Vec<f32> {
    let read = |message: &&str| match classifier.read(message, false).unwrap() {
        Reading::Scored { scores, .. } => scores.log_probabilities,
        Reading::Unscored(decision) => panic!("{decision:?}"),
    };
    MESSAGES.iter().flat_map(read).collect()
}

pub(crate) fn largest_difference(a: &[f32], b: &[f32]) -> f32 {
    assert_eq!(a.len(), b.len());
    let off = a.iter().zip(b).map(|(a, b)| (a - b).abs());
    off.fold(0.0, |worst, off| if off > worst || off.is_nan() { off } else { worst })
}

/// A tiny model with an adapter, and the answers of the adapter beside it without rounding.
pub(crate) struct Case {
    pub(crate) folder: tempfile::TempDir,
    pub(crate) base: PathBuf,
    pub(crate) adapter: AdapterFiles,
    unmerged: Vec<f32>,
}

impl Case {
    pub(crate) fn new(tiny: &TinyQwen2) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let base = tiny::file(folder.path(), tiny);
        let adapter = adapter(&base);
        let loader = Loader::read_base(&base, IntentConfig::default()).unwrap();
        let mut classifier = loader.exact().finish().unwrap();
        let before = scores(&mut classifier);
        classifier.set_adapter(Some(&adapter), false).unwrap();
        let unmerged = scores(&mut classifier);
        assert!(largest_difference(&before, &unmerged) > 0.1, "the adapter changes answers");
        Self { folder, base, adapter, unmerged }
    }

    pub(crate) fn out(&self) -> PathBuf {
        self.folder.path().join("out")
    }

    pub(crate) fn pack(&self, settings: Settings) -> Result<Written> {
        pack(&self.base, Some(&self.adapter), settings, &self.out())
    }

    pub(crate) fn load(&self, exact: bool) -> Classifier {
        let loader = PackLoader::read_folder(&self.out()).unwrap();
        if exact { loader.exact().finish().unwrap() } else { loader.finish().unwrap() }
    }
}

/// The GGUF that a pack's files make up.
fn gguf(folder: &Path, manifest: &Manifest) -> Gguf {
    let mut stream = GgufStream::new("pack", Some(manifest.total_bytes()));
    for file in &manifest.files {
        stream.push(&std::fs::read(folder.join(&file.path)).unwrap()).unwrap();
    }
    stream.finish().unwrap()
}

#[test]
fn merged_without_rounding_and_unmerged_agree() {
    // Floats, and what Qwen2.5's files are made of.
    for tiny in [tiny::model(), TinyQwen2::default(), TinyQwen2 { output: false, ..tiny::model() }] {
        let case = Case::new(&tiny);
        let written = case.pack(settings("f32")).unwrap();
        assert!(written.groups.iter().all(|group| group.rmse == 0.0));
        let off = largest_difference(&scores(&mut case.load(true)), &case.unmerged);
        println!("merged and unmerged: {off}");
        assert!(off < 1e-3, "{off}");
    }
}

#[test]
fn a_folder_of_the_hub_with_an_adapter_of_peft_is_packed() {
    let folder = tempfile::tempdir().unwrap();
    let base = peft::base_folder(folder.path());
    let (config, tensors) = peft::files("plain");
    let files = AdapterFiles { config, tensors, ..adapter(&base) };
    let out = folder.path().join("out");
    pack(&base, Some(&files), settings("f32"), &out).unwrap();
    let mut merged = PackLoader::read_folder(&out).unwrap().exact().finish().unwrap();

    let mut model = Base::read(&base).unwrap();
    let adapter = files.adapter(&model.sizes).unwrap();
    let unmerged = Qwen2::new(Cpu::exact(), model.sizes, &mut model.gguf).unwrap();
    let mut unmerged = Scorer::new(unmerged, model.tokenizer, files.intent_config()).unwrap();
    unmerged.set_adapter(Some(&adapter), files.intent_config(), |_| Ok(())).unwrap();
    let unmerged: Vec<f32> =
        MESSAGES.iter().flat_map(|text| unmerged.score(text, false).unwrap().log_probabilities).collect();
    let off = largest_difference(&scores(&mut merged), &unmerged);
    assert!(off < 1e-3, "{off}");
}

#[test]
fn a_pack_has_the_adapters_configuration_unless_told_otherwise() {
    let case = Case::new(&tiny::model());
    let manifest = case.pack(settings("q8_0")).unwrap().manifest;
    let given = case.adapter.intent_config().clone();
    assert!(given.cascade.is_some());
    assert_eq!(
        manifest.config,
        IntentConfig { cascade: None, ..given },
        "thresholds are for its own confidences"
    );
    assert_eq!(manifest.training, json!({ "seed": 13 }));
    assert_eq!((manifest.architecture.as_str(), manifest.licence.as_str()), ("qwen2", "MIT"));
    let loader = PackLoader::read_folder(&case.out()).unwrap();
    assert_eq!(*loader.manifest(), manifest);
    let classifier = loader.finish().unwrap();
    assert_eq!(classifier.info().stage, "tiny");
    let changed = Settings { temperature: Some(2.5), threshold: Threshold::Given(0.25), ..settings("q8_0") };
    case.pack(changed).unwrap();
    let classifier = case.load(false);
    assert_eq!((classifier.config().temperature, classifier.config().threshold), (2.5, 0.25));
}

#[test]
fn without_an_adapter_a_pack_is_its_base() {
    let case = Case::new(&tiny::model());
    pack(&case.base, None, settings("f32"), &case.out()).unwrap();
    let base = Loader::read_file(&case.base, IntentConfig::default()).unwrap().exact();
    assert_eq!(scores(&mut case.load(true)), scores(&mut base.finish().unwrap()));
}

#[test]
fn files_stay_within_the_bound_and_hold_one_gguf() {
    let case = Case::new(&tiny::model());
    let whole = case.pack(settings("q5_0")).unwrap().manifest;
    assert_eq!(whole.files.len(), 1);
    let one = std::fs::read(case.out().join(&whole.files[0].path)).unwrap();
    let bound = 30_001;
    let parts = case.pack(Settings { max_file_bytes: bound, ..settings("q5_0") }).unwrap().manifest;
    assert!(parts.files.len() > 3, "{}", parts.files.len());
    let (last, full) = parts.files.split_last().unwrap();
    assert!(full.iter().all(|file| file.bytes == bound) && last.bytes <= bound);
    let read = |file: &str| std::fs::read(case.out().join(file)).unwrap();
    assert_eq!(parts.files.iter().flat_map(|file| read(&file.path)).collect::<Vec<u8>>(), one);
    assert_eq!(parts.golden, whole.golden);
    scores(&mut case.load(false));
    // The earlier pack's file is gone, and so are those of this one when the next comes.
    let count = || std::fs::read_dir(case.out()).unwrap().count();
    assert_eq!(count(), parts.files.len() + 1);
    case.pack(settings("q5_0")).unwrap();
    assert_eq!(count(), 2);
    assert_eq!(std::fs::read(case.out().join("model.gguf")).unwrap(), one, "the same bytes again");
}

/// The formats of a pack's tensors, by name.
fn formats(case: &Case, quant: &str) -> (BTreeMap<String, Format>, Written) {
    let written = case.pack(settings(quant)).unwrap();
    let tensors = gguf(&case.out(), &written.manifest).tensors;
    (tensors.into_iter().map(|(name, matrix)| (name, matrix.format())).collect(), written)
}

#[test]
fn rows_that_a_format_does_not_divide_take_its_fallback() {
    use Format::{F32, Q4_0, Q4K, Q5_0, Q6K, Q8_0};
    for (asked, cols, taken) in [
        (Q4K, 256, Q4K),
        (Q4K, 896, Q5_0),
        (Q6K, 896, Q8_0),
        (Q6K, 4864, Q6K),
        (Q4_0, 896, Q4_0),
        (Q4K, 24, F32),
    ] {
        assert_eq!(fitting(asked, cols), taken, "{asked:?} of {cols}");
    }
    // Like the 0.5B: only `down` has rows of whole blocks of 256.
    let case = Case::new(&TinyQwen2 { hidden: 64, feed_forward: 256, ..TinyQwen2::uniform(GgmlDType::Q8_0) });
    let (formats, written) = formats(&case, "q4_k,embedding=q6_k");
    for (name, expected) in [
        ("token_embd.weight", Q8_0),
        ("blk.0.attn_q.weight", Q5_0),
        ("blk.1.ffn_up.weight", Q5_0),
        ("blk.1.ffn_down.weight", Q4K),
        ("blk.1.attn_q.bias", F32),
        (LABEL_ROWS, F32),
    ] {
        assert_eq!(formats[name], expected, "{name}");
    }
    assert!(!formats.contains_key("output.weight"));
    let reported: Vec<_> = written.groups.iter().map(|g| (g.group.name(), format_name(g.format))).collect();
    let expected = [
        ("embedding", "q8_0"),
        ("attention", "q5_0"),
        ("feed-forward", "q5_0"),
        ("down", "q4_k"),
        ("head", "f32"),
        ("vectors", "f32"),
    ];
    assert_eq!(reported, expected);
    // A matrix that no path changes, in its own format, is not rounded again.
    let embedding = &written.groups[0];
    assert!(embedding.rmse == 0.0 && embedding.bytes > 0);
    let off = largest_difference(&scores(&mut case.load(false)), &case.unmerged);
    println!("rounded and unmerged: {off}");
    assert!(off < 1.0, "{off}");
}

#[test]
fn each_group_takes_its_own_format() {
    let case = Case::new(&TinyQwen2::default());
    let quant = "q4_0,embedding=q8_0,attention=f16,feed-forward=q6_k,down=q5_0,head=q8_0";
    let (formats, _) = formats(&case, quant);
    for (name, expected) in [
        ("token_embd.weight", Format::Q8_0),
        ("blk.0.attn_k.weight", Format::F16),
        ("blk.0.attn_output.weight", Format::F16),
        ("blk.1.ffn_gate.weight", Format::Q6K),
        ("blk.1.ffn_down.weight", Format::Q5_0),
        (LABEL_ROWS, Format::Q8_0),
    ] {
        assert_eq!(formats[name], expected, "{name}");
    }
    for bad in ["positions=q8_0", "vectors=f16", "down=q3_k", "q4_0,q8_0", "embedding:q8_0", ""] {
        let error = Formats::decoder().changed(bad).unwrap_err();
        assert!(error.to_string().starts_with("--quant: "), "{bad}: {error}");
    }
}

#[test]
fn a_pack_has_output_rows_for_its_labels_only() {
    let case = Case::new(&tiny::model());
    let manifest = case.pack(settings("q8_0")).unwrap().manifest;
    let gguf = gguf(&case.out(), &manifest);
    let tokens = gguf.metadata.u32s(LABEL_TOKENS).unwrap();
    assert_eq!(gguf.tensors[LABEL_ROWS].rows(), tokens.len());
    assert!((6..20).contains(&tokens.len()), "{}", tokens.len());

    let options = ClassifyOptions { token_confidence: true, ..ClassifyOptions::default() };
    let result = case.load(false).classify(MESSAGES[0], options).unwrap();
    assert_eq!(result.decision.reason, "error:unavailable");
    let loader = |config: IntentConfig| {
        let mut loader = Loader::new("pack", None, config).unwrap();
        loader.push_file(&case.out().join("model.gguf")).unwrap();
        loader
    };
    let (mut scorer, _) = loader(manifest.config.clone()).finish_scorer().unwrap();
    let error = scorer.score(MESSAGES[0], true).unwrap_err();
    assert!(error.code() == "unavailable" && error.to_string().contains("token_confidence"), "{error}");
    scorer.score(MESSAGES[0], false).unwrap();

    let mut other = manifest.config.clone();
    other.labels = ["refund", "order"].map(str::to_owned).to_vec();
    other.policy.always_escalate.clear();
    let error = loader(other).finish_scorer().map(|_| ()).unwrap_err();
    assert!(error.code() == "invalid_config" && error.to_string().starts_with("labels: "), "{error}");

    // It is no base: nothing could be trained or packed with it.
    let error = Base::read(&case.out().join("model.gguf")).map(|_| ()).unwrap_err();
    assert!(error.code() == "unsupported_model" && error.to_string().contains(LABEL_TOKENS), "{error}");
}

#[test]
fn label_rows_must_be_what_the_header_says() {
    let read = |tokens: &[u32], rows: usize, output: bool| {
        let tokens = Entry::Array(tokens.iter().map(|token| Entry::U32(*token)).collect());
        let tiny = TinyQwen2 {
            output,
            metadata: vec![(LABEL_TOKENS.to_owned(), Some(tokens))],
            with: vec![(LABEL_ROWS.to_owned(), vec![rows, 64], GgmlDType::F32)],
            ..tiny::model()
        };
        let mut loader = Loader::new("f", None, IntentConfig::default()).unwrap();
        loader.push(&tiny.bytes().unwrap()).map_err(|error| (error.code(), error.to_string()))
    };
    read(&[3, 9], 2, false).unwrap();
    for (tokens, rows, output, code, named) in [
        (&[9u32, 3][..], 2, false, "invalid_gguf", LABEL_TOKENS),
        (&[3, 3], 2, false, "invalid_gguf", LABEL_TOKENS),
        (&[3, 1 << 30], 2, false, "invalid_gguf", LABEL_TOKENS),
        (&[], 1, false, "invalid_gguf", LABEL_TOKENS),
        (&[3, 9], 3, false, "invalid_tensor", LABEL_ROWS),
        (&[3, 9], 2, true, "invalid_tensor", "output.weight"),
    ] {
        let (actual, message) = read(tokens, rows, output).unwrap_err();
        assert!(actual == code && message.contains(named), "{tokens:?} {rows} {output}: {actual} {message}");
    }
}

#[test]
fn what_cannot_become_a_pack_is_refused_by_name() {
    let case = Case::new(&tiny::model());
    let refused = |change: &dyn Fn(&mut Settings)| {
        let mut settings = settings("q8_0");
        change(&mut settings);
        let error = case.pack(settings).map(|_| ()).unwrap_err();
        assert!(!case.out().join("pack.json").exists());
        (error.code(), error.to_string())
    };
    type Change<'a> = &'a dyn Fn(&mut Settings);
    let cases: [(Change, &str); 7] = [
        (&|s| s.name = "Tiny!".to_owned(), "--name"),
        (&|s| s.prune_vocabulary = true, "--prune-vocabulary"),
        (&|s| s.temperature = Some(0.0), "--temperature"),
        (&|s| s.threshold = Threshold::Given(1.5), "--threshold"),
        (&|s| s.origin = None, "--origin"),
        (&|s| s.max_file_bytes = MAX_FILE_BYTES + 1, "--max-file-bytes"),
        (&|s| s.max_file_bytes = 100, "--max-file-bytes"),
    ];
    for (change, option) in cases {
        let (code, message) = refused(change);
        assert!(code == "invalid_argument" && message.starts_with(option), "{option}: {code} {message}");
    }

    let mut stranger = adapter(&case.base);
    if let Asked::Intent(intent) = &mut stranger.asked {
        intent.base.sha256 = "0".repeat(64);
    }
    let error = pack(&case.base, Some(&stranger), settings("q8_0"), &case.out()).map(|_| ()).unwrap_err();
    assert_eq!(error.code(), "wrong_base");
    let base = Base::read(&case.base).unwrap();
    let source = Source { base, adapter: Some(&stranger), forced: true, config: IntentConfig::default() };
    decoder::pack(source, settings("q8_0"), &case.out(), true, &mut |_, _| ()).unwrap();

    let sizes = Base::read(&case.base).unwrap().sizes;
    let mut huge = case.adapter.adapter(&sizes).unwrap();
    let path = huge.paths.get_mut(&(1, Projection::Up)).unwrap();
    (path.a[3], path.b[0]) = (3e38, 3e38);
    let huge = AdapterFiles { tensors: huge.to_safetensors(Precision::F32).unwrap(), ..case.adapter.clone() };
    let error = pack(&case.base, Some(&huge), settings("q8_0"), &case.out()).map(|_| ()).unwrap_err();
    let IntentError::InvalidTensor { tensor, .. } = &error else { panic!("{error}") };
    assert_eq!(tensor, "blk.1.ffn_up.weight");
}

fn run(arguments: &[&str]) -> (Option<i32>, String, String) {
    let output = Command::new(env!("CARGO_BIN_EXE_relayops-intent")).args(arguments).output().unwrap();
    let text = |bytes: Vec<u8>| String::from_utf8(bytes).unwrap();
    (output.status.code(), text(output.stdout), text(output.stderr))
}

#[test]
fn the_command_packs_and_its_packs_classify_and_are_evaluated() {
    let case = Case::new(&tiny::model());
    let at = |name: &str| case.folder.path().join(name).display().to_string();
    let write = |name: &str, text: &[u8]| std::fs::write(case.folder.path().join(name), text).unwrap();
    std::fs::create_dir(case.folder.path().join("adapter")).unwrap();
    write("adapter/intent.json", case.adapter.intent().unwrap().to_json().unwrap().as_bytes());
    write("adapter/adapter_config.json", case.adapter.config.as_bytes());
    write("adapter/adapter_model.safetensors", &case.adapter.tensors);
    write("origin.json", serde_json::to_string(&origin()).unwrap().as_bytes());
    let (base, adapter, origin, out) = (at("tiny.gguf"), at("adapter"), at("origin.json"), at("out"));
    let arguments = ["pack", "--base", &base, "--adapter", &adapter, "--origin", &origin, "--out", &out];
    let more = ["--quant", "q8_0,down=q5_0", "--max-file-bytes", "90000", "--json"];
    let (code, stdout, stderr) = run(&[&arguments[..], &more].concat());
    assert_eq!(code, Some(0), "{stderr}");
    let summary: Value = serde_json::from_str(&stdout).unwrap();
    assert_eq!(summary["name"], "tiny");
    let manifest: Value =
        serde_json::from_slice(&std::fs::read(case.out().join("pack.json")).unwrap()).unwrap();
    let command = manifest["command"].as_str().unwrap();
    let formats = "embedding=q8_0,attention=q8_0,feed-forward=q8_0,down=q5_0,head=f32";
    assert!(command.contains(&format!("--name tiny --quant {formats} ")), "{command}");
    assert!(command.contains("--max-file-bytes 90000"), "{command}");
    assert!(summary["files"].as_u64().unwrap() > 1 && summary.get("pieces").is_none(), "{summary}");
    let mut classifier = case.load(false);
    for message in MESSAGES {
        let (code, stdout, stderr) = run(&["classify", "--model", &out, message]);
        assert_eq!(code, Some(0), "{stderr}");
        assert_eq!(stdout.trim_end(), classifier.classify(message, ClassifyOptions::default()).unwrap().json);
    }
    let (code, stdout, stderr) = run(&["eval", "--model", &out, "--set", "dev", "--json"]);
    assert_eq!(code, Some(0), "{stderr}");
    let result: Value = serde_json::from_str(&stdout).unwrap();
    assert!(result["accuracy"].is_number() && result["temperature"] == 1.5, "{stdout}");
    let (code, _, stderr) = run(&["bench", "--model", &out, "--rounds", "1"]);
    assert_eq!(code, Some(0), "{stderr}");
    let new = at("new");
    for (arguments, said) in [
        (vec!["pack", "--base", &base, "--out", &out], "--overwrite"),
        (vec!["pack", "--base", "nowhere.gguf", "--out", &new], "--base"),
        (vec!["pack", "--base", &base, "--out", &new], "--origin"),
        (vec!["pack", "--base", &base, "--out", &new, "--quant", "q9"], "--quant"),
        (vec!["pack", "--base", &base, "--out", &new, "--force-adapter"], "--adapter"),
        (vec!["pack", "--base", &adapter, "--out", &new, "--adapter", &adapter], "--adapter"),
    ] {
        let (code, _, stderr) = run(&arguments);
        assert!(code == Some(2) && stderr.contains(said), "{arguments:?}: {code:?} {stderr}");
    }
}
