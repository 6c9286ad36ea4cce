//! The folders that packs are written into, and what packs take beside them.

use std::collections::BTreeMap;
use std::path::Path;

use relayops_intent::pack::IntentConfig;
use relayops_intent::pack::manifest::Origin;
use relayops_intent::packing::Settings;
use relayops_intent::packing::decoder::{self, Source};
use relayops_intent::train::lora::Base;

use super::pack::{Case, largest_difference, origin, scores, settings};
use super::tiny;

#[test]
fn a_pack_takes_no_adapter_beside_its_own() {
    let case = Case::new(&tiny::model());
    case.pack(settings("q8_0")).unwrap();
    let mut packed = case.load(false);
    let before = scores(&mut packed);
    let error = packed.set_adapter(Some(&case.adapter), false).unwrap_err();
    assert_eq!(error.code(), "unavailable");
    assert!(error.to_string().contains("tiny is a classification pack"), "{error}");
    assert_eq!(scores(&mut packed), before);
    packed.set_adapter(Some(&case.adapter), true).unwrap();
    assert!(largest_difference(&scores(&mut packed), &before) > 0.1);
    packed.set_adapter(None, false).unwrap();
    assert_eq!(scores(&mut packed), before);
}

/// Names and bytes of all that is in a folder.
fn content(folder: &Path) -> BTreeMap<String, Vec<u8>> {
    let entries = std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
    entries.map(|path| (path.display().to_string(), std::fs::read(path).unwrap())).collect()
}

#[test]
fn an_earlier_pack_stays_until_a_new_one_is_whole() {
    let case = Case::new(&tiny::model());
    let many = Settings { max_file_bytes: 90_000, ..settings("q8_0") };
    case.pack(many).unwrap();
    let first = content(&case.out());
    assert!(first.len() > 2);
    let packed = |settings: Settings, overwrite: bool| {
        let base = Base::read(&case.base).unwrap();
        let source = Source { base, adapter: None, forced: false, config: IntentConfig::default() };
        decoder::pack(source, settings, &case.out(), overwrite, &mut |_, _| ()).map(|_| ())
    };
    let error = packed(settings("q8_0"), false).unwrap_err();
    assert!(error.to_string().starts_with("--out: ") && error.to_string().contains("--overwrite"), "{error}");
    // Fails after its tensors.
    let failing =
        Settings { origin: Some(Origin { sha256: "0".to_owned(), ..origin() }), ..settings("q8_0") };
    assert_eq!(packed(failing, true).unwrap_err().code(), "invalid_pack");
    assert!(content(&case.out()) == first, "what was there is as it was");
    packed(settings("q8_0"), true).unwrap();
    let names: Vec<String> = content(&case.out()).into_keys().collect();
    assert!(
        names.len() == 2 && names[0].ends_with("model.gguf") && names[1].ends_with("pack.json"),
        "{names:?}"
    );
    case.load(false);
    // What is of no pack is not replaced.
    for (file, removed) in
        [("model-000.gguf-part", ""), ("model.gguf", "pack.json"), ("pack.json", "model.gguf")]
    {
        std::fs::write(case.out().join(file), "someone's").unwrap();
        let _ = std::fs::remove_file(case.out().join(removed));
        let error = packed(settings("q8_0"), true).unwrap_err();
        assert!(error.to_string().starts_with("--out: ") && error.to_string().contains(file), "{error}");
        assert_eq!(std::fs::read(case.out().join(file)).unwrap(), b"someone's");
        std::fs::remove_file(case.out().join(file)).unwrap();
    }
}
