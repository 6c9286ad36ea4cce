//! Adapters beside a loaded base.

use std::path::Path;

use candle_core::quantized::gguf_file::{self, Value};
use candle_core::quantized::{GgmlDType, QTensor};
use candle_core::{Device, Tensor};
use relayops_intent::adapter::{Adapter, AdapterFiles, Asked, CONFIG, INTENT, Intent, TENSORS};
use relayops_intent::cascade::{Cascade, CascadeOptions};
use relayops_intent::classifier::{Classifier, ClassifyOptions, Reading};
use relayops_intent::loader::Loader;
use relayops_intent::pack::IntentConfig;
use relayops_testkit::TinyQwen2;

use super::runs;
use super::tiny::{self, MESSAGES};

/// What an adapter of this project says of itself.
fn promise(files: &mut AdapterFiles) -> &mut Intent {
    match &mut files.asked {
        Asked::Intent(intent) => intent,
        Asked::Given(_) => panic!("no intent.json"),
    }
}

/// A tiny model and two adapters that were trained for it.
pub(super) struct Trained {
    folder: tempfile::TempDir,
    model: std::path::PathBuf,
}

impl Trained {
    pub(super) fn new(tiny: &TinyQwen2) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let model = tiny::file(folder.path(), tiny);
        for (name, options) in [
            ("first", "--epochs 3 --batch 8 --rate 1e-2 --rank 4"),
            ("second", "--epochs 2 --batch 8 --rate 1e-2 --rank 2 --targets q,down --top-layers 1 --seed 3"),
        ] {
            runs::run(&model, options, &folder.path().join(name), false, None).unwrap();
        }
        Self { folder, model }
    }

    fn adapter(&self, name: &str) -> AdapterFiles {
        AdapterFiles::read(&self.folder.path().join(name)).unwrap()
    }

    pub(super) fn base(&self, exact: bool) -> Classifier {
        let loader = Loader::read_base(&self.model, IntentConfig::default()).unwrap();
        if exact { loader.exact().finish().unwrap() } else { loader.finish().unwrap() }
    }
}

fn scores(classifier: &mut Classifier) -> Vec<Vec<f32>> {
    let read = |message: &&str| match classifier.read(message, false).unwrap() {
        Reading::Scored { scores, .. } => scores.log_probabilities,
        Reading::Unscored(decision) => panic!("{decision:?}"),
    };
    MESSAGES.iter().map(read).collect()
}

fn largest_difference(a: &[Vec<f32>], b: &[Vec<f32>]) -> f32 {
    let pairs = a.iter().flatten().zip(b.iter().flatten());
    pairs
        .map(|(a, b)| (a - b).abs())
        .fold(0.0, |worst, off| if off > worst || off.is_nan() { off } else { worst })
}

#[test]
fn adapters_swap_on_a_loaded_base() {
    for tiny in [tiny::model(), TinyQwen2::default()] {
        let trained = Trained::new(&tiny);
        let fresh = |name: &str| {
            let mut classifier = trained.base(false);
            classifier.set_adapter(Some(&trained.adapter(name)), false).unwrap();
            scores(&mut classifier)
        };
        let (first, second, none) = (fresh("first"), fresh("second"), scores(&mut trained.base(false)));
        assert!(largest_difference(&first, &second) > 0.01);
        let mut classifier = trained.base(false);
        for name in ["first", "second", "first", "", "second"] {
            let adapter = (!name.is_empty()).then(|| trained.adapter(name));
            classifier.set_adapter(adapter.as_ref(), false).unwrap();
            let expected = match name {
                "first" => &first,
                "second" => &second,
                _ => &none,
            };
            assert_eq!(&scores(&mut classifier), expected, "{name:?}");
            let config =
                adapter.map_or_else(IntentConfig::default, |adapter| adapter.intent_config().clone());
            assert_eq!(*classifier.config(), config);
        }
    }
}

#[test]
fn golden_answers_of_training_are_the_engines() {
    let trained = Trained::new(&tiny::model());
    for name in ["first", "second"] {
        let adapter = trained.adapter(name);
        let mut classifier = trained.base(false);
        classifier.set_adapter(Some(&adapter), false).unwrap();
        for vector in &adapter.intent().unwrap().golden.vectors {
            let Reading::Scored { scores, .. } = classifier.read(&vector.text, false).unwrap() else {
                panic!()
            };
            for (ours, theirs) in scores.log_probabilities.iter().zip(&vector.log_probabilities) {
                // Four decimals are stored.
                assert!((ours - theirs).abs() < 2e-4, "{name}: {ours} for {theirs}");
            }
        }
    }
}

