//! Folders of models: what is in them for the page, and nothing else of them.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use axum::extract::{Request, State};
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use axum::{Json, Router};
use serde::Serialize;
use tower_http::services::ServeDir;

use super::files;
use crate::Result;
use crate::adapter::{FILES, INTENT, Intent};
use crate::pack::manifest::{MANIFEST, MAX_MANIFEST_BYTES, Manifest};

/// A folder of models.
pub(super) struct Shelf {
    /// With all links resolved.
    root: PathBuf,
    /// Whether adapters are all that it offers.
    only_adapters: bool,
    files: ServeDir,
}

/// What an entry of a shelf is.
enum Entry {
    /// A GGUF file of so many bytes.
    File(u64),
    /// A pack.
    Pack(Box<Manifest>),
    /// An adapter with a base, whose files have so many bytes.
    Adapter(Base, u64),
}

/// One entry of `/models/index.json`.
#[derive(Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(untagged)]
enum Offered {
    /// A GGUF file.
    File { file: String, bytes: u64 },
    /// A pack: its folder, the name in its manifest, and the bytes of its files.
    Pack { pack: String, name: String, bytes: u64 },
    /// An adapter: its folder, the base that it was trained for, and the bytes of its files.
    Adapter { adapter: String, base: Base, bytes: u64 },
}

/// A base as an adapter names it.
#[derive(Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
struct Base {
    name: String,
    sha256: String,
}

/// The folders that were named, and the adapters that ship with the page in `root`.
pub(super) fn open(named: &[PathBuf], root: &Path) -> Result<Vec<Shelf>> {
    let mut shelves: Vec<Shelf> = Vec::new();
    for folder in named {
        let found = files::existing("models", folder, "`relayops-intent fetch` fills a folder")?;
        shelves.push(Shelf::new(found, false));
    }
    // The packs there are the page's own already.
    if let Ok(shipped) = files::existing("root", &root.join("models"), "")
        && shelves.iter().all(|shelf| shelf.root != shipped)
    {
        shelves.push(Shelf::new(shipped, true));
    }
    Ok(shelves)
}

/// `/models/`. Of two entries of one name that of the first shelf is there.
pub(super) fn routes(shelves: Vec<Shelf>) -> Router {
    let shelves: Arc<[Shelf]> = shelves.into();
    let found = Router::new().fallback(file).with_state(Arc::clone(&shelves));
    Router::new().route("/models/index.json", get(index).with_state(shelves)).nest_service("/models", found)
}

impl Shelf {
    fn new(root: PathBuf, only_adapters: bool) -> Self {
        let files = files::strict(ServeDir::new(&root).append_index_html_on_directories(false));
        Self { root, only_adapters, files }
    }

    /// What the entry of this name offers; `None` where that is nothing.
    async fn entry(&self, name: &str) -> Option<Entry> {
        let target = tokio::fs::canonicalize(self.root.join(name)).await.ok()?;
        // A link may lead elsewhere.
        if !target.starts_with(&self.root) {
            return None;
        }
        let about = tokio::fs::metadata(&target).await.ok()?;
        let entry = if about.is_file() && Path::new(name).extension().is_some_and(|kind| kind == "gguf") {
            Entry::File(about.len())
        } else if !about.is_dir() {
            return None;
        } else if let Some(manifest) = read_manifest(&target).await {
            Entry::Pack(Box::new(manifest))
        } else {
            self.adapter(&target).await?
        };
        (!self.only_adapters || matches!(entry, Entry::Adapter(..))).then_some(entry)
    }

    /// An adapter that the engine would take: all its files, none too large, and a base named.
    async fn adapter(&self, folder: &Path) -> Option<Entry> {
        let mut bytes = 0;
        for (file, most) in FILES {
            let target = tokio::fs::canonicalize(folder.join(file)).await.ok()?;
            let about = tokio::fs::metadata(&target).await.ok()?;
            if !target.starts_with(&self.root) || !about.is_file() || about.len() > most {
                return None;
            }
            bytes += about.len();
        }
        let json = String::from_utf8(tokio::fs::read(folder.join(INTENT)).await.ok()?).ok()?;
        let base = Intent::from_json(&json).ok()?.base;
        Some(Entry::Adapter(Base { name: base.name, sha256: base.sha256 }, bytes))
    }

