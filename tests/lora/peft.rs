//! Adapters as Python's PEFT saves them, beside a model as Python's transformers saves it (see
//! `tests/fixtures/README.md`), and what is refused of them.

use std::collections::HashMap;
use std::path::{Path, PathBuf};

use candle_core::{DType, Device, Tensor};
use relayops_intent::adapter::{Adapter, Precision, Projection};
use relayops_intent::backend::cpu::Cpu;
use relayops_intent::hub;
use relayops_intent::model::qwen2::{Batch, Qwen2, Qwen2Config};
use relayops_intent::model::{Architecture, TokenId};
use relayops_intent::quant::matmul;
use relayops_intent::scoring::log_sum_exp;
use relayops_intent::tokenizer::Tokenizer;
use serde_json::{Value, json};

const ADAPTERS: [&str; 3] = ["plain", "patterns", "some_layers"];

fn fixtures() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures")
}

fn json_file(path: &Path) -> Value {
    serde_json::from_slice(&std::fs::read(path).unwrap()).unwrap()
}

/// `tokenizer.json` of the cut tokenizer, as transformers would save it.
fn tokenizer_json() -> Value {
    let subset = json_file(&fixtures().join("qwen2_5_tokenizer_subset.json"));
    let split = "(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\\r\\n\\p{L}\\p{N}]?\\p{L}+|\\p{N}| ?[^\\s\\p{L}\\p{N}]+[\\r\\n]*\
                 |\\s*[\\r\\n]+|\\s+(?!\\S)|\\s+";
    let (mut vocab, mut added) = (serde_json::Map::new(), Vec::new());
    let kinds = subset["token_types"].as_array().unwrap();
    for (id, (token, kind)) in subset["tokens"].as_array().unwrap().iter().zip(kinds).enumerate() {
        let token = token.as_str().unwrap();
        if kind == 1 {
            vocab.insert(token.to_owned(), json!(id));
        } else {
            added.push(json!({"id": id, "content": token, "special": kind == 3}));
        }
    }
    let pairs: Vec<Vec<&str>> = subset["merges"]
        .as_array()
        .unwrap()
        .iter()
        .map(|m| m.as_str().unwrap().split(' ').collect())
        .collect();
    json!({
        "added_tokens": added,
        "normalizer": {"type": "NFC"},
        "pre_tokenizer": {"type": "Sequence", "pretokenizers": [
            {"type": "Split", "pattern": {"Regex": split}, "behavior": "Isolated", "invert": false},
            {"type": "ByteLevel", "add_prefix_space": false, "trim_offsets": false, "use_regex": false}]},
        "model": {"type": "BPE", "vocab": vocab, "merges": pairs}
    })
}

/// The fixture's base in a folder with a tokenizer.
pub(crate) fn base_folder(folder: &Path) -> PathBuf {
    let base = folder.join("base");
    std::fs::create_dir_all(&base).unwrap();
    for file in ["config.json", "model.safetensors"] {
        std::fs::copy(fixtures().join("peft/base").join(file), base.join(file)).unwrap();
    }
    std::fs::write(base.join("tokenizer.json"), tokenizer_json().to_string()).unwrap();
    base
}

fn sizes(model: &hub::Model) -> Qwen2Config {
    match Architecture::from_header(&model.header).unwrap() {
        Architecture::Qwen2(sizes) => sizes,
        Architecture::Bert(_) => panic!("an encoder"),
    }
}

fn model(folder: &Path) -> Qwen2<Cpu> {
    let model = hub::Model::read(&base_folder(folder)).unwrap();
    let sizes = sizes(&model);
    Qwen2::new(Cpu::exact(), sizes, model.into_gguf().into()).unwrap()
}

pub(crate) fn files(name: &str) -> (String, Vec<u8>) {
    let folder = fixtures().join("peft").join(name);
    let config = std::fs::read_to_string(folder.join("adapter_config.json")).unwrap();
    (config, std::fs::read(folder.join("adapter_model.safetensors")).unwrap())
}

