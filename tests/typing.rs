//! Messages in steps and in batches score as they do alone and at once.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test fails by panicking")]

use proptest::collection::vec;
use proptest::prelude::*;
use proptest::test_runner::{Config, RngAlgorithm, TestRng, TestRunner};
use relayops_intent::backend::cpu::Cpu;
use relayops_intent::builtin;
use relayops_intent::cascade::{Cascade, CascadeOptions, TypingStep};
use relayops_intent::classifier::Classification;
use relayops_intent::loader::Loader;
use relayops_intent::pack::IntentConfig;
use relayops_intent::scoring::{Goal, Progress, Scorer, Scores};
use relayops_testkit::{QWEN_05B, TinyQwen2, real_model};

/// Rows are the same arithmetic in whatever pass they are; only the order of some float sums may differ.
const SAME_ARITHMETIC: f32 = 1e-4;

fn loader(bytes: &[u8]) -> Loader {
    let mut config = IntentConfig::default();
    config.prompt.as_mut().unwrap().system = "Label it.".to_owned();
    let mut loader = Loader::new("tiny.gguf", Some(bytes.len() as u64), config).unwrap();
    loader.push(bytes).unwrap();
    loader
}

fn scorer() -> Scorer<Cpu> {
    loader(&TinyQwen2::default().bytes().unwrap()).finish_scorer().unwrap().0
}

#[track_caller]
fn assert_same(typed: &Scores, at_once: &Scores, text: &str) {
    let pairs = typed.log_probabilities.iter().zip(&at_once.log_probabilities);
    let worst = pairs.map(|(a, b)| (a - b).abs()).fold(0.0, f32::max);
    assert!(worst <= SAME_ARITHMETIC, "{text:?}: log-probabilities differ by {worst}");
}

/// Steps until something else than `Running` comes.
fn finish(scorer: &mut Scorer<Cpu>) -> Progress {
    loop {
        match scorer.advance().unwrap() {
            Progress::Running => {}
            other => return other,
        }
    }
}

fn scores(scorer: &mut Scorer<Cpu>, text: &str) -> Scores {
    scorer.begin(text, Goal::Score).unwrap();
    match finish(scorer) {
        Progress::Scored(scores) => scores,
        other => panic!("{text:?} ended with {other:?}"),
    }
}

/// One change of a text.
#[derive(Debug, Clone)]
enum Edit {
    /// Puts in at a share of the text.
    Insert(f64, String),
    /// Takes out so many characters from a share of the text on.
    Delete(f64, usize),
    /// Begins anew.
    Replace(String),
}

/// What happens after it.
#[derive(Debug, Clone, Copy)]
enum Then {
    /// So many steps towards keys and values, then something newer.
    Hold(usize),
    /// So many steps towards scores, then something newer.
    Abandon(usize),
    Score,
    /// All at once, which forgets.
    Submit,
    Forget,
}

fn edits() -> impl Strategy<Value = Vec<(Edit, Then)>> {
    // Pieces that merge with their neighbours, break words apart, and take several tokens a character.
    let pieces = prop::sample::select(vec![
        "my inter",
        "net",
        " is",
        " down",
        " ",
        "e",
        "modem",
        "on",
        "line",
        "\u{e9}",
        "\u{1f621}",
        "\n",
        "'s",
        "...",
        "123",
        "4",
        "<|im_end|>",
        "zzgrmpf",
        "why was I charged twice",
        "restart the router please, it has been off all day",
    ]);
    let piece = || pieces.clone().prop_map(str::to_owned);
    let edit = prop_oneof![
        6 => (prop_oneof![3 => Just(1.0), 1 => 0.0..1.0f64], piece()).prop_map(|(at, text)| Edit::Insert(at, text)),
        3 => (0.0..1.0f64, 1..9usize).prop_map(|(at, count)| Edit::Delete(at, count)),
        1 => vec(piece(), 1..9).prop_map(|pieces| Edit::Replace(pieces.concat())),
    ];
    let then = prop_oneof![
        4 => (0..12usize).prop_map(Then::Hold),
        2 => (0..12usize).prop_map(Then::Abandon),
        4 => Just(Then::Score),
        1 => Just(Then::Submit),
        1 => Just(Then::Forget),
    ];
    vec((edit, then), 1..14)
}

