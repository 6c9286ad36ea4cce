//! The local server over real sockets: types, ranges, compression, headers, confinement.
#![cfg(not(target_arch = "wasm32"))]
#![allow(clippy::unwrap_used, reason = "a test fails by panicking, its helpers too")]

mod models;

use std::fs;
use std::io::{Read, Write};
use std::net::{IpAddr, SocketAddr, TcpStream};
use std::path::Path;
use std::time::{Duration, Instant};

use relayops_intent::serve::{ServeOptions, bind};
use tempfile::TempDir;
use tokio::runtime::Runtime;
use tokio::sync::oneshot;
use ureq::Body;
use ureq::http::Response;

const HTML: &str = "<!doctype html><title>Intents</title>";

/// A manifest whose only file is `model.gguf`.
const PACK: &str = include_str!("../../models/compact/pack.json");

/// A served folder; dropping it stops the server.
struct Site {
    folder: TempDir,
    address: SocketAddr,
    runtime: Option<Runtime>,
    stop: Option<oneshot::Sender<()>>,
}

/// Compressible, and large enough to be worth it.
fn script() -> String {
    "export const answer = 42; // the same line many times\n".repeat(400)
}

fn model() -> Vec<u8> {
    (0..200_000_u32).map(|n| n.to_le_bytes()[0]).collect()
}

fn put(folder: &Path, name: &str, bytes: impl AsRef<[u8]>) {
    let path = folder.join(name);
    fs::create_dir_all(path.parent().unwrap()).unwrap();
    fs::write(path, bytes).unwrap();
}

fn folder() -> TempDir {
    let folder = tempfile::tempdir().unwrap();
    let at = folder.path();
    put(at, "root/www/index.html", HTML);
    put(at, "root/www/app.mjs", script());
    put(at, "root/www/style.css", "body { color: black }\n".repeat(50));
    put(at, "root/www/help/index.html", HTML);
    put(at, "root/pkg/index.js", script());
    put(at, "root/pkg/package.json", "{}");
    put(at, "root/pkg/types/index.d.ts", "export {};\n".repeat(100));
    put(at, "root/pkg/wasm/relayops_intent_bg.wasm", vec![0; 50_000]);
    put(at, "models/b.gguf", model());
    put(at, "models/a.gguf", b"GGUF");
    put(at, "models/notes.txt", "private");
    put(at, "models/deep/c.gguf", b"GGUF");
    put(at, "models/small/pack.json", PACK);
    put(at, "models/small/model.gguf", b"weights");
    put(at, "models/small/notes.txt", "private");
    put(at, "models/broken/pack.json", "{}");
    put(at, "models/broken/model.gguf", b"GGUF");
    put(at, "secret.txt", "outside");
    folder
}

fn options(folder: &Path, models: bool) -> ServeOptions {
    ServeOptions {
        port: 0,
        root: folder.join("root"),
        models: models.then(|| folder.join("models")).into_iter().collect(),
        ..ServeOptions::default()
    }
}

impl Site {
    fn start() -> Self {
        Self::over(folder(), true)
    }

    fn over(folder: TempDir, models: bool) -> Self {
        let options = options(folder.path(), models);
        Self::with(folder, options)
    }

    fn with(folder: TempDir, options: ServeOptions) -> Self {
        let runtime = Runtime::new().unwrap();
        let server = runtime.block_on(bind(options)).unwrap();
        let address = server.local_addr();
        let (stop, stopped) = oneshot::channel::<()>();
        runtime.spawn(server.run(async { drop(stopped.await) }));
        Self { folder, address, runtime: Some(runtime), stop: Some(stop) }
    }

    /// What is offered.
    fn list(&self) -> serde_json::Value {
        serde_json::from_slice(&bytes(self.get("/models/index.json", &[]))).unwrap()
    }

    fn get(&self, path: &str, headers: &[(&str, &str)]) -> Response<Body> {
        self.ask("GET", path, headers)
    }

    fn ask(&self, method: &str, path: &str, headers: &[(&str, &str)]) -> Response<Body> {
        let config = ureq::Agent::config_builder()
            .http_status_as_error(false)
            .accept_encoding(ureq::config::AutoHeaderValue::None)
            .max_redirects(0)
            .max_redirects_will_error(false)
            .proxy(None);
        let mut request =
            ureq::http::Request::builder().method(method).uri(format!("http://{}{path}", self.address));
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        let agent: ureq::Agent = config.build().into();
        agent.run(request.body(()).unwrap()).unwrap()
    }