/// Log-probabilities of `tokens` after a sequence.
fn answers(model: &Qwen2<Cpu>, sequence: &[TokenId], tokens: &[TokenId]) -> Vec<f32> {
    let mut cache = model.cache();
    let positions: Vec<usize> = (0..sequence.len()).collect();
    let visible = positions.iter().map(|p| 0..p + 1).collect();
    let outputs = vec![sequence.len() - 1];
    let batch = Batch { tokens: sequence.to_vec(), positions, visible, outputs };
    let hidden = model.forward(&mut cache, batch).unwrap();
    let vocab = model.config().vocab;
    let all: Vec<TokenId> = (0..u32::try_from(vocab).unwrap()).map(TokenId).collect();
    let mut logits = vec![0.0; vocab];
    matmul(&hidden, 1, &model.head(&all).unwrap(), &mut logits);
    let normaliser = log_sum_exp(&logits);
    tokens.iter().map(|token| logits[token.0 as usize] - normaliser).collect()
}

fn ids(value: &Value) -> Vec<TokenId> {
    value.as_array().unwrap().iter().map(|id| TokenId(u32::try_from(id.as_u64().unwrap()).unwrap())).collect()
}

/// Compares with what transformers and PEFT say of `name`.
fn assert_answers(model: &Qwen2<Cpu>, name: &str) {
    let expected = json_file(&fixtures().join("peft/expected.json"));
    let tokens = ids(&expected["tokens"]);
    let sequences = expected["sequences"].as_array().unwrap();
    let values = expected["log_probabilities"][name].as_array().unwrap();
    assert_eq!(sequences.len(), values.len());
    for (sequence, values) in sequences.iter().zip(values) {
        let ours = answers(model, &ids(sequence), &tokens);
        for (ours, theirs) in ours.iter().zip(values.as_array().unwrap()) {
            let off = (f64::from(*ours) - theirs.as_f64().unwrap()).abs();
            // Rounding of float sums alone; the adapters change log-probabilities by whole units.
            assert!(off < 1e-3, "{name}: {ours} for {theirs}");
        }
    }
}

#[test]
fn models_and_adapters_of_python_answer_alike_here() {
    let folder = tempfile::tempdir().unwrap();
    let mut model = model(folder.path());
    assert_answers(&model, "base");
    for name in ADAPTERS {
        let (config, tensors) = files(name);
        let adapter = Adapter::read(&config, &tensors, model.config()).unwrap();
        let paths = model.prepare(&adapter).unwrap();
        model.swap(paths);
        assert_answers(&model, name);
    }
    model.swap(relayops_intent::model::qwen2::Paths::default());
    assert_answers(&model, "base");
}

#[test]
fn the_hubs_tokenizer_is_ggufs() {
    let folder = tempfile::tempdir().unwrap();
    let hub = hub::Model::read(&base_folder(folder.path())).unwrap();
    let theirs = Tokenizer::from_metadata(&hub.header.metadata).unwrap();
    let gguf = super::tiny::file(folder.path(), &super::tiny::model());
    let ours = relayops_intent::train::lora::Base::read(&gguf).unwrap().tokenizer;
    for text in super::tiny::MESSAGES.into_iter().chain(["caf\u{e9} <|im_end|> 42!\n", "\u{1f621}"]) {
        assert_eq!(ours.encode(text).unwrap(), theirs.encode(text).unwrap(), "{text}");
    }
    assert_eq!(ours.control("<|im_start|>"), theirs.control("<|im_start|>"));
}

