//! What is offered of folders of models: GGUF files, packs and adapters.

use std::fs;
use std::path::Path;

use super::{PACK, Site, bytes, folder, model, options, put};

/// What an adapter for the 0.5B says of itself.
const INTENT: &str = include_str!("../../models/qwen2.5-0.5b-lora/intent.json");

/// As a folder that training wrote.
fn put_adapter(folder: &Path, intent: impl AsRef<[u8]>) {
    put(folder, "intent.json", intent);
    put(folder, "adapter_config.json", "{}");
    put(folder, "adapter_model.safetensors", b"tensors");
    put(folder, "training.jsonl", "private");
    put(folder, "README.md", "private");
}

/// The entry of that in the list.
fn listed_adapter(name: &str) -> serde_json::Value {
    let intent: serde_json::Value = serde_json::from_str(INTENT).unwrap();
    let base = serde_json::json!({"name": intent["base"]["name"], "sha256": intent["base"]["sha256"]});
    serde_json::json!({"adapter": name, "base": base, "bytes": INTENT.len() + "{}".len() + "tensors".len()})
}

#[test]
fn models_are_listed_by_name_and_nothing_else_is_given_out() {
    let site = Site::start();
    let list = site.list();
    let pack: serde_json::Value = serde_json::from_str(PACK).unwrap();
    let expected = serde_json::json!([
        {"file": "a.gguf", "bytes": 4},
        {"file": "b.gguf", "bytes": 200_000},
        {"pack": "small", "name": pack["name"], "bytes": pack["files"][0]["bytes"]},
    ]);
    assert_eq!(list, expected);
    assert_eq!(bytes(site.get("/models/b.gguf", &[])), model());
    assert_eq!(bytes(site.get("/models/small/pack.json", &[])), PACK.as_bytes());
    assert_eq!(bytes(site.get("/models/small/model.gguf", &[])), b"weights");
    for path in [
        "/models/notes.txt",
        "/models/deep/c.gguf",
        "/models/small/notes.txt",
        "/models/small/",
        "/models/small",
        "/models/small%2fmodel.gguf",
        "/models/small/./notes.txt",
        "/models/broken/pack.json",
        "/models/broken/model.gguf",
        "/models/",
        "/models",
    ] {
        assert_eq!(site.get(path, &[]).status(), 404, "{path}");
    }
    let without = Site::over(folder(), false);
    assert_eq!(bytes(without.get("/models/index.json", &[])), b"[]");
    assert_eq!(without.get("/models/a.gguf", &[]).status(), 404);
}

#[test]
fn adapters_are_listed_with_their_base_and_nothing_else_of_them_is_given_out() {
    let folder = folder();
    let at = |name: &str| folder.path().join("models").join(name);
    put_adapter(&at("mine"), INTENT);
    put_adapter(&at("deep/mine"), INTENT);
    // None of these is an adapter that the engine would take.
    put_adapter(&at("unsound"), "{}");
    put_adapter(&at("elsewhere"), INTENT);
    fs::remove_file(at("elsewhere/intent.json")).unwrap();
    put_adapter(&at("no-tensors"), INTENT);
    fs::remove_file(at("no-tensors/adapter_model.safetensors")).unwrap();
    put_adapter(&at("too-large"), INTENT.to_owned() + &" ".repeat(5 << 20));
    let site = Site::over(folder, true);
    let list = site.list();
    let adapters: Vec<_> =
        list.as_array().unwrap().iter().filter(|entry| entry.get("adapter").is_some()).collect();
    assert_eq!(adapters, [&listed_adapter("mine")]);
    assert_eq!(bytes(site.get("/models/mine/intent.json", &[])), INTENT.as_bytes());
    assert_eq!(bytes(site.get("/models/mine/adapter_config.json", &[])), b"{}");
    let part = site.get("/models/mine/adapter_model.safetensors", &[("range", "bytes=1-3")]);
    assert_eq!((part.status().as_u16(), bytes(part)), (206, b"ens".to_vec()));
    for path in [
        "/models/mine",
        "/models/mine/",
        "/models/mine/training.jsonl",
        "/models/mine/README.md",
        "/models/mine/pack.json",
        "/models/mine%2fintent.json",
        "/models/deep/mine/intent.json",
        "/models/unsound/intent.json",
        "/models/elsewhere/adapter_config.json",
        "/models/no-tensors/intent.json",
        "/models/too-large/intent.json",
    ] {
        assert_eq!(site.get(path, &[]).status(), 404, "{path}");
    }
    for path in ["/models/mine/../../secret.txt", "/models/mine/..%2f..%2fsecret.txt"] {
        let answer = site.raw(path, "");
        assert!(answer.starts_with("HTTP/1.1 404") && !answer.contains("outside"), "{path}: {answer}");
    }
}