    /// Status line to last byte of the answer to a request whose path no client library tidies.
    fn raw(&self, path: &str, headers: &str) -> String {
        let mut stream = TcpStream::connect(self.address).unwrap();
        write!(stream, "GET {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n{headers}\r\n")
            .unwrap();
        let mut answer = Vec::new();
        stream.read_to_end(&mut answer).unwrap();
        String::from_utf8_lossy(&answer).into_owned()
    }
}

fn header<'a>(response: &'a Response<Body>, name: &str) -> &'a str {
    response.headers().get(name).map_or("", |value| value.to_str().unwrap())
}

fn bytes(mut response: Response<Body>) -> Vec<u8> {
    response.body_mut().read_to_vec().unwrap()
}

#[test]
fn pages_and_package_have_their_types() {
    let site = Site::start();
    for (path, kind) in [
        ("/", "text/html; charset=utf-8"),
        ("/index.html", "text/html; charset=utf-8"),
        ("/help/", "text/html; charset=utf-8"),
        ("/app.mjs", "text/javascript; charset=utf-8"),
        ("/style.css", "text/css; charset=utf-8"),
        ("/pkg/index.js", "text/javascript; charset=utf-8"),
        ("/pkg/package.json", "application/json"),
        ("/pkg/types/index.d.ts", "text/plain; charset=utf-8"),
        ("/pkg/wasm/relayops_intent_bg.wasm", "application/wasm"),
        ("/models/a.gguf", "application/octet-stream"),
        ("/models/index.json", "application/json"),
    ] {
        let response = site.get(path, &[]);
        assert_eq!((response.status().as_u16(), header(&response, "content-type")), (200, kind), "{path}");
    }
    assert_eq!(bytes(site.get("/", &[])), HTML.as_bytes());
    assert_eq!(bytes(site.get("/pkg/index.js", &[])), script().as_bytes());
}

#[test]
fn every_answer_carries_the_headers() {
    let site = Site::start();
    let csp = "default-src 'none'; script-src 'self' 'wasm-unsafe-eval'; worker-src 'self'; \
               connect-src 'self'; style-src 'self'; img-src 'self'; base-uri 'none'; form-action 'none'; \
               frame-ancestors 'self'";
    let ranged = &[("range", "bytes=9999999-")][..];
    for (method, path, headers, status) in [
        ("GET", "/", &[][..], 200),
        ("HEAD", "/pkg/index.js", &[], 200),
        ("GET", "/models/index.json", &[], 200),
        ("GET", "/models/b.gguf", &[("range", "bytes=0-9")], 206),
        ("GET", "/nothing", &[], 404),
        ("GET", "/pkg/nothing", &[], 404),
        ("GET", "/models/nothing.gguf", &[], 404),
        ("GET", "/models/b.gguf", ranged, 416),
        ("POST", "/", &[], 405),
        ("POST", "/models/index.json", &[], 405),
    ] {
        let response = site.ask(method, path, headers);
        assert_eq!(response.status().as_u16(), status, "{method} {path}");
        for (name, value) in [
            ("cross-origin-opener-policy", "same-origin"),
            ("cross-origin-embedder-policy", "require-corp"),
            ("cross-origin-resource-policy", "same-origin"),
            ("content-security-policy", csp),
            ("x-content-type-options", "nosniff"),
            ("referrer-policy", "no-referrer"),
            ("cache-control", "no-cache"),
        ] {
            assert_eq!(header(&response, name), value, "{name} of {method} {path}");
        }
    }
}

#[test]
fn ranges_are_exact() {
    let site = Site::start();
    let model = model();
    for (range, from, to) in [
        ("bytes=0-0", 0, 0),
        ("bytes=100-299", 100, 299),
        ("bytes=199990-", 199_990, 199_999),
        ("bytes=-5", 199_995, 199_999),
        ("bytes=199000-999999", 199_000, 199_999),
    ] {
        let response = site.get("/models/b.gguf", &[("range", range)]);
        assert_eq!(response.status(), 206, "{range}");
        assert_eq!(header(&response, "content-range"), format!("bytes {from}-{to}/200000"));
        assert_eq!(bytes(response), model[from..=to], "{range}");
    }
    let beyond = site.get("/models/b.gguf", &[("range", "bytes=200000-")]);
    assert_eq!((beyond.status().as_u16(), header(&beyond, "content-range")), (416, "bytes */200000"));
    let whole = site.get("/models/b.gguf", &[]);
    assert_eq!((header(&whole, "accept-ranges"), header(&whole, "content-length")), ("bytes", "200000"));
    let script_part = site.get("/pkg/index.js", &[("range", "bytes=7-11"), ("accept-encoding", "br, gzip")]);
    assert_eq!((script_part.status().as_u16(), header(&script_part, "content-encoding")), (206, ""));
    assert_eq!(bytes(script_part), b"const");
}

