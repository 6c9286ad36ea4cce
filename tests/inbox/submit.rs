//! What is taken, what is stored of it, and what is refused.

use relayops_intent::serve::inbox::MAX_TEXT_CHARS;
use serde_json::{Value, json};

use crate::kit::{Site, key, message};

/// Every field, with text that would do harm where it is taken for more than text.
fn full() -> Value {
    json!({
        "text": "<script>alert(1)</script>'); DROP TABLE escalations;-- \u{0}\u{202e}\u{1f600}\n\"quoted\" \\",
        "intent": "device_faq",
        "reason": "low_confidence",
        "stage": "compact",
        "confidence": 0.412_345_678_901_234_5,
        "probabilities": {"device_faq": 0.412_345_678_901_234_5, "unknown": 0.3, "billing": 1e-12},
        "redactions": ["email", "phone"],
        "truncated": true,
        "created_ms": 9_007_199_254_740_991_u64,
    })
}

#[test]
fn a_message_is_stored_and_shown_as_it_was_sent() {
    let site = Site::start(|_| {});
    let client = site.client();
    let stored = client.submit(&key(1), &full());
    assert_eq!((stored.status, stored.header("location")), (201, "/api/escalations/1"));
    let receipt = stored.json();
    assert_eq!((&receipt["id"], &receipt["key"]), (&json!(1), &json!(key(1))));
    assert_eq!(receipt["duplicate"], json!(false));
    let item = client.get("/api/escalations/1").json();
    for (field, value) in full().as_object().unwrap() {
        assert_eq!(&item[field], value, "{field}");
    }
    assert_eq!(item["received_ms"], receipt["received_ms"]);
    assert_eq!((&item["handled_ms"], &item["corrected_intent"]), (&Value::Null, &Value::Null));
    assert_eq!(client.all(), [item]);
}

#[test]
fn what_may_be_left_out_has_a_value_all_the_same() {
    let site = Site::start(|_| {});
    assert_eq!(site.client().submit(&key(1), &message("a")).status, 201);
    let item = site.client().get("/api/escalations/1").json();
    assert_eq!(item["confidence"], Value::Null);
    assert_eq!(item["probabilities"], Value::Null);
    assert_eq!((&item["redactions"], &item["truncated"]), (&json!([]), &json!(false)));
}

#[test]
fn a_message_sent_again_is_stored_once() {
    let site = Site::start(|_| {});
    let client = site.client();
    let first = client.submit(&key(0xabc), &full()).json();
    for spelt in [key(0xabc), key(0xabc).to_uppercase()] {
        let again = client.submit(&spelt, &full());
        assert_eq!(again.status, 200);
        assert_eq!(again.json()["id"], first["id"]);
        assert_eq!(again.json()["received_ms"], first["received_ms"]);
        assert_eq!(again.json()["duplicate"], json!(true));
    }
    let mut other = full();
    other["text"] = json!("another");
    assert_eq!(client.submit(&key(0xabc), &other).error(), (409, "idempotency_mismatch".to_owned()));
    assert_eq!(client.all().len(), 1);
}

#[test]
fn at_once_by_many_it_is_stored_once_too() {
    let site = Site::start(|_| {});
    let created = std::thread::scope(|scope| {
        let senders: Vec<_> = (0..16)
            .map(|_| {
                let client = site.client();
                scope.spawn(move || client.submit(&key(7), &full()).status)
            })
            .collect();
        senders.into_iter().map(|sender| sender.join().unwrap()).filter(|status| *status == 201).count()
    });
    assert_eq!((created, site.client().all().len()), (1, 1));
}

