//! Who is let in.

use std::net::IpAddr;
use std::time::{Duration, Instant};

use relayops_intent::serve::bind;
use serde_json::json;
use tokio::runtime::Runtime;

use crate::kit::{
    Answer, Client, SUBMIT_TOKEN, Site, TOKEN, folder, inbox, key, loopback, message, serve_options, token,
};

#[test]
fn tokens_part_those_who_send_from_those_who_read() {
    let site = Site::start(|options| {
        options.token = token(TOKEN);
        options.submit_token = token(SUBMIT_TOKEN);
    });
    let nobody = site.client();
    let wrong = nobody.bearing("another-token-0123456789");
    let (sender, agent) = (nobody.bearing(SUBMIT_TOKEN), nobody.bearing(TOKEN));
    for client in [&nobody, &wrong, &nobody.with("authorization", &format!("Basic {TOKEN}"))] {
        let refused = client.submit(&key(1), &message("a"));
        assert_eq!(refused.error(), (401, "unauthorized".to_owned()));
        assert_eq!(refused.header("www-authenticate"), "Bearer");
    }
    assert_eq!(sender.submit(&key(1), &message("a")).status, 201);
    assert_eq!(agent.submit(&key(2), &message("b")).status, 201);
    let reads =
        ["/api/escalations", "/api/escalations/1", "/api/escalations/stream", "/api/escalations/export"];
    for client in [&nobody, &wrong, &sender] {
        for path in reads {
            assert_eq!(client.get(path).error(), (401, "unauthorized".to_owned()), "{path}");
        }
        assert_eq!(client.patch(1, &json!({"handled": true})).status, 401);
    }
    for path in ["/api/escalations", "/api/escalations/1", "/api/escalations/export"] {
        assert_eq!(agent.get(path).status, 200, "{path}");
    }
    for path in ["/api/health", "/api/openapi.json", "/"] {
        assert_eq!(nobody.get(path).status, 200, "{path} holds no messages");
    }
}

fn refused(
    host: IpAddr,
    change: impl FnOnce(&mut relayops_intent::serve::inbox::InboxOptions),
) -> Option<String> {
    let folder = folder();
    let mut inbox = inbox(folder.path());
    change(&mut inbox);
    let mut options = serve_options(folder.path(), inbox);
    options.host = host;
    let error = Runtime::new().unwrap().block_on(bind(options)).err()?;
    assert_eq!(error.code(), "invalid_argument");
    Some(error.to_string())
}

#[test]
fn other_machines_are_served_with_a_token_only() {
    let everywhere: IpAddr = "0.0.0.0".parse().unwrap();
    assert!(refused(everywhere, |_| {}).unwrap().starts_with("host:"));
    assert_eq!(refused(everywhere, |options| options.token = token(TOKEN)), None);
    let without = folder();
    let mut options = serve_options(without.path(), inbox(without.path()));
    (options.host, options.inbox) = (everywhere, None);
    let error = Runtime::new().unwrap().block_on(bind(options)).unwrap_err().to_string();
    assert!(error.starts_with("host:") && error.contains("static host"), "{error}");
    let only_senders = refused(loopback(), |options| options.submit_token = token(SUBMIT_TOKEN)).unwrap();
    assert!(only_senders.starts_with("submit-token-file:"), "{only_senders}");
    for origin in
        ["*", "null", "console.example", "https://a.example/", "https://A.example", "ftp://a.example"]
    {
        let error = refused(loopback(), |options| options.origins = vec![origin.to_owned()]).unwrap();
        assert!(error.starts_with("allow-origin:") && error.contains(origin), "{error}");
    }
}

#[test]
fn names_that_were_pointed_here_are_refused() {
    let folder = folder();
    let mut options = serve_options(folder.path(), inbox(folder.path()));
    options.allow_hosts = vec!["Console.example".to_owned()];
    let site = Site::with(folder, options);
    for host in
        ["localhost", "LocalHost:1234", "127.0.0.1:80", "[::1]:8080", "192.0.2.7", "console.EXAMPLE:443"]
    {
        for path in ["/api/health", "/"] {
            assert_eq!(site.client().with("host", host).get(path).status, 200, "{host} {path}");
        }
    }
    for host in
        ["evil.example", "localhost.evil.example", "127.0.0.1.evil.example", "console.example.evil.example"]
    {
        for path in ["/api/health", "/", "/nothing"] {
            let answer = site.client().with("host", host).get(path);
            assert_eq!(answer.error(), (421, "wrong_host".to_owned()), "{host} {path}");
            assert_eq!(answer.header("x-content-type-options"), "nosniff");
        }
    }
}

