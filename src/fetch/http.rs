//! The hub's protocol: HEAD for size and digest, GET with ranges for the bytes.

use std::io::Read;
use std::thread::sleep;
use std::time::Duration;

use ureq::config::{AutoHeaderValue, RedirectAuthHeaders};
use ureq::http::{HeaderMap, Response, StatusCode, Uri, header};
use ureq::{Agent, Body};

use super::part::Part;
use super::{Artifact, CHUNK, FetchRequest, Phase, Progress, Report, RetryPolicy, Wanted};
use crate::{IntentError, Result};

/// New bytes that make a try count as a success, so that a long transfer over a bad line goes on.
const GAIN: u64 = 1 << 20;

/// How one request failed.
enum Failure {
    /// Another try may help, after the pause the server asked for, if it did.
    Again { reason: String, pause: Option<Duration> },
    /// It won't.
    Final(IntentError),
}

impl From<IntentError> for Failure {
    fn from(error: IntentError) -> Self {
        Self::Final(error)
    }
}

impl Failure {
    fn again(reason: impl ToString) -> Self {
        Self::Again { reason: reason.to_string(), pause: None }
    }
}

/// The hub or a mirror of it.
pub(super) struct Remote {
    base: String,
    authorization: Option<String>,
    agent: Agent,
    retry: RetryPolicy,
}

impl Remote {
    pub(super) fn new(base: &str, request: &FetchRequest) -> Result<Self> {
        let bad = |detail: &str| IntentError::argument("from", format!("'{base}': {detail}"));
        let uri: Uri = base.parse().map_err(|_| bad("not an address"))?;
        let host = uri.host().ok_or_else(|| bad("the address has no host"))?;
        let local = is_loopback(host);
        let authorization = match &request.token {
            None => None,
            Some(token) if uri.scheme_str() == Some("https") || local => Some(bearer(token)?),
            Some(_) => return Err(bad("a token is not sent over plain http")),
        };
        let retry = request.retry.clone();
        let mut config = Agent::config_builder()
            .http_status_as_error(false)
            .accept_encoding(AutoHeaderValue::Provided("identity".to_owned().into()))
            .user_agent(concat!("relayops-intent/", env!("CARGO_PKG_VERSION")))
            .redirect_auth_headers(RedirectAuthHeaders::Never)
            .timeout_resolve(Some(retry.connect_timeout))
            .timeout_connect(Some(retry.connect_timeout))
            .timeout_recv_response(Some(retry.read_timeout))
            .timeout_per_read(Some(retry.read_timeout))
            .timeout_per_write(Some(retry.read_timeout));
        if local {
            // A proxy would look for the mirror on its own machine.
            config = config.proxy(None);
        }
        Ok(Self {
            base: base.trim_end_matches('/').to_owned(),
            authorization,
            agent: config.build().new_agent(),
            retry,
        })
    }

    /// Finds `artifact`: its address, and what its bytes must be.
    pub(super) fn locate(&self, artifact: &Artifact, report: Report) -> Result<(String, Wanted)> {
        let hub = format!("{}/{}/resolve/main/{}", self.base, artifact.repo, artifact.file);
        if let Some(headers) = self.head(&hub, artifact.bytes, report)? {
            return Ok((hub, reported(&headers, artifact)));
        }
        let plain = format!("{}/{}", self.base, artifact.file);
        if self.head(&plain, artifact.bytes, report)?.is_some() {
            return Ok((plain, Wanted::pinned(artifact)));
        }
        Err(IntentError::Network { url: hub, detail: format!("not found (404), and neither is {plain}") })
    }

    /// The headers at `url` itself (redirects are not followed: the hub's own answer carries the
    /// digest), or `None` where there is nothing.
    fn head(&self, url: &str, total: u64, report: Report) -> Result<Option<HeaderMap>> {
        let mut tries = Tries::new(&self.retry);
        loop {
            report(Progress { phase: Phase::Connect, done: 0, total });
            let failure = match self.head_once(url) {
                Ok(found) => return Ok(found),
                Err(failure) => failure,
            };
            tries.pause(failure, url, 0, total, report)?;
        }
    }