fn apply(text: &str, edit: &Edit) -> String {
    let mut characters: Vec<char> = text.chars().collect();
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "a share of a length")]
    let place = |share: f64, length: usize| (share * length as f64) as usize;
    match edit {
        Edit::Insert(at, piece) => {
            let at = place(*at, characters.len());
            characters.splice(at..at, piece.chars());
        }
        Edit::Delete(at, count) => {
            let at = place(*at, characters.len());
            let end = (at + count).min(characters.len());
            characters.drain(at..end);
        }
        Edit::Replace(text) => characters = text.chars().collect(),
    }
    characters.into_iter().collect()
}

#[test]
fn edited_messages_score_as_at_once() {
    let rng = TestRng::from_seed(RngAlgorithm::ChaCha, &[7; 32]);
    let config = Config { cases: 96, failure_persistence: None, ..Config::default() };
    // Closures of a property can't change what they capture.
    let pair = std::sync::Mutex::new((scorer(), scorer()));
    let property = |edits: Vec<(Edit, Then)>| {
        let (typing, fresh) = &mut *pair.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        let mut text = String::new();
        for (edit, then) in &edits {
            text = apply(&text, edit);
            if text.trim().is_empty() {
                continue;
            }
            match then {
                Then::Hold(steps) | Then::Abandon(steps) => {
                    let goal = if matches!(then, Then::Hold(_)) { Goal::Hold } else { Goal::Score };
                    typing.begin(&text, goal).unwrap();
                    for _ in 0..*steps {
                        typing.advance().unwrap();
                    }
                }
                Then::Score => {
                    assert_same(&scores(typing, &text), &fresh.score(&text, false).unwrap(), &text)
                }
                Then::Submit => {
                    let at_once = fresh.score(&text, false).unwrap();
                    assert_same(&typing.score(&text, false).unwrap(), &at_once, &text);
                }
                Then::Forget => typing.forget(),
            }
        }
        Ok(())
    };
    TestRunner::new_with_rng(config, rng).run(&edits(), property).unwrap();
}

#[test]
fn what_is_held_is_not_computed_again() {
    let mut scorer = scorer();
    let layers = scorer.model().config().layers;
    let text = "restart the router please, it has been off all day and nobody knows why, not even my neighbour who knows \
                a lot about such things";
    let mut steps = |text: &str, goal| {
        scorer.begin(text, goal).unwrap();
        let mut steps = 0;
        while scorer.advance().unwrap() == Progress::Running {
            steps += 1;
        }
        steps
    };
    // A pass is a step to set it up, and two a layer, the last of which says that it is over.
    let one_pass = 2 * layers;
    let all = steps(text, Goal::Hold);
    assert!(all > 2 * one_pass, "{all} steps: the text is meant to take several passes");
    assert_eq!(steps(text, Goal::Hold), 0);
    assert_eq!(steps(text, Goal::Score), one_pass);
    assert_eq!(steps(&format!("{text}, thanks"), Goal::Score), one_pass);
    assert_eq!(steps(&text[..text.len() / 2], Goal::Score), one_pass);
    // As golden questions are asked: in the passes of a message that nobody types.
    let other = text.replace("router", "modem");
    assert_eq!(steps(&other, Goal::ScoreAtOnce), one_pass);
    assert!(steps(text, Goal::Score) > one_pass);
}

#[test]
fn token_confidence_is_that_of_the_whole_message_while_it_is_held() {
    let (mut typing, mut fresh) = (scorer(), scorer());
    let text = "my internet is down";
    scores(&mut typing, text);
    let (held, at_once) = (typing.score(text, true).unwrap(), fresh.score(text, true).unwrap());
    assert_same(&held, &at_once, text);
    let (a, b) = (held.token_confidence.unwrap(), at_once.token_confidence.unwrap());
    assert!((a - b).abs() <= SAME_ARITHMETIC, "{a} for {b}");
}

/// Short and long, plain and odd, one longer than a batch.
fn messages() -> Vec<String> {
    let mut messages: Vec<String> = [
        "hi",
        "my internet is down",
        "why was I charged twice",
        "\u{1f621}\u{1f621}",
        "<|im_end|>",
        "how do I restart it?",
    ]
    .map(str::to_owned)
    .into();
    messages.push("restart the router ".repeat(70));
    messages.extend((1..40).map(|count| "is my modem online ".repeat(count % 7 + 1)));
    messages
}

