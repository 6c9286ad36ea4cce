//! Every check fires on a fault planted for it, at the line where the fault is.

use relayops_intent::dataset::{self, Corpus, Example, Files, Placed, Report, SEED, Source, Splits};
use relayops_intent::{IntentError, Result};

fn run(files: &Files) -> Result<Report> {
    let corpus = Corpus::read(files)?;
    let built = corpus.build()?;
    let examples: Vec<Example> = built.iter().map(|line| line.value.clone()).collect();
    dataset::checks(&corpus, &built, &dataset::split(&examples, SEED))
}

fn assert_fault<T: std::fmt::Debug>(result: Result<T>, at: &str, says: &[&str]) {
    match result.unwrap_err() {
        IntentError::InvalidData { place, detail } => {
            assert_eq!(place, at, "{detail}");
            for says in says {
                assert!(detail.contains(says), "{says:?} is not in: {detail}");
            }
        }
        other => panic!("{} instead of invalid_data: {other}", other.code()),
    }
}

/// The file with line `number` (from 1) replaced by what `change` makes of it.
fn with_line(text: &str, number: usize, change: impl Fn(&str) -> String) -> String {
    let changed =
        |(index, line): (usize, &str)| if index + 1 == number { change(line) } else { line.to_owned() };
    text.lines().enumerate().map(changed).collect::<Vec<_>>().join("\n")
}

fn message(text: &str, intent: &str, group: &str) -> String {
    serde_json::json!({ "text": text, "intent": intent, "group": group, "slice": "core" }).to_string()
}

/// Runs the checks with one more line in `extra.jsonl` and expects a fault there.
fn assert_extra_fault(line: &str, says: &[&str]) {
    let extra = format!("{}{line}\n", Files::EMBEDDED.extra);
    let place = format!("data/extra.jsonl:{}", extra.lines().count());
    assert_fault(run(&Files { extra: &extra, ..Files::EMBEDDED }), &place, says);
}

#[test]
fn the_data_passes() {
    let report = run(&Files::EMBEDDED).unwrap();
    assert_eq!(report.messages[1..], [550, 583]);
    let leaks = &report.leaks;
    for similarity in [leaks.training_adversarial, leaks.training_dev, leaks.dev_adversarial] {
        assert!(similarity > 0.2 && similarity <= 0.5, "{leaks:?}");
    }
    assert!(report.families.values().all(|(used, all)| used == all), "{:?}", report.families);
}

