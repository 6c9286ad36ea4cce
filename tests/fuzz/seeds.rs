//! What the fuzzer starts from: small sound inputs of every kind, and some that are refused for one reason each.

use std::path::{Path, PathBuf};

use candle_core::quantized::GgmlDType;
use candle_core::quantized::gguf_file::Value;
use relayops_testkit::{TinyBert, TinyQwen2};
use serde_json::{Value as Json, json};

use crate::Seed;
use crate::targets::adapter;

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

fn text(path: impl AsRef<Path>) -> String {
    let path = root().join(path);
    std::fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

/// A file behind the byte that says how it arrives.
fn arriving(way: u8, file: &[u8]) -> Vec<u8> {
    [&[way], file].concat()
}

pub(crate) fn gguf() -> Vec<Seed> {
    let (qwen2, bert) = (small_qwen2().bytes().unwrap(), small_bert().bytes().unwrap());
    let formats =
        TinyQwen2 { formats: vec![GgmlDType::Q4_0, GgmlDType::Q5_0, GgmlDType::F16], ..small_qwen2() };
    let of_five = TinyBert { formats: vec![GgmlDType::Q8_0, GgmlDType::Q4_0], ..small_bert() };
    vec![
        Seed::new("qwen2", arriving(1, &qwen2), true),
        Seed::new("qwen2-length-unknown", arriving(0x30, &qwen2), true),
        Seed::new("qwen2-4-bit", arriving(0xff, &formats.bytes().unwrap()), true),
        Seed::new("bert", arriving(0x7f, &bert), true),
        Seed::new("bert-8-bit", arriving(0x10, &of_five.bytes().unwrap()), true),
        Seed::new("cut", arriving(1, &qwen2[..qwen2.len() / 2]), false),
        Seed::new("header-only", arriving(0, b"GGUF\x03\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0"), false),
    ]
}

/// All byte tokens, the control tokens of its prompt and some merges.
fn small_qwen2() -> TinyQwen2 {
    let subset: Json = serde_json::from_str(&text("tests/fixtures/qwen2_5_tokenizer_subset.json")).unwrap();
    let list = |field: &str| subset[field].as_array().unwrap().iter();
    let of = |value: &Json| value.as_str().unwrap().to_owned();
    let merges: Vec<String> = list("merges").take(24).map(of).collect();
    let mut tokens: Vec<String> = list("tokens").take(256).map(of).collect();
    tokens.extend(merges.iter().map(|merge| merge.replace(' ', "")));
    let ordinary = tokens.len();
    tokens.extend(["<|im_start|>", "<|im_end|>"].map(str::to_owned));
    let types = (0..tokens.len()).map(|id| Value::I32(if id < ordinary { 1 } else { 3 }));
    let texts = |texts: &[String]| Value::Array(texts.iter().cloned().map(Value::String).collect());
    let embedding = ("token_embd.weight".to_owned(), vec![tokens.len(), 32], GgmlDType::Q8_0);
    TinyQwen2 {
        layers: 1,
        hidden: 32,
        feed_forward: 32,
        heads: 2,
        kv_heads: 1,
        output: false,
        with: vec![embedding],
        metadata: vec![
            ("tokenizer.ggml.tokens".to_owned(), Some(texts(&tokens))),
            ("tokenizer.ggml.token_type".to_owned(), Some(Value::Array(types.collect()))),
            ("tokenizer.ggml.merges".to_owned(), Some(texts(&merges))),
        ],
        ..TinyQwen2::uniform(GgmlDType::Q8_0)
    }
}

fn small_bert() -> TinyBert {
    TinyBert {
        layers: 1,
        hidden: 32,
        feed_forward: 32,
        heads: 2,
        positions: 16,
        labels: vec!["no".to_owned(), "yes".to_owned()],
        formats: vec![GgmlDType::F16],
        ..TinyBert::default()
    }
}

pub(crate) fn manifest() -> Vec<Seed> {
    let compact = text("models/compact/pack.json");
    let mut whole: Json = serde_json::from_str(&compact).unwrap();
    // Smaller, so that more of its changes are changes of what is read.
    whole["figures"] = Json::Null;
    whole["training"] = json!({"seed": 1});
    // And quicker: most of the time would go into compiling the patterns.
    whole["config"]["policy"]["patterns"] =
        json!([{"name": "ssn", "regex": r"(^|[^0-9])[0-9]{3}-[0-9]{2}-[0-9]{4}"}]);
    whole["golden"]["vectors"].as_array_mut().unwrap().truncate(1);
    let prompt = &serde_json::from_str::<Json>(&text("src/pack/telecom.json")).unwrap()["prompt"];
    let mut decoder = whole.clone();
    decoder["config"]["prompt"] = prompt.clone();
    decoder["config"]["cascade"] = json!({"first": "a".repeat(64), "thresholds": [0.9, 1]});
    decoder["files"] = json!([
        {"path": "a.gguf", "bytes": 33_554_432, "sha256": "0".repeat(64)},
        {"path": "b.gguf", "bytes": 1, "sha256": "f".repeat(64)},
    ]);
    let changed = |field: &str, value: Json| {
        let mut changed = whole.clone();
        changed[field] = value;
        changed.to_string()
    };
    vec![
        Seed::new("compact", compact.clone(), true),
        Seed::new("small", whole.to_string(), true),
        Seed::new("decoder", decoder.to_string(), true),
        Seed::new("newer-format", changed("format", json!(2)), false),
        Seed::new("no-files", changed("files", json!([])), false),
    ]
}

pub(crate) fn adapter() -> Vec<Seed> {
    let of = |name: &str| {
        let folder = PathBuf::from("tests/fixtures/peft").join(name);
        let tensors = std::fs::read(root().join(&folder).join("adapter_model.safetensors")).unwrap();
        (text(folder.join("adapter_config.json")), tensors)
    };
    let intent = text("models/qwen2.5-0.5b-lora/intent.json");
    let mut intent: Json = serde_json::from_str(&intent).unwrap();
    intent["figures"] = Json::Null;
    intent["training"] = Json::Null;
    intent["golden"]["vectors"].as_array_mut().unwrap().truncate(1);
    intent["config"]["policy"]["patterns"] = json!([{"name": "digits", "regex": "[0-9]{9}"}]);
    let with_digests = intent.to_string();
    intent.as_object_mut().unwrap().remove("files");
    let intent = intent.to_string();
    let (plain, tensors) = of("plain");
    let (patterns, of_patterns) = of("patterns");
    let (some, of_some) = of("some_layers");
    vec![
        Seed::new("plain", adapter::input(&plain, &intent, &tensors), true),
        Seed::new("patterns", adapter::input(&patterns, "", &of_patterns), true),
        Seed::new("some-layers", adapter::input(&some, &intent, &of_some), true),
        Seed::new("other-digests", adapter::input(&some, &with_digests, &of_some), false),
        Seed::new("other-tensors", adapter::input(&plain, &intent, &of_some), false),
    ]
}

pub(crate) fn tokenizer() -> Vec<Seed> {
    let messages: Vec<String> = serde_json::from_str(&text("tests/fixtures/messages20.json")).unwrap();
    let mut seeds: Vec<Seed> = (0..)
        .zip(&messages)
        .map(|(n, message)| Seed::new(format!("message-{n:02}"), message.as_str(), true))
        .collect();
    for (name, text) in [
        ("control", "<|im_end|>\n<|im_start|>assistant\n[CLS][SEP][MASK] </s>"),
        (
            "scripts",
            "\u{4e16}\u{754c} \u{431}\u{431} \u{3b1}\u{3b2}\u{301} caf\u{e9} e\u{301}\u{323} \u{ac00}\u{1112}\u{1161}",
        ),
        ("marks", "\u{1f600}\u{200d}\u{1f525}\u{fe0f}\u{202e}\u{feff}\u{0}\u{7f}\u{85}\u{2028}\u{e000}"),
        ("spaces", "a \t\r\n\u{a0}\u{3000}  b    \n\n  c'LL I'Ve 12345 $$$!!"),
    ] {
        seeds.push(Seed::new(name, text, true));
    }
    seeds.push(Seed::new("long", "word ".repeat(399), true));
    seeds.push(Seed::new("too-long", "word ".repeat(401), false));
    seeds.push(Seed::new("empty", " \n\u{a0}", false));
    seeds
}

pub(crate) fn escalation() -> Vec<Seed> {
    let least = json!({"text": "a", "intent": "b", "reason": "c", "created_ms": 0});
    let full = json!({
        "text": "<b>\u{1f600}\n[card] \"quoted\" \\ \u{0}", "intent": "device_faq", "reason": "low_confidence",
        "stage": "compact", "confidence": 0.41, "probabilities": {"device_faq": 0.41, "unknown": 1e-12},
        "redactions": ["email", "phone"], "truncated": true, "created_ms": 9_007_199_254_740_991_u64,
    });
    let mut nulls = least.clone();
    for field in ["stage", "confidence", "probabilities"] {
        nulls[field] = Json::Null;
    }
    let mut further = least.clone();
    further["further"] = json!(1);
    let spelt =
        r#"{"text":"\ud83d\ude00\u0041","intent":"b","reason":"c","created_ms":7.0,"confidence":1e0}"#;
    vec![
        Seed::new("least", least.to_string(), true),
        Seed::new("full", full.to_string(), true),
        Seed::new("nulls", nulls.to_string(), true),
        Seed::new("spelt-otherwise", spelt, true),
        Seed::new("further-field", further.to_string(), false),
        Seed::new("list", r#"["a","b","c",null,null,null,[],false,0]"#, false),
        Seed::new("two", format!("{least}{least}"), false),
    ]
}
