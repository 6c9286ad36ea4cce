//! What agents see and do.

use relayops_intent::dataset::{self, Corpus, Example, Files, SEED};
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
    assert_eq!(
        site.client().get("/api/escalations").json()["labels"],
        json!(["refund"]),
        "and it names them"
    );
    assert_eq!(site.client().patch(1, &json!({"corrected_intent": "billing"})).status, 400);
    assert_eq!(site.client().patch(1, &json!({"corrected_intent": "refund"})).status, 200);
    let exported: Value = serde_json::from_str(&site.client().get("/api/escalations/export").body).unwrap();
    assert_eq!(exported["group"], "refund/inbox-1");
}

#[test]
fn the_export_is_the_datasets_format_with_the_agents_labels() {
    let site = Site::start(|_| {});
    let client = site.client();
    fill(&client, 1_203);
    client.patch(2, &json!({"corrected_intent": "device_faq"}));
    client.patch(3, &json!({"handled": true}));
    client.patch(1_203, &json!({"corrected_intent": "billing"}));
    let lines = |path: &str| -> Vec<Value> {
        let answer = client.get(path);
        assert_eq!((answer.status, answer.header("content-type")), (200, "application/x-ndjson"));
        answer.body.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
    };
    let corrected = [
        json!({"text": "message 2", "intent": "device_faq", "group": "faq/inbox-2", "slice": "core"}),
        json!({"text": "message 1203", "intent": "billing", "group": "billing/inbox-1203", "slice": "core"}),
    ];
    assert_eq!(lines("/api/escalations/export"), corrected);
    let all = lines("/api/escalations/export?labels=all");
    assert_eq!(all.len(), 1_203);
    assert!(all.iter().enumerate().all(|(index, line)| line["text"] == format!("message {}", index + 1)));
    assert_eq!((&all[1]["intent"], &all[2]["intent"]), (&json!("device_faq"), &json!("unknown")));
    assert_eq!(client.get("/api/escalations/export?labels=x").error(), (400, "invalid_query".to_owned()));
}

/// What customers wrote, and what agents said that it is: one of each label.
const CORRECTED: [(&str, &str); 6] = [
    ("\n The gateway behind our aquarium sulks, crimson lamps all over \n", "reset_device"),
    ("Does that aquarium gateway of ours look alive from your desk", "device_status"),
    ("Which crimson lamps would an aquarium gateway light during firmware updates", "device_faq"),
    ("Two aquarium surcharges showed up on my March bill", "billing"),
    ("Merry morning from the aquarium keepers!", "greeting"),
    ("Forecast tomorrow's tides for aquarium keepers", "unknown"),
];

#[test]
fn what_is_exported_passes_the_datasets_checks_as_training_data() {
    let site = Site::start(|_| {});
    let client = site.client();
    // Nothing was written: no message for training, whatever its label.
    client.submit(&key(99), &message(" \n"));
    client.patch(1, &json!({"corrected_intent": "unknown"}));
    for (id, (text, label)) in (2_i64..).zip(CORRECTED) {
        assert_eq!(client.submit(&key(id.unsigned_abs()), &message(text)).status, 201);
        assert_eq!(client.patch(id, &json!({"corrected_intent": label})).status, 200);
    }
    let exported = client.get("/api/escalations/export").body;
    assert_eq!(exported.lines().count(), CORRECTED.len());
    let extra = format!("{}{exported}", Files::EMBEDDED.extra);
    let corpus = Corpus::read(&Files { extra: &extra, ..Files::EMBEDDED }).unwrap();
    let built = corpus.build().unwrap();
    let examples: Vec<Example> = built.iter().map(|line| line.value.clone()).collect();
    let report = dataset::checks(&corpus, &built, &dataset::split(&examples, SEED)).unwrap();
    assert_eq!(report.messages[0], Files::EMBEDDED.extra.lines().count() + CORRECTED.len());
}
