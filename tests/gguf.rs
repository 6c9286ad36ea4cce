//! The GGUF reader on sound files, cut files and broken ones.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test fails by panicking")]

use candle_core::quantized::GgmlDType;
use candle_core::quantized::gguf_file::{Content, Value};
use relayops_intent::IntentError;
use relayops_intent::gguf::header::{self, Parsed};
use relayops_intent::gguf::{Gguf, GgufStream};
use relayops_intent::loader::Loader;
use relayops_intent::pack::IntentConfig;
use relayops_testkit::TinyQwen2;

fn small() -> TinyQwen2 {
    TinyQwen2 { layers: 1, ..TinyQwen2::default() }
}

fn read(bytes: &[u8], chunk: usize, total: Option<u64>) -> Result<Gguf, IntentError> {
    let mut stream = GgufStream::new("m.gguf", total);
    for chunk in bytes.chunks(chunk) {
        stream.push(chunk)?;
    }
    stream.finish()
}

fn load(bytes: &[u8]) -> Result<(), IntentError> {
    let mut loader = Loader::new("m.gguf", Some(bytes.len() as u64), IntentConfig::default())?;
    loader.push(bytes)?;
    loader.finish().map(|_| ())
}

/// What is wrong with `model`, as the loader puts it.
fn refusal(model: &TinyQwen2) -> (String, String) {
    let error = load(&model.bytes().unwrap()).expect_err("the model must be refused");
    (error.code().to_owned(), error.to_string())
}

#[test]
fn any_chunking_reads_the_same_tensors_as_candle() {
    let bytes = small().bytes().unwrap();
    let mut reader = std::io::Cursor::new(&bytes);
    let candle = Content::read(&mut reader).unwrap();
    for (chunk, total) in
        [(1 << 20, None), (65_537, Some(bytes.len() as u64)), (4_099, None), (usize::MAX, None)]
    {
        let gguf = read(&bytes, chunk, total).unwrap();
        assert_eq!(gguf.tensors.len(), candle.tensor_infos.len());
        for (name, info) in &candle.tensor_infos {
            let ours = &gguf.tensors[name];
            let theirs =
                info.read(&mut reader, candle.tensor_data_offset, &candle_core::Device::Cpu).unwrap();
            let theirs: Vec<f32> = theirs
                .dequantize(&candle_core::Device::Cpu)
                .unwrap()
                .flatten_all()
                .unwrap()
                .to_vec1()
                .unwrap();
            let mut row = vec![0.0; ours.cols()];
            assert_eq!(ours.rows() * ours.cols(), theirs.len(), "{name}");
            for (r, theirs) in theirs.chunks(ours.cols()).enumerate() {
                ours.dequantize_row(r, &mut row);
                for (a, b) in row.iter().zip(theirs) {
                    assert!((a - b).abs() <= 4.0 * f32::EPSILON * (b.abs() + 0.1), "{name}: {a}, candle {b}");
                }
            }
        }
        for (key, value) in &candle.metadata {
            let ours = gguf.metadata.get(key).unwrap_or_else(|| panic!("{key} is missing"));
            assert_eq!(format!("{ours:?}"), format!("{value:?}"), "{key}");
        }
    }
}

#[test]
fn version_2_reads_like_version_3() {
    let mut bytes = small().bytes().unwrap();
    bytes[4] = 2;
    load(&bytes).unwrap();
}

#[test]
fn a_cut_file_is_truncated_wherever_it_is_cut() {
    let bytes = small().bytes().unwrap();
    let cuts = (0..600).chain((600..bytes.len()).step_by(bytes.len() / 300)).chain([bytes.len() - 1]);
    for cut in cuts {
        for total in [None, Some(cut as u64)] {
            let error =
                read(&bytes[..cut], 1 << 16, total).map(|_| ()).expect_err("a cut file can't be read");
            assert_eq!(error.code(), "truncated", "cut at {cut}: {error}");
            assert!(error.to_string().starts_with("m.gguf: "), "{error}");
        }
    }
    let error = read(&bytes[..bytes.len() - 1], 1 << 16, None).map(|_| ()).unwrap_err();
    assert!(
        error.to_string().contains("tensor output_norm.weight") || error.to_string().contains("tensor "),
        "{error}"
    );
}