#[test]
fn pages_of_other_origins_need_to_be_on_the_list() {
    let console = "https://console.example";
    let site = Site::start(|options| options.origins = vec![console.to_owned()]);
    let own = format!("http://{}", site.address);
    for origin in [console, own.as_str()] {
        assert_eq!(site.client().with("origin", origin).get("/api/escalations").status, 200, "{origin}");
    }
    for origin in
        ["https://evil.example", "null", "http://console.example", "https://console.example.evil.example"]
    {
        let answer = site.client().with("origin", origin).get("/api/escalations");
        assert_eq!(answer.error(), (403, "origin_not_allowed".to_owned()), "{origin}");
        assert_eq!(answer.header("access-control-allow-origin"), "", "{origin}");
        let sent = site.client().with("origin", origin).submit(&key(1), &message("a"));
        assert_eq!(sent.status, 403, "{origin}");
    }
    assert!(site.client().all().is_empty());
    let ask = |origin: &str| {
        let preflight = site.client().with("origin", origin).with("access-control-request-method", "POST");
        preflight.with("access-control-request-headers", "idempotency-key").ask(
            "OPTIONS",
            "/api/escalations",
            b"",
        )
    };
    let allowed = ask(console);
    assert_eq!((allowed.status, allowed.header("access-control-allow-origin")), (200, console));
    for name in ["idempotency-key", "content-type", "authorization"] {
        assert!(allowed.header("access-control-allow-headers").contains(name), "{name}");
    }
    assert_eq!(ask("https://evil.example").header("access-control-allow-origin"), "");
    let read = site.client().with("origin", console).get("/api/escalations");
    assert!(read.header("access-control-expose-headers").contains("retry-after"));
}

const RATE: u32 = 2;
const BURST: u32 = 3;

/// Sends until it is refused: that answer, after as many as the limit allows in the time that it took.
fn until_refused(clients: &[Client]) -> Answer {
    let start = Instant::now();
    for (taken, client) in (0..).zip(clients.iter().cycle()) {
        let answer = client.submit(&key(taken), &message("a"));
        if answer.status == 429 {
            let most = f64::from(BURST) + start.elapsed().as_secs_f64() * f64::from(RATE) + 1.0;
            assert!(taken >= BURST.into() && (taken as f64) < most, "{taken} were taken, allowed are {most}");
            return answer;
        }
        assert!([200, 201].contains(&answer.status), "{}", answer.body);
    }
    panic!("there is no limit");
}

#[test]
fn too_much_from_one_address_has_to_wait() {
    let site = Site::start(|options| {
        options.rate = RATE.try_into().unwrap();
        options.burst = BURST.try_into().unwrap();
        options.trusted_proxy = Some(loopback());
    });
    let client = site.client();
    let refused = until_refused(std::slice::from_ref(&client));
    assert_eq!(refused.error(), (429, "rate_limited".to_owned()));
    assert_eq!(client.get("/api/escalations").status, 200, "agents are not limited");
    let seconds = refused.header("retry-after").parse().unwrap();
    std::thread::sleep(Duration::from_secs(seconds));
    assert_eq!(client.submit(&key(99), &message("a")).status, 201, "as promised");
    // What the proxy appended counts, not what the client claimed before it.
    let claims = |name: &str| client.with("x-forwarded-for", &format!("{name}, 192.0.2.1"));
    until_refused(&[claims("127.0.0.1"), claims("192.0.2.7"), claims("nonsense")]);
    let network = |end: &str| client.with("x-forwarded-for", &format!("2001:db8::{end}"));
    until_refused(&[network("1"), network("2:0:0:3"), network("ffff:1:2:3")]);
    // Without a trusted proxy the header is anybody's claim.
    let site = Site::start(|options| {
        options.rate = RATE.try_into().unwrap();
        options.burst = BURST.try_into().unwrap();
    });
    until_refused(
        &["1", "2", "3", "4", "5"]
            .map(|end| site.client().with("x-forwarded-for", &format!("192.0.2.{end}"))),
    );
}

#[test]
fn the_api_answers_with_the_security_headers_and_is_not_cached() {
    let site = Site::start(|_| {});
    site.client().submit(&key(1), &message("a"));
    for path in ["/api/escalations", "/api/nothing", "/api/escalations/export"] {
        let answer = site.client().get(path);
        for (name, value) in [
            ("cache-control", "no-store"),
            ("x-content-type-options", "nosniff"),
            ("cross-origin-resource-policy", "same-origin"),
            ("referrer-policy", "no-referrer"),
        ] {
            assert_eq!(answer.header(name), value, "{name} of {path}");
        }
        assert!(answer.header("content-security-policy").starts_with("default-src 'none'"), "{path}");
    }
}
