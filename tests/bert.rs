//! The encoder against candle-transformers' BERT, its tokenizer against Python's, and what is refused.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test fails by panicking")]

use std::collections::HashMap;
use std::path::Path;

use candle_core::quantized::GgmlDType;
use candle_core::quantized::gguf_file::Value as MetadataValue;
use candle_core::{DType, Device, Tensor};
use candle_nn::VarBuilder;
use candle_transformers::models::bert::{BertModel, Config};
use relayops_intent::IntentError;
use relayops_intent::backend::cpu::Cpu;
use relayops_intent::classifier::ClassifyOptions;
use relayops_intent::encoder::Encoder;
use relayops_intent::loader::Loader;
use relayops_intent::pack::IntentConfig;
use relayops_intent::pack::manifest::MAX_FILE_BYTES;
use relayops_intent::packing::{self, Settings, Threshold, formats::Formats};
use relayops_intent::tokenizer::TokenId;
use relayops_testkit::{LABELS, MINILM, TinyBert, head, real_folder};
use serde_json::Value;

const MESSAGES: [&str; 5] = [
    "hi",
    "my internet is down",
    "Why was I charged twice?!",
    "caf\u{e9} [SEP] modem on-line \u{1f600} \u{431}",
    "the modem is down and the router restarted twice, thanks: hello, is my bill online?",
];

/// Both sum floats, in other orders; error function and exponential differ by 3e-7.
const FLOAT_TOLERANCE: f32 = 1e-4;

fn load(bytes: &[u8]) -> Result<Loader, IntentError> {
    let mut loader = Loader::new("m.gguf", Some(bytes.len() as u64), IntentConfig::default())?;
    loader.push(bytes)?;
    Ok(loader)
}

fn tiny(model: &TinyBert) -> Encoder<Cpu> {
    load(&model.bytes().unwrap()).unwrap().exact().finish_encoder().unwrap()
}

/// Logits of candle's encoder with mean and head from plain tensor operations.
fn candle_logits(config: &Value, tensors: &HashMap<String, Tensor>, tokens: &[TokenId]) -> Vec<f32> {
    let config: Config = serde_json::from_value(config.clone()).unwrap();
    let builder = VarBuilder::from_tensors(tensors.clone(), DType::F32, &Device::Cpu);
    let model = BertModel::load(builder, &config).unwrap();
    let ids: Vec<u32> = tokens.iter().map(|token| token.0).collect();
    let ids = Tensor::new(ids.as_slice(), &Device::Cpu).unwrap().unsqueeze(0).unwrap();
    let hidden = model.forward(&ids, &ids.zeros_like().unwrap(), None).unwrap();
    let pooled = hidden.mean(1).unwrap();
    let logits = pooled.matmul(&tensors["classifier.weight"].t().unwrap()).unwrap();
    logits.broadcast_add(&tensors["classifier.bias"]).unwrap().flatten_all().unwrap().to_vec1().unwrap()
}

fn assert_close(actual: &[f32], expected: &[f32], tolerance: f32, what: &str) {
    assert_eq!(actual.len(), expected.len());
    for (a, e) in actual.iter().zip(expected) {
        assert!((a - e).abs() <= tolerance, "{what}: {actual:?}, candle {expected:?}");
    }
}

fn spread(values: &[f32]) -> f32 {
    let bounds = values.iter().fold((f32::MAX, f32::MIN), |(l, h), v| (l.min(*v), h.max(*v)));
    bounds.1 - bounds.0
}

#[test]
fn tiny_models_agree_with_candle() {
    for model in [
        TinyBert::default(),
        TinyBert { seed: 5, layers: 1, hidden: 32, feed_forward: 96, heads: 1, ..TinyBert::default() },
        TinyBert { seed: 6, layers: 3, hidden: 96, feed_forward: 64, heads: 6, ..TinyBert::default() },
    ] {
        let encoder = tiny(&model);
        let tensors: HashMap<_, _> = model.tensors().unwrap().into_iter().collect();
        for message in MESSAGES {
            let tokens = encoder.tokenizer().sequence(message).unwrap();
            let logits = encoder.model().forward(&mut encoder.model().workspace(), &tokens).unwrap();
            let expected = candle_logits(&model.config(), &tensors, &tokens);
            assert!(spread(&expected) > 0.1, "the logits tell messages apart: {expected:?}");
            assert_close(&logits, &expected, FLOAT_TOLERANCE, message);
        }
    }
}