#[test]
fn adapters_that_ship_are_offered_without_being_asked_for_and_of_one_name_the_first() {
    let folder = folder();
    let at = folder.path();
    // In a checkout: adapters, and packs that the page has by itself.
    put_adapter(&at.join("root/models/shipped"), INTENT);
    put(at, "root/models/small/pack.json", PACK);
    put(at, "root/models/small/model.gguf", b"shipped");
    put(at, "root/models/base.gguf", b"GGUF");
    put(at, "more/a.gguf", b"another");
    put(at, "more/c.gguf", b"more");
    let mut options = options(at, true);
    options.models.push(at.join("more"));
    let site = Site::with(folder, options);
    let pack: serde_json::Value = serde_json::from_str(PACK).unwrap();
    let expected = serde_json::json!([
        {"file": "a.gguf", "bytes": 4},
        {"file": "b.gguf", "bytes": 200_000},
        {"file": "c.gguf", "bytes": 4},
        {"pack": "small", "name": pack["name"], "bytes": pack["files"][0]["bytes"]},
        listed_adapter("shipped"),
    ]);
    assert_eq!(site.list(), expected);
    for (path, content) in [
        ("a.gguf", &b"GGUF"[..]),
        ("c.gguf", b"more"),
        ("small/model.gguf", b"weights"),
        ("shipped/adapter_model.safetensors", b"tensors"),
    ] {
        assert_eq!(bytes(site.get(&format!("/models/{path}"), &[])), content, "{path}");
    }
    assert_eq!(site.get("/models/base.gguf", &[]).status(), 404);

    let folder = super::folder();
    put_adapter(&folder.path().join("root/models/shipped"), INTENT);
    put(folder.path(), "root/models/small/pack.json", PACK);
    put(folder.path(), "root/models/small/model.gguf", b"shipped");
    let site = Site::over(folder, false);
    assert_eq!(site.list(), serde_json::json!([listed_adapter("shipped")]));
    assert_eq!(site.get("/models/small/model.gguf", &[]).status(), 404);
}

/// The page finds an adapter's base by the name of its file.
#[test]
fn the_adapters_that_ship_name_the_files_that_fetch_brings() {
    for (name, intent) in [
        ("qwen2.5-0.5b", INTENT),
        ("qwen2.5-1.5b", include_str!("../../models/qwen2.5-1.5b-lora/intent.json")),
    ] {
        let intent: serde_json::Value = serde_json::from_str(intent).unwrap();
        let artifact = relayops_intent::fetch::find(name).unwrap();
        let stem = artifact.file.strip_suffix(".gguf").unwrap();
        let (base, sha256) = (&intent["base"]["name"], &intent["base"]["sha256"]);
        assert_eq!((base.as_str(), sha256.as_str()), (Some(stem), Some(&*artifact.sha256)), "{name}");
    }
}

#[cfg(unix)]
#[test]
fn links_lead_into_no_adapter_elsewhere() {
    use std::os::unix::fs::symlink;
    let folder = folder();
    let at = |name: &str| folder.path().join(name);
    put_adapter(&at("outside"), INTENT);
    symlink(at("outside"), at("models/linked")).unwrap();
    put_adapter(&at("models/leaking"), INTENT);
    fs::remove_file(at("models/leaking/adapter_model.safetensors")).unwrap();
    symlink(at("secret.txt"), at("models/leaking/adapter_model.safetensors")).unwrap();
    let site = Site::over(folder, true);
    assert!(!site.list().to_string().contains("adapter"));
    for path in ["linked/intent.json", "leaking/intent.json", "leaking/adapter_model.safetensors"] {
        assert_eq!(site.get(&format!("/models/{path}"), &[]).status(), 404, "{path}");
    }
}
