//! The tokenizer against an independent implementation (fixtures: see tests/fixtures/README.md).
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test fails by panicking")]

use std::collections::HashMap;

use candle_core::quantized::gguf_file::Value as MetadataValue;
use relayops_intent::gguf::GgufStream;
use relayops_intent::loader::Loader;
use relayops_intent::pack::IntentConfig;
use relayops_intent::tokenizer::{TokenId, Tokenizer};
use relayops_testkit::{QWEN_05B, TinyQwen2, real_model};
use serde_json::Value;

fn fixture(text: &str) -> Value {
    serde_json::from_str(text).unwrap()
}

fn ids(value: &Value) -> Vec<u32> {
    value.as_array().unwrap().iter().map(|id| u32::try_from(id.as_u64().unwrap()).unwrap()).collect()
}

fn encode(tokenizer: &Tokenizer, text: &str) -> Vec<u32> {
    tokenizer.encode(text).unwrap().iter().map(|id| id.0).collect()
}

fn tiny() -> (Tokenizer, Vec<String>) {
    let bytes = TinyQwen2::default().bytes().unwrap();
    let mut stream = GgufStream::new("tiny.gguf", None);
    stream.push(&bytes).unwrap();
    let gguf = stream.finish().unwrap();
    let tokens =
        gguf.metadata.texts("tokenizer.ggml.tokens").unwrap().iter().map(|t| (*t).to_owned()).collect();
    (Tokenizer::from_metadata(&gguf.metadata).unwrap(), tokens)
}

/// The real file's tokenizer; reads the header only.
fn real(test: &str) -> Option<Tokenizer> {
    use std::io::Read;
    let mut file = std::fs::File::open(real_model(test, QWEN_05B)?).unwrap();
    let mut stream = GgufStream::new(QWEN_05B, None);
    let mut chunk = vec![0; 1 << 20];
    while stream.header().is_none() {
        let count = file.read(&mut chunk).unwrap();
        assert!(count > 0, "the header never ended");
        stream.push(&chunk[..count]).unwrap();
    }
    Some(Tokenizer::from_metadata(&stream.header().unwrap().metadata).unwrap())
}

#[test]
fn agrees_with_the_python_tokenizer_on_every_string() {
    let Some(tokenizer) = real("agrees_with_the_python_tokenizer_on_every_string") else { return };
    let fixture = fixture(include_str!("fixtures/tokenizer_qwen2_5.json"));
    let items = fixture["items"].as_array().unwrap();
    assert!(items.len() >= 300, "{} strings", items.len());
    for item in items {
        let text = item["text"].as_str().unwrap();
        assert_eq!(encode(&tokenizer, text), ids(&item["ids"]), "{text:?}");
    }
}

/// That these are all the differences over the same strings is asserted by the script that writes the list.
#[test]
fn llama_cpps_known_differences_are_still_differences() {
    let Some(tokenizer) = real("llama_cpps_known_differences_are_still_differences") else { return };
    let fixture = fixture(include_str!("fixtures/tokenizer_llamacpp_differences.json"));
    let items = fixture["items"].as_array().unwrap();
    assert!(!items.is_empty());
    let mut reasons: HashMap<&str, usize> = HashMap::new();
    for item in items {
        let text = item["text"].as_str().unwrap();
        assert_ne!(
            encode(&tokenizer, text),
            ids(&item["llama_cpp_ids"]),
            "{text:?} is no difference any more"
        );
        *reasons.entry(item["reason"].as_str().unwrap()).or_default() += 1;
    }
    let mut known: Vec<&str> = reasons.into_keys().collect();
    known.sort_unstable();
    assert_eq!(known, ["no_nfc", "user_defined_token"]);
}

#[test]
fn control_spellings_are_plain_text_to_customers() {
    let (tokenizer, tokens) = tiny();
    for spelling in ["<|im_start|>", "<|im_end|>", "<|endoftext|>", "<tool_call>", "</tool_call>"] {
        let control = tokenizer.control(spelling).unwrap();
        for text in [spelling.to_owned(), format!("hi{spelling}"), format!("{spelling}{spelling} x")] {
            let encoded = tokenizer.encode(&text).unwrap();
            assert!(!encoded.contains(&control), "{text:?} has the control token");
            let spelled: String = encoded.iter().map(|id| tokens[id.0 as usize].as_str()).collect();
            assert_eq!(spelled.replace('Ġ', " "), text);
        }
    }
}

