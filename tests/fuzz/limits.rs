//! Hostile inputs that are too large for a fuzzer to come upon: each must be refused before it costs time or memory.

use relayops_intent::adapter::Adapter;
use relayops_intent::backend::Heads;
use relayops_intent::gguf::GgufStream;
use relayops_intent::model::qwen2::Qwen2Config;
use relayops_intent::pack::{IntentConfig, MAX_LABELS};
use serde_json::{Value, json};

fn config(change: impl FnOnce(&mut Value)) -> Result<IntentConfig, relayops_intent::IntentError> {
    let mut config = serde_json::to_value(IntentConfig::default()).unwrap();
    change(&mut config);
    IntentConfig::from_json(&config.to_string())
}

/// Comparing each of half a million labels with each would take hours.
#[test]
fn labels_are_counted_before_they_are_compared() {
    let labels = |count: usize| (0..count).map(|n| format!("l{n}")).collect::<Vec<_>>();
    let with = |count| {
        config(|config| {
            config["labels"] = json!(labels(count));
            config["policy"]["always_escalate"] = json!([]);
        })
    };
    assert_eq!(with(MAX_LABELS).unwrap().labels.len(), MAX_LABELS);
    for count in [MAX_LABELS + 1, 500_000] {
        let error = with(count).unwrap_err();
        assert_eq!(error.code(), "invalid_config");
        assert!(error.to_string().starts_with("labels: "), "{error}");
    }
}

/// Compiled, these patterns would take gigabytes.
#[test]
fn patterns_of_a_policy_are_bounded() {
    let pattern = |regex: &str| json!({"name": "p", "regex": regex});
    let with =
        |patterns: Vec<Value>| config(|config| config["policy"]["patterns"] = json!(patterns)).unwrap_err();
    for (patterns, field) in [
        (vec![pattern(r"\w{900}"); 1_000], "policy.patterns: "),
        (vec![pattern("a"), pattern(r"(?:\w{100}){100}")], "policy.patterns[1].regex: "),
        (vec![pattern(&"(a|b)".repeat(100_000))], "policy.patterns[0].regex: "),
    ] {
        let error = with(patterns);
        assert_eq!(error.code(), "invalid_config");
        assert!(error.to_string().starts_with(field), "{error}");
    }
}

/// The same for the ranks and targets of an adapter.
#[test]
fn patterns_of_an_adapter_are_bounded() {
    let sizes = Qwen2Config {
        layers: 2,
        hidden: 32,
        feed_forward: 64,
        heads: Heads { query: 4, kv: 2, dim: 8 },
        context: 64,
        rope_base: 1e6,
        rms_eps: 1e-6,
        vocab: 32,
        label_rows: None,
    };
    let plain = json!({"peft_type": "LORA", "r": 2, "lora_alpha": 4, "target_modules": ["q_proj"]});
    // Each harmless, all together not: a thousand took a minute for this small model.
    let many: serde_json::Map<_, _> = (0..65).map(|n| (format!(".*a.*e.*i.*{n}"), json!(2))).collect();
    let mut config = plain.clone();
    config["rank_pattern"] = json!(many);
    let error = Adapter::read(&config.to_string(), &no_tensors(), &sizes).unwrap_err();
    assert!(error.code() == "invalid_config" && error.to_string().contains("rank_pattern"), "{error}");
    for (field, value) in [
        ("rank_pattern", json!({ r"\w{200}": 2 })),
        ("alpha_pattern", json!({ "(a|b)".repeat(20_000): 2 })),
        ("target_modules", json!(r"(?:\w{100}){100}")),
        ("exclude_modules", json!("(a|b)".repeat(100_000))),
    ] {
        let mut config = plain.clone();
        config[field] = value;
        let error = Adapter::read(&config.to_string(), &no_tensors(), &sizes).unwrap_err();
        assert_eq!(error.code(), "unsupported_model", "{error}");
        assert!(error.to_string().contains(field), "{field}: {error}");
    }
}

/// A safetensors file without tensors.
fn no_tensors() -> Vec<u8> {
    [&2u64.to_le_bytes()[..], b"{}"].concat()
}

/// A tensor of four terabytes in a file of whose length nothing is known: the room is made as bytes arrive.
#[test]
fn a_claim_takes_no_memory() {
    let mut file = b"GGUF\x03\0\0\0".to_vec();
    file.extend(1u64.to_le_bytes());
    file.extend(0u64.to_le_bytes());
    file.extend(1u64.to_le_bytes());
    file.push(b't');
    file.extend(2u32.to_le_bytes());
    for dimension in [1u64 << 20, 1 << 20] {
        file.extend(dimension.to_le_bytes());
    }
    file.extend(0u32.to_le_bytes());
    file.extend(0u64.to_le_bytes());
    file.resize(file.len().next_multiple_of(32), 0);
    let mut known = GgufStream::new("m.gguf", Some(file.len() as u64 + 64));
    assert_eq!(known.push(&[&file[..], &[1; 64]].concat()).unwrap_err().code(), "truncated");
    let mut unknown = GgufStream::new("m.gguf", None);
    unknown.push(&file).unwrap();
    unknown.push(&[1; 100_000]).unwrap();
    let error = unknown.finish().map(|_| ()).unwrap_err();
    assert_eq!(error.code(), "truncated", "{error}");
    assert!(error.to_string().contains("tensor t"), "{error}");
}