/// The real weights with a random head, written by `pack` without rounding.
fn real(folder: &Path, quant: &str) -> Vec<u8> {
    let base = tempfile::tempdir().unwrap();
    for file in ["config.json", "tokenizer.json"] {
        std::fs::copy(folder.join(file), base.path().join(file)).unwrap();
    }
    std::fs::write(base.path().join("intent.json"), TinyBert::default().intent().to_string()).unwrap();
    candle_core::safetensors::save(&real_tensors(folder), base.path().join("model.safetensors")).unwrap();
    let settings = Settings {
        name: "real".to_owned(),
        formats: quant.parse::<Formats>().unwrap(),
        prune_vocabulary: false,
        temperature: None,
        threshold: Threshold::OfBase,
        origin: None,
        figures: Value::Null,
        command: "a test".to_owned(),
        max_file_bytes: MAX_FILE_BYTES,
    };
    packing::pack(base.path(), settings).unwrap().gguf
}

fn real_tensors(folder: &Path) -> HashMap<String, Tensor> {
    let mut tensors = candle_core::safetensors::load(folder.join("model.safetensors"), &Device::Cpu).unwrap();
    tensors.extend(head(3, LABELS.len(), 384).unwrap());
    tensors
}

#[test]
fn the_real_weights_agree_with_candle() {
    let Some(folder) = real_folder("the_real_weights_agree_with_candle", MINILM) else { return };
    let config: Value = serde_json::from_slice(&std::fs::read(folder.join("config.json")).unwrap()).unwrap();
    let tensors = real_tensors(&folder);
    let exact = load(&real(&folder, "f32")).unwrap().exact().finish_encoder().unwrap();
    let rounded = load(&real(&folder, "embedding=q8_0,attention=q8_0,feed-forward=q8_0")).unwrap();
    let rounded = rounded.finish_encoder().unwrap();
    for message in MESSAGES {
        let tokens = exact.tokenizer().sequence(message).unwrap();
        let logits = exact.model().forward(&mut exact.model().workspace(), &tokens).unwrap();
        let expected = candle_logits(&config, &tensors, &tokens);
        assert!(spread(&expected) > 0.1, "{expected:?}");
        assert_close(&logits, &expected, FLOAT_TOLERANCE, message);
        let logits = rounded.model().forward(&mut rounded.model().workspace(), &tokens).unwrap();
        // 8 bits for weights and activations.
        assert_close(&logits, &expected, 0.1, message);
    }
}

#[test]
fn rounded_products_stay_near_the_exact_ones() {
    let mut exact = tiny(&TinyBert::default());
    for format in [GgmlDType::Q8_0, GgmlDType::F16] {
        let model = TinyBert { formats: vec![format], ..TinyBert::default() };
        let mut rounded = load(&model.bytes().unwrap()).unwrap().finish_encoder().unwrap();
        for message in MESSAGES {
            let (a, b) =
                (rounded.log_probabilities(message).unwrap(), exact.log_probabilities(message).unwrap());
            assert_close(&a, &b, 0.15, message);
        }
    }
}

#[test]
fn log_probabilities_are_a_distribution_and_the_same_every_time() {
    let mut encoder = tiny(&TinyBert::default());
    let first: Vec<_> = MESSAGES.iter().map(|text| encoder.log_probabilities(text).unwrap()).collect();
    for (text, first) in MESSAGES.iter().zip(&first).rev() {
        let sum: f32 = first.iter().map(|l| l.exp()).sum();
        assert!((sum - 1.0).abs() < 1e-5, "{text}: {sum}");
        assert_eq!(encoder.log_probabilities(text).unwrap(), *first, "{text}");
    }
}