#[test]
fn trailing_bytes_are_refused() {
    let mut bytes = small().bytes().unwrap();
    bytes.extend([0; 4096]);
    let error = read(&bytes, 1 << 20, None).map(|_| ()).unwrap_err();
    assert_eq!(error.code(), "invalid_gguf");
    assert!(error.to_string().contains("follow the last tensor"), "{error}");
}

#[test]
fn no_change_of_a_header_byte_panics() {
    let bytes = small().bytes().unwrap();
    let Ok(Parsed::Complete(header)) = header::parse("m.gguf", &bytes) else { panic!("a sound header") };
    let end = usize::try_from(header.data_offset).unwrap();
    // The strings of the tokenizer are most of it: the structure at both ends is covered byte by byte.
    let places = (0..2_000).chain((2_000..end - 2_000).step_by(97)).chain(end - 2_000..end);
    for at in places.filter(|at| *at < end) {
        for value in [0, 1, 0x7f, 0x80, 0xff] {
            let mut changed = bytes[..end].to_vec();
            changed[at] = value;
            match header::parse("m.gguf", &changed) {
                Ok(_) => {}
                Err(error) => {
                    assert!(matches!(error.code(), "invalid_gguf" | "unsupported_model"), "{error}")
                }
            }
            // With the length known, a header that claims more than the file has is refused, not allocated for.
            let mut stream = GgufStream::new("m.gguf", Some(bytes.len() as u64));
            let _ = stream.push(&changed);
        }
    }
}

#[test]
fn hostile_counts_are_refused_at_once() {
    let with_counts = |tensors: u64, metadata: u64| {
        let mut bytes = b"GGUF\x03\0\0\0".to_vec();
        bytes.extend(tensors.to_le_bytes());
        bytes.extend(metadata.to_le_bytes());
        bytes
    };
    for (tensors, metadata, field) in [(u64::MAX, 0, "tensor_count"), (0, u64::MAX, "metadata_kv_count")] {
        let error = read(&with_counts(tensors, metadata), 64, None).map(|_| ()).unwrap_err();
        assert_eq!(error.code(), "invalid_gguf");
        assert!(error.to_string().contains(field), "{error}");
    }
    // An array of 2^60 bytes.
    let mut bytes = with_counts(0, 1);
    bytes.extend(1u64.to_le_bytes());
    bytes.push(b'a');
    bytes.extend(9u32.to_le_bytes());
    bytes.extend(0u32.to_le_bytes());
    bytes.extend((1u64 << 60).to_le_bytes());
    let error = read(&bytes, 64, None).map(|_| ()).unwrap_err();
    assert_eq!(error.code(), "invalid_gguf");
    assert!(error.to_string().contains("m.gguf: a: "), "{error}");
}

#[test]
fn other_files_are_named_for_what_they_are() {
    for (bytes, code, text) in [
        (b"PK\x03\x04 a zip archive, not a model".to_vec(), "invalid_gguf", "magic"),
        (b"GGUF\x01\0\0\0 then something".to_vec(), "unsupported_model", "version"),
        (b"GGUF\0\0\0\x03 then something".to_vec(), "unsupported_model", "big-endian"),
        (Vec::new(), "truncated", "magic"),
    ] {
        let error = read(&bytes, 64, None).map(|_| ()).unwrap_err();
        assert_eq!(error.code(), code, "{error}");
        assert!(error.to_string().contains(text), "{error}");
    }
}

/// Each model must be refused with this code, by an error that has these words.
fn assert_refused<const N: usize>(cases: [(TinyQwen2, &str, [&str; 2]); N]) {
    for (model, code, words) in cases {
        let (actual, message) = refusal(&model);
        assert_eq!(actual, code, "{message}");
        assert!(message.starts_with("m.gguf: "), "{message}");
        for word in words {
            assert!(message.contains(word), "{word:?} is not in: {message}");
        }
    }
}

