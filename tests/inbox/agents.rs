//! What agents see and do.

use relayops_intent::dataset::Example;
use serde_json::{Value, json};

use crate::kit::{Client, Site, key, message};

fn ids(page: &Value) -> Vec<i64> {
    page["items"].as_array().unwrap().iter().map(|item| item["id"].as_i64().unwrap()).collect()
}

fn fill(client: &Client, count: u64) {
    for number in 1..=count {
        let mut body = message(&format!("message {number}"));
        if number % 3 == 0 {
            body["intent"] = json!("unknown");
            body["reason"] = json!("low_confidence");
        }
        assert_eq!(client.submit(&key(number), &body).status, 201);
    }
}

#[test]
fn pages_are_newest_first_and_stay_put_while_messages_arrive() {
    let site = Site::start(|_| {});
    let client = site.client();
    fill(&client, 10);
    let first = client.get("/api/escalations?limit=4").json();
    assert_eq!((ids(&first), &first["next"]), (vec![10, 9, 8, 7], &json!(7)));
    client.submit(&key(11), &message("later"));
    let second = client.get("/api/escalations?limit=4&before=7").json();
    assert_eq!((ids(&second), &second["next"]), (vec![6, 5, 4, 3], &json!(3)));
    let last = client.get("/api/escalations?limit=4&before=3").json();
    assert_eq!((ids(&last), &last["next"]), (vec![2, 1], &Value::Null));
    let exact = client.get("/api/escalations?limit=2&before=3").json();
    assert_eq!((ids(&exact), &exact["next"]), (vec![2, 1], &Value::Null));
    assert_eq!(ids(&client.get("/api/escalations").json()).len(), 11);
}

#[test]
fn filters_combine() {
    let site = Site::start(|_| {});
    let client = site.client();
    fill(&client, 9);
    assert_eq!(client.patch(6, &json!({"handled": true})).status, 200);
    for (query, expected) in [
        ("intent=unknown", vec![9, 6, 3]),
        ("reason=low_confidence&handled=false", vec![9, 3]),
        ("reason=intent:billing&limit=2", vec![8, 7]),
        ("handled=true", vec![6]),
        ("intent=unknown&reason=intent%3Abilling", vec![]),
        ("intent=unknown&before=9&limit=1", vec![6]),
        ("intent=%27%20OR%201%3D1--", vec![]),
    ] {
        assert_eq!(ids(&client.get(&format!("/api/escalations?{query}")).json()), expected, "{query}");
    }
    for query in ["limit=0", "limit=201", "limit=x", "before=0", "handled=1", "surplus=1", "limit=1&limit=2"]
    {
        let answer = client.get(&format!("/api/escalations?{query}"));
        assert_eq!(answer.error(), (400, "invalid_query".to_owned()), "{query}");
    }
}

#[test]
fn agents_handle_and_correct() {
    let site = Site::start(|_| {});
    let client = site.client();
    fill(&client, 2);
    let handled = client.patch(1, &json!({"handled": true})).json();
    let at = handled["handled_ms"].as_i64().unwrap();
    assert_eq!(handled["corrected_intent"], Value::Null);
    let both = client.patch(1, &json!({"handled": true, "corrected_intent": "device_faq"})).json();
    assert_eq!((&both["handled_ms"], &both["corrected_intent"]), (&json!(at), &json!("device_faq")));
    assert_eq!(both["intent"], json!("billing"), "what the model said stays");
    let open = client.patch(1, &json!({"handled": false})).json();
    assert_eq!((&open["handled_ms"], &open["corrected_intent"]), (&Value::Null, &json!("device_faq")));
    assert_eq!(client.patch(1, &json!({"corrected_intent": null})).json()["corrected_intent"], Value::Null);
    assert_eq!(client.get("/api/escalations/2").json()["handled_ms"], Value::Null, "others are untouched");
    let misspelt = client.patch(1, &json!({"corrected_intent": "biling"}));
    assert_eq!(
        (misspelt.error(), misspelt.field()),
        ((400, "invalid_body".to_owned()), "corrected_intent".to_owned())
    );
    for body in [
        json!({}),
        json!({"handled": null, "corrected_intent": null}),
        json!({"text": "x"}),
        json!({"handled": "yes"}),
    ] {
        assert_eq!(client.patch(1, &body).error(), (400, "invalid_body".to_owned()), "{body}");
    }
    assert_eq!(client.patch(3, &json!({"handled": true})).error(), (404, "not_found".to_owned()));
}

#[test]
fn labels_are_those_that_the_server_was_given() {
    let site = Site::start(|options| options.labels = vec!["refund".to_owned()]);
    fill(&site.client(), 1);
    assert_eq!(site.client().patch(1, &json!({"corrected_intent": "billing"})).status, 400);
    assert_eq!(site.client().patch(1, &json!({"corrected_intent": "refund"})).status, 200);
}

#[test]
fn the_export_is_the_datasets_format_with_the_agents_labels() {
    let site = Site::start(|_| {});
    let client = site.client();
    fill(&client, 1_203);
    client.patch(2, &json!({"corrected_intent": "device_faq"}));
    client.patch(3, &json!({"handled": true}));
    client.patch(1_203, &json!({"corrected_intent": "billing"}));
    let lines = |path: &str| -> Vec<Example> {
        let answer = client.get(path);
        assert_eq!((answer.status, answer.header("content-type")), (200, "application/x-ndjson"));
        answer.body.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
    };
    let corrected = lines("/api/escalations/export");
    let shown: Vec<_> = corrected
        .iter()
        .map(|line| (line.text.as_str(), line.intent.as_str(), line.group.as_str()))
        .collect();
    let expected = [("message 2", "device_faq", "inbox/2"), ("message 1203", "billing", "inbox/1203")];
    assert_eq!(shown, expected);
    let all = lines("/api/escalations/export?labels=all");
    assert_eq!(all.len(), 1_203);
    assert!(all.iter().enumerate().all(|(index, line)| line.text == format!("message {}", index + 1)));
    assert_eq!((all[1].intent.as_str(), all[2].intent.as_str()), ("device_faq", "unknown"));
    assert_eq!(client.get("/api/escalations/export?labels=x").error(), (400, "invalid_query".to_owned()));
}
