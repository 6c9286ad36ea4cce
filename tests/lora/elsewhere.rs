//! Adapters as other programs lay them out: their configurations, with tensors of zeros beside a model of as many layers.

use std::collections::HashMap;

use relayops_intent::Result;
use relayops_intent::adapter::{Adapter, Projection};
use relayops_intent::backend::Heads;
use relayops_intent::model::qwen2::Qwen2Config;
use safetensors::Dtype;
use safetensors::tensor::TensorView;
use serde_json::{Value, json};

/// Of the reference adapter, beside Qwen2.5-1.5B: as PEFT 0.21.2 writes it where it is told no task, and so says in
/// `auto_mapping` what it was put beside.
const REFERENCE: &str = r#"{
  "alora_invocation_tokens": null, "alpha_pattern": {}, "arrow_config": null,
  "auto_mapping": {
    "base_model_class": "Qwen2ForCausalLM",
    "parent_library": "transformers.models.qwen2.modeling_qwen2"
  },
  "base_model_name_or_path": "Qwen/Qwen2.5-1.5B-Instruct",
  "bias": "none", "corda_config": null, "ensure_weight_tying": false, "eva_config": null,
  "exclude_modules": null, "fan_in_fan_out": false, "inference_mode": true, "init_lora_weights": true,
  "kasa_config": null, "layer_replication": null, "layers_pattern": null, "layers_to_transform": null,
  "loftq_config": {}, "lora_alpha": 16, "lora_bias": false, "lora_dropout": 0.05, "lora_ga_config": null,
  "megatron_config": null, "megatron_core": "megatron.core", "modules_to_save": null,
  "monteclora_config": null, "peft_type": "LORA", "peft_version": "0.21.2", "qalora_group_size": 16,
  "r": 16, "rank_pattern": {}, "revision": null,
  "target_modules": ["down_proj", "up_proj", "o_proj", "q_proj", "k_proj", "gate_proj", "v_proj"],
  "target_parameters": null, "task_type": null, "trainable_token_indices": null, "use_bdlora": null,
  "use_dora": false, "use_qalora": false, "use_rslora": false, "velora_config": null
}"#;

/// Of Unsloth: an older PEFT's fields, a mark in `auto_mapping`, and modules by an expression that fits other models too.
const UNSLOTH: &str = r#"{
  "alpha_pattern": {},
  "auto_mapping": {
    "base_model_class": "Qwen2ForCausalLM",
    "parent_library": "transformers.models.qwen2.modeling_qwen2",
    "unsloth_fixed": true
  },
  "base_model_name_or_path": "unsloth/qwen2.5-1.5b-instruct-unsloth-bnb-4bit",
  "bias": "none", "corda_config": null, "eva_config": null, "exclude_modules": null, "fan_in_fan_out": false,
  "inference_mode": true, "init_lora_weights": true, "layer_replication": null, "layers_pattern": null,
  "layers_to_transform": null, "loftq_config": {}, "lora_alpha": 32, "lora_bias": false, "lora_dropout": 0,
  "megatron_config": null, "megatron_core": "megatron.core", "modules_to_save": null, "peft_type": "LORA",
  "peft_version": "0.18.0", "qalora_group_size": 16, "r": 16, "rank_pattern": {}, "revision": null,
  "target_modules": "(?:.*?(?:language|text).*?(?:self_attn|attention|attn|mlp|feed_forward|ffn|dense).*?(?:q_proj|k_proj|v_proj|o_proj|gate_proj|up_proj|down_proj).*?)|(?:\\bmodel\\.layers\\.[\\d]{1,}\\.(?:self_attn|attention|attn|mlp|feed_forward|ffn|dense)\\.(?:(?:q_proj|k_proj|v_proj|o_proj|gate_proj|up_proj|down_proj)))",
  "target_parameters": null, "task_type": "CAUSAL_LM", "trainable_token_indices": null, "unsloth_version": "2026.1.2",
  "use_dora": false, "use_qalora": false, "use_rslora": false
}"#;

/// As many layers as the 1.5B, but narrow.
fn sizes() -> Qwen2Config {
    Qwen2Config {
        layers: 28,
        hidden: 64,
        feed_forward: 96,
        heads: Heads { query: 4, kv: 2, dim: 16 },
        context: 4096,
        rope_base: 1e6,
        rms_eps: 1e-6,
        vocab: 100,
        label_rows: None,
    }
}