#[test]
fn bodies_that_break_the_schema_are_refused_by_field() {
    let site = Site::start(|_| {});
    let client = site.client();
    let long = |length: usize| "\u{1f600}".repeat(length);
    let labels: serde_json::Map<_, _> = (0..65).map(|n| (n.to_string(), json!(0.01))).collect();
    for (field, value) in [
        ("text", json!("")),
        ("text", json!(long(MAX_TEXT_CHARS + 1))),
        ("text", json!(7)),
        ("text", Value::Null),
        ("intent", json!("")),
        ("intent", json!(long(65))),
        ("intent", json!("a\nb")),
        ("reason", json!(long(129))),
        ("reason", json!("\u{7f}")),
        ("stage", json!([])),
        ("confidence", json!(1.000_001)),
        ("confidence", json!(-0.1)),
        ("confidence", json!("0.5")),
        ("probabilities", Value::Object(labels)),
        ("probabilities", json!({"a": 2})),
        ("probabilities.a", json!(null)),
        ("redactions", json!(vec!["a"; 17])),
        ("redactions[1]", json!(["a", 1])),
        ("truncated", json!(1)),
        ("created_ms", json!(-1)),
        ("created_ms", json!(1.5)),
        ("created_ms", json!(9_007_199_254_740_992_u64)),
        ("surplus", json!(1)),
    ] {
        let mut body = full();
        match field {
            "probabilities.a" => body["probabilities"] = json!({"a": null}),
            "redactions[1]" => body["redactions"] = value.clone(),
            _ => body[field] = value.clone(),
        }
        let answer = client.submit(&key(1), &body);
        assert_eq!(answer.error(), (400, "invalid_body".to_owned()), "{field}: {value}");
        assert_eq!(answer.field(), field, "{}", answer.body);
    }
    for field in ["text", "intent", "reason", "created_ms"] {
        let mut body = full();
        body.as_object_mut().unwrap().remove(field);
        let answer = client.submit(&key(1), &body);
        assert_eq!(answer.error(), (400, "invalid_body".to_owned()));
        assert!(answer.body.contains(field), "{}", answer.body);
    }
    let longest =
        json!({"text": long(MAX_TEXT_CHARS), "intent": long(64), "reason": long(128), "created_ms": 0});
    assert_eq!(client.submit(&key(1), &longest).status, 201);
}

#[test]
fn what_is_no_such_request_is_refused() {
    let site = Site::start(|options| options.max_body_bytes = 1_000);
    let client = site.client().with("idempotency-key", &key(1));
    let json = client.with("content-type", "application/json");
    let post =
        |client: &crate::kit::Client, body: &[u8]| client.ask("POST", "/api/escalations", body).error();
    let two = format!("{} {{}}", message("a"));
    for body in [&b""[..], b"{", b"[1", b"\xff\xfe", two.as_bytes(), b"{\"text\": \"\\ud800\"}"] {
        assert_eq!(post(&json, body), (400, "invalid_json".to_owned()), "{body:?}");
    }
    let by_position = br#"["a", "billing", "low_confidence", null, null, null, [], false, 1]"#;
    for body in [&b"[]"[..], b"null", b"\"text\"", by_position] {
        assert_eq!(post(&json, body), (400, "invalid_body".to_owned()), "{body:?}");
    }
    let twice = br#"{"text": "a", "text": "b", "intent": "i", "reason": "r", "created_ms": 1}"#;
    assert_eq!(post(&json, twice), (400, "invalid_body".to_owned()));
    assert_eq!(post(&json, &[b' '; 1_001]), (413, "too_large".to_owned()));
    let body = message("a").to_string();
    for kind in ["text/plain", "application/x-www-form-urlencoded", "application/jsonx"] {
        let refused = post(&client.with("content-type", kind), body.as_bytes());
        assert_eq!(refused, (415, "unsupported_media_type".to_owned()), "{kind}");
    }
    let spelt = client.with("content-type", "Application/JSON; charset=utf-8");
    assert_eq!(spelt.ask("POST", "/api/escalations", body.as_bytes()).status, 201);
    for bad in ["", "1", "00000000-0000-4000-8000-00000000000g", "00000000000040008000000000000000"] {
        let answer = site.client().submit(bad, &message("a"));
        assert_eq!(answer.error(), (400, "invalid_idempotency_key".to_owned()), "{bad}");
    }
    let answer = json.with("idempotency-key", &key(2)).ask("POST", "/api/escalations", body.as_bytes());
    assert_eq!(answer.error(), (400, "invalid_idempotency_key".to_owned()), "two keys");
    assert_eq!(site.client().all().len(), 1);
}

#[test]
fn unknown_addresses_and_methods_have_the_shape_too() {
    let site = Site::start(|_| {});
    let client = site.client();
    for path in ["/api/nothing", "/api/escalations/0", "/api/escalations/x", "/api/escalations/1/2"] {
        assert_eq!(client.get(path).error(), (404, "not_found".to_owned()), "{path}");
    }
    let refused = client.ask("DELETE", "/api/escalations", b"");
    assert_eq!(refused.error(), (405, "method_not_allowed".to_owned()));
    let mut allowed: Vec<_> = refused.header("allow").split(',').map(str::trim).collect();
    allowed.sort_unstable();
    assert_eq!(allowed, ["GET", "HEAD", "POST"]);
}
