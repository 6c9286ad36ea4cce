//! Who may ask: host names, origins, tokens, and how often.

use std::fmt;
use std::net::{IpAddr, Ipv6Addr, SocketAddr};
use std::num::NonZeroU32;
use std::sync::Arc;

use axum::extract::{ConnectInfo, Request, State};
use axum::http::uri::Authority;
use axum::http::{HeaderMap, HeaderValue, StatusCode, header};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use governor::clock::{Clock, DefaultClock};
use governor::state::keyed::HashMapStateStore;
use governor::{Quota, RateLimiter};
use sha2::{Digest, Sha256};

use super::inbox::ApiError;
use crate::{IntentError, Result};

/// Shortest token, in characters: one that cannot be guessed by trying.
const MIN_TOKEN_CHARS: usize = 16;

/// Names under which this server may be called.
#[derive(Debug, Clone)]
pub(super) struct Hosts(Arc<[String]>);

impl Hosts {
    pub(super) fn new(names: &[String]) -> Result<Self> {
        let check = |name: &String| {
            let sound = name.parse::<Authority>().is_ok_and(|parsed| parsed.host() == name);
            let detail = || format!("{name:?} is not a host name without a port");
            sound
                .then(|| name.to_ascii_lowercase())
                .ok_or_else(|| IntentError::argument("allow-host", detail()))
        };
        names.iter().map(check).collect::<Result<_>>().map(Self)
    }

    /// An address cannot be pointed elsewhere, as a name can.
    fn knows(&self, authority: &Authority) -> bool {
        let host = authority.host().to_ascii_lowercase();
        let bare = host.trim_start_matches('[').trim_end_matches(']');
        bare == "localhost" || bare.parse::<IpAddr>().is_ok() || self.0.contains(&host)
    }
}

/// What the request calls this server; `None` where it does not, or not in a way that can be read.
fn authority(request: &Request) -> Option<Authority> {
    match request.uri().authority() {
        Some(authority) => Some(authority.clone()),
        None => request.headers().get(header::HOST)?.to_str().ok()?.parse().ok(),
    }
}

/// Refuses requests that call this server by a name of somebody else's (DNS rebinding).
pub(super) async fn check_host(State(hosts): State<Hosts>, request: Request, next: Next) -> Response {
    if authority(&request).is_some_and(|authority| hosts.knows(&authority)) {
        return next.run(request).await;
    }
    let message = "this server is not known by that name; --allow-host adds one";
    ApiError::new(StatusCode::MISDIRECTED_REQUEST, "wrong_host", message).into_response()
}

/// Refuses requests of pages that are neither this server's own nor on the list.
pub(super) async fn check_origin(
    State(allowed): State<Arc<[HeaderValue]>>,
    request: Request,
    next: Next,
) -> Response {
    let refused = request
        .headers()
        .get(header::ORIGIN)
        .is_some_and(|origin| !allowed.contains(origin) && !is_own(origin, authority(&request).as_ref()));
    if !refused {
        return next.run(request).await;
    }
    let message = "pages of this origin may not call this server; --allow-origin adds one";
    ApiError::new(StatusCode::FORBIDDEN, "origin_not_allowed", message).into_response()
}

/// Whether `origin` is what the request calls this server. Before it may be a proxy that speaks TLS.
fn is_own(origin: &HeaderValue, authority: Option<&Authority>) -> bool {
    let origin = origin.to_str().unwrap_or_default();
    let name = origin.strip_prefix("http://").or_else(|| origin.strip_prefix("https://"));
    name.zip(authority).is_some_and(|(name, authority)| authority.as_str().eq_ignore_ascii_case(name))
}

/// A bearer token. Only its digest is kept, so that it can neither be printed nor compared byte by byte.
#[derive(Clone, PartialEq, Eq)]
pub struct Token([u8; 32]);

