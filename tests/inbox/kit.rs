//! A server with an inbox, in this process, and a client.

use std::fs;
use std::net::{IpAddr, SocketAddr};
use std::path::{Path, PathBuf};

use relayops_intent::serve::inbox::{InboxOptions, Token};
use relayops_intent::serve::{ServeOptions, bind};
use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::runtime::Runtime;
use tokio::sync::oneshot;
use ureq::Body;
use ureq::http::Response;

pub(crate) const TOKEN: &str = "agent-token-0123456789";
pub(crate) const SUBMIT_TOKEN: &str = "sender-token-0123456789";

/// A server; dropping it stops it.
pub(crate) struct Site {
    pub(crate) folder: TempDir,
    pub(crate) address: SocketAddr,
    runtime: Option<Runtime>,
    stop: Option<oneshot::Sender<()>>,
    running: Option<tokio::task::JoinHandle<relayops_intent::Result<()>>>,
}

/// The least that can be served.
pub(crate) fn folder() -> TempDir {
    let folder = tempfile::tempdir().unwrap();
    fs::create_dir_all(folder.path().join("www")).unwrap();
    fs::create_dir_all(folder.path().join("pkg/wasm")).unwrap();
    fs::write(folder.path().join("www/index.html"), "<!doctype html><title>page</title>").unwrap();
    folder
}

pub(crate) fn inbox_file(folder: &Path) -> PathBuf {
    folder.join("data").join("inbox.sqlite3")
}

/// An inbox that no test is too fast for.
pub(crate) fn inbox(folder: &Path) -> InboxOptions {
    let mut options = InboxOptions::new(inbox_file(folder));
    options.rate = 100_000.try_into().unwrap();
    options.burst = 100_000.try_into().unwrap();
    options
}

pub(crate) fn serve_options(folder: &Path, inbox: InboxOptions) -> ServeOptions {
    ServeOptions { port: 0, root: folder.to_owned(), inbox: Some(inbox), ..ServeOptions::default() }
}

pub(crate) fn token(text: &str) -> Option<Token> {
    Some(Token::new("token", text).unwrap())
}

impl Site {
    pub(crate) fn start(change: impl FnOnce(&mut InboxOptions)) -> Self {
        Self::over(folder(), change)
    }

    pub(crate) fn over(folder: TempDir, change: impl FnOnce(&mut InboxOptions)) -> Self {
        let mut inbox = inbox(folder.path());
        change(&mut inbox);
        let options = serve_options(folder.path(), inbox);
        Self::with(folder, options)
    }

    pub(crate) fn with(folder: TempDir, options: ServeOptions) -> Self {
        let runtime = Runtime::new().unwrap();
        let server = runtime.block_on(bind(options)).unwrap();
        let address = server.local_addr();
        let (stop, stopped) = oneshot::channel::<()>();
        let running = runtime.spawn(server.run(async { drop(stopped.await) }));
        Self { folder, address, runtime: Some(runtime), stop: Some(stop), running: Some(running) }
    }

    /// Stops as a termination request does, and gives the folder back.
    pub(crate) fn stop(mut self) -> TempDir {
        self.stop.take().unwrap().send(()).unwrap();
        let runtime = self.runtime.take().unwrap();
        runtime.block_on(self.running.take().unwrap()).unwrap().unwrap();
        self.folder
    }

    pub(crate) fn client(&self) -> Client {
        Client::new(self.address)
    }
}

/// Keeps its connections.
#[derive(Clone)]
pub(crate) struct Client {
    agent: ureq::Agent,
    origin: String,
    headers: Vec<(String, String)>,
}

pub(crate) struct Answer {
    pub(crate) status: u16,
    pub(crate) headers: ureq::http::HeaderMap,
    pub(crate) body: String,
}

impl Answer {
    fn read(mut response: Response<Body>) -> Self {
        let body = response.body_mut().read_to_string().unwrap();
        Self { status: response.status().as_u16(), headers: response.headers().clone(), body }
    }

    pub(crate) fn json(&self) -> Value {
        serde_json::from_str(&self.body).unwrap_or_else(|error| panic!("{error}: {}", self.body))
    }