#[test]
fn metadata_that_does_not_fit_is_refused_by_key() {
    let text = |text: &str| Some(Value::String(text.to_owned()));
    let changed =
        |key: &str, value: Option<Value>| TinyQwen2 { metadata: vec![(key.to_owned(), value)], ..small() };
    assert_refused([
        (
            changed("general.architecture", text("llama")),
            "unsupported_model",
            ["general.architecture", "llama"],
        ),
        (changed("general.architecture", None), "invalid_gguf", ["general.architecture", "missing"]),
        (changed("qwen2.block_count", None), "invalid_gguf", ["qwen2.block_count", "missing"]),
        (changed("qwen2.block_count", text("two")), "invalid_gguf", ["qwen2.block_count", "String"]),
        (changed("qwen2.block_count", Some(Value::U32(0))), "invalid_gguf", ["qwen2.block_count", "0"]),
        (changed("qwen2.block_count", Some(Value::U32(3))), "invalid_tensor", ["blk.1.", "missing"]),
        (
            changed("qwen2.attention.head_count", Some(Value::U32(3))),
            "invalid_gguf",
            ["head_count", "divide"],
        ),
        (
            changed("qwen2.attention.layer_norm_rms_epsilon", Some(Value::F32(f32::NAN))),
            "invalid_gguf",
            ["rms_epsilon", "NaN"],
        ),
        (
            changed("qwen2.rope.scaling.type", text("yarn")),
            "unsupported_model",
            ["qwen2.rope.scaling.type", "yarn"],
        ),
        (
            changed("qwen2.attention.key_length", Some(Value::U32(32))),
            "unsupported_model",
            ["qwen2.attention.key_length", "32"],
        ),
        (changed("general.alignment", Some(Value::U32(0))), "invalid_gguf", ["general.alignment", "0"]),
        (
            changed("tokenizer.ggml.pre", text("llama3")),
            "unsupported_model",
            ["tokenizer.ggml.pre", "llama3"],
        ),
        (changed("tokenizer.ggml.merges", None), "invalid_gguf", ["tokenizer.ggml.merges", "missing"]),
        (changed("tokenizer.ggml.tokens", None), "invalid_gguf", ["tokenizer.ggml.tokens", "missing"]),
    ]);
}

#[test]
fn tensors_that_do_not_fit_are_refused_by_name() {
    let without = |name: &str| TinyQwen2 { without: vec![name.to_owned()], ..small() };
    let with = |name: &str, shape: &[usize], dtype| TinyQwen2 {
        with: vec![(name.to_owned(), shape.to_vec(), dtype)],
        ..small()
    };
    assert_refused([
        (without("blk.0.ffn_up.weight"), "invalid_tensor", ["blk.0.ffn_up.weight", "missing"]),
        (without("output_norm.weight"), "invalid_tensor", ["output_norm.weight", "missing"]),
        (
            with("blk.0.attn_k.weight", &[256, 256], GgmlDType::Q8_0),
            "invalid_tensor",
            ["blk.0.attn_k.weight", "[256, 256]"],
        ),
        (
            with("blk.0.attn_q.weight", &[256, 256], GgmlDType::Q4_1),
            "unsupported_model",
            ["blk.0.attn_q.weight", "Q4_1"],
        ),
        (
            with("blk.0.attn_q_norm.weight", &[64], GgmlDType::F32),
            "invalid_tensor",
            ["attn_q_norm", "not part"],
        ),
        (
            with("output_norm.weight", &[1, 1, 256], GgmlDType::F32),
            "invalid_tensor",
            ["output_norm.weight", "3 dimensions"],
        ),
    ]);
}

#[test]
fn a_failed_stream_stays_failed() {
    let mut stream = GgufStream::new("m.gguf", None);
    assert!(stream.push(&[b'x'; 70_000]).is_err());
    assert_eq!(stream.push(b"GGUF").unwrap_err().code(), "invalid_argument");
    assert!(stream.finish().is_err());
}

#[test]
fn a_header_problem_shows_before_the_weights_arrive() {
    let model = TinyQwen2 { without: vec!["blk.0.ffn_up.weight".to_owned()], ..small() };
    let bytes = model.bytes().unwrap();
    let mut loader = Loader::new("m.gguf", Some(bytes.len() as u64), IntentConfig::default()).unwrap();
    let refused = bytes.chunks(1 << 16).position(|chunk| loader.push(chunk).is_err());
    assert!(refused.is_some_and(|chunk| (chunk + 1) << 16 < bytes.len() / 2), "refused at chunk {refused:?}");
}