#[test]
fn a_refused_adapter_changes_nothing() {
    let trained = Trained::new(&tiny::model());
    let mut classifier = trained.base(false);
    let first = trained.adapter("first");
    classifier.set_adapter(Some(&first), false).unwrap();
    let before = scores(&mut classifier);
    let mut other_base = trained.adapter("second");
    promise(&mut other_base).base.sha256 = "0".repeat(64);
    let mut untrue = trained.adapter("second");
    promise(&mut untrue).golden.vectors[1].log_probabilities[2] += 1.0;
    let mut unread = trained.adapter("second");
    promise(&mut unread).golden.vectors[1].text = "a".repeat(2001);
    let mut damaged = trained.adapter("second");
    damaged.tensors.truncate(100);
    let mut unsayable = trained.adapter("second");
    promise(&mut unsayable).config.labels[1] = "billing".to_owned();
    promise(&mut unsayable).config.labels[0] = "billing".to_owned();
    for (adapter, code) in [
        (&other_base, "wrong_base"),
        (&untrue, "golden_mismatch"),
        (&unread, "golden_mismatch"),
        (&damaged, "invalid_config"),
        (&unsayable, "invalid_config"),
    ] {
        let error = classifier.set_adapter(Some(adapter), false).unwrap_err();
        assert_eq!(error.code(), code, "{error}");
        assert_eq!(scores(&mut classifier), before, "{code}");
        assert_eq!(*classifier.config(), *first.intent_config());
    }
    // Beside its own base an adapter answers as it must, forced or not.
    let error = classifier.set_adapter(Some(&untrue), true).unwrap_err();
    assert_eq!(error.code(), "golden_mismatch", "{error}");
    classifier.set_adapter(Some(&other_base), true).unwrap();
    assert!(scores(&mut classifier) != before);
    // A base whose digest was not taken can't be told from another.
    let mut unknown = Loader::read_file(&trained.model, IntentConfig::default()).unwrap().finish().unwrap();
    let error = unknown.set_adapter(Some(&first), false).unwrap_err();
    assert_eq!(error.code(), "wrong_base");
    assert!(error.to_string().contains("not known"), "{error}");
}

#[test]
fn models_without_room_for_adapters_say_so() {
    let trained = Trained::new(&tiny::model());
    let mut compact = relayops_intent::builtin::compact().unwrap().finish().unwrap();
    let before = compact.classify(MESSAGES[0], ClassifyOptions::default()).unwrap().intent;
    let error = compact.set_adapter(Some(&trained.adapter("first")), true).unwrap_err();
    assert_eq!(error.code(), "unavailable");
    assert_eq!(compact.classify(MESSAGES[0], ClassifyOptions::default()).unwrap().intent, before);
}

#[test]
fn a_cascade_passes_adapters_to_its_last_stage() {
    let trained = Trained::new(&tiny::model());
    let compact = relayops_intent::builtin::compact().unwrap().finish().unwrap();
    let mut cascade = Cascade::from(compact).followed_by(trained.base(false).into()).unwrap();
    // Compact is never sure enough.
    let always = CascadeOptions { thresholds: vec![1.0, 0.0], token_confidence: false };
    let mut alone = trained.base(false);
    let mut answers = Vec::new();
    for name in ["first", "second", ""] {
        let adapter = (!name.is_empty()).then(|| trained.adapter(name));
        cascade.set_adapter(adapter.as_ref(), false).unwrap();
        alone.set_adapter(adapter.as_ref(), false).unwrap();
        for message in MESSAGES {
            let result = cascade.classify(message, &always).unwrap();
            let expected = alone.classify(message, ClassifyOptions::default()).unwrap();
            assert_eq!((result.stages.len(), &*result.stages[0].stage), (2, "compact"));
            assert_eq!(result.probabilities, expected.probabilities, "{name:?}: {message}");
            answers.push(result.probabilities);
        }
    }
    assert!(answers[0] != answers[5] && answers[5] != answers[10]);
    let mut other = trained.adapter("first");
    promise(&mut other).config.policy.always_escalate.clear();
    let error = cascade.set_adapter(Some(&other), true).unwrap_err();
    assert_eq!((error.code(), error.to_string().contains("policy")), ("invalid_config", true), "{error}");
}

