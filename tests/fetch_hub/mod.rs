//! A hub on 127.0.0.1: the protocol of the real one, with faults on request.

pub(crate) mod case;

use std::collections::VecDeque;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::Duration;

/// What goes wrong with one GET that would have been answered with bytes.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Fault {
    /// Nothing.
    None,
    /// The connection closes after so many body bytes.
    Cut(usize),
    /// The connection stays open and silent after so many body bytes.
    Stall(usize),
    /// One body byte is flipped.
    Corrupt,
    /// This status and no file.
    Status(u16),
    /// A 206 that starts one byte too late.
    WrongRange,
    /// The body has one byte less than it should, and says so.
    Short,
    /// Without Content-Length, so many bytes too many.
    Overrun(usize),
}

/// One request as the server saw it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Seen {
    pub(crate) method: String,
    pub(crate) path: String,
    pub(crate) range: Option<String>,
    pub(crate) token: Option<String>,
    /// Whether it came to the storage that the hub redirects to.
    pub(crate) storage: bool,
}

/// What the server has and how it behaves; may be changed while it runs.
pub(crate) struct State {
    pub(crate) body: Vec<u8>,
    /// Path at which the hub (or the static folder) has the file.
    pub(crate) path: String,
    /// Whether to speak the hub's protocol (digest headers, redirect) or serve the plain file.
    pub(crate) hub: bool,
    pub(crate) digest: String,
    pub(crate) size: u64,
    pub(crate) ranges: bool,
    /// For the next file GETs, in order.
    pub(crate) faults: VecDeque<Fault>,
    /// For every file GET after those.
    pub(crate) always: Fault,
    /// Statuses for the next HEADs.
    pub(crate) heads: VecDeque<u16>,
    pub(crate) seen: Vec<Seen>,
}

/// The running server; its threads end with the test process.
pub(crate) struct Hub {
    pub(crate) state: Arc<Mutex<State>>,
    pub(crate) url: String,
}

impl Hub {
    pub(crate) fn start(path: &str, body: &[u8], digest: &str) -> Self {
        let state = Arc::new(Mutex::new(State {
            body: body.to_vec(),
            path: path.to_owned(),
            hub: true,
            digest: digest.to_owned(),
            size: body.len() as u64,
            ranges: true,
            faults: VecDeque::new(),
            always: Fault::None,
            heads: VecDeque::new(),
            seen: Vec::new(),
        }));
        let storage = listen(&state, None);
        let url = listen(&state, Some(storage));
        Self { state, url }
    }

    pub(crate) fn with(self, change: impl FnOnce(&mut State)) -> Self {
        self.change(change);
        self
    }

    pub(crate) fn change(&self, change: impl FnOnce(&mut State)) {
        change(&mut self.state.lock().unwrap());
    }

    pub(crate) fn seen(&self) -> Vec<Seen> {
        self.state.lock().unwrap().seen.clone()
    }

    /// Range headers of the file GETs that reached the storage (or the static folder).
    pub(crate) fn ranges(&self) -> Vec<Option<String>> {
        let hub = self.state.lock().unwrap().hub;
        let file_gets = |seen: &Seen| seen.method == "GET" && seen.storage == hub;
        self.seen().into_iter().filter(file_gets).map(|seen| seen.range).collect()
    }
}

/// Serves on a free port; with `storage` as the hub that redirects there, else as that storage.
fn listen(state: &Arc<Mutex<State>>, storage: Option<String>) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    let state = Arc::clone(state);
    thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            let (state, storage) = (Arc::clone(&state), storage.clone());
            // A client that went away is not the server's problem.
            thread::spawn(move || answer(stream, &state, storage.as_deref()).ok());
        }
    });
    url
}