impl Token {
    /// # Errors
    /// `invalid_argument` naming `argument` for a token that is shorter than 16 characters, or has others than visible
    /// ASCII.
    pub fn new(argument: &str, token: &str) -> Result<Self> {
        if token.len() < MIN_TOKEN_CHARS || !token.bytes().all(|byte| byte.is_ascii_graphic()) {
            let detail = format!("a token needs at least {MIN_TOKEN_CHARS} visible ASCII characters");
            return Err(IntentError::argument(argument, detail));
        }
        Ok(Self(Sha256::digest(token).into()))
    }
}

impl fmt::Debug for Token {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("Token(…)")
    }
}

/// Tokens of which a request must bear one; none asked for where there are none.
#[derive(Debug, Clone)]
pub(super) struct Tokens(pub(super) Arc<[Token]>);

impl Tokens {
    fn admit(&self, headers: &HeaderMap) -> bool {
        let given = headers.get(header::AUTHORIZATION).and_then(|value| value.to_str().ok());
        let bearer = given.and_then(|value| value.split_once(' '));
        let token = match bearer {
            Some((scheme, token)) if scheme.eq_ignore_ascii_case("bearer") => token.trim(),
            _ => return self.0.is_empty(),
        };
        let digest: [u8; 32] = Sha256::digest(token).into();
        self.0.is_empty() || self.0.iter().any(|known| known.0 == digest)
    }
}

/// Lets only requests with a token through.
pub(super) async fn check_token(State(tokens): State<Tokens>, request: Request, next: Next) -> Response {
    if tokens.admit(request.headers()) {
        return next.run(request).await;
    }
    let message = "this needs the header Authorization: Bearer with a valid token";
    let mut response = ApiError::new(StatusCode::UNAUTHORIZED, "unauthorized", message).into_response();
    response.headers_mut().insert(header::WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"));
    response
}

/// So many requests a second for each client address, after a burst.
#[derive(Debug)]
pub(super) struct Limiter {
    limiter: RateLimiter<IpAddr, HashMapStateStore<IpAddr>, DefaultClock>,
    /// Whose `X-Forwarded-For` is believed.
    trusted_proxy: Option<IpAddr>,
}

impl Limiter {
    pub(super) fn new(rate: NonZeroU32, burst: NonZeroU32, trusted_proxy: Option<IpAddr>) -> Self {
        let limiter = RateLimiter::hashmap(Quota::per_second(rate).allow_burst(burst));
        Self { limiter, trusted_proxy }
    }

    /// Forgets addresses that have their whole burst again.
    pub(super) fn tidy(&self) {
        self.limiter.retain_recent();
        self.limiter.shrink_to_fit();
    }

    /// Who asks. A proxy appends the address that it saw, so only the last one is its word.
    fn client(&self, peer: IpAddr, headers: &HeaderMap) -> IpAddr {
        let forwarded = || {
            let last = headers.get_all("x-forwarded-for").iter().next_back()?.to_str().ok()?;
            last.rsplit(',').next()?.trim().parse().ok()
        };
        let believed = self.trusted_proxy == Some(peer.to_canonical());
        network(believed.then(forwarded).flatten().unwrap_or(peer))
    }
}

/// One customer has a whole IPv6 network of 64 bits.
fn network(address: IpAddr) -> IpAddr {
    match address.to_canonical() {
        IpAddr::V6(address) => IpAddr::V6(Ipv6Addr::from_bits(address.to_bits() >> 64 << 64)),
        address @ IpAddr::V4(_) => address,
    }
}

/// Refuses what comes too fast, and says when to come back.
pub(super) async fn check_rate(
    State(limiter): State<Arc<Limiter>>,
    ConnectInfo(peer): ConnectInfo<SocketAddr>,
    request: Request,
    next: Next,
) -> Response {
    let client = limiter.client(peer.ip(), request.headers());
    match limiter.limiter.check_key(&client) {
        Ok(()) => next.run(request).await,
        Err(refused) => {
            let wait = refused.wait_time_from(limiter.limiter.clock().now());
            let message = "too many escalations from this address";
            let error = ApiError::new(StatusCode::TOO_MANY_REQUESTS, "rate_limited", message);
            // Whole seconds, and never before the time.
            error.retry_after(wait.as_secs().saturating_add(1)).into_response()
        }
    }
}