    pub(crate) fn header(&self, name: &str) -> &str {
        self.headers.get(name).map_or("", |value| value.to_str().unwrap())
    }

    /// Asserts the one shape of errors; the status and code.
    pub(crate) fn error(&self) -> (u16, String) {
        let json = self.json();
        let error = json.as_object().unwrap().get("error").unwrap().as_object().unwrap();
        assert!(error["message"].as_str().is_some_and(|message| !message.is_empty()), "{json}");
        assert!(error.keys().all(|key| ["code", "message", "field"].contains(&key.as_str())), "{json}");
        assert_eq!(self.header("content-type"), "application/json");
        (self.status, error["code"].as_str().unwrap().to_owned())
    }

    /// The field that an error names.
    pub(crate) fn field(&self) -> String {
        self.json()["error"]["field"].as_str().unwrap_or_default().to_owned()
    }
}

impl Client {
    pub(crate) fn new(address: SocketAddr) -> Self {
        let config = ureq::Agent::config_builder()
            .http_status_as_error(false)
            .max_redirects(0)
            .max_redirects_will_error(false)
            .proxy(None);
        Self { agent: config.build().into(), origin: format!("http://{address}"), headers: Vec::new() }
    }

    /// The same, with a header on every request.
    pub(crate) fn with(&self, name: &str, value: &str) -> Self {
        let mut client = self.clone();
        client.headers.push((name.to_owned(), value.to_owned()));
        client
    }

    pub(crate) fn bearing(&self, token: &str) -> Self {
        self.with("authorization", &format!("Bearer {token}"))
    }

    pub(crate) fn open(&self, method: &str, path: &str, body: &[u8]) -> Result<Response<Body>, ureq::Error> {
        let mut request = ureq::http::Request::builder().method(method).uri(format!("{}{path}", self.origin));
        for (name, value) in &self.headers {
            request = request.header(name, value);
        }
        if body.is_empty() && !["POST", "PATCH"].contains(&method) {
            self.agent.run(request.body(()).unwrap())
        } else {
            self.agent.run(request.body(body).unwrap())
        }
    }

    pub(crate) fn ask(&self, method: &str, path: &str, body: &[u8]) -> Answer {
        Answer::read(self.open(method, path, body).unwrap())
    }

    pub(crate) fn get(&self, path: &str) -> Answer {
        self.ask("GET", path, b"")
    }

    /// Sends a message under `key`; an error is one of the connection.
    pub(crate) fn try_submit(&self, key: &str, body: &Value) -> Result<Answer, ureq::Error> {
        let client = self.with("content-type", "application/json").with("idempotency-key", key);
        let mut response = client.open("POST", "/api/escalations", body.to_string().as_bytes())?;
        let text = response.body_mut().read_to_string()?;
        Ok(Answer { status: response.status().as_u16(), headers: response.headers().clone(), body: text })
    }

    pub(crate) fn submit(&self, key: &str, body: &Value) -> Answer {
        self.try_submit(key, body).unwrap()
    }

    pub(crate) fn patch(&self, id: i64, body: &Value) -> Answer {
        let client = self.with("content-type", "application/json");
        client.ask("PATCH", &format!("/api/escalations/{id}"), body.to_string().as_bytes())
    }

    /// The whole inbox, newest first, page by page.
    pub(crate) fn all(&self) -> Vec<Value> {
        let (mut items, mut path) = (Vec::new(), "/api/escalations?limit=200".to_owned());
        loop {
            let page = self.get(&path).json();
            items.extend(page["items"].as_array().unwrap().iter().cloned());
            match page["next"].as_i64() {
                Some(next) => path = format!("/api/escalations?limit=200&before={next}"),
                None => return items,
            }
        }
    }
}

/// A UUID that no other number has.
pub(crate) fn key(number: u64) -> String {
    format!("{:08x}-0000-4000-8000-{number:012x}", number >> 48)
}

pub(crate) fn message(text: &str) -> Value {
    json!({"text": text, "intent": "billing", "reason": "intent:billing", "created_ms": 1_700_000_000_000_u64})
}

pub(crate) const fn loopback() -> IpAddr {
    IpAddr::V4(std::net::Ipv4Addr::LOCALHOST)
}