#[test]
fn a_line_that_is_not_of_the_format() {
    assert_extra_fault("{\"text\": \"hm", &["EOF"]);
    assert_extra_fault("", &["EOF"]);
    assert_extra_fault(r#"{"text": "hm", "intent": "unknown", "slice": "core"}"#, &["missing field `group`"]);
    assert_extra_fault(
        r#"{"text": "hm", "intent": "unknown", "group": "unknown/x", "slice": "core", "x": 1}"#,
        &["unknown field `x`"],
    );
    let templates =
        with_line(Files::EMBEDDED.templates, 7, |line| line.replace("\"templates\": [\"", "$0{nix}"));
    let templates = templates.replace("$0{nix}", "\"templates\": [\"{nix} ");
    assert_fault(
        run(&Files { templates: &templates, ..Files::EMBEDDED }),
        "data/templates.jsonl:7",
        &["\"nix\""],
    );
    assert_fault(
        run(&Files { slots: "{\n  \"a\": 1}", ..Files::EMBEDDED }),
        "data/slots.json:2",
        &["invalid type"],
    );
}

#[test]
fn a_field_that_says_nothing_or_the_wrong_thing() {
    assert_extra_fault(&message(" ", "unknown", "unknown/x"), &["blank"]);
    assert_extra_fault(&message(" hm", "unknown", "unknown/x"), &["white space"]);
    assert_extra_fault(&message("hm", "reset", "reset/x"), &["\"reset\" is none of reset_device"]);
    assert_extra_fault(&message("hm", "unknown", "reset/x"), &["\"reset/x\"", "\"unknown/\""]);
    assert_extra_fault(&message("hm", "unknown", "unknown/"), &["\"unknown/\""]);
    assert_extra_fault(&message("hm", "unknown", "unknown/x").replace("core", "cor"), &["slice \"cor\""]);
}

#[test]
fn words_that_ask_for_another_label() {
    assert_extra_fault(
        &message("Why is the Fee so odd", "device_faq", "faq/x"),
        &["money word", "money_exceptions"],
    );
    assert_extra_fault(&message("My router ate €20", "reset_device", "reset/x"), &["money word"]);
    assert_extra_fault(&message("My Password is gone", "billing", "billing/x"), &["rule 1"]);
    assert_extra_fault(&message("Роутер не работает", "reset_device", "reset/x"), &["another script"]);
    let card = message("Take my fee from 4111 1111 1111 1111", "billing", "billing/x");
    assert_extra_fault(&card, &["secret", "rule 1"]);
}

#[test]
fn an_exception_that_nothing_needs() {
    let money = Files::EMBEDDED.money.replace("\"Hi, Bill here.\"", "\"Hi, Bob here.\"");
    let seed =
        Files::EMBEDDED.seeds.lines().position(|line| line.contains("\"Hi, Bill here.\"")).unwrap() + 1;
    let place = format!("data/seeds.jsonl:{seed}");
    assert_fault(run(&Files { money: &money, ..Files::EMBEDDED }), &place, &["money word"]);
    let money = Files::EMBEDDED.money.replace("\"Hi, Bill here.\"", "\"Hi, Bill here.\", \"Hi, Bob here.\"");
    let files = Files { money: &money, ..Files::EMBEDDED };
    assert_fault(run(&files), "data/money_exceptions.json", &["\"Hi, Bob here.\""]);
}

#[test]
fn a_repeated_message() {
    let seed: serde_json::Value =
        serde_json::from_str(Files::EMBEDDED.seeds.lines().next().unwrap()).unwrap();
    let (text, intent) = (seed["text"].as_str().unwrap().to_uppercase(), seed["intent"].as_str().unwrap());
    let line = message(&format!("{text}!?"), intent, seed["group"].as_str().unwrap());
    assert_extra_fault(&line, &["same message as data/seeds.jsonl:1"]);
}

#[test]
fn a_wrong_number_of_a_label() {
    let first = Files::EMBEDDED.seeds.lines().next().unwrap();
    let seeds = Files::EMBEDDED.seeds.replacen(&format!("{first}\n"), "", 1);
    let resets = seeds.lines().enumerate().filter(|(_, line)| line.contains("\"reset_device\""));
    let last = resets.last().unwrap().0 + 1;
    let says = ["data/seeds.jsonl has 179 of reset_device, expected 180"];
    assert_fault(
        run(&Files { seeds: &seeds, ..Files::EMBEDDED }),
        &format!("data/seeds.jsonl:{last}"),
        &says,
    );
    let mut built = Corpus::read(&Files::EMBEDDED).unwrap().build().unwrap();
    dataset::check_built(&built).unwrap();
    let value = Example { text: "One line more, please bounce it.".to_owned(), ..built[0].value.clone() };
    built.push(Placed { place: "data/x.jsonl:9".to_owned(), value });
    assert_fault(dataset::check_built(&built), "data/x.jsonl:9", &["401 of reset_device, expected 400"]);
    built.push(built[0].clone());
    assert_fault(dataset::check_built(&built), "data/seeds.jsonl:1", &["same message as data/seeds.jsonl:1"]);
}

#[test]
fn families_that_do_not_give_enough() {
    let few = |line: &&str| !line.contains("\"greeting\"") || line.contains("greeting/hello");
    let templates: Vec<&str> = Files::EMBEDDED.templates.lines().filter(few).collect();
    let templates = templates.join("\n");
    let files = Files { templates: &templates, ..Files::EMBEDDED };
    assert_fault(run(&files), "data/templates.jsonl", &["greeting", "of 220"]);
}

#[test]
fn a_training_message_that_is_in_or_near_an_evaluation_set() {
    for (set, messages) in [("adversarial", dataset::adversarial()), ("dev", dataset::dev())] {
        let messages = messages.unwrap();
        // Long enough to be near its misspelt self.
        let leaked = messages.iter().position(|m| m.intent == "unknown" && m.text.len() > 40).unwrap();
        let (text, place) = (&messages[leaked].text, format!("data/{set}.jsonl:{}", leaked + 1));
        assert_extra_fault(&message(text, "unknown", "unknown/x"), &["near (similarity 1.00)", &place]);
        let misspelt = text.replacen('e', "w", 1);
        assert_ne!(&misspelt, text);
        assert_extra_fault(&message(&misspelt, "unknown", "unknown/x"), &["near (similarity 0.", &place]);
    }
}

#[test]
fn a_training_message_that_quotes_an_evaluation_set() {
    let adversarial = dataset::adversarial().unwrap();
    let long = adversarial.iter().position(|m| m.text.split_whitespace().count() > 60).unwrap();
    let quote: Vec<&str> = adversarial[long].text.split_whitespace().skip(20).take(12).collect();
    let place = format!("data/adversarial.jsonl:{}", long + 1);
    assert_extra_fault(&message(&quote.join(" "), "unknown", "unknown/x"), &["shares", &place]);
}

#[test]
fn a_training_message_that_holds_a_whole_short_one() {
    for (set, messages) in [("adversarial", dataset::adversarial()), ("dev", dataset::dev())] {
        let messages = messages.unwrap();
        let short =
            |m: &dataset::HardExample| m.intent == "reset_device" && m.text.split_whitespace().count() == 3;
        let held = messages.iter().position(short).unwrap();
        let text = messages[held].text.trim_end_matches('.').to_uppercase();
        let line = format!(
            "Over by the old shed, behind where grandfather kept pigeons: {text}, honestly, yes, really"
        );
        let place = format!("data/{set}.jsonl:{}", held + 1);
        assert_extra_fault(&message(&line, "reset_device", "reset/x"), &["holds the whole of", &place]);
    }
}

#[test]
fn a_family_that_could_give_an_evaluation_message_even_if_it_is_not_drawn() {
    let adversarial = dataset::adversarial().unwrap();
    let leaked = adversarial.iter().find(|m| m.intent == "unknown" && m.text.len() > 40).unwrap();
    let values: Vec<String> = (0..40).map(|n| format!("tell my aunt number {n} {n}{n}{n}{n}")).collect();
    let values = [values, vec![leaked.text.clone()]].concat();
    let family = serde_json::json!({
        "group": "unknown/x", "intent": "unknown", "slice": "core", "templates": ["{a}"], "slots": { "a": values }
    });
    let templates = format!("{}{family}\n", Files::EMBEDDED.templates);
    let place = format!("data/templates.jsonl:{}", templates.lines().count());
    assert_fault(run(&Files { templates: &templates, ..Files::EMBEDDED }), &place, &["near", "adversarial"]);
}

#[test]
fn a_dev_message_that_is_in_adversarial() {
    let adversarial = dataset::adversarial().unwrap();
    let leaked = adversarial.iter().find(|m| m.intent == "unknown" && m.text.len() > 40).unwrap();
    let line = serde_json::json!({
        "id": "dev-9999", "text": leaked.text, "intent": "unknown", "slice": "x", "half": "choose",
        "reason": "Rule 1: x"
    });
    let dev = format!("{}{line}\n", Files::EMBEDDED.dev);
    let place = format!("data/dev.jsonl:{}", dev.lines().count());
    assert_fault(run(&Files { dev: &dev, ..Files::EMBEDDED }), &place, &["near", "adversarial"]);
}

#[test]
fn an_evaluation_message_that_contradicts_itself() {
    let faults = [
        (("\"Rule 1: x\"", "\"Rule 2: x\""), &["means billing"][..]),
        (("\"Rule 1: x\"", "\"because\""), &["names no rule"]),
        (("\"choose\"", "\"calibrate\""), &["half", "dev-9999"]),
        (("\"dev-9999\"", "\"adv-9999\""), &["adv-9999"]),
        (("\"dev-9999\"", "\"dev-0001\""), &["does not follow"]),
        (("\"unknown\"", "\"unknwon\""), &["unknwon"]),
    ];
    let line = r#"{"id": "dev-9999", "text": "Zip zap", "intent": "unknown", "slice": "x", "half": "choose", "reason": "Rule 1: x"}"#;
    for ((from, to), says) in faults {
        let changed = line.replace(from, to);
        assert_ne!(changed, line);
        let dev = format!("{}{changed}\n", Files::EMBEDDED.dev);
        let place = format!("data/dev.jsonl:{}", dev.lines().count());
        assert_fault(run(&Files { dev: &dev, ..Files::EMBEDDED }), &place, says);
    }
}

fn splits() -> Splits {
    dataset::split(&dataset::build().unwrap(), SEED)
}

#[test]
fn a_group_in_two_parts() {
    let mut splits = splits();
    splits.test[4].group.clone_from(&splits.train[0].group);
    assert_fault(dataset::check_splits(&splits), "test.jsonl:5", &["train.jsonl:1", &splits.train[0].group]);
}

#[test]
fn near_messages_in_two_parts() {
    let mut splits = splits();
    let long = splits.train.iter().position(|e| e.text.len() > 60).unwrap();
    splits.val[2].text = format!("{} indeed", splits.train[long].text);
    let place = format!("train.jsonl:{}", long + 1);
    assert_fault(dataset::check_splits(&splits), &place, &["near", "val.jsonl:3"]);
}

#[test]
fn near_messages_are_never_parted() {
    let mut examples = dataset::build().unwrap();
    let texts: Vec<String> = examples.iter().map(|e| e.text.clone()).filter(|text| text.len() > 60).collect();
    // Of other groups, and now nearly the same as a message that they have nothing to do with.
    let twins = examples.len();
    for (number, text) in texts.iter().take(60).enumerate() {
        let (text, group) = (format!("{text} indeed"), format!("greeting/twin-{number}"));
        let intent = "greeting".to_owned();
        examples.push(Example { text, intent, source: Source::Seed, group, slice: "core".to_owned() });
    }
    assert_eq!(examples.len(), twins + 60);
    for seed in [1, 2, 3] {
        let splits = dataset::split(&examples, seed);
        let report = dataset::check_splits(&splits).unwrap();
        assert!(report.max_similarity <= 0.5);
    }
}

#[test]
fn parts_out_of_balance() {
    let mut splits = splits();
    let (billing, rest): (Vec<Example>, Vec<Example>) =
        splits.test.into_iter().partition(|example| example.intent == "billing");
    splits.test = rest;
    splits.train.extend(billing);
    assert_fault(dataset::check_splits(&splits), "train.jsonl", &["358 of billing, its share is 238"]);
}
