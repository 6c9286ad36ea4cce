//! The inbox: takes escalations, keeps them, and shows them to agents.
//!
//! `openapi.json` beside this file describes it, and is served at `/api/openapi.json`. A message is sent with an
//! `Idempotency-Key`; however often it is sent, it is stored once. Every error has the shape
//! `{"error": {"code", "message", "field"?}}` with a stable code.

mod api;
mod error;
mod export;
mod message;
mod rows;
mod store;
mod stream;
mod writer;

use std::net::IpAddr;
use std::num::NonZeroU32;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::body::{Body, Bytes};
use axum::extract::{DefaultBodyLimit, FromRequest, Request};
use axum::http::{HeaderName, HeaderValue, Method, StatusCode, Uri, header};
use axum::middleware::{Next, from_fn, from_fn_with_state};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use tokio::sync::{Semaphore, watch};
use tokio::task::JoinHandle;
use tower_http::cors::CorsLayer;

use super::guard::{self, Limiter, Tokens};
use super::log;
use crate::pack::IntentConfig;
use crate::{IntentError, Result};
use store::{Store, StoreError, now_ms};

pub(super) use error::ApiError;

pub use super::guard::Token;
pub use message::{Escalation, Item, MAX_TEXT_CHARS};

/// Longest that a request may take, until its answer begins.
const TIMEOUT: Duration = Duration::from_secs(20);

/// How often old messages and idle addresses are looked for.
const TIDY: Duration = Duration::from_secs(60);

/// How much longer than its message a key is kept, in milliseconds: 30 days, which no outbox waits.
const KEYS_MS: i64 = 30 * 24 * 3_600 * 1_000;

/// How long a browser remembers what it may send.
const PREFLIGHT: Duration = Duration::from_secs(600);

/// Who may use the inbox, and how much of it.
#[derive(Debug, Clone)]
pub struct InboxOptions {
    /// The SQLite file; made where it is missing.
    pub file: PathBuf,
    /// Asked of whoever reads or changes the inbox, or sends to it.
    pub token: Option<Token>,
    /// Lets its bearer send, and nothing else.
    pub submit_token: Option<Token>,
    /// Origins beside this server's own whose pages may use the inbox, as `https://console.example`.
    pub origins: Vec<String>,
    /// Labels that agents may give.
    pub labels: Vec<String>,
    /// Longest body.
    pub max_body_bytes: usize,
    /// Messages a second from one address, in the long run.
    pub rate: NonZeroU32,
    /// Messages from one address at once.
    pub burst: NonZeroU32,
    /// A proxy whose `X-Forwarded-For` names the address.
    pub trusted_proxy: Option<IpAddr>,
    /// Most live streams at once.
    pub max_streams: usize,
    /// How long messages are kept; for ever, if `None`.
    pub keep: Option<Duration>,
    /// Whether the log says what customers wrote.
    pub log_messages: bool,
}

impl InboxOptions {
    /// Ten messages a second from an address after sixty at once, 256 KiB each, kept for thirty days; the labels of the
    /// built-in configuration; nobody is asked for a token.
    #[must_use]
    pub fn new(file: impl Into<PathBuf>) -> Self {
        const RATE: NonZeroU32 = NonZeroU32::new(10).unwrap();
        const BURST: NonZeroU32 = NonZeroU32::new(60).unwrap();
        Self {
            file: file.into(),
            token: None,
            submit_token: None,
            origins: Vec::new(),
            labels: IntentConfig::default().labels,
            max_body_bytes: 256 * 1_024,
            rate: RATE,
            burst: BURST,
            trusted_proxy: None,
            max_streams: 64,
            keep: Some(Duration::from_secs(30 * 24 * 3_600)),
            log_messages: false,
        }
    }
}

/// What the handlers share.
#[derive(Debug)]
struct Shared {
    store: Arc<Store>,
    labels: Vec<String>,
    log_messages: bool,
    streams: Arc<Semaphore>,
    stopped: watch::Receiver<bool>,
}

/// The inbox behind the routes.
#[derive(Debug)]
pub(super) struct Inbox {
    store: Arc<Store>,
    tidying: JoinHandle<()>,
}

impl Inbox {
    /// Opens the file; the routes go under `/api`.
    pub(super) fn open(options: InboxOptions, stopped: watch::Receiver<bool>) -> Result<(Self, Router)> {
        let origins = origins(&options.origins)?;
        if options.submit_token.is_some() && options.token.is_none() {
            let detail = "without a token for the inbox anybody may do more than its bearer";
            return Err(IntentError::argument("submit-token-file", detail));
        }
        let store = Arc::new(Store::open(&options.file)?);
        let limiter = Arc::new(Limiter::new(options.rate, options.burst, options.trusted_proxy));
        let tidying = tokio::spawn(tidy(store.clone(), limiter.clone(), options.keep));
        let shared = Arc::new(Shared {
            store: store.clone(),
            labels: options.labels,
            log_messages: options.log_messages,
            streams: Arc::new(Semaphore::new(options.max_streams)),
            stopped,
        });
        let agents: Vec<_> = options.token.into_iter().collect();
        let senders = agents.iter().cloned().chain(options.submit_token).collect();
        let routes = routes(shared, limiter, Tokens(agents.into()), Tokens(senders));
        Ok((Self { store, tidying }, guarded(routes, origins, options.max_body_bytes)))
    }