#[test]
fn golden_answers_of_an_adapter_are_some_messages() {
    let trained = Trained::new(&tiny::model());
    let intent = promise(&mut trained.adapter("first")).clone();
    let refused = |change: &dyn Fn(&mut Intent), field: &str| {
        let mut intent = intent.clone();
        change(&mut intent);
        let error = Intent::from_json(&intent.to_json().unwrap()).unwrap_err();
        assert_eq!(error.code(), "invalid_config");
        assert!(error.to_string().starts_with(&format!("intent.json: golden.{field}: ")), "{error}");
    };
    refused(&|intent| intent.golden.vectors.clear(), "vectors");
    refused(&|intent| intent.golden.vectors = vec![intent.golden.vectors[0].clone(); 65], "vectors");
    refused(&|intent| intent.golden.vectors[1].text = " ".to_owned(), "vectors[1].text");
    refused(&|intent| intent.golden.vectors[2].text = "a".repeat(2001), "vectors[2].text");
    refused(&|intent| intent.golden.vectors[0].log_probabilities.clear(), "vectors[0].log_probabilities");
    refused(&|intent| intent.golden.tolerance = 0.0, "tolerance");
    refused(&|intent| intent.golden.tolerance_other_order = Some(-1.0), "tolerance_other_order");
}

#[test]
fn files_of_an_adapter_belong_together() {
    let trained = Trained::new(&tiny::model());
    let adapter = |name| trained.adapter(name);
    let (first, second) = (adapter("first"), adapter("second"));
    let json = first.intent().unwrap().to_json().unwrap();
    let new = |config: &AdapterFiles, tensors: &AdapterFiles| {
        AdapterFiles::new(&json, config.config.clone(), tensors.tensors.clone())
    };
    assert_eq!(new(&first, &first).unwrap(), first);
    for (config, tensors, file) in [(&second, &first, CONFIG), (&first, &second, TENSORS)] {
        let error = new(config, tensors).unwrap_err();
        assert_eq!(error.code(), "checksum");
        assert!(error.to_string().starts_with(file), "{error}");
    }
    // Adapters of before do not know.
    let mut older = first.clone();
    promise(&mut older).files = None;
    let json = older.intent().unwrap().to_json().unwrap();
    assert!(!json.contains(TENSORS), "{json}");
    assert_eq!(AdapterFiles::new(&json, older.config.clone(), older.tensors.clone()).unwrap(), older);
}

#[test]
fn files_of_an_adapter_are_bounded() {
    let trained = Trained::new(&tiny::model());
    let folder = trained.folder.path().join("first");
    let intent = std::fs::read_to_string(folder.join("intent.json")).unwrap();
    let large = " ".repeat((1 << 20) + 1);
    let error = AdapterFiles::new(&intent, large.clone(), Vec::new()).unwrap_err();
    assert_eq!(error.code(), "invalid_config");
    std::fs::write(folder.join("adapter_config.json"), large).unwrap();
    let error = AdapterFiles::read(&folder).unwrap_err();
    assert_eq!(error.code(), "invalid_config");
    assert!(error.to_string().contains("adapter_config.json: is larger than 1048576 bytes"), "{error}");
}

/// A copy of a model of floats with an adapter added to its weights.
fn merge(model: &Path, adapter: &Adapter, out: &Path) {
    let mut file = std::fs::File::open(model).unwrap();
    let content = gguf_file::Content::read(&mut file).unwrap();
    let mut tensors = Vec::new();
    for name in content.tensor_infos.keys() {
        let tensor = content.tensor(&mut file, name, &Device::Cpu).unwrap().dequantize(&Device::Cpu).unwrap();
        let path =
            adapter.paths.iter().find(|((layer, p), _)| *name == format!("blk.{layer}.{}", p.gguf_name()));
        let tensor = match path {
            None => tensor,
            Some((_, path)) => {
                let (out, width) = tensor.dims2().unwrap();
                let a = Tensor::from_slice(&path.a, (path.rank, width), &Device::Cpu).unwrap();
                let b = Tensor::from_slice(&path.b, (out, path.rank), &Device::Cpu).unwrap();
                (tensor + (b.matmul(&a).unwrap() * f64::from(path.scale)).unwrap()).unwrap()
            }
        };
        tensors.push((name.clone(), QTensor::quantize(&tensor, GgmlDType::F32).unwrap()));
    }
    let metadata: Vec<(&str, &Value)> =
        content.metadata.iter().map(|(key, value)| (key.as_str(), value)).collect();
    let tensors: Vec<(&str, &QTensor)> =
        tensors.iter().map(|(name, tensor)| (name.as_str(), tensor)).collect();
    gguf_file::write(&mut std::fs::File::create(out).unwrap(), &metadata, &tensors).unwrap();
}