#[test]
fn text_and_wasm_are_compressed_and_models_never() {
    let site = Site::start();
    for path in ["/app.mjs", "/pkg/index.js", "/pkg/wasm/relayops_intent_bg.wasm", "/pkg/types/index.d.ts"] {
        let plain = bytes(site.get(path, &[])).len();
        for accepted in ["gzip, br", "br"] {
            let response = site.get(path, &[("accept-encoding", accepted)]);
            assert_eq!(header(&response, "content-encoding"), "br", "{path} for {accepted}");
            assert_eq!(header(&response, "vary").to_ascii_lowercase(), "accept-encoding", "{path}");
            let packed = bytes(response).len();
            assert!(packed < plain / 5, "{path}: {packed} of {plain} bytes");
        }
        // The client library unpacks gzip and hides that it did.
        let answer = site.raw(path, "Accept-Encoding: gzip\r\n").to_ascii_lowercase();
        assert!(answer.contains("\r\ncontent-encoding: gzip\r\n") && answer.len() < plain, "{path}");
        let unpacked = bytes(site.get(path, &[("accept-encoding", "gzip")]));
        assert_eq!(unpacked, bytes(site.get(path, &[])), "{path}");
    }
    for path in ["/models/b.gguf", "/pkg/package.json", "/nothing"] {
        let response = site.get(path, &[("accept-encoding", "br, gzip")]);
        assert_eq!(header(&response, "content-encoding"), "", "{path}");
    }
    let whole = site.get("/models/b.gguf", &[("accept-encoding", "br, gzip")]);
    assert_eq!(header(&whole, "content-length"), "200000");
}

#[test]
fn what_is_unchanged_is_not_sent_again() {
    let site = Site::start();
    for (path, encoding) in [("/pkg/index.js", "br"), ("/pkg/index.js", "identity"), ("/models/b.gguf", "br")]
    {
        let first = site.get(path, &[("accept-encoding", encoding)]);
        let (tag, date) = (header(&first, "etag").to_owned(), header(&first, "last-modified").to_owned());
        assert_eq!(tag.starts_with("W/"), !header(&first, "content-encoding").is_empty(), "{tag}");
        for condition in [("if-none-match", tag.as_str()), ("if-modified-since", date.as_str())] {
            let again = site.get(path, &[("accept-encoding", encoding), condition]);
            assert_eq!(again.status(), 304, "{path} {condition:?}");
            assert!(bytes(again).is_empty());
        }
    }
    let tag = header(&site.get("/pkg/index.js", &[]), "etag").to_owned();
    put(site.folder.path(), "root/pkg/index.js", "changed");
    let changed = site.get("/pkg/index.js", &[("if-none-match", &tag)]);
    assert_eq!((changed.status().as_u16(), bytes(changed)), (200, b"changed".to_vec()));
}

#[test]
fn no_path_leads_out() {
    let site = Site::start();
    for path in [
        "/../secret.txt",
        "/../../secret.txt",
        "/%2e%2e/%2e%2e/secret.txt",
        "/..%2f..%2fsecret.txt",
        "/..%5c..%5csecret.txt",
        "/pkg/../../secret.txt",
        "/pkg/..%2f..%2fsecret.txt",
        "/pkg/%2e%2e/www/index.html",
        "/models/../secret.txt",
        "/models/..%2fsecret.txt",
        "/models/%2e%2e%2fmodels%2fa.gguf",
        "//etc/passwd",
        "/%2fetc%2fpasswd",
        "/index.html%00.js",
        "/%ff",
    ] {
        let answer = site.raw(path, "");
        let refused = ["HTTP/1.1 404", "HTTP/1.1 400"].iter().any(|status| answer.starts_with(status));
        assert!(refused && !answer.contains("outside"), "{path}: {answer}");
    }
}

#[cfg(unix)]
#[test]
fn links_do_not_lead_out_either() {
    use std::os::unix::fs::symlink;
    let folder = folder();
    let at = |name: &str| folder.path().join(name);
    symlink(at("secret.txt"), at("root/www/link.txt")).unwrap();
    symlink(folder.path(), at("root/pkg/up")).unwrap();
    fs::create_dir(at("root/www/indexed")).unwrap();
    symlink(at("secret.txt"), at("root/www/indexed/index.html")).unwrap();
    symlink(at("secret.txt"), at("models/link.gguf")).unwrap();
    symlink(at("models/a.gguf"), at("models/alias.gguf")).unwrap();
    let site = Site::over(folder, true);
    for path in ["/link.txt", "/pkg/up/secret.txt", "/indexed/", "/indexed", "/models/link.gguf"] {
        let response = site.get(path, &[]);
        assert_eq!(response.status(), 404, "{path}");
        assert!(!String::from_utf8_lossy(&bytes(response)).contains("outside"));
    }
    // A link that stays inside is a file like any other.
    assert_eq!(bytes(site.get("/models/alias.gguf", &[])), b"GGUF");
    let list = String::from_utf8(bytes(site.get("/models/index.json", &[]))).unwrap();
    assert!(list.contains("alias.gguf") && !list.contains("link.gguf"), "{list}");
}

