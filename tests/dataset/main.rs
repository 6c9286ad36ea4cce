//! The dataset: its bytes, its splits, its checks and its command.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a test fails by panicking, its helpers too")]

mod command;
mod faults;

use std::collections::{BTreeMap, BTreeSet};

use relayops_intent::dataset::{
    self, CalibrationPart, Corpus, Example, FAMILY_CAP, Files, Half, NOISY_PER_INTENT, PER_INTENT, SEED,
    SEEDS_PER_INTENT, Source, Splits,
};
use relayops_intent::pack::IntentConfig;
use serde_json::Value;

/// SHA-256 of what the data of this version gives, on every platform.
const SHA256: [(&str, &str); 7] = [
    ("all", "806fe8e2ec1151dd8a76f4a53c858521f098860303c9bc00b284607a3033e629"),
    ("train.jsonl", "b3ff92d075d19db8192149a1435c8c178faebb3881314938d33d12761742d485"),
    ("val.jsonl", "a6eeac96b9875d5263fb0786535fe4f475411ea23ed2c8ecb7bfaca3e0a885f1"),
    ("test.jsonl", "bd965223233f57e46e3079989dcf5255eeb6fbc7e71f7c64369ceb4d368a8648"),
    ("chat/train.jsonl", "03a85b699788b4cf8ec8528845d290babfb62134eab4557bf4166bb3eaed5ca3"),
    ("chat/val.jsonl", "80f8f8e72c1a7d0bec8d2f18c812ac49131588999e515f6768a418ef59d04051"),
    ("chat/test.jsonl", "4533233f6773b015c20c104629833d189d299471c75aa3a0a5531b24630e0b8f"),
];

/// The seeds of cross-validation.
const SEEDS: [u64; 5] = [13, 29, 47, 71, 101];

fn published() -> Splits {
    dataset::split(&dataset::build().unwrap(), SEED)
}

fn count<'a>(examples: impl IntoIterator<Item = &'a Example>, of: impl Fn(&Example) -> bool) -> usize {
    examples.into_iter().filter(|example| of(example)).count()
}

#[test]
fn the_bytes_are_the_committed_ones() {
    let examples = dataset::build().unwrap();
    let splits = dataset::split(&examples, SEED);
    let mut found = vec![("all".to_owned(), dataset::jsonl(&examples).unwrap())];
    for (name, part) in splits.parts() {
        found.push((format!("{name}.jsonl"), dataset::jsonl(part).unwrap()));
    }
    for (name, part) in splits.parts() {
        let chat = dataset::chat_jsonl(part, &IntentConfig::default()).unwrap();
        found.push((format!("chat/{name}.jsonl"), chat));
    }
    let found: Vec<(String, String)> =
        found.into_iter().map(|(name, text)| (name, dataset::sha256(text.as_bytes()))).collect();
    let found: Vec<(&str, &str)> =
        found.iter().map(|(name, sha256)| (name.as_str(), sha256.as_str())).collect();
    assert_eq!(
        found, SHA256,
        "if data or drawing changed on purpose, commit these and retrain what is shipped"
    );
}

#[test]
fn building_and_splitting_twice_gives_the_same() {
    let (first, second) = (dataset::build().unwrap(), dataset::build().unwrap());
    assert_eq!(first, second);
    assert_eq!(dataset::split(&first, 29), dataset::split(&second, 29));
    assert_ne!(dataset::split(&first, 29), dataset::split(&first, 13));
}

#[test]
fn every_intent_has_its_seeds_templates_and_noise() {
    let examples = dataset::build().unwrap();
    assert_eq!(examples.len(), 6 * PER_INTENT);
    for intent in IntentConfig::default().labels {
        let of = |source| count(&examples, |e| e.intent == intent && e.source == source);
        assert_eq!(of(Source::Seed), SEEDS_PER_INTENT, "{intent}");
        assert_eq!(of(Source::TemplateNoise), NOISY_PER_INTENT, "{intent}");
        assert_eq!(of(Source::Template), PER_INTENT - SEEDS_PER_INTENT - NOISY_PER_INTENT, "{intent}");
    }
    assert!(examples.iter().all(|e| e.source != Source::TemplateNoise || e.slice == "noisy"));
}