    /// Returns when everything that was taken is on disk.
    pub(super) async fn close(self) {
        self.tidying.abort();
        let store = self.store;
        if tokio::task::spawn_blocking(move || store.close()).await.is_err() {
            tracing::error!("closing the inbox panicked");
        }
    }
}

fn routes(shared: Arc<Shared>, limiter: Arc<Limiter>, agents: Tokens, senders: Tokens) -> Router {
    let send = Router::new()
        .route("/escalations", post(api::submit))
        .route_layer(from_fn_with_state(senders, guard::check_token))
        .route_layer(from_fn_with_state(limiter, guard::check_rate));
    let read = Router::new()
        .route("/escalations", get(api::list))
        .route("/escalations/stream", get(stream::live))
        .route("/escalations/export", get(export::jsonl))
        .route("/escalations/{id}", get(api::one).patch(api::change))
        .route_layer(from_fn_with_state(agents, guard::check_token));
    Router::new()
        .route("/openapi.json", get(api::description))
        .route("/health", get(api::health))
        .merge(send)
        .merge(read)
        .method_not_allowed_fallback(method_not_allowed)
        .fallback(not_found)
        .with_state(shared)
}

/// `routes` behind what holds for all of them.
fn guarded(routes: Router, origins: Vec<HeaderValue>, max_body_bytes: usize) -> Router {
    let allowed: Arc<[HeaderValue]> = origins.as_slice().into();
    let mut routes = routes
        .layer(from_fn_with_state(allowed, guard::check_origin))
        .layer(from_fn(read_body))
        .layer(DefaultBodyLimit::max(max_body_bytes))
        .layer(from_fn(time_limit));
    if !origins.is_empty() {
        let cors = CorsLayer::new()
            .allow_origin(origins)
            .allow_methods([Method::GET, Method::POST, Method::PATCH])
            .allow_headers([
                header::CONTENT_TYPE,
                header::AUTHORIZATION,
                HeaderName::from_static("idempotency-key"),
                HeaderName::from_static("last-event-id"),
            ])
            .expose_headers([header::RETRY_AFTER, header::LOCATION])
            .max_age(PREFLIGHT);
        routes = routes.layer(cors);
    }
    routes.layer(from_fn(log::request))
}

/// Origins as headers spell them.
fn origins(given: &[String]) -> Result<Vec<HeaderValue>> {
    let origin = |text: &String| {
        let uri: Option<Uri> = text.parse().ok();
        // What a browser sends has neither path nor capitals.
        let sound = uri.is_some_and(|uri| {
            matches!(uri.scheme_str(), Some("http" | "https"))
                && uri.authority().is_some_and(|authority| !authority.as_str().contains('@'))
                && text.matches('/').count() == 2
                && !text.chars().any(|c| c.is_ascii_uppercase())
        });
        let detail = || format!("{text:?} is not an origin such as https://console.example");
        let value = HeaderValue::from_str(text).ok().filter(|_| sound);
        value.ok_or_else(|| IntentError::argument("allow-origin", detail()))
    };
    given.iter().map(origin).collect()
}

/// Reads the body before anybody refuses the request: a connection with an unread rest is closed, and the client may
/// see that in place of the answer.
async fn read_body(request: Request, next: Next) -> Response {
    let (parts, body) = request.into_parts();
    match Bytes::from_request(Request::from_parts(parts.clone(), body), &()).await {
        Ok(bytes) => next.run(Request::from_parts(parts, Body::from(bytes))).await,
        Err(rejection) => ApiError::from(rejection).into_response(),
    }
}

/// Gives up on clients that send too slowly. A stream's answer has begun when it is opened.
async fn time_limit(request: Request, next: Next) -> Response {
    match tokio::time::timeout(TIMEOUT, next.run(request)).await {
        Ok(response) => response,
        Err(_) => {
            let message = "the request took too long; sending it again is safe";
            ApiError::new(StatusCode::REQUEST_TIMEOUT, "timeout", message).into_response()
        }
    }
}

async fn not_found() -> ApiError {
    ApiError::not_found()
}

async fn method_not_allowed() -> ApiError {
    let message = "this address does not take this method; the header Allow names those it does";
    ApiError::new(StatusCode::METHOD_NOT_ALLOWED, "method_not_allowed", message)
}

/// Deletes what is older than `keep`, now and then until aborted.
async fn tidy(store: Arc<Store>, limiter: Arc<Limiter>, keep: Option<Duration>) {
    let mut interval = tokio::time::interval(TIDY);
    loop {
        interval.tick().await;
        limiter.tidy();
        let Some(keep_ms) = keep.map(|keep| i64::try_from(keep.as_millis()).unwrap_or(i64::MAX)) else {
            continue;
        };
        let before = now_ms().saturating_sub(keep_ms);
        match expire(&store, before).await {
            Ok(0) => {}
            Ok(deleted) => tracing::info!(deleted, "old messages deleted"),
            Err(error) => tracing::error!(detail = ?error, "old messages could not be deleted"),
        }
    }
}

/// Deletes what was received before `before`; how many messages. What is sent meanwhile is stored in between.
async fn expire(store: &Store, before: i64) -> std::result::Result<usize, StoreError> {
    let mut deleted = 0;
    loop {
        let expired = store.expire(before, before.saturating_sub(KEYS_MS)).await?;
        deleted += expired.messages;
        if !expired.more {
            return Ok(deleted);
        }
    }
}
