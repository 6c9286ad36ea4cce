//! Reading a base folder.

use std::path::Path;

use relayops_intent::IntentError;
use relayops_intent::train::base::{Base, resolve};

use super::tiny;

fn failure(folder: &Path, max_tokens: usize) -> IntentError {
    match Base::read(folder, max_tokens) {
        Ok(_) => panic!("{} was read", folder.display()),
        Err(error) => error,
    }
}

#[test]
fn messages_become_tokens() {
    let folder = tempfile::tempdir().unwrap();
    let base = tiny::base(folder.path(), 16, 1);
    assert_eq!(base.name, "tiny-bert");
    assert_eq!(base.sha256.len(), 64);
    let ids = base.encode("  Restart my Router!  ").unwrap();
    assert_eq!((ids[0], ids[ids.len() - 1]), (2, 3));
    assert_eq!(ids, base.encode("restart my router!").unwrap(), "no padding, no case, no white space around");
    assert_eq!(ids.len(), 6);
    let long = base.encode(&"router ".repeat(100)).unwrap();
    assert_eq!((long.len(), long[47]), (48, 3), "cut, with its end mark");
    assert_eq!(base.encode("   ").unwrap_err().code(), "empty_message");
}

#[test]
fn faults_name_file_and_field() {
    let folder = tempfile::tempdir().unwrap();
    let base = folder.path().join("b");
    let cases: [(&str, &str, &str, &str); 6] = [
        ("config.json", "{", "invalid_config", "config.json"),
        ("config.json", "{\"hidden_size\": 3}", "invalid_config", "config.json"),
        ("tokenizer.json", "{}", "tokenizer", "tokenizer.json"),
        ("model.safetensors", "rubbish", "invalid_config", "model.safetensors"),
        ("config.json", "", "io", "config.json"),
        ("model.safetensors", "", "io", "model.safetensors"),
    ];
    for (file, content, code, named) in cases {
        tiny::write(&base, 16, 1);
        let path = base.join(file);
        if content.is_empty() {
            std::fs::remove_file(&path).unwrap();
        } else {
            std::fs::write(&path, content).unwrap();
        }
        let error = failure(&base, 48);
        assert_eq!(error.code(), code, "{error}");
        assert!(error.to_string().contains(named), "{error}");
    }
    tiny::write(&base, 16, 1);
    let error = failure(&base, 65);
    assert_eq!(error.code(), "invalid_argument");
    assert!(error.to_string().contains("--max-tokens: 65"), "{error}");
    // A config of another size than the weights.
    std::fs::write(base.join("config.json"), tiny::config_json(16, 2).to_string()).unwrap();
    let error = failure(&base, 48);
    assert_eq!(error.code(), "invalid_tensor");
    assert!(error.to_string().contains("encoder.layer.1"), "{error}");
}

#[test]
fn a_name_that_stands_for_nothing_is_refused() {
    let error = resolve("no/such-base", &mut |_, _| {}).unwrap_err();
    assert_eq!(error.code(), "invalid_argument");
    assert!(error.to_string().starts_with("--base: \"no/such-base\""), "{error}");
    let folder = tempfile::tempdir().unwrap();
    let found = resolve(folder.path().to_str().unwrap(), &mut |_, _| {}).unwrap();
    assert_eq!(found, folder.path());
}
