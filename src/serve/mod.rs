//! The local web server: the page, the package and the models, and the inbox of escalations.
//!
//! | path | what |
//! |---|---|
//! | `/` | `www/` |
//! | `/pkg/` | `pkg/`, with the built `pkg/wasm/` |
//! | `/models/index.json` | `[{"file": "…", "bytes": n}, {"pack": "…", "name": "…", "bytes": n}, {"adapter": "…", "base": {"name": "…", "sha256": "…"}, "bytes": n}]`: the `*.gguf` files, packs and adapters of the models folders by name, and the adapters that ship |
//! | `/models/<file>`, `/models/<pack>/<file>`, `/models/<adapter>/<file>` | a GGUF file, what a pack's manifest lists and the manifest, or the three files of an adapter, with ranges |
//! | `/api/` | the [`inbox`], described by `/api/openapi.json` |
//!
//! Every answer, errors included, carries the headers that isolate the page (which shared memory
//! needs) and that forbid it to load or to call anything but this server. A request must name this server by an
//! address, by `localhost` or by a name that was allowed: a page of somebody else's whose name was pointed at this
//! machine reaches nothing.

mod files;
mod guard;
pub mod inbox;
pub mod log;
mod shelf;

use std::future::{Future, IntoFuture};
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::PathBuf;
use std::time::Duration;

use axum::Router;
use axum::extract::Request;
use axum::http::{HeaderName, HeaderValue};
use axum::middleware::{Next, from_fn, from_fn_with_state};
use axum::serve::ListenerExt;
use tokio::net::TcpListener;
use tokio::sync::watch;

use crate::{IntentError, Result};
use guard::Hosts;
use inbox::{Inbox, InboxOptions};

/// How long a transfer under way may go on once the server is asked to stop.
const GRACE: Duration = Duration::from_secs(5);

/// Headers of every response.
const HEADERS: [(&str, &str); 6] = [
    ("cross-origin-opener-policy", "same-origin"),
    ("cross-origin-embedder-policy", "require-corp"),
    ("cross-origin-resource-policy", "same-origin"),
    (
        "content-security-policy",
        "default-src 'none'; script-src 'self' 'wasm-unsafe-eval'; worker-src 'self'; \
         connect-src 'self'; style-src 'self'; img-src 'self'; base-uri 'none'; \
         form-action 'none'; frame-ancestors 'self'",
    ),
    ("x-content-type-options", "nosniff"),
    ("referrer-policy", "no-referrer"),
];

/// Files are kept, but asked about each time: a rebuilt page is never mixed with an old module.
const CACHE_FILES: HeaderValue = HeaderValue::from_static("no-cache");

/// Messages of customers are kept nowhere on their way.
const CACHE_API: HeaderValue = HeaderValue::from_static("no-store");

/// What to serve, and where.
#[derive(Debug, Clone)]
pub struct ServeOptions {
    /// Address to listen on; beyond loopback only with an inbox that has a token.
    pub host: IpAddr,
    /// Port; 0 takes a free one.
    pub port: u16,
    /// Folder that holds `www/` and `pkg/`, and in a checkout `models/`, whose adapters are offered.
    pub root: PathBuf,
    /// Folders with `*.gguf` files, packs and adapters to offer. Of two things of one name the first is offered.
    pub models: Vec<PathBuf>,
    /// Host names, without ports, by which requests may call this server beside `localhost` and addresses.
    pub allow_hosts: Vec<String>,
    /// Where escalations go; without, `/api/` is not there.
    pub inbox: Option<InboxOptions>,
}

impl Default for ServeOptions {
    fn default() -> Self {
        Self {
            host: IpAddr::V4(Ipv4Addr::LOCALHOST),
            port: 8080,
            root: PathBuf::from("."),
            models: Vec::new(),
            allow_hosts: Vec::new(),
            inbox: None,
        }
    }
}

/// A server that has its port and is not running yet.
#[derive(Debug)]
pub struct Server {
    listener: TcpListener,
    address: SocketAddr,
    router: Router,
    inbox: Option<Inbox>,
    stopping: watch::Sender<bool>,
}