#[test]
fn what_is_written_is_read_again() {
    let folder = tempfile::tempdir().unwrap();
    let sizes = *model(folder.path()).config();
    for name in ADAPTERS {
        let (config, tensors) = files(name);
        let adapter = Adapter::read(&config, &tensors, &sizes).unwrap();
        let again = Adapter::read(&config, &adapter.to_safetensors(Precision::F32).unwrap(), &sizes).unwrap();
        assert_eq!(adapter, again, "{name}");
        let rounded =
            Adapter::read(&config, &adapter.to_safetensors(Precision::F16).unwrap(), &sizes).unwrap();
        for (path, rounded) in adapter.paths.values().zip(rounded.paths.values()) {
            let pairs = path.a.iter().chain(&path.b).zip(rounded.a.iter().chain(&rounded.b));
            pairs.for_each(|(a, b)| assert!((a - b).abs() <= 1e-3 * a.abs() + 1e-7, "{name}: {a} {b}"));
        }
    }
    let plain = Adapter::read(&files("plain").0, &files("plain").1, &sizes).unwrap();
    assert_eq!(plain.paths.len(), 2 * Projection::ALL.len());
    assert_eq!(plain.parameters(), 2 * 4 * (2 * (32 + 32) + 2 * (32 + 16) + 3 * (32 + 64)));
}

/// The plain adapter's tensors, changed.
fn tensors(change: impl FnOnce(&mut HashMap<String, Tensor>)) -> Vec<u8> {
    let mut all = candle_core::safetensors::load_buffer(&files("plain").1, &Device::Cpu).unwrap();
    change(&mut all);
    let mut sorted: Vec<_> = all.into_iter().collect();
    sorted.sort_by(|a, b| a.0.cmp(&b.0));
    safetensors::serialize(sorted, None).unwrap()
}

#[test]
fn the_adapters_name_in_keys_and_other_types_are_read() {
    let folder = tempfile::tempdir().unwrap();
    let sizes = *model(folder.path()).config();
    let (config, bytes) = files("plain");
    let plain = Adapter::read(&config, &bytes, &sizes).unwrap();
    let named = tensors(|all| {
        *all =
            all.drain().map(|(name, tensor)| (name.replace(".weight", ".default.weight"), tensor)).collect();
    });
    assert_eq!(Adapter::read(&config, &named, &sizes).unwrap(), plain);
    let inner = tensors(|all| {
        *all = all
            .drain()
            .map(|(name, tensor)| (name.replace("model.model.model", "model.model"), tensor))
            .collect();
    });
    assert_eq!(Adapter::read(&config, &inner, &sizes).unwrap(), plain);
    for dtype in [DType::BF16, DType::F16] {
        let other = tensors(|all| {
            *all = all.drain().map(|(name, tensor)| (name, tensor.to_dtype(dtype).unwrap())).collect();
        });
        assert_eq!(Adapter::read(&config, &other, &sizes).unwrap().paths.len(), plain.paths.len());
    }
}