#[test]
fn a_bert_file_makes_a_classifier() {
    let mut classifier = load(&TinyBert::default().bytes().unwrap()).unwrap().finish().unwrap();
    let info = classifier.info();
    assert_eq!((info.architecture.as_str(), info.stage.as_str()), ("bert", "bert"));
    let result = classifier.classify("my internet is down", ClassifyOptions::default()).unwrap();
    let sum: f32 = result.probabilities.unwrap().iter().map(|(_, p)| p).sum();
    assert!((sum - 1.0).abs() < 1e-5);
    let options = ClassifyOptions { token_confidence: true, ..ClassifyOptions::default() };
    assert_eq!(classifier.classify("hi", options).unwrap().decision.reason, "error:unavailable");
}

/// What does not fit is not cut: a message whose middle nobody read must not stay local.
#[test]
fn more_tokens_than_positions_escalate() {
    let positions = TinyBert::default().positions;
    let mut classifier = load(&TinyBert::default().bytes().unwrap()).unwrap().finish().unwrap();
    let mut classify = |text: &str| {
        classifier.classify(text, ClassifyOptions { threshold: Some(0.0), ..Default::default() })
    };
    let fits = classify(&"?".repeat(positions - 2)).unwrap();
    assert!(fits.probabilities.is_some(), "{:?}", fits.decision);
    let longer = classify(&"?".repeat(positions - 1)).unwrap();
    assert_eq!(longer.decision.reason, "error:inference");
    assert_eq!(longer.intent, "unknown");
    // And the next message is classified as ever.
    assert!(classify("my internet is down").unwrap().probabilities.is_some());
}

/// What is wrong with `model`, as the loader puts it.
fn refusal(model: &TinyBert) -> (String, String) {
    let error =
        load(&model.bytes().unwrap()).and_then(Loader::finish).map(|_| ()).expect_err("must be refused");
    (error.code().to_owned(), error.to_string())
}

#[test]
fn headers_that_do_not_fit_are_refused() {
    let with = |key: &str, value: Option<MetadataValue>| TinyBert {
        metadata: vec![(key.to_owned(), value)],
        ..TinyBert::default()
    };
    let number = |value: u32| Some(MetadataValue::U32(value));
    let text = |value: &str| Some(MetadataValue::String(value.to_owned()));
    for (key, value, code) in [
        ("bert.embedding_length", number(48), "invalid_gguf"),
        ("bert.embedding_length", number(96), "invalid_tensor"),
        ("bert.embedding_length", number(0), "invalid_gguf"),
        ("bert.feed_forward_length", number(100), "invalid_gguf"),
        ("bert.attention.head_count", number(3), "invalid_gguf"),
        ("bert.attention.head_count", number(64), "invalid_gguf"),
        ("bert.block_count", number(3), "invalid_tensor"),
        ("bert.block_count", number(1), "invalid_tensor"),
        ("bert.context_length", number(64), "invalid_tensor"),
        ("bert.context_length", number(2), "invalid_gguf"),
        ("bert.context_length", None, "invalid_gguf"),
        ("bert.attention.layer_norm_epsilon", Some(MetadataValue::F32(-1.0)), "invalid_gguf"),
        ("bert.attention.layer_norm_epsilon", Some(MetadataValue::F32(f32::NAN)), "invalid_gguf"),
        ("bert.attention.causal", Some(MetadataValue::Bool(true)), "unsupported_model"),
        ("bert.attention.causal", number(0), "invalid_gguf"),
        ("bert.pooling_type", number(2), "unsupported_model"),
        ("bert.pooling_type", None, "invalid_gguf"),
        ("bert.classifier.output_labels", None, "invalid_gguf"),
        ("tokenizer.ggml.token_type_count", number(3), "invalid_tensor"),
        ("tokenizer.ggml.model", text("gpt2"), "unsupported_model"),
        ("tokenizer.ggml.unknown_token_id", number(7), "invalid_gguf"),
        ("tokenizer.ggml.cls_token_id", number(1 << 20), "invalid_gguf"),
        ("tokenizer.ggml.seperator_token_id", None, "invalid_gguf"),
        ("tokenizer.ggml.token_type", Some(MetadataValue::Array(vec![])), "invalid_gguf"),
    ] {
        let (actual, message) = refusal(&with(key, value.clone()));
        assert_eq!(actual, code, "{key} {value:?}: {message}");
        assert!(message.starts_with("m.gguf: "), "{message}");
        if code != "invalid_tensor" {
            assert!(message.contains(key), "{key}: {message}");
        }
    }
}