    fn head_once(&self, url: &str) -> std::result::Result<Option<HeaderMap>, Failure> {
        let mut request = self.agent.head(url);
        if let Some(value) = &self.authorization {
            request = request.header(header::AUTHORIZATION, value);
        }
        let request = request.config().max_redirects(0).max_redirects_will_error(false).build();
        let response = request.call().map_err(Failure::again)?;
        let status = response.status();
        match status {
            StatusCode::NOT_FOUND => Ok(None),
            // A server that has no HEAD may still have the file.
            StatusCode::METHOD_NOT_ALLOWED | StatusCode::NOT_IMPLEMENTED => Ok(Some(HeaderMap::new())),
            _ if status.is_success() || status.is_redirection() => Ok(Some(response.headers().clone())),
            _ => Err(self.refusal(url, &response)),
        }
    }

    /// Brings `part` to `total` bytes.
    pub(super) fn transfer(&self, url: &str, part: &mut Part, total: u64, report: Report) -> Result<()> {
        let mut tries = Tries::new(&self.retry);
        let mut best = part.len();
        while part.len() < total {
            let failure = match self.pull(url, part, total, report) {
                Ok(()) if part.len() >= total => break,
                Ok(()) => Failure::again(format!("the transfer ended at byte {} of {total}", part.len())),
                Err(failure) => failure,
            };
            if part.len() >= best.saturating_add(GAIN) {
                best = part.len();
                tries.renew();
            }
            tries.pause(failure, url, part.len(), total, report)?;
        }
        Ok(())
    }

    /// One GET for what is missing.
    fn pull(
        &self,
        url: &str,
        part: &mut Part,
        total: u64,
        report: Report,
    ) -> std::result::Result<(), Failure> {
        let mut request = self.agent.get(url);
        if let Some(value) = &self.authorization {
            request = request.header(header::AUTHORIZATION, value);
        }
        if part.len() > 0 {
            request = request.header(header::RANGE, format!("bytes={}-", part.len()));
        }
        let mut response = request.call().map_err(Failure::again)?;
        match response.status() {
            StatusCode::OK => {
                // The whole file, asked for or because the server knows no ranges.
                expect_size(url, body_length(response.headers()), total)?;
                part.restart()?;
            }
            StatusCode::PARTIAL_CONTENT => {
                let (start, size) = content_range(response.headers());
                if start != Some(part.len()) || size.is_some_and(|size| size != total) {
                    part.restart()?;
                    return Err(Failure::again("the server sent another range than it was asked for"));
                }
            }
            StatusCode::RANGE_NOT_SATISFIABLE if part.len() > 0 => {
                part.restart()?;
                return Err(Failure::again("the server refused to continue (416)"));
            }
            _ => return Err(self.refusal(url, &response)),
        }
        receive(url, response.body_mut(), part, total, report)
    }

    /// What an answer without the file means.
    fn refusal(&self, url: &str, response: &Response<Body>) -> Failure {
        let status = response.status();
        let busy = [StatusCode::REQUEST_TIMEOUT, StatusCode::TOO_EARLY, StatusCode::TOO_MANY_REQUESTS];
        if status.is_server_error() || busy.contains(&status) {
            let seconds = number(response.headers(), "retry-after");
            return Failure::Again {
                reason: format!("the server answered {status}"),
                pause: seconds.map(Duration::from_secs),
            };
        }
        let hint = match status {
            StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN if self.authorization.is_none() => {
                "; a token can be given in the environment variable HF_TOKEN"
            }
            _ => "",
        };
        let detail = format!("the server answered {status}{hint}");
        Failure::Final(IntentError::Network { url: url.to_owned(), detail })
    }
}

/// Appends the body to `part`, which it must not make larger than `total`.
fn receive(
    url: &str,
    body: &mut Body,
    part: &mut Part,
    total: u64,
    report: Report,
) -> std::result::Result<(), Failure> {
    let mut reader = body.as_reader();
    let mut chunk = vec![0; CHUNK];
    report(Progress { phase: Phase::Download, done: part.len(), total });
    loop {
        let n = reader.read(&mut chunk).map_err(Failure::again)?;
        let bytes = chunk.get(..n).unwrap_or_default();
        if bytes.is_empty() {
            return Ok(());
        }
        if part.len().saturating_add(n as u64) > total {
            part.restart()?;
            let detail = format!("the server sends more than the expected {total} bytes");
            return Err(IntentError::Network { url: url.to_owned(), detail }.into());
        }
        part.append(bytes)?;
        report(Progress { phase: Phase::Download, done: part.len(), total });
    }
}