#[test]
fn fields_that_ask_for_more_are_refused_by_name() {
    let folder = tempfile::tempdir().unwrap();
    let sizes = *model(folder.path()).config();
    let (config, bytes) = files("plain");
    for (field, value) in [
        ("peft_type", json!("LOHA")),
        ("bias", json!("all")),
        ("bias", json!("lora_only")),
        ("use_dora", json!(true)),
        ("modules_to_save", json!(["lm_head"])),
        ("fan_in_fan_out", json!(true)),
        ("lora_bias", json!(true)),
        ("layer_replication", json!([[0, 1], [0, 2]])),
        ("trainable_token_indices", json!([5])),
        ("target_parameters", json!(["mlp.experts"])),
        ("alora_invocation_tokens", json!([1, 2])),
        ("megatron_config", json!({"a": 1})),
        ("loftq_config", json!({"loftq_bits": 4})),
        ("init_lora_weights", json!("pissa")),
        ("target_modules", json!(["q_proj", "embed_tokens"])),
        ("target_modules", json!("(unclosed")),
        ("target_modules", json!("(?=look)ahead")),
        ("target_modules", json!(["q_proj", "model.layers.2.self_attn.q_proj"])),
        ("target_modules", json!(["q_proj", "proj"])),
        ("exclude_modules", json!("(unclosed")),
    ] {
        let mut changed: Value = serde_json::from_str(&config).unwrap();
        changed[field] = value.clone();
        let error = Adapter::read(&changed.to_string(), &bytes, &sizes).unwrap_err();
        assert_eq!(error.code(), "unsupported_model", "{field} {value}: {error}");
        assert!(error.to_string().starts_with(&format!("adapter_config.json: {field}: ")), "{error}");
    }
    let mut missing: Value = serde_json::from_str(&config).unwrap();
    missing.as_object_mut().unwrap().remove("lora_alpha");
    let error = Adapter::read(&missing.to_string(), &bytes, &sizes).unwrap_err();
    assert!(error.to_string().contains("lora_alpha"), "{error}");
    // What changes nothing is not refused, known or not.
    let mut neutral: Value = serde_json::from_str(&config).unwrap();
    for (field, value) in
        [("use_dora", json!(false)), ("modules_to_save", json!([])), ("of_tomorrow", json!(3))]
    {
        neutral[field] = value;
    }
    for field in ["rank_pattern", "alpha_pattern", "use_rslora", "exclude_modules", "layers_to_transform"] {
        neutral[field] = Value::Null;
    }
    Adapter::read(&neutral.to_string(), &bytes, &sizes).unwrap();
}

#[test]
fn fields_that_can_not_be_are_refused_by_name() {
    let folder = tempfile::tempdir().unwrap();
    let sizes = *model(folder.path()).config();
    let (config, bytes) = files("plain");
    for (field, value) in [
        ("r", json!(0)),
        ("rank_pattern", json!({"q_proj": 0})),
        ("alpha_pattern", json!({"q_proj": "much"})),
        ("alpha_pattern", json!({"q_proj": 1e300})),
        ("rank_pattern", json!([4])),
        ("rank_pattern", Value::Object((0..1025).map(|n| (format!("q{n}"), json!(4))).collect())),
        ("lora_alpha", json!(1e300)),
        ("lora_alpha", json!("much")),
        ("use_rslora", json!("yes")),
        ("target_modules", json!(5)),
        ("layers_to_transform", json!([-1])),
        ("exclude_modules", json!({"a": 1})),
    ] {
        let mut changed: Value = serde_json::from_str(&config).unwrap();
        changed[field] = value;
        let error = Adapter::read(&changed.to_string(), &bytes, &sizes).unwrap_err();
        assert_eq!(error.code(), "invalid_config", "{error}");
        assert!(error.to_string().contains(field), "{error}");
    }
}

/// What the plain adapter's configuration, changed, is read as: whether it names just the paths whose tensors are left.
fn assert_names(changes: Value, is_named: impl Fn(&str) -> bool) {
    let folder = tempfile::tempdir().unwrap();
    let sizes = *model(folder.path()).config();
    let mut config: Value = serde_json::from_str(&files("plain").0).unwrap();
    for (field, value) in changes.as_object().unwrap() {
        config[field] = value.clone();
    }
    let left = tensors(|all| all.retain(|name, _| is_named(name)));
    let adapter = Adapter::read(&config.to_string(), &left, &sizes);
    let adapter = adapter.unwrap_or_else(|error| panic!("{changes}: {error}"));
    assert!(!adapter.paths.is_empty(), "{changes}");
    // And no others.
    let whole = Adapter::read(&config.to_string(), &files("plain").1, &sizes);
    assert_eq!(whole.is_ok(), adapter.paths.len() == 14, "{changes}");
}