#[test]
fn merged_and_unmerged_agree() {
    let trained = Trained::new(&tiny::model());
    for name in ["first", "second"] {
        let files = trained.adapter(name);
        let mut unmerged = trained.base(false);
        unmerged.set_adapter(Some(&files), false).unwrap();
        let sizes = relayops_intent::train::lora::Base::read(&trained.model).unwrap().sizes;
        let path = trained.folder.path().join("merged.gguf");
        merge(&trained.model, &files.adapter(&sizes).unwrap(), &path);
        let mut merged = Loader::read_file(&path, files.intent_config().clone()).unwrap().finish().unwrap();
        let off = largest_difference(&scores(&mut unmerged), &scores(&mut merged));
        assert!(off < 1e-3, "{name}: {off}");
    }
}

#[test]
fn an_adapter_of_a_hub_model_answers_as_trained() {
    let folder = tempfile::tempdir().unwrap();
    let base = super::peft::base_folder(folder.path());
    let out = folder.path().join("out");
    let intent = runs::run(&base, "--epochs 1 --batch 8 --rate 1e-2 --rank 2", &out, false, None).unwrap();
    assert_eq!(intent.base.name, "base");
    let files = AdapterFiles::read(&out).unwrap();
    assert_eq!(files.asked, Asked::Intent(Box::new(intent)));
    let sizes = relayops_intent::train::lora::Base::read(&base).unwrap().sizes;
    assert_eq!(files.adapter(&sizes).unwrap().paths.len(), 14);
}

/// Exit code, stdout and stderr of the command.
pub(super) fn command(arguments: &[&str]) -> (Option<i32>, String, String) {
    let output =
        std::process::Command::new(env!("CARGO_BIN_EXE_relayops-intent")).args(arguments).output().unwrap();
    let text = |bytes| String::from_utf8(bytes).unwrap();
    (output.status.code(), text(output.stdout), text(output.stderr))
}

/// What the command prints as JSON.
pub(super) fn printed(arguments: &[&str]) -> serde_json::Value {
    let (code, out, error) = command(arguments);
    assert_eq!(code, Some(0), "{error}");
    serde_json::from_str(&out).unwrap()
}

impl Trained {
    /// Paths of the model and of the first adapter.
    pub(super) fn paths(&self) -> (String, String) {
        let path = |path: &Path| path.to_str().unwrap().to_owned();
        (path(self.model.as_ref()), path(&self.folder.path().join("first")))
    }
}

