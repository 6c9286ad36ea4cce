//! The static side: page and package, confined to their folders.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use axum::Router;
use axum::extract::{Request, State};
use axum::http::{Extensions, HeaderMap, HeaderValue, StatusCode, Version, header};
use axum::middleware::{Next, from_fn, from_fn_with_state, map_response};
use axum::response::{IntoResponse, Response};
use tower_http::CompressionLevel;
use tower_http::compression::CompressionLayer;
use tower_http::services::ServeDir;

use super::shelf::{self, Shelf};
use crate::{IntentError, Result};

/// Brotli and gzip: near the size of the highest level, at a speed that nobody waits for.
const COMPRESSION: CompressionLevel = CompressionLevel::Precise(5);

/// Smallest body in bytes that is worth compressing: under it the headers outweigh the gain.
const COMPRESS_FROM: u64 = 256;

/// `folder` with its links resolved, once: what is served afterwards stays inside it.
pub(super) fn existing(argument: &str, folder: &Path, remedy: &str) -> Result<PathBuf> {
    match folder.canonicalize() {
        Ok(path) if path.is_dir() => Ok(path),
        Ok(_) => Err(IntentError::argument(argument, format!("{} is not a folder", folder.display()))),
        Err(error) => {
            let detail = format!("the folder {} can't be opened ({error}); {remedy}", folder.display());
            Err(IntentError::argument(argument, detail))
        }
    }
}

/// The routes, without what every response has in common.
pub(super) fn site(www: &Path, pkg: &Path, shelves: Vec<Shelf>) -> Router {
    let pages = folder(www, true);
    let package = folder(pkg, false);
    shelf::routes(shelves).nest_service("/pkg", package).fallback_service(pages)
}

/// Text and code from `root`, compressed.
fn folder(root: &Path, index: bool) -> Router {
    // A file that lies compressed beside the plain one is sent as it lies: compressing takes longer than sending.
    let files = ServeDir::new(root).precompressed_br();
    confined(root, files.append_index_html_on_directories(index))
        .layer(from_fn(content_type))
        .layer(CompressionLayer::new().quality(COMPRESSION).compress_when(worth_compressing))
        .layer(map_response(weaken_tag))
}

/// Files of `root`, and never what a link in it points to elsewhere.
fn confined(root: &Path, files: ServeDir) -> Router {
    let state: Arc<Path> = Arc::from(root);
    Router::new().fallback_service(strict(files)).layer(from_fn_with_state(state, confine))
}

/// What all folders have in common.
pub(super) fn strict(files: ServeDir) -> ServeDir {
    files.ignore_multi_range_requests(true).redirect_to_trailing_slash(false)
}

async fn confine(State(root): State<Arc<Path>>, request: Request, next: Next) -> Response {
    if is_inside(&root, request.uri().path()).await {
        next.run(request).await
    } else {
        StatusCode::NOT_FOUND.into_response()
    }
}

/// Whether what `path` leads to, all links resolved, is in `root`. What does not exist is not.
pub(super) async fn is_inside(root: &Path, path: &str) -> bool {
    let Ok(decoded) = percent_encoding::percent_decode_str(path).decode_utf8() else { return false };
    if decoded.split(['/', '\\']).any(|segment| segment == "..") || decoded.contains('\0') {
        return false;
    }
    let Ok(target) = tokio::fs::canonicalize(root.join(decoded.trim_start_matches('/'))).await else {
        return false;
    };
    // A folder is answered with its index, which may be a link of its own.
    let index = tokio::fs::canonicalize(target.join("index.html")).await;
    target.starts_with(root) && index.map_or(true, |index| index.starts_with(root))
}

/// Corrects the types that the lookup by extension gets wrong, and names the charset of text.
async fn content_type(request: Request, next: Next) -> Response {
    let extension = Path::new(request.uri().path()).extension().and_then(|text| text.to_str());
    let known = match extension {
        Some("js" | "mjs") => Some("text/javascript; charset=utf-8"),
        // Declarations are there to be read; the lookup takes `.ts` for a video container.
        Some("ts") => Some("text/plain; charset=utf-8"),
        Some("css") => Some("text/css; charset=utf-8"),
        Some("map") => Some("application/json"),
        _ => None,
    };
    let mut response = next.run(request).await;
    let headers = response.headers_mut();
    let found = headers.get(header::CONTENT_TYPE).map(|value| value.as_bytes() == b"text/html");
    if let (Some(html), known) = (found, known) {
        let fixed = if html { Some("text/html; charset=utf-8") } else { known };
        if let Some(fixed) = fixed {
            headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(fixed));
        }
    }
    response
}

/// Text and wasm of some length, whole: a range is a range of the bytes on disk.
fn worth_compressing(status: StatusCode, _: Version, headers: &HeaderMap, _: &Extensions) -> bool {
    let text = |name| headers.get(name).and_then(|value: &HeaderValue| value.to_str().ok());
    let kind = text(header::CONTENT_TYPE).unwrap_or_default();
    let packs = kind.starts_with("text/")
        || ["application/json", "application/wasm", "image/svg+xml"].contains(&kind);
    let length = text(header::CONTENT_LENGTH).and_then(|length| length.parse::<u64>().ok());
    status == StatusCode::OK && packs && length.is_none_or(|length| length >= COMPRESS_FROM)
}

/// The tag stands for the bytes on disk; compressed ones are only equivalent to them.
async fn weaken_tag(mut response: Response) -> Response {
    let headers = response.headers_mut();
    if headers.contains_key(header::CONTENT_ENCODING)
        && let Some(tag) = headers.get(header::ETAG).and_then(|tag| tag.to_str().ok())
        && !tag.starts_with("W/")
        && let Ok(weak) = HeaderValue::from_str(&format!("W/{tag}"))
    {
        headers.insert(header::ETAG, weak);
    }
    response
}