#[test]
fn modules_are_named_by_pefts_rules() {
    let every = |_: &str| true;
    for whole in ["model.layers.1.self_attn.q_proj", "layers.1.self_attn.q_proj", "1.self_attn.q_proj"] {
        assert_names(json!({"target_modules": [whole]}), |name| name.contains("layers.1.self_attn.q_proj"));
    }
    assert_names(json!({"target_modules": ["self_attn.q_proj"]}), |name| name.contains("q_proj"));
    assert_names(json!({"target_modules": ["0.mlp.up_proj", "v_proj"]}), |name| {
        name.contains("layers.0.mlp.up_proj") || name.contains("v_proj")
    });
    assert_names(json!({"target_modules": "all-linear"}), every);
    // All layers; those that there are; and not those of modules that are named as a whole.
    assert_names(json!({"layers_to_transform": []}), every);
    assert_names(json!({"layers_to_transform": [1, 2, 30]}), |name| name.contains("layers.1."));
    assert_names(json!({"layers_to_transform": 0}), |name| name.contains("layers.0."));
    assert_names(
        json!({"layers_to_transform": [0], "target_modules": ["model.layers.1.mlp.up_proj", "k_proj"]}),
        |name| name.contains("layers.1.mlp.up_proj") || name.contains("layers.0.self_attn.k_proj"),
    );
    assert_names(json!({"exclude_modules": ["up_proj", "1.self_attn.q_proj"]}), |name| {
        !name.contains("up_proj") && !name.contains("layers.1.self_attn.q_proj")
    });
    assert_names(json!({"exclude_modules": r".*\.layers\.0\..*"}), |name| name.contains("layers.1."));
    assert_names(json!({"exclude_modules": "q_proj"}), every);
}

#[test]
fn a_rank_beyond_a_matrix_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let sizes = *model(folder.path()).config();
    let mut config: Value = serde_json::from_str(&files("plain").0).unwrap();
    // Keys have 16 features.
    config["rank_pattern"] = json!({"k_proj": 17});
    let error = Adapter::read(&config.to_string(), &files("plain").1, &sizes).unwrap_err();
    assert_eq!(error.code(), "invalid_tensor", "{error}");
    assert!(error.to_string().contains("rank 17 beside a matrix of 16 times 32"), "{error}");
}

#[test]
fn tensors_that_do_not_fit_are_refused_by_name() {
    const A: &str = "base_model.model.model.layers.1.self_attn.q_proj.lora_A.weight";
    const B: &str = "base_model.model.model.layers.1.self_attn.q_proj.lora_B.weight";
    let folder = tempfile::tempdir().unwrap();
    let sizes = *model(folder.path()).config();
    let config = files("plain").0;
    let zeros = |shape: [usize; 2]| Tensor::zeros((shape[0], shape[1]), DType::F32, &Device::Cpu).unwrap();
    let refused = |bytes: &[u8], tensor: &str, said: &str| {
        let error = Adapter::read(&config, bytes, &sizes).unwrap_err();
        assert_eq!(error.code(), "invalid_tensor", "{error}");
        assert!(error.to_string().contains(tensor) && error.to_string().contains(said), "{error}");
    };
    let put = |name: &str, tensor: Tensor| tensors(|all| drop(all.insert(name.to_owned(), tensor)));
    refused(&put(A, zeros([5, 32])), A, "expected [4, 32]");
    refused(&put(B, zeros([16, 4])), B, "expected [32, 4]");
    refused(&put(A, (zeros([4, 32]) / 0.0).unwrap()), A, "not finite");
    refused(&put(A, zeros([4, 32]).to_dtype(DType::F64).unwrap()), A, "F64");
    let outside = A.replace("layers.1", "layers.2");
    refused(&put(&outside, zeros([4, 32])), &outside, "2 layers");
    for other in [
        "base_model.model.model.embed_tokens.lora_embedding_A",
        "base_model.model.lm_head.weight",
        "base_model.model.model.layers.1.self_attn.q_proj.lora_magnitude_vector",
        "base_model.model.model.layers.01.self_attn.q_proj.lora_A.weight",
        "model.layers.1.self_attn.q_proj.weight",
    ] {
        refused(&put(other, zeros([4, 32])), other, "nothing else is run");
    }
    refused(
        &put(&A.replace(".weight", ".default.weight"), zeros([4, 32])),
        A.trim_end_matches(".weight"),
        "twice",
    );
    refused(&tensors(|all| drop(all.remove(B))), B, "is missing");
    refused(&tensors(|all| drop(all.remove(A))), A, "is missing");
    let module = "model.layers.1.self_attn.q_proj";
    let neither = tensors(|all| all.retain(|name, _| name != A && name != B));
    refused(&neither, module, "target_modules names it");
    let mut fewer: Value = serde_json::from_str(&config).unwrap();
    fewer["target_modules"] = json!(["k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj"]);
    let error = Adapter::read(&fewer.to_string(), &files("plain").1, &sizes).unwrap_err();
    assert!(error.to_string().contains("does not name it"), "{error}");
    let error = Adapter::read(&config, b"rubbish", &sizes).unwrap_err();
    assert!(error.to_string().contains("adapter_model.safetensors"), "{error}");
}