#[test]
fn no_special_spelling_of_the_real_model_gets_through() {
    let Some(tokenizer) = real("no_special_spelling_of_the_real_model_gets_through") else { return };
    let fixture = fixture(include_str!("fixtures/tokenizer_qwen2_5.json"));
    let specials = fixture["special_tokens"].as_array().unwrap();
    assert!(specials.len() >= 22, "{} special tokens", specials.len());
    let smallest = TokenId(151_643);
    for special in specials {
        let spelling = special["text"].as_str().unwrap();
        assert!(tokenizer.encode(spelling).unwrap().iter().all(|id| *id < smallest), "{spelling}");
    }
    for spelling in ["<|im_start|>", "<|im_end|>"] {
        assert!(tokenizer.control(spelling).is_some_and(|id| id >= smallest), "{spelling}");
    }
}

#[test]
fn the_subset_tokenizes_its_strings_as_the_full_vocabulary_does() {
    let (tokenizer, tokens) = tiny();
    let fixture = fixture(include_str!("fixtures/qwen2_5_tokenizer_subset.json"));
    let exact = fixture["exact"].as_array().unwrap();
    assert!(exact.len() > 50);
    for item in exact {
        let (text, expected) = (item["text"].as_str().unwrap(), item["tokens"].as_array().unwrap());
        let encoded = encode(&tokenizer, text);
        let spelled: Vec<&str> = encoded.iter().map(|id| tokens[*id as usize].as_str()).collect();
        assert_eq!(spelled, expected.iter().map(|t| t.as_str().unwrap()).collect::<Vec<_>>(), "{text:?}");
    }
}

#[test]
fn merges_that_make_no_token_are_refused() {
    let refused = |merge: &str| {
        let merges = Some(MetadataValue::Array(vec![MetadataValue::String(merge.to_owned())]));
        let model = TinyQwen2 {
            metadata: vec![("tokenizer.ggml.merges".to_owned(), merges)],
            ..TinyQwen2::default()
        };
        let mut loader = Loader::new("m.gguf", None, IntentConfig::default()).unwrap();
        loader.push(&model.bytes().unwrap()).unwrap();
        let error = loader.finish().map(|_| ()).unwrap_err();
        assert_eq!(error.code(), "invalid_gguf", "{merge}: {error}");
        assert!(error.to_string().starts_with("m.gguf: tokenizer.ggml.merges: "), "{error}");
    };
    let (_, tokens) = tiny();
    let longest =
        tokens.iter().filter(|token| !token.starts_with('<')).max_by_key(|token| token.len()).unwrap();
    // Longer than any token; an unknown part; an unknown whole; no pair.
    for merge in [&format!("{longest} {longest}"), "nonsense a", "q q", "single", " a"] {
        refused(merge);
    }
}

#[test]
fn hard_texts_at_the_length_limit_are_encoded() {
    let (tokenizer, _) = tiny();
    for unit in ["a", " ", "\n", " \n", "'", "é", "e\u{301}", "👩‍👩‍👧‍👦", "字", "\u{202e}", "\0", "<|im_end|>", "1"]
    {
        let text: String = unit.chars().cycle().take(2_000).collect();
        assert!(!tokenizer.encode(&text).unwrap().is_empty(), "{unit:?}");
    }
}

#[test]
fn a_control_token_that_the_model_lacks_is_named() {
    let bytes = TinyQwen2::default().bytes().unwrap();
    let mut config = IntentConfig::default();
    config.prompt.as_mut().unwrap().pieces[0] = relayops_intent::pack::Piece::Control("<|begin|>".to_owned());
    let mut loader = Loader::new("tiny.gguf", None, config).unwrap();
    loader.push(&bytes).unwrap();
    let error = loader.finish().map(|_| ()).unwrap_err();
    assert_eq!(error.code(), "invalid_config");
    assert!(error.to_string().contains("prompt.pieces[0].control"), "{error}");
}
