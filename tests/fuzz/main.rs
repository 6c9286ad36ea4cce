//! What the fuzzer starts from goes through its targets here too, and so does what it once found: `fuzz/README.md`.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test fails by panicking")]

mod limits;
mod seeds;
#[allow(unreachable_pub, reason = "there it is a library")]
#[path = "../../fuzz/src/lib.rs"]
mod targets;

use std::path::Path;

/// A target's input, by name.
struct Seed {
    name: String,
    data: Vec<u8>,
    /// Whether it is sound.
    taken: bool,
}

impl Seed {
    fn new(name: impl Into<String>, data: impl Into<Vec<u8>>, taken: bool) -> Self {
        Self { name: name.into(), data: data.into(), taken }
    }
}

/// What was found to be wrong goes through its target again.
#[test]
fn what_was_found_is_mended() {
    let found = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fuzz/found");
    let take = |target: &str| match target {
        "gguf" => targets::gguf::take,
        "manifest" => targets::manifest::take,
        "adapter" => targets::adapter::take,
        "tokenizer" => targets::tokenizer::take,
        "escalation" => targets::escalation::take,
        other => panic!("{other} is no target"),
    };
    let mut inputs = 0;
    for folder in std::fs::read_dir(found).unwrap() {
        let folder = folder.unwrap();
        for input in std::fs::read_dir(folder.path()).unwrap() {
            take(&folder.file_name().to_string_lossy())(&std::fs::read(input.unwrap().path()).unwrap());
            inputs += 1;
        }
    }
    assert!(inputs > 0, "there is something to look at");
}

/// Puts the seeds through their target and writes them to where `cargo xtask fuzz` takes them from.
fn check(target: &str, take: fn(&[u8]) -> bool, seeds: &[Seed]) {
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join("fuzz-seeds").join(target);
    std::fs::create_dir_all(&folder).unwrap();
    assert!(seeds.iter().any(|seed| seed.taken), "{target}: no sound seed");
    for seed in seeds {
        assert_eq!(take(&seed.data), seed.taken, "{target}: {}", seed.name);
        std::fs::write(folder.join(&seed.name), &seed.data).unwrap();
    }
}

#[test]
fn gguf() {
    check("gguf", targets::gguf::take, &seeds::gguf());
}

#[test]
fn manifest() {
    check("manifest", targets::manifest::take, &seeds::manifest());
}

#[test]
fn adapter() {
    check("adapter", targets::adapter::take, &seeds::adapter());
}

#[test]
fn tokenizer() {
    check("tokenizer", targets::tokenizer::take, &seeds::tokenizer());
}

#[test]
fn escalation() {
    check("escalation", targets::escalation::take, &seeds::escalation());
}