fn refused(options: ServeOptions) -> String {
    let error = Runtime::new().unwrap().block_on(bind(options)).unwrap_err();
    assert_eq!(error.code(), "invalid_argument");
    error.to_string()
}

#[test]
fn what_is_missing_is_named_with_its_remedy() {
    let folder = folder();
    fs::remove_dir_all(folder.path().join("root/pkg/wasm")).unwrap();
    let error = refused(options(folder.path(), true));
    assert!(error.contains("wasm") && error.contains("cargo xtask build-web"), "{error}");
    fs::remove_dir_all(folder.path().join("root/www")).unwrap();
    let error = refused(options(folder.path(), true));
    assert!(error.contains("www"), "{error}");
    let whole = self::folder();
    let mut options = options(whole.path(), true);
    options.models.push(whole.path().join("no-such-folder"));
    let error = refused(options);
    assert!(error.starts_with("models:") && error.contains("no-such-folder"), "{error}");
}

#[test]
fn only_this_machine_is_served() {
    let folder = folder();
    for host in ["0.0.0.0", "::", "192.0.2.1"] {
        let mut options = options(folder.path(), false);
        options.host = host.parse::<IpAddr>().unwrap();
        let error = refused(options);
        assert!(error.starts_with("host:") && error.contains(host), "{error}");
    }
}

#[test]
fn a_taken_port_is_an_io_error_with_the_address() {
    let site = Site::start();
    let mut options = options(site.folder.path(), false);
    options.port = site.address.port();
    let error = Runtime::new().unwrap().block_on(bind(options)).unwrap_err();
    assert_eq!(error.code(), "io");
    assert!(error.to_string().contains(&site.address.to_string()), "{error}");
}

/// The whole answer to a request, head and body, on a connection that stays open.
fn answer(stream: &mut TcpStream, path: &str) -> Vec<u8> {
    // In one piece, or it would wait itself.
    let request = format!("GET {path} HTTP/1.1\r\nhost: localhost\r\n\r\n");
    stream.write_all(request.as_bytes()).unwrap();
    let (mut answer, mut chunk) = (Vec::new(), [0; 65_536]);
    loop {
        let text = String::from_utf8_lossy(&answer);
        if let Some((head, _)) = text.split_once("\r\n\r\n") {
            let length = head.lines().find_map(|line| line.strip_prefix("content-length: ")).unwrap();
            if answer.len() >= head.len() + 4 + length.parse::<usize>().unwrap() {
                return answer;
            }
        }
        let count = stream.read(&mut chunk).unwrap();
        assert!(count > 0, "the connection ended");
        answer.extend_from_slice(&chunk[..count]);
    }
}

/// Without `TCP_NODELAY` about every third answer waits for the 40 ms of a delayed acknowledgement.
#[test]
fn answers_do_not_wait_for_acknowledgements() {
    const DELAYED: Duration = Duration::from_millis(38);
    let site = Site::start();
    let mut stream = TcpStream::connect(site.address).unwrap();
    let late = |_: &usize| {
        let start = Instant::now();
        answer(&mut stream, "/pkg/index.js");
        start.elapsed() >= DELAYED
    };
    let late = (0..100).filter(late).count();
    assert!(late <= 10, "{late} of 100 answers took longer than {DELAYED:?}");
}

#[test]
fn shutdown_lets_a_transfer_end_and_takes_no_new_one() {
    let folder = folder();
    let big = vec![7; 64 << 20];
    put(folder.path(), "models/big.gguf", &big);
    let mut site = Site::over(folder, true);
    let mut reader = site.get("/models/big.gguf", &[]).into_body().into_reader();
    let mut first = [0; 1000];
    reader.read_exact(&mut first).unwrap();
    site.stop.take().unwrap().send(()).unwrap();
    let start = Instant::now();
    while TcpStream::connect(site.address).is_ok() {
        assert!(start.elapsed() < Duration::from_secs(3), "still listening");
        std::thread::sleep(Duration::from_millis(5));
    }
    let mut rest = Vec::new();
    reader.read_to_end(&mut rest).unwrap();
    assert_eq!(first.len() + rest.len(), big.len());
    site.runtime.take().unwrap().shutdown_timeout(Duration::from_secs(1));
}
