//! The live stream.

use std::io::{BufRead, BufReader};
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use ureq::BodyReader;

use crate::kit::{Client, Site, key, message};

struct Events(BufReader<BodyReader<'static>>);

#[derive(Debug, PartialEq)]
struct Event {
    name: String,
    id: Option<i64>,
    data: Value,
}

impl Events {
    fn open(client: &Client, query: &str) -> Self {
        let response = client.open("GET", &format!("/api/escalations/stream{query}"), b"").unwrap();
        assert_eq!(response.status(), 200);
        assert_eq!(response.headers()["content-type"], "text/event-stream");
        let mut events = Self(BufReader::new(response.into_body().into_reader()));
        // The comment that says that the stream is open.
        while !events.line().unwrap().is_empty() {}
        events
    }

    /// The next line without its end; `None` at the end of the stream.
    fn line(&mut self) -> Option<String> {
        let mut line = String::new();
        match self.0.read_line(&mut line) {
            Ok(0) | Err(_) => None,
            Ok(_) => Some(line.trim_end().to_owned()),
        }
    }

    fn next(&mut self) -> Option<Event> {
        let mut event = Event { name: String::new(), id: None, data: Value::Null };
        loop {
            let line = self.line()?;
            match line.split_once(": ") {
                Some(("event", name)) => event.name = name.to_owned(),
                Some(("id", id)) => event.id = Some(id.parse().unwrap()),
                Some(("data", data)) => event.data = serde_json::from_str(data).unwrap(),
                _ if line.is_empty() && !event.name.is_empty() => return Some(event),
                _ => {}
            }
        }
    }
}

#[test]
fn new_messages_and_changes_arrive_as_they_happen() {
    let site = Site::start(|_| {});
    let client = site.client();
    client.submit(&key(1), &message("before"));
    let mut events = Events::open(&client, "");
    let text = "<img src=x onerror=alert(1)>\n\nevent: reset\ndata: {}\n\n";
    client.submit(&key(2), &message(text));
    client.submit(&key(2), &message(text));
    let event = events.next().unwrap();
    assert_eq!((event.name.as_str(), event.id, &event.data["text"]), ("escalation", Some(2), &json!(text)));
    assert_eq!(event.data, client.get("/api/escalations/2").json());
    client.patch(1, &json!({"handled": true}));
    let event = events.next().unwrap();
    assert_eq!((event.name.as_str(), event.id), ("update", None));
    assert_eq!(event.data, client.get("/api/escalations/1").json());
}

#[test]
fn a_console_goes_on_where_it_broke_off() {
    let site = Site::start(|_| {});
    let client = site.client();
    for number in 1..=250 {
        client.submit(&key(number), &message("a"));
    }
    for (resuming, query) in [(client.with("last-event-id", "3"), ""), (client.clone(), "?after=3")] {
        let mut events = Events::open(&resuming, query);
        let ids: Vec<_> = (4..=250).map(|_| events.next().unwrap().id.unwrap()).collect();
        assert!(ids.iter().copied().eq(4..=250));
    }
    for client in [client.with("last-event-id", "x"), client.with("last-event-id", "-1")] {
        assert_eq!(client.get("/api/escalations/stream").error(), (400, "invalid_query".to_owned()));
    }
}

#[test]
fn streams_are_limited_and_end_with_the_server() {
    let site = Site::start(|options| options.max_streams = 1);
    let client = site.client();
    let mut events = Events::open(&client, "");
    let refused = client.get("/api/escalations/stream");
    assert_eq!(refused.error(), (503, "busy".to_owned()));
    assert_eq!(refused.header("retry-after"), "1");
    let start = Instant::now();
    site.stop();
    assert_eq!(events.next(), None);
    assert!(start.elapsed() < Duration::from_secs(4), "an open stream does not hold up the end");
}