#[test]
fn every_family_is_used_and_none_beyond_its_cap() {
    let built = Corpus::read(&Files::EMBEDDED).unwrap().build().unwrap();
    let mut drawn: BTreeMap<&str, usize> = BTreeMap::new();
    for line in built.iter().filter(|line| line.place.starts_with("data/templates.jsonl:")) {
        *drawn.entry(&line.place).or_default() += 1;
    }
    assert_eq!(drawn.len(), Files::EMBEDDED.templates.lines().count());
    assert!(drawn.len() > 300, "several hundred families");
    assert!(drawn.values().all(|&drawn| drawn <= FAMILY_CAP), "{drawn:?}");
}

#[test]
fn noise_changes_the_text_and_is_drawn_from_no_other_message() {
    let examples = dataset::build().unwrap();
    let clean: BTreeSet<&str> =
        examples.iter().filter(|e| e.source != Source::TemplateNoise).map(|e| e.text.as_str()).collect();
    let noisy: Vec<&Example> = examples.iter().filter(|e| e.source == Source::TemplateNoise).collect();
    assert!(noisy.iter().all(|example| !clean.contains(example.text.as_str())));
    let upper = count(noisy.iter().copied(), |e| e.text.chars().any(char::is_lowercase));
    assert!(upper < noisy.len(), "some are in upper case");
    assert!(
        noisy.iter().any(|e| e.text.split(' ').any(|word| word == "pls" || word == "u")),
        "some use shorthand"
    );
}

#[test]
fn splits_have_their_sizes_and_each_label_its_share() {
    let examples = dataset::build().unwrap();
    for seed in SEEDS {
        let splits = dataset::split(&examples, seed);
        let report = dataset::check_splits(&splits).unwrap();
        assert_eq!(report.sizes, [1428, 252, 720], "seed {seed}");
        assert!(report.max_similarity <= 0.5, "seed {seed}: {}", report.max_similarity);
        for intent in IntentConfig::default().labels {
            let counts = splits.parts().map(|(_, part)| count(part, |e| e.intent == intent));
            assert_eq!(counts, [238, 42, 120], "seed {seed}, {intent}");
        }
        for (name, part) in splits.parts() {
            for source in [Source::Seed, Source::Template, Source::TemplateNoise] {
                let share = count(part, |e| e.source == source) * 100 / part.len();
                let expected = count(&examples, |e| e.source == source) * 100 / examples.len();
                assert!(share.abs_diff(expected) <= 10, "seed {seed}: {name} has {share}% of {source:?}");
            }
        }
    }
}

#[test]
fn splits_part_all_examples_and_no_group() {
    let examples = dataset::build().unwrap();
    let splits = published();
    let mut texts: Vec<&str> =
        splits.parts().iter().flat_map(|(_, part)| part.iter().map(|e| e.text.as_str())).collect();
    let mut all: Vec<&str> = examples.iter().map(|e| e.text.as_str()).collect();
    texts.sort_unstable();
    all.sort_unstable();
    assert_eq!(texts, all);
    let [train, val, test] =
        splits.parts().map(|(_, part)| part.iter().map(|e| e.group.as_str()).collect::<BTreeSet<_>>());
    assert!(train.is_disjoint(&val) && train.is_disjoint(&test) && val.is_disjoint(&test));
    // Were large groups always in one part, the parts would not be alike.
    let large = |part: &[Example]| {
        count(part, |e| count(part, |other| other.group == e.group) > 6) * 100 / part.len()
    };
    assert!(large(&splits.train) > 0 && large(&splits.test) > 0);
}

#[test]
fn extra_beside_a_split_shares_nothing_with_what_is_held_out() {
    let splits = published();
    let kept = dataset::extra_for(&splits).unwrap();
    let held: BTreeSet<&str> = splits.val.iter().chain(&splits.test).map(|e| e.group.as_str()).collect();
    assert!(kept.iter().all(|e| e.source == Source::Extra && !held.contains(e.group.as_str())));
    let all = dataset::extra().unwrap();
    let sharing = count(&all, |e| held.contains(e.group.as_str()));
    assert!(
        sharing > 0 && kept.len() <= all.len() - sharing && kept.len() * 10 > all.len() * 8,
        "{}",
        kept.len()
    );
}