/// Pairs of zeros of rank 16 beside every matrix that `wanted` names, by the names that PEFT gives them.
fn zeros(dtype: Dtype, wanted: impl Fn(usize, Projection) -> bool) -> Vec<u8> {
    let data = vec![0; 4 * 16 * 96];
    let mut tensors = Vec::new();
    for (layer, projection) in
        (0..sizes().layers).flat_map(|layer| Projection::ALL.map(|projection| (layer, projection)))
    {
        let [out, width] = projection.shape(&sizes());
        for (side, shape) in
            [("A", [16, width]), ("B", [out, 16])].into_iter().filter(|_| wanted(layer, projection))
        {
            let name =
                format!("base_model.model.model.layers.{layer}.{}.lora_{side}.weight", projection.module());
            let bytes = shape[0] * shape[1] * dtype.bitsize() / 8;
            tensors.push((name, TensorView::new(dtype, shape.to_vec(), &data[..bytes]).unwrap()));
        }
    }
    let metadata = HashMap::from([("format".to_owned(), "pt".to_owned())]);
    safetensors::serialize(tensors, Some(metadata)).unwrap()
}

fn read(config: &Value, tensors: &[u8]) -> Result<Adapter> {
    Adapter::read(&config.to_string(), tensors, &sizes())
}

fn assert_uniform(adapter: &Adapter, scale: f32) {
    assert_eq!(adapter.paths.len(), 28 * Projection::ALL.len());
    for (place, path) in &adapter.paths {
        assert!(
            path.rank == 16 && (path.scale - scale).abs() < 1e-6,
            "{place:?}: {} {}",
            path.rank,
            path.scale
        );
    }
}

#[test]
fn the_reference_adapters_layout_is_read() {
    for dtype in [Dtype::F32, Dtype::BF16] {
        let adapter = Adapter::read(REFERENCE, &zeros(dtype, |_, _| true), &sizes()).unwrap();
        assert_uniform(&adapter, 1.0);
    }
}

#[test]
fn unsloths_layout_is_read() {
    let tensors = zeros(Dtype::F32, |_, _| true);
    let mut config: Value = serde_json::from_str(UNSLOTH).unwrap();
    assert_uniform(&read(&config, &tensors).unwrap(), 2.0);
    config["use_rslora"] = json!(true);
    assert_uniform(&read(&config, &tensors).unwrap(), 8.0);
    config["use_rslora"] = json!(false);
    // Most of its adapters list the modules.
    let reference: Value = serde_json::from_str(REFERENCE).unwrap();
    config["target_modules"] = reference["target_modules"].clone();
    assert_uniform(&read(&config, &tensors).unwrap(), 2.0);
}

#[test]
fn modules_that_an_expression_names_must_have_paths() {
    let config: Value = serde_json::from_str(UNSLOTH).unwrap();
    let last = |layer: usize, projection: Projection| (layer, projection) == (27, Projection::Down);
    let error = read(&config, &zeros(Dtype::F32, |layer, projection| !last(layer, projection))).unwrap_err();
    assert_eq!(error.code(), "invalid_tensor", "{error}");
    assert!(error.to_string().contains("model.layers.27.mlp.down_proj"), "{error}");
    // Attention only, and a path beside something else.
    let mut fewer = config.clone();
    let expression = config["target_modules"].as_str().unwrap();
    fewer["target_modules"] = json!(expression.replace("|gate_proj|up_proj|down_proj", ""));
    let attention = |_: usize, projection: Projection| projection.module().starts_with("self_attn");
    assert_eq!(read(&fewer, &zeros(Dtype::F32, attention)).unwrap().paths.len(), 28 * 4);
    let error = read(&fewer, &zeros(Dtype::F32, |_, _| true)).unwrap_err();
    assert!(error.to_string().contains("does not name it"), "{error}");
}

#[test]
fn what_these_layouts_may_ask_for_besides_is_refused_by_name() {
    let tensors = zeros(Dtype::F32, |_, _| true);
    for (field, value) in [
        // Unsloth's way of training the embedding too.
        ("modules_to_save", json!(["embed_tokens", "lm_head"])),
        ("target_parameters", json!(["mlp.experts.gate_up_proj"])),
        ("loftq_config", json!({"loftq_bits": 4, "loftq_iter": 1})),
        ("init_lora_weights", json!("pissa")),
        ("use_dora", json!(true)),
        ("use_qalora", json!(true)),
        ("lora_bias", json!(true)),
        ("bias", json!("lora_only")),
        ("target_modules", json!(["q_proj", "lm_head"])),
    ] {
        for text in [REFERENCE, UNSLOTH] {
            let mut config: Value = serde_json::from_str(text).unwrap();
            config[field] = value.clone();
            let error = read(&config, &tensors).unwrap_err();
            assert_eq!(error.code(), "unsupported_model", "{error}");
            assert!(error.to_string().contains(field), "{error}");
        }
    }
}