#[test]
fn tensors_that_do_not_fit_are_refused() {
    for name in
        ["cls.output.bias", "token_types.weight", "blk.1.ffn_up.weight", "blk.0.attn_output_norm.bias"]
    {
        let (code, message) = refusal(&TinyBert { without: vec![name.to_owned()], ..TinyBert::default() });
        assert_eq!(code, "invalid_tensor");
        assert!(message.contains(name) && message.contains("is missing"), "{message}");
        let with = vec![(name.to_owned(), vec![7, 64])];
        let (code, message) = refusal(&TinyBert { with, ..TinyBert::default() });
        assert_eq!(code, "invalid_tensor");
        assert!(message.contains(name) && message.contains("expected"), "{message}");
    }
    let with = vec![("pooler.dense.weight".to_owned(), vec![64, 64])];
    let (code, message) = refusal(&TinyBert { with, ..TinyBert::default() });
    assert_eq!(code, "invalid_tensor");
    assert!(message.contains("pooler.dense.weight") && message.contains("is not part of"), "{message}");
}

#[test]
fn labels_must_be_the_heads() {
    let labels = ["device_status", "reset_device", "device_faq", "billing", "greeting", "unknown"];
    let model = TinyBert { labels: labels.map(str::to_owned).to_vec(), ..TinyBert::default() };
    let (code, message) = refusal(&model);
    assert_eq!(code, "invalid_config");
    assert!(message.starts_with("labels: "), "{message}");
}

#[test]
fn a_model_that_answers_prompts_needs_one() {
    let config = IntentConfig { prompt: None, ..IntentConfig::default() };
    let mut loader = Loader::new("m.gguf", None, config).unwrap();
    let bytes = relayops_testkit::TinyQwen2::default().bytes().unwrap();
    let error = loader.push(&bytes).and_then(|()| loader.finish().map(|_| ())).unwrap_err();
    assert_eq!(error.code(), "invalid_config");
    assert!(error.to_string().starts_with("prompt: "), "{error}");
}

#[test]
fn control_spellings_are_plain_text_to_customers() {
    let encoder = tiny(&TinyBert::default());
    for spelling in ["[PAD]", "[CLS]", "[SEP]", "[MASK]", "[UNK]"] {
        for text in [spelling.to_owned(), format!("hi{spelling}"), format!("{spelling}{spelling} x")] {
            let tokens = encoder.tokenizer().encode(&text).unwrap();
            assert!(tokens.iter().all(|token| token.0 > 4), "{text}: {tokens:?}");
        }
    }
    let sequence = encoder.tokenizer().sequence("hi").unwrap();
    assert_eq!((sequence[0], sequence[sequence.len() - 1]), (TokenId(2), TokenId(3)));
}

#[test]
fn the_real_vocabulary_gives_pythons_ids() {
    let Some(folder) = real_folder("the_real_vocabulary_gives_pythons_ids", MINILM) else { return };
    let encoder = load(&real(&folder, "f32")).unwrap().finish_encoder().unwrap();
    let fixture: Value = serde_json::from_str(include_str!("fixtures/tokenizer_minilm.json")).unwrap();
    let items = fixture["items"].as_array().unwrap();
    assert!(items.len() >= 300);
    for item in items {
        let text = item["text"].as_str().unwrap();
        let ids: Vec<u64> =
            encoder.tokenizer().encode(text).unwrap().iter().map(|id| u64::from(id.0)).collect();
        let expected: Vec<u64> =
            item["ids"].as_array().unwrap().iter().map(|id| id.as_u64().unwrap()).collect();
        assert_eq!(ids, expected, "{text:?}");
    }
}