#[test]
fn the_command_line_takes_adapters() {
    let trained = Trained::new(&tiny::model());
    let (model, first) = trained.paths();
    let mut classifier = trained.base(false);
    classifier.set_adapter(Some(&trained.adapter("first")), false).unwrap();
    for message in MESSAGES {
        let (code, out, error) = command(&["classify", "--model", &model, "--adapter", &first, message]);
        assert_eq!(code, Some(0), "{error}");
        assert_eq!(out.trim_end(), classifier.classify(message, ClassifyOptions::default()).unwrap().json);
    }
    let result = printed(&["eval", "--model", &model, "--adapter", &first, "--set", "dev", "--json"]);
    assert!(result["accuracy"].is_number(), "{result}");
    let recorded =
        ["eval", "--model", &model, "--adapter", &first, "--set", "dev", "--json", "--threshold", "0.7"];
    let result = printed(&[&recorded[..], &["--record"]].concat());
    let intent = AdapterFiles::read(Path::new(&first)).unwrap().intent().unwrap().clone();
    assert_eq!(intent.figures[0]["accuracy"], result["accuracy"]);
    assert!(intent.figures[0]["set"] == "dev" && intent.figures[0].get("errors").is_none());
    assert!((intent.config.threshold - 0.7).abs() < 1e-6, "{}", intent.config.threshold);
    assert_eq!(result["adapter"]["sha256"], intent.files.unwrap().tensors);
    let (code, _, error) = command(&["eval", "--model", &model, "--record", "--set", "dev"]);
    assert!(code == Some(2) && error.contains("--adapter"), "{error}");
    for other in [&["--force-adapter"][..], &["--jsonl", "x.jsonl"]] {
        let (code, _, error) = command(&[&recorded[..], &["--record"], other].concat());
        assert!(code == Some(2) && error.contains("--record") && error.contains(other[0]), "{error}");
    }
    let table = {
        let (code, out, error) = command(&["bench", "--model", &model, "--adapter", &first, "--rounds", "2"]);
        assert_eq!(code, Some(0), "{error}");
        out
    };
    let cost = table.lines().find(|line| line.starts_with("adapter ")).expect("a line on the adapter's cost");
    assert!(cost.contains("% of a message's time") && cost.contains("n = 20 pairs"), "{cost}");
    let (code, _, error) = command(&["classify", "--model", &model, "--adapter", "/nowhere", "hi"]);
    assert_eq!(code, Some(1), "{error}");
    assert!(error.contains(CONFIG), "{error}");
}

#[test]
fn an_adapter_from_elsewhere_is_asked_as_the_caller_says() {
    let trained = Trained::new(&tiny::model());
    let (model, first) = trained.paths();
    let elsewhere = trained.folder.path().join("elsewhere");
    std::fs::create_dir(&elsewhere).unwrap();
    for file in [CONFIG, TENSORS] {
        std::fs::copy(Path::new(&first).join(file), elsewhere.join(file)).unwrap();
    }
    let path = |name: &str, text: &str| {
        let path = trained.folder.path().join(name);
        std::fs::write(&path, text).unwrap();
        path.to_str().unwrap().to_owned()
    };
    let own = trained.adapter("first").intent_config().clone();
    let config = path("config.json", &serde_json::to_string(&own).unwrap());
    let system = path("system.txt", &own.prompt.unwrap().system);
    let there = ["classify", "--json", "--model", &model, "--adapter"];
    let elsewhere = elsewhere.to_str().unwrap();
    let (code, _, error) = command(&[&there[..], &[elsewhere, MESSAGES[0]]].concat());
    assert_eq!(code, Some(1), "{error}");
    assert!(error.contains("no intent.json") && error.contains("--force-adapter"), "{error}");
    let expected = printed(&[&there[..], &[&first, MESSAGES[0]]].concat());
    let forced = [&there[..], &[elsewhere, "--force-adapter", MESSAGES[0]]].concat();
    let given = printed(&[&forced[..], &["--config", &config]].concat());
    assert_eq!(given["probabilities"], expected["probabilities"]);
    // The same prompt; the temperature is the built-in one.
    let prompted = printed(&[&forced[..], &["--system-prompt", &system]].concat());
    assert_eq!(prompted["intent"], expected["intent"]);
    assert!(prompted["probabilities"] != printed(&forced)["probabilities"]);
    // One that brings its own is not asked otherwise.
    let (code, _, error) = command(&[&there[..], &[&first, "--config", &config, "hi"]].concat());
    assert!(code == Some(2) && error.contains("--config") && error.contains(INTENT), "{error}");
}