/// Counts failures in a row and pauses between them.
struct Tries<'a> {
    policy: &'a RetryPolicy,
    failed: u32,
}

impl<'a> Tries<'a> {
    fn new(policy: &'a RetryPolicy) -> Self {
        Self { policy, failed: 0 }
    }

    fn renew(&mut self) {
        self.failed = 0;
    }

    /// Sleeps until the next try, or returns the error when there is none.
    fn pause(&mut self, failure: Failure, url: &str, done: u64, total: u64, report: Report) -> Result<()> {
        let (reason, asked) = match failure {
            Failure::Final(error) => return Err(error),
            Failure::Again { reason, pause } => (reason, pause),
        };
        self.failed = self.failed.saturating_add(1);
        if self.failed >= self.policy.tries {
            let detail = format!("{reason} (given up after {} tries, {done} of {total} bytes)", self.failed);
            return Err(IntentError::Network { url: url.to_owned(), detail });
        }
        let doubled = 2_u32.saturating_pow(self.failed.saturating_sub(1));
        let ceiling = self.policy.first_delay.saturating_mul(doubled).min(self.policy.max_delay);
        let drawn = ceiling.mul_f64(0.5 + 0.5 * fastrand::f64());
        let pause = drawn.max(asked.unwrap_or_default().min(self.policy.max_delay));
        report(Progress { phase: Phase::Wait { pause, reason }, done, total });
        sleep(pause);
        Ok(())
    }
}

/// What the hub says the file is; the catalog's word where it says nothing.
fn reported(headers: &HeaderMap, artifact: &Artifact) -> Wanted {
    let pinned = Wanted::pinned(artifact);
    let digest = headers
        .get("x-linked-etag")
        .and_then(|value| value.to_str().ok())
        .map(|tag| tag.trim().trim_start_matches("W/").trim_matches('"').to_ascii_lowercase())
        .filter(|tag| tag.len() == 64 && tag.bytes().all(|byte| byte.is_ascii_hexdigit()));
    let Some(sha256) = digest else { return pinned };
    Wanted { sha256, bytes: number(headers, "x-linked-size").unwrap_or(pinned.bytes) }
}

/// The body's length as announced, unless it is encoded.
fn body_length(headers: &HeaderMap) -> Option<u64> {
    if headers.contains_key(header::CONTENT_ENCODING) { None } else { number(headers, "content-length") }
}

fn expect_size(url: &str, found: Option<u64>, total: u64) -> Result<()> {
    match found {
        Some(found) if found != total => {
            let detail = format!("the file has {found} bytes, expected {total}");
            Err(IntentError::Network { url: url.to_owned(), detail })
        }
        _ => Ok(()),
    }
}

/// First byte and total size of a `Content-Range: bytes 5-9/10`.
fn content_range(headers: &HeaderMap) -> (Option<u64>, Option<u64>) {
    let value = headers.get(header::CONTENT_RANGE).and_then(|value| value.to_str().ok());
    let Some((range, size)) = value.and_then(|value| value.strip_prefix("bytes ")?.split_once('/')) else {
        return (None, None);
    };
    let start = range.split_once('-').and_then(|(start, _)| start.trim().parse().ok());
    (start, size.trim().parse().ok())
}

fn number(headers: &HeaderMap, name: &str) -> Option<u64> {
    headers.get(name)?.to_str().ok()?.trim().parse().ok()
}

fn bearer(token: &str) -> Result<String> {
    let token = token.trim();
    if token.is_empty() || !token.bytes().all(|byte| byte.is_ascii_graphic()) {
        // The token itself stays out of the message.
        return Err(IntentError::argument("token", "not a bearer token: it has spaces or odd characters"));
    }
    Ok(format!("Bearer {token}"))
}

fn is_loopback(host: &str) -> bool {
    let bare = host.trim_start_matches('[').trim_end_matches(']');
    host.eq_ignore_ascii_case("localhost")
        || bare.parse::<std::net::IpAddr>().is_ok_and(|address| address.is_loopback())
}
