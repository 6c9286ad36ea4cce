//! What the npm package says of others' work in it, and its own licences.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;
use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};
use serde::Deserialize;

use crate::run::{WEBGPU, cargo, output, root};
use crate::web;

/// The crate whose build is in the package, and what it is built for.
const CRATE: &str = "relayops-intent";
const TARGET: &str = "wasm32-unknown-unknown";

/// The file in the package.
const NOTICES: &str = "THIRD_PARTY_NOTICES.txt";

/// The project's own licences: npm takes no files from above its folder.
const LICENCES: [&str; 2] = ["LICENSE-APACHE", "LICENSE-MIT"];

/// Starts of the names of files with licences and notices, in capitals.
const TEXTS: [&str; 5] = ["LICENSE", "LICENCE", "COPYING", "NOTICE", "UNLICENSE"];

#[derive(Deserialize)]
struct Metadata {
    packages: Vec<Package>,
    resolve: Resolve,
}

#[derive(Deserialize)]
struct Package {
    id: String,
    name: String,
    version: String,
    license: Option<String>,
    repository: Option<String>,
    source: Option<String>,
    manifest_path: PathBuf,
    targets: Vec<Target>,
}

#[derive(Deserialize)]
struct Target {
    kind: Vec<String>,
}

#[derive(Deserialize)]
struct Resolve {
    nodes: Vec<Node>,
}

#[derive(Deserialize)]
struct Node {
    id: String,
    deps: Vec<Dependency>,
}

#[derive(Deserialize)]
struct Dependency {
    pkg: String,
    dep_kinds: Vec<DependencyKind>,
}

#[derive(Deserialize)]
struct DependencyKind {
    kind: Option<String>,
}

/// What is read of a model's manifest.
#[derive(Deserialize)]
struct Pack {
    name: String,
    origin: Origin,
}

#[derive(Deserialize)]
struct Origin {
    base: String,
    licence: String,
    notices: String,
}

/// Writes notices and licences to pkg/.
pub(crate) fn write() -> Result<()> {
    let package = root().join("pkg");
    for name in LICENCES {
        fs::copy(root().join(name), package.join(name)).with_context(|| name.to_owned())?;
    }
    let text = text()?;
    let path = package.join(NOTICES);
    fs::write(&path, text).with_context(|| path.display().to_string())
}

fn text() -> Result<String> {
    let arguments = ["metadata", "--format-version", "1", "--locked", "--filter-platform", TARGET];
    // One of the builds has WebGPU.
    let metadata: Metadata =
        serde_json::from_str(&output(cargo(&arguments).arg(WEBGPU))?).context("cargo metadata")?;
    let crates = linked(&metadata)?;
    let mut out = String::from(
        "Third-party notices of relayops-intent\n\nThe files in wasm/ contain these crates, and Rust's \
         standard library (MIT OR Apache-2.0,\nhttps://github.com/rust-lang/rust). Their licences follow.\n\n",
    );
    for package in &crates {
        let Some(licence) = &package.license else {
            bail!("{} {} states no licence", package.name, package.version)
        };
        let source = package.repository.as_deref().unwrap_or("no repository stated");
        writeln!(out, "- {} {}: {licence}; {source}", package.name, package.version)?;
    }
    out.push_str("\nThe files in models/ are made from these weights:\n\n");
    for pack in packs()? {
        let Origin { base, licence, notices } = &pack.origin;
        writeln!(out, "- {}: from {base}, {licence}. {notices}", pack.name)?;
    }
    out.push_str("\nApache-2.0 is in LICENSE-APACHE as well as below.\n");
    for (text, users) in texts(&crates)? {
        let users: Vec<_> = users.into_iter().collect();
        writeln!(out, "\n{}\nOf {}:\n\n{text}", "=".repeat(100), users.join(", "))?;
    }
    Ok(out)
}

/// The crates that are linked into the module, by name: not those that only run while it is built.
fn linked(metadata: &Metadata) -> Result<Vec<&Package>> {
    let packages: BTreeMap<_, _> =
        metadata.packages.iter().map(|package| (package.id.as_str(), package)).collect();
    let nodes: BTreeMap<_, _> = metadata.resolve.nodes.iter().map(|node| (node.id.as_str(), node)).collect();
    let own = |package: &&Package| package.name == CRATE && package.source.is_none();
    let start = metadata.packages.iter().find(own).with_context(|| format!("there is no crate {CRATE}"))?;
    let mut found = BTreeSet::from([start.id.as_str()]);
    let mut next = vec![start.id.as_str()];
    while let Some(id) = next.pop() {
        let node = nodes.get(id).with_context(|| format!("{id} is not resolved"))?;
        for dependency in node.deps.iter().filter(|dependency| is_linked(dependency)) {
            let package = packages
                .get(dependency.pkg.as_str())
                .with_context(|| format!("no package {}", dependency.pkg))?;
            if !is_macro(package) && found.insert(&dependency.pkg) {
                next.push(&dependency.pkg);
            }
        }
    }
    let mut crates: Vec<_> = found.into_iter().filter_map(|id| packages.get(id).copied()).collect();
    crates.retain(|package| package.source.is_some());
    crates.sort_by_key(|package| (&package.name, &package.version));
    Ok(crates)
}

fn is_linked(dependency: &Dependency) -> bool {
    dependency.dep_kinds.iter().any(|kind| kind.kind.is_none())
}

fn is_macro(package: &Package) -> bool {
    package.targets.iter().any(|target| target.kind.iter().any(|kind| kind == "proc-macro"))
}

/// Each text once, with the crates that come with it.
fn texts(crates: &[&Package]) -> Result<BTreeMap<String, BTreeSet<String>>> {
    let mut texts: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
    for package in crates {
        let folder = package.manifest_path.parent().unwrap_or(Path::new("."));
        for entry in fs::read_dir(folder).with_context(|| package.name.clone())? {
            let entry = entry?;
            let name = entry.file_name().to_string_lossy().to_uppercase();
            if !TEXTS.iter().any(|start| name.starts_with(start)) || !entry.file_type()?.is_file() {
                continue;
            }
            let text =
                fs::read_to_string(entry.path()).with_context(|| format!("{}: {name}", package.name))?;
            let user = format!("{} {}", package.name, package.version);
            texts.entry(text.trim().replace("\r\n", "\n")).or_default().insert(user);
        }
    }
    Ok(texts)
}

/// The packs that ship.
fn packs() -> Result<Vec<Pack>> {
    let read = |folder: PathBuf| {
        let path = folder.join("pack.json");
        let text = fs::read_to_string(&path).with_context(|| path.display().to_string())?;
        serde_json::from_str(&text).with_context(|| path.display().to_string())
    };
    web::packs()?.into_iter().map(read).collect()
}