    /// Whether `/models/<parts>` is given out from here.
    async fn offers(&self, parts: &[String]) -> bool {
        match parts {
            [file] => matches!(self.entry(file).await, Some(Entry::File(_))),
            [folder, file] => match self.entry(folder).await {
                Some(Entry::Pack(manifest)) => {
                    file == MANIFEST || manifest.files.iter().any(|part| part.path == *file)
                }
                Some(Entry::Adapter(..)) => FILES.iter().any(|(name, _)| name == file),
                Some(Entry::File(_)) | None => false,
            },
            _ => false,
        }
    }

    /// Adds what is offered here, but for names that are `taken`.
    async fn list(&self, taken: &mut BTreeSet<String>, offered: &mut Vec<Offered>) -> std::io::Result<()> {
        let mut entries = tokio::fs::read_dir(&self.root).await?;
        while let Some(entry) = entries.next_entry().await? {
            // A name that is not UTF-8 has no address.
            let Ok(name) = entry.file_name().into_string() else { continue };
            let Some(entry) = self.entry(&name).await else { continue };
            if !taken.insert(name.clone()) {
                continue;
            }
            offered.push(match entry {
                Entry::File(bytes) => Offered::File { file: name, bytes },
                Entry::Pack(manifest) => {
                    let bytes = manifest.total_bytes();
                    Offered::Pack { pack: name, name: manifest.name, bytes }
                }
                Entry::Adapter(base, bytes) => Offered::Adapter { adapter: name, base, bytes },
            });
        }
        Ok(())
    }
}

async fn file(State(shelves): State<Arc<[Shelf]>>, request: Request) -> Response {
    let Some(parts) = plain_parts(request.uri().path()) else { return StatusCode::NOT_FOUND.into_response() };
    for shelf in shelves.iter() {
        if shelf.offers(&parts).await && files::is_inside(&shelf.root, request.uri().path()).await {
            return match shelf.files.clone().try_call(request).await {
                Ok(response) => response.into_response(),
                Err(error) if error.kind() == std::io::ErrorKind::NotFound => break,
                Err(_) => StatusCode::INTERNAL_SERVER_ERROR.into_response(),
            };
        }
    }
    StatusCode::NOT_FOUND.into_response()
}

/// The names in a path, decoded; `None` where one of them is not that of an entry of a folder.
fn plain_parts(path: &str) -> Option<Vec<String>> {
    let decoded = path.trim_start_matches('/').split('/').map(|part| {
        let name = percent_encoding::percent_decode_str(part).decode_utf8().ok()?;
        is_plain(&name).then(|| name.into_owned())
    });
    decoded.collect()
}

/// Whether `name` is that of an entry of a folder, and not of the folder itself, of the one above or of one further down.
fn is_plain(name: &str) -> bool {
    !name.is_empty() && !name.contains(['\0', '/', '\\']) && !matches!(name, "." | "..")
}

/// The manifest of the pack in `folder`; `None` where there is none that this version reads.
async fn read_manifest(folder: &Path) -> Option<Manifest> {
    let path = folder.join(MANIFEST);
    // Not more of it than a manifest may have: the name alone makes no manifest.
    let about = tokio::fs::metadata(&path).await.ok()?;
    if usize::try_from(about.len()).ok()? > MAX_MANIFEST_BYTES {
        return None;
    }
    Manifest::from_json(&tokio::fs::read(&path).await.ok()?).ok()
}

async fn index(State(shelves): State<Arc<[Shelf]>>) -> Response {
    let (mut taken, mut offered) = (BTreeSet::new(), Vec::new());
    for shelf in shelves.iter() {
        if let Err(error) = shelf.list(&mut taken, &mut offered).await {
            let text = format!("a models folder can't be read: {error}\n");
            return (StatusCode::INTERNAL_SERVER_ERROR, text).into_response();
        }
    }
    offered.sort();
    Json(offered).into_response()
}