#[test]
fn chat_lines_lead_back_to_the_labels() {
    let config = IntentConfig::default();
    for (_, part) in published().parts() {
        let chat = dataset::chat_jsonl(part, &config).unwrap();
        assert_eq!(chat.lines().count(), part.len());
        for (line, example) in chat.lines().zip(part) {
            let line: Value = serde_json::from_str(line).unwrap();
            let turn = |number: usize, role: &str| {
                assert_eq!(line["messages"][number]["role"], role);
                line["messages"][number]["content"].as_str().unwrap().to_owned()
            };
            assert_eq!(turn(0, "system"), config.require_prompt().unwrap().system);
            assert_eq!(turn(1, "user"), example.text);
            let answer = turn(2, "assistant");
            assert_eq!(answer, format!("{{\"intent\": \"{}\"}}", example.intent));
            assert_eq!(serde_json::from_str::<Value>(&answer).unwrap()["intent"], example.intent);
            assert_eq!(line["messages"].as_array().unwrap().len(), 3);
        }
    }
}

#[test]
fn exported_lines_read_back() {
    let splits = published();
    let text = dataset::jsonl(&splits.val).unwrap();
    let back: Vec<Example> = text.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert_eq!(back, splits.val);
    let line: Value = serde_json::from_str(text.lines().next().unwrap()).unwrap();
    let fields: Vec<&String> = line.as_object().unwrap().keys().collect();
    assert_eq!(fields, ["text", "intent", "source", "group", "slice"]);
}

#[test]
fn evaluation_sets_are_as_the_card_says() {
    let (adversarial, dev) = (dataset::adversarial().unwrap(), dataset::dev().unwrap());
    assert_eq!((adversarial.len(), dev.len()), (550, 583));
    assert!(adversarial.iter().all(|message| message.half.is_none()));
    let half = |half| dev.iter().filter(|message| message.half == Some(half)).count();
    assert_eq!((half(Half::Choose), half(Half::Calibrate)), (292, 291));
    let part = |part| dev.iter().filter(|message| message.calibrates() == Some(part)).count();
    assert_eq!((part(CalibrationPart::Temperature), part(CalibrationPart::Threshold)), (145, 146));
    assert!(adversarial.iter().all(|message| message.calibrates().is_none()));
    let card = include_str!("../../data/README.md");
    for row in ["| odd | 292 |", "| 0 modulo 4 | 145 |", "| 2 modulo 4 | 146 |"] {
        assert!(card.contains(row), "the card lacks {row:?}");
    }
    let slices: BTreeSet<&str> =
        adversarial.iter().chain(&dev).map(|message| message.slice.as_str()).collect();
    assert_eq!(slices.len(), 24);
}

#[test]
fn the_card_says_what_is_measured() {
    let card = include_str!("../../data/README.md").split_whitespace().collect::<Vec<_>>().join(" ");
    let corpus = Corpus::read(&Files::EMBEDDED).unwrap();
    let built = corpus.build().unwrap();
    let report = dataset::checks(&corpus, &built, &published()).unwrap();
    let thousands = |n: usize| if n < 1000 { n.to_string() } else { format!("{},{:03}", n / 1000, n % 1000) };
    let row = |name: &str, [a, b, c]: [usize; 3]| {
        format!(
            "| {name} | {} | {} | {} | {} |",
            thousands(a),
            thousands(b),
            thousands(c),
            thousands(a + b + c)
        )
    };
    let leaks = &report.leaks;
    for claim in [
        row("examples", report.splits.sizes),
        row("groups", report.splits.groups),
        format!("`extra.jsonl` | {} |", thousands(report.messages[0])),
        format!("`adversarial.jsonl` | {} |", thousands(report.messages[1])),
        format!("`dev.jsonl` | {} |", thousands(report.messages[2])),
        format!("all {} messages that the families can give", thousands(report.expansions)),
        format!("(the highest is {:.3})", report.splits.max_similarity),
        format!("({} messages) near a message of `adversarial.jsonl`", thousands(leaks.training)),
        format!(
            "(highest index {:.3}) or `dev.jsonl` ({:.3})",
            leaks.training_adversarial, leaks.training_dev
        ),
        format!("the same between these two ({:.3})", leaks.dev_adversarial),
    ] {
        assert!(card.contains(&claim), "the card lacks {claim:?}");
    }
}