fn answer(stream: TcpStream, state: &Mutex<State>, storage: Option<&str>) -> std::io::Result<()> {
    let seen = read_request(&stream, storage.is_none())?;
    let mut guard = state.lock().unwrap();
    guard.seen.push(seen.clone());
    if storage.is_some() && seen.path != guard.path {
        return plain(&stream, 404, "Content-Length: 0\r\n");
    }
    if seen.method == "HEAD" {
        let status = guard.heads.pop_front().unwrap_or(if guard.hub { 302 } else { 200 });
        let mut headers = format!("Content-Length: {}\r\n", guard.body.len());
        if guard.hub && status == 302 {
            let (digest, size) = (&guard.digest, guard.size);
            headers = format!("Content-Length: 0\r\nLocation: /nowhere\r\nX-Linked-Etag: \"{digest}\"\r\n");
            headers += &format!("X-Linked-Size: {size}\r\nX-Repo-Commit: {}\r\n", "0".repeat(40));
        }
        return plain(&stream, status, &headers);
    }
    if let (Some(storage), true) = (storage, guard.hub) {
        return plain(&stream, 302, &format!("Content-Length: 0\r\nLocation: {storage}/blob?sig=1\r\n"));
    }
    let always = guard.always;
    let fault = guard.faults.pop_front().unwrap_or(always);
    let (body, ranges) = (guard.body.clone(), guard.ranges);
    drop(guard);
    file(&stream, &seen, body, ranges, fault)
}

fn read_request(stream: &TcpStream, storage: bool) -> std::io::Result<Seen> {
    let mut lines = BufReader::new(stream).lines();
    let first = lines.next().transpose()?.unwrap_or_default();
    let mut words = first.split(' ').map(str::to_owned);
    let (method, path) = (words.next().unwrap_or_default(), words.next().unwrap_or_default());
    let mut seen = Seen { method, path, range: None, token: None, storage };
    for line in lines {
        let line = line?;
        let Some((name, value)) = line.split_once(':') else { break };
        match name.to_ascii_lowercase().as_str() {
            "range" => seen.range = Some(value.trim().to_owned()),
            "authorization" => seen.token = Some(value.trim().to_owned()),
            _ => {}
        }
    }
    Ok(seen)
}

fn plain(mut stream: &TcpStream, status: u16, headers: &str) -> std::io::Result<()> {
    write!(stream, "HTTP/1.1 {status} Whatever\r\nConnection: close\r\n{headers}\r\n")
}

/// The file, or what the fault makes of it.
fn file(
    mut stream: &TcpStream,
    seen: &Seen,
    mut body: Vec<u8>,
    ranges: bool,
    fault: Fault,
) -> std::io::Result<()> {
    let total = body.len();
    let asked = seen
        .range
        .as_deref()
        .filter(|_| ranges)
        .map(|range| range.trim_start_matches("bytes=").trim_end_matches('-').parse::<usize>().unwrap());
    if let Fault::Status(status) = fault {
        return plain(stream, status, "Content-Length: 0\r\nRetry-After: 0\r\n");
    }
    if asked.is_some_and(|start| start >= total) {
        return plain(stream, 416, &format!("Content-Length: 0\r\nContent-Range: bytes */{total}\r\n"));
    }
    if let Fault::Corrupt = fault {
        body[total - 1] ^= 1;
    }
    if let Fault::Short = fault {
        body.pop();
    }
    let start = asked.unwrap_or(0) + usize::from(matches!(fault, Fault::WrongRange));
    let mut rest = body.split_off(start);
    let mut headers = format!("Content-Length: {}\r\n", rest.len());
    if let Fault::Overrun(extra) = fault {
        rest.extend(vec![0; extra]);
        headers.clear();
    }
    if asked.is_some() || matches!(fault, Fault::WrongRange) {
        headers += &format!("Content-Range: bytes {start}-{}/{total}\r\n", total - 1);
        plain(stream, 206, &headers)?;
    } else {
        plain(stream, 200, &headers)?;
    }
    match fault {
        Fault::Cut(n) => stream.write_all(&rest[..n.min(rest.len())]),
        Fault::Stall(n) => {
            stream.write_all(&rest[..n.min(rest.len())])?;
            // Ends when the client gives up, which is what is being tested.
            stream.set_read_timeout(Some(Duration::from_secs(20)))?;
            stream.read(&mut [0]).map(drop)
        }
        _ => stream.write_all(&rest),
    }
}