/// Checks the folders, opens the inbox and takes the port.
///
/// # Errors
/// `invalid_argument` for an address beyond loopback without a token, for a missing folder with the command
/// that makes it, and for options of the inbox that can't be used; `io` when the port or the inbox's file can't be had.
pub async fn bind(options: ServeOptions) -> Result<Server> {
    let is_guarded = options.inbox.as_ref().is_some_and(|inbox| inbox.token.is_some());
    if !options.host.is_loopback() && !is_guarded {
        let remedy = if options.inbox.is_some() {
            "for which the inbox needs a token"
        } else {
            "which only an inbox with a token is served at: pages alone are a static host's affair"
        };
        let detail = format!("{} is not a loopback address, {remedy}", options.host);
        return Err(IntentError::argument("host", detail));
    }
    let www = files::existing("root", &options.root.join("www"), "the page is part of the source tree")?;
    let pkg = files::existing("root", &options.root.join("pkg"), "the package is part of the source tree")?;
    files::existing("root", &pkg.join("wasm"), "`cargo xtask build-web` builds it")?;
    let shelves = shelf::open(&options.models, &options.root)?;
    let asked = SocketAddr::new(options.host, options.port);
    let listener = TcpListener::bind(asked).await.map_err(|error| IntentError::io(asked, error))?;
    let address = listener.local_addr().map_err(|error| IntentError::io(asked, error))?;
    let (stopping, stopped) = watch::channel(false);
    let mut router = files::site(&www, &pkg, shelves);
    let inbox = match options.inbox {
        Some(inbox) => {
            let (inbox, api) = Inbox::open(inbox, stopped)?;
            router = router.nest("/api", api);
            Some(inbox)
        }
        None => None,
    };
    let hosts = Hosts::new(&options.allow_hosts)?;
    let router = router.layer(from_fn_with_state(hosts, guard::check_host)).layer(from_fn(add_headers));
    Ok(Server { listener, address, router, inbox, stopping })
}

impl Server {
    /// The address that is listened on, with the port that was chosen.
    #[must_use]
    pub fn local_addr(&self) -> SocketAddr {
        self.address
    }

    /// Serves until `shutdown` resolves; transfers under way then have five seconds to end, live streams end at once,
    /// and what the inbox has taken is on disk when this returns.
    ///
    /// # Errors
    /// `io` when the listening socket fails.
    pub async fn run(self, shutdown: impl Future<Output = ()> + Send + 'static) -> Result<()> {
        let Self { listener, address, router, inbox, stopping } = self;
        let mut told = stopping.subscribe();
        let stop = async move {
            shutdown.await;
            // Kept open until here: streams take a closed channel for the end.
            stopping.send_replace(true);
        };
        // Headers and body are two writes: unless told otherwise, the second waits 40 ms for the client to acknowledge the
        // first, at every step of a page's chain of modules. Where the option can't be set, things are only slower.
        let listener = listener.tap_io(|stream| drop(stream.set_nodelay(true)));
        let service = router.into_make_service_with_connect_info::<SocketAddr>();
        let serving = axum::serve(listener, service).with_graceful_shutdown(stop).into_future();
        let deadline = async {
            // An error means that serving has ended, which the other branch sees.
            if told.wait_for(|stopping| *stopping).await.is_err() {
                std::future::pending::<()>().await;
            }
            tokio::time::sleep(GRACE).await;
        };
        let ended = tokio::select! {
            ended = serving => ended.map_err(|error| IntentError::io(address, error)),
            () = deadline => Ok(()),
        };
        if let Some(inbox) = inbox {
            inbox.close().await;
        }
        ended
    }
}

/// Puts the headers that all answers have in common on each, the server's own errors included.
async fn add_headers(request: Request, next: Next) -> axum::response::Response {
    let path = request.uri().path();
    let api = path == "/api" || path.starts_with("/api/");
    let mut response = next.run(request).await;
    let headers = response.headers_mut();
    for (name, value) in HEADERS {
        headers.insert(HeaderName::from_static(name), HeaderValue::from_static(value));
    }
    headers.insert(axum::http::header::CACHE_CONTROL, if api { CACHE_API } else { CACHE_FILES });
    response
}