fn assert_batches_are_single_messages(scorer: &mut Scorer<Cpu>, messages: &[String]) {
    let texts: Vec<&str> = messages.iter().map(String::as_str).collect();
    let alone: Vec<Scores> = texts.iter().map(|text| scorer.score(text, false).unwrap()).collect();
    for size in [1, 2, 8, texts.len()] {
        for (texts, alone) in texts.chunks(size).zip(alone.chunks(size)) {
            let batch = scorer.score_batch(texts);
            assert_eq!(batch.len(), texts.len());
            for ((text, together), alone) in texts.iter().zip(batch).zip(alone) {
                assert_same(&together.unwrap(), alone, text);
            }
        }
    }
}

#[test]
fn batches_score_as_single_messages() {
    assert_batches_are_single_messages(&mut scorer(), &messages());
}

#[test]
fn real_weights_score_the_same_in_steps_and_in_batches() {
    let Some(path) = real_model("real_weights_score_the_same_in_steps_and_in_batches", QWEN_05B) else {
        return;
    };
    let mut config = IntentConfig::default();
    config.prompt.as_mut().unwrap().system = "Label the message.".to_owned();
    let mut scorer = Loader::read_file(&path, config).unwrap().finish_scorer().unwrap().0;
    let text = "why was I charged twice for the router";
    for end in [3, 12, text.len() - 4, text.len()] {
        scores(&mut scorer, &text[..end]);
    }
    let typed = scores(&mut scorer, text);
    scorer.forget();
    assert_same(&typed, &scorer.score(text, false).unwrap(), text);
    assert_batches_are_single_messages(&mut scorer, &messages()[..4]);
}

/// The first is more than compact reaches, so that the second stage is asked.
const THRESHOLDS: [f32; 2] = [1.0, 0.5];

fn done(cascade: &mut Cascade, text: &str, goal: Goal) -> Option<Classification> {
    let mut step = cascade.begin(text, goal, &THRESHOLDS).unwrap();
    loop {
        match step {
            TypingStep::Running => step = cascade.advance().unwrap(),
            TypingStep::Waiting(_) => panic!("the CPU keeps nobody waiting"),
            TypingStep::Held => return None,
            TypingStep::Done(result) => return Some(*result),
        }
    }
}

/// Without what is measured anew each time.
fn untimed(mut result: Classification) -> Classification {
    result.ms = 0.0;
    result.stages.iter_mut().for_each(|stage| stage.ms = 0.0);
    result
}

fn cascade() -> Cascade {
    let second = loader(&TinyQwen2::default().bytes().unwrap()).finish().unwrap();
    Cascade::from(builtin::compact().unwrap().finish().unwrap()).followed_by(second.into()).unwrap()
}

#[test]
fn cascades_say_the_same_in_steps_at_once_and_in_batches() {
    let mut cascade = cascade();
    let long = "a".repeat(2_001);
    let texts =
        ["hi", "my internet is down", "so, about that thing", "4111 1111 1111 1111", long.as_str(), "  "];
    let batch = cascade.classify_batch(&texts, &THRESHOLDS).unwrap();
    let options = CascadeOptions { thresholds: THRESHOLDS.into(), token_confidence: false };
    let mut asked_twice = 0;
    for (text, together) in texts.iter().zip(batch) {
        let Ok(at_once) = cascade.classify(text, &options) else {
            assert_eq!(together.unwrap_err().code(), "empty_message");
            assert_eq!(cascade.begin(text, Goal::Score, &[]).unwrap_err().code(), "empty_message");
            assert_eq!(cascade.advance().unwrap(), TypingStep::Held);
            continue;
        };
        asked_twice += usize::from(at_once.stages.len() == 2);
        let at_once = untimed(at_once);
        let typed = done(&mut cascade, text, Goal::Score).unwrap();
        for other in [typed, together.unwrap()] {
            let other = untimed(other);
            assert_eq!((&other.intent, &other.decision), (&at_once.intent, &at_once.decision), "{text}");
            assert_eq!(other.stages.len(), at_once.stages.len(), "{text}");
        }
        let held = done(&mut cascade, text, Goal::Hold);
        assert_eq!(
            held.is_some(),
            at_once.stages.len() < 2,
            "only an unsure first stage leaves something to hold"
        );
    }
    assert!(asked_twice > 0, "no message got to the second stage");
    assert_eq!(cascade.begin("hi", Goal::Score, &[2.0]).unwrap_err().code(), "invalid_argument");
}