#[test]
fn folders_that_are_not_read_say_why() {
    let folder = tempfile::tempdir().unwrap();
    let base = base_folder(folder.path());
    let config = json_file(&base.join("config.json"));
    for (field, value, said) in [
        ("model_type", json!("llama"), "\"qwen2\" is read"),
        ("hidden_act", json!("gelu"), "\"silu\" is read"),
        ("use_sliding_window", json!(true), "every token"),
        ("rope_scaling", json!({"rope_type": "yarn", "factor": 4.0}), "unscaled"),
        ("rope_parameters", json!({"rope_type": "default"}), "rope_theta"),
        ("head_dim", json!(16), "heads are 8 wide"),
    ] {
        let mut changed = config.clone();
        changed[field] = value;
        std::fs::write(base.join("config.json"), changed.to_string()).unwrap();
        let error =
            hub::Model::read(&base).and_then(|model| Architecture::from_header(&model.header)).unwrap_err();
        assert_eq!(error.code(), "unsupported_model", "{error}");
        assert!(error.to_string().contains(said), "{error}");
    }
    std::fs::write(base.join("config.json"), config.to_string()).unwrap();
    let mut tokenizer = tokenizer_json();
    tokenizer["normalizer"]["type"] = json!("NFKC");
    std::fs::write(base.join("tokenizer.json"), tokenizer.to_string()).unwrap();
    let error = hub::Model::read(&base).err().unwrap();
    assert!(error.to_string().contains("normalizer"), "{error}");
    std::fs::write(base.join("tokenizer.json"), tokenizer_json().to_string()).unwrap();
    // The weights in two parts are the same model.
    let whole = hub::Model::read(&base).unwrap();
    let mut all = candle_core::safetensors::load(base.join("model.safetensors"), &Device::Cpu).unwrap();
    let embedding = all.remove("model.embed_tokens.weight").unwrap();
    let one = HashMap::from([("model.embed_tokens.weight".to_owned(), embedding)]);
    let mut map = serde_json::Map::new();
    for (file, tensors) in [("model-1.safetensors", &one), ("model-2.safetensors", &all)] {
        candle_core::safetensors::save(tensors, base.join(file)).unwrap();
        tensors.keys().for_each(|name| drop(map.insert(name.clone(), json!(file))));
    }
    std::fs::remove_file(base.join("model.safetensors")).unwrap();
    std::fs::write(base.join("model.safetensors.index.json"), json!({"weight_map": map}).to_string())
        .unwrap();
    let parts = hub::Model::read(&base).unwrap();
    assert_eq!(parts.tensors.len(), whole.tensors.len());
    for (name, tensor) in &whole.tensors {
        assert_eq!(tensor.data(), parts.tensors[name].data(), "{name}");
    }
    std::fs::write(
        base.join("model.safetensors.index.json"),
        json!({"weight_map": {"a": "../b"}}).to_string(),
    )
    .unwrap();
    let error = hub::Model::read(&base).err().unwrap();
    assert!(error.to_string().contains("weight_map"), "{error}");
}