#[test]
fn the_command_line_takes_cascades() {
    let trained = Trained::new(&tiny::model());
    let (model, first) = trained.paths();
    let mut classifier = trained.base(false);
    classifier.set_adapter(Some(&trained.adapter("first")), false).unwrap();
    // The first message is nothing that compact knows; asked with a threshold that it never reaches.
    let strict = ["--threshold", "1,0", "--json", MESSAGES[0]];
    let cascade = ["classify", "--model", "cascade", "--then", &model, "--adapter", &first];
    let result = printed(&[&cascade[..], &strict].concat());
    let stages: Vec<&str> =
        result["stages"].as_array().unwrap().iter().map(|stage| stage["stage"].as_str().unwrap()).collect();
    assert_eq!((&*stages, &result["stage"]), (&["compact", "qwen2"][..], &"qwen2".into()));
    let alone = classifier.classify(MESSAGES[0], ClassifyOptions::default()).unwrap();
    assert_eq!(result["intent"], *alone.intent);
    let (code, out, error) = command(&[&cascade[..], &[MESSAGES[0]]].concat());
    assert_eq!((code, &*out), (Some(0), "{\"intent\": \"reset_device\"}\n"), "{error}");
    let (code, out, error) = command(&[&["bench", "--rounds", "1"], &cascade[1..]].concat());
    assert_eq!(code, Some(0), "{error}");
    assert!(
        out.lines().any(|line| line.starts_with("adapter ") && line.contains("without a cascade")),
        "{out}"
    );
}

#[test]
fn eval_chooses_and_sweeps_the_thresholds_of_cascades() {
    let trained = Trained::new(&tiny::model());
    let (model, first) = trained.paths();
    let models = ["eval", "--model", "compact", "cascade", "--then", &model, "--adapter", &first];
    let result = printed(&[&models[..], &["--set", "dev", "--max-unsafe", "0.01", "--json"]].concat());
    let [compact, both] = [0, 1].map(|index| &result["results"][index]);
    assert!(compact.get("cascade").is_none() && both["cascade"]["stages"][1]["stage"] == "qwen2");
    for (result, stages) in [(compact, 1), (both, 2)] {
        let choice = &result["choice"];
        assert_eq!(
            (&choice["n"], &choice["chosen_on"]),
            (&146.into(), &"dev.jsonl, ids 2 modulo 4".into()),
            "{choice}"
        );
        assert_eq!(choice["figures"]["thresholds"].as_array().unwrap().len(), stages);
        assert!(choice["figures"]["unsafe_local_rate"].as_f64().unwrap() <= 0.01);
        assert!(choice["figures"]["unsafe_local_upper"].as_f64().unwrap() > 0.01);
        // All of dev's first half are others.
        let others = &result["not_chosen_on"];
        assert_eq!((&others["n"], &others["unsafe_local"]), (&result["n"], &result["unsafe_local"]));
        assert_eq!(others["unsafe_local_upper"], result["unsafe_local_upper"]);
    }
    let (code, out, error) =
        command(&[&models[..], &["--set", "dev", "--max-unsafe", "0.01", "--sweep"]].concat());
    assert_eq!(code, Some(0), "{error}");
    for said in [
        "ms a message on average",
        "right of these",
        "thresholds in force",
        "chosen among 2704",
        "not chosen on",
    ] {
        assert!(out.contains(said), "{said}: {out}");
    }
}

#[test]
fn options_of_adapters_and_cascades_that_do_not_fit_are_named() {
    let trained = Trained::new(&tiny::model());
    let (model, first) = trained.paths();
    let (model, first) = (&*model, &*first);
    for (arguments, said) in [
        (vec!["classify", "--model", "keyword", "--adapter", first, "hi"], "--adapter"),
        (vec!["classify", "--model", "cascade", "hi"], "--then"),
        (vec!["classify", "--model", "cascade", "--adapter", first, "hi"], "--then"),
        (vec!["classify", "--model", "cascade", "--then", "compact", "hi"], "--then"),
        (vec!["classify", "--model", "cascade", "--then", "nothing", "hi"], "--then"),
        (vec!["classify", "--then", model, "hi"], "--then"),
        (vec!["classify", "--threshold", "0.5,0.6", "hi"], "--threshold"),
        (vec!["eval", "--model", "cascade", "--then", model, "--sgr-risk", "0.1"], "--sgr-risk"),
        (vec!["eval", "--max-unsafe", "2"], "--max-unsafe"),
        (vec!["eval", "--max-unsafe", "0.1", "--threshold", "0.5"], "--threshold"),
        (vec!["classify", "--adapter", first, "hi"], "--adapter"),
        (vec!["classify", "--model", model, "--adapter", first, "--config", "x", "hi"], "--config"),
        (vec!["classify", "--model", model, "--force-adapter", "hi"], "--adapter"),
    ] {
        let (code, _, error) = command(&arguments);
        assert_eq!(code, Some(2), "{error}");
        assert!(error.contains(said), "{error}");
    }
}
