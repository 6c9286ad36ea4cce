//! What the npm package may weigh: users download it, and their servers keep it.

use std::collections::BTreeMap;
use std::fs;

use anyhow::{Context, Result, bail};
use serde::Deserialize;

use crate::run::{npm_in, output, root};

/// Most bytes, by profile: xtask/budgets.json. Raise one only with a reason in the commit message.
#[derive(Deserialize)]
struct Budget {
    /// The tarball.
    tarball: u64,
    /// Each WebAssembly module.
    module: u64,
    /// Each file of JavaScript.
    script: u64,
}

/// What npm says of a tarball.
#[derive(Deserialize)]
struct Packed {
    size: u64,
    files: Vec<PackedFile>,
}

#[derive(Deserialize)]
struct PackedFile {
    path: String,
    size: u64,
}

/// Older versions of npm print a list, newer ones an object by name.
#[derive(Deserialize)]
#[serde(untagged)]
enum Printed {
    List(Vec<Packed>),
    ByName(BTreeMap<String, Packed>),
}

/// Packs what is in pkg/ without writing it, and refuses it where anything is larger than a build of `profile` may be.
pub(crate) fn check(profile: &str) -> Result<()> {
    let path = root().join("xtask").join("budgets.json");
    let text = fs::read_to_string(&path).with_context(|| path.display().to_string())?;
    let budgets: BTreeMap<String, Budget> =
        serde_json::from_str(&text).with_context(|| path.display().to_string())?;
    let budget = budgets.get(profile).with_context(|| format!("budgets.json has nothing for {profile}"))?;
    let printed = output(&mut npm_in(&root().join("pkg"), &["pack", "--dry-run", "--json"]))?;
    let packed = match serde_json::from_str(&printed).context("npm pack --json")? {
        Printed::List(list) => list.into_iter().next(),
        Printed::ByName(named) => named.into_values().next(),
    };
    let packed = packed.context("npm pack --json names no tarball")?;
    let excesses = excesses(budget, &packed);
    println!("tarball: {} bytes; {} are allowed of {profile}", packed.size, budget.tarball);
    if !excesses.is_empty() {
        bail!("larger than xtask/budgets.json allows of {profile}: {}", excesses.join("; "));
    }
    Ok(())
}

/// What is larger than it may be, and by how much that is.
fn excesses(budget: &Budget, packed: &Packed) -> Vec<String> {
    let limit = |path: &str| match path.rsplit('.').next() {
        Some("wasm") => Some(budget.module),
        Some("js") => Some(budget.script),
        _ => None,
    };
    let tarball = ("the tarball", packed.size, Some(budget.tarball));
    let files = packed.files.iter().map(|file| (file.path.as_str(), file.size, limit(&file.path)));
    std::iter::once(tarball)
        .chain(files)
        .filter_map(|(name, size, most)| most.filter(|most| size > *most).map(|most| (name, size, most)))
        .map(|(name, size, most)| format!("{name} has {size} bytes of {most}"))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_too_large_is_named() {
        let budget = Budget { tarball: 100, module: 50, script: 10 };
        let file = |path: &str, size| PackedFile { path: path.to_owned(), size };
        let files = vec![
            file("a.wasm", 50),
            file("b.wasm", 51),
            file("c.js", 11),
            file("models/compact/model.gguf", 99),
        ];
        let at = |size| Packed { size, files: Vec::new() };
        assert!(excesses(&budget, &at(100)).is_empty());
        assert_eq!(excesses(&budget, &at(101)), ["the tarball has 101 bytes of 100"]);
        let found = excesses(&budget, &Packed { size: 1, files });
        assert_eq!(found, ["b.wasm has 51 bytes of 50", "c.js has 11 bytes of 10"]);
    }
}
