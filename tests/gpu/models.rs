//! Whole models on the GPU against the CPU.

use candle_core::quantized::GgmlDType;
use relayops_intent::adapter::{Adapter, Path, Projection};
use relayops_intent::backend::Backend;
use relayops_intent::backend::cpu::Cpu;
use relayops_intent::backend::gpu::Gpu;
use relayops_intent::builtin;
use relayops_intent::classifier::ClassifyOptions;
use relayops_intent::loader::Loader;
use relayops_intent::pack::IntentConfig;
use relayops_intent::scoring::{Goal, Progress, Scorer};
use relayops_testkit::{LABELS, TinyBert, TinyQwen2};

use super::kernel_suite::random;
use super::{gpu, open};

const MESSAGES: [&str; 6] = [
    "my internet is down",
    "why was I charged twice",
    "is my modem online",
    "how do I restart the router",
    "hello there, thanks",
    "x",
];

/// Largest difference of a log-probability: floats that are added in another order.
const TOLERANCE: f32 = 2e-4;

fn loader(bytes: &[u8]) -> Loader {
    let mut loader = Loader::new("tiny.gguf", Some(bytes.len() as u64), IntentConfig::default()).unwrap();
    loader.push(bytes).unwrap();
    loader
}

fn assert_close(a: &[f32], b: &[f32], what: &str) {
    assert_eq!(a.len(), b.len(), "{what}");
    for (a, b) in a.iter().zip(b) {
        assert!((a - b).abs() <= TOLERANCE, "{what}: {a}, expected {b}");
    }
}

fn tiny_models() -> Vec<(String, TinyQwen2)> {
    let uniform = [GgmlDType::F32, GgmlDType::Q4_0, GgmlDType::Q8_0, GgmlDType::Q6K];
    let mut models: Vec<_> =
        uniform.into_iter().map(|format| (format!("{format:?}"), TinyQwen2::uniform(format))).collect();
    models.push(("mixed".to_owned(), TinyQwen2::default()));
    models
}

fn scorers(gpu: &Gpu, tiny: &TinyQwen2) -> (Scorer<Gpu>, Scorer<Cpu>) {
    let bytes = tiny.bytes().unwrap();
    let on_gpu = loader(&bytes).on(gpu.clone()).finish_scorer().unwrap().0;
    (on_gpu, loader(&bytes).exact().finish_scorer().unwrap().0)
}

#[test]
fn a_decoder_scores_as_on_the_cpu() {
    let Some(gpu) = gpu("a_decoder_scores_as_on_the_cpu") else { return };
    for (name, tiny) in tiny_models() {
        let (mut on_gpu, mut on_cpu) = scorers(&gpu, &tiny);
        for message in MESSAGES {
            let (a, b) = (on_gpu.score(message, true).unwrap(), on_cpu.score(message, true).unwrap());
            assert_close(&a.log_probabilities, &b.log_probabilities, &format!("{name}: {message}"));
            let (a, b) = (a.token_confidence.unwrap(), b.token_confidence.unwrap());
            assert!((a - b).abs() < TOLERANCE, "{name}: token confidence {a}, expected {b}");
        }
        let (a, b) = (on_gpu.score_batch(&MESSAGES), on_cpu.score_batch(&MESSAGES));
        for (a, b) in a.into_iter().zip(b) {
            assert_close(
                &a.unwrap().log_probabilities,
                &b.unwrap().log_probabilities,
                &format!("{name}, batch"),
            );
        }
    }
}

fn finish<B: Backend>(scorer: &mut Scorer<B>) -> Progress {
    loop {
        match scorer.advance().unwrap() {
            Progress::Running => {}
            other => return other,
        }
    }
}

#[test]
fn a_message_that_is_typed_scores_as_at_once() {
    let Some(gpu) = gpu("a_message_that_is_typed_scores_as_at_once") else { return };
    let (mut on_gpu, mut on_cpu) = scorers(&gpu, &TinyQwen2::default());
    let long = "my internet is down and ".repeat(20);
    let texts =
        ["my", "my internet", "my internet is d", "my inter", long.trim(), "why was I", "why was I charged"];
    for (index, text) in texts.into_iter().enumerate() {
        on_gpu.begin(text, Goal::Hold).unwrap();
        if index % 2 == 0 {
            // A newer text ends an older one, wherever that is.
            for _ in 0..index {
                on_gpu.advance().unwrap();
            }
            continue;
        }
        assert_eq!(finish(&mut on_gpu), Progress::Held);
        on_gpu.begin(text, Goal::Score).unwrap();
        let Progress::Scored(scores) = finish(&mut on_gpu) else { panic!("not scored") };
        let expected = on_cpu.score(text, false).unwrap();
        assert_close(&scores.log_probabilities, &expected.log_probabilities, text);
    }
}

#[test]
fn an_encoder_scores_as_on_the_cpu() {
    let Some(gpu) = gpu("an_encoder_scores_as_on_the_cpu") else { return };
    for formats in
        [vec![GgmlDType::F32], vec![GgmlDType::Q8_0, GgmlDType::Q5_0, GgmlDType::Q4_0, GgmlDType::F16]]
    {
        let bytes = TinyBert { formats, ..TinyBert::default() }.bytes().unwrap();
        let mut on_gpu = loader(&bytes).on(gpu.clone()).finish_encoder().unwrap();
        let mut on_cpu = loader(&bytes).exact().finish_encoder().unwrap();
        for message in MESSAGES {
            let expected = on_cpu.log_probabilities(message).unwrap();
            assert_eq!(expected.len(), LABELS.len());
            assert_close(&on_gpu.log_probabilities(message).unwrap(), &expected, message);
        }
    }
}

#[test]
fn compact_passes_its_golden_check_and_says_where_it_runs() {
    let Some(gpu) = gpu("compact_passes_its_golden_check_and_says_where_it_runs") else { return };
    let mut on_gpu = builtin::compact().unwrap().on(gpu).finish().unwrap();
    let result = on_gpu.classify("my internet is down", ClassifyOptions::default()).unwrap();
    assert_eq!(result.backend, "webgpu");
    let mut on_cpu = builtin::compact().unwrap().finish().unwrap();
    let expected = on_cpu.classify("my internet is down", ClassifyOptions::default()).unwrap();
    assert_eq!(result.intent, expected.intent);
}

/// Messages of the development set that the test below asks: every so many, for a GPU in software is slow.
const EVERY: usize = 8;

#[test]
fn compact_flips_no_label_that_it_is_confident_of() {
    let Some(gpu) = gpu("compact_flips_no_label_that_it_is_confident_of") else { return };
    let mut on_gpu = builtin::compact().unwrap().on(gpu).finish().unwrap();
    let mut on_cpu = builtin::compact().unwrap().finish().unwrap();
    let threshold = on_cpu.config().threshold;
    let set = std::fs::read_to_string("data/dev.jsonl").unwrap();
    let (mut flips, mut confident) = (Vec::new(), 0);
    for line in set.lines().step_by(EVERY) {
        let example: serde_json::Value = serde_json::from_str(line).unwrap();
        let text = example["text"].as_str().unwrap();
        let [a, b] =
            [&mut on_gpu, &mut on_cpu].map(|model| model.classify(text, ClassifyOptions::default()).unwrap());
        let sure =
            [&a, &b].into_iter().any(|one| one.confidence.is_some_and(|confidence| confidence >= threshold));
        confident += usize::from(sure);
        if sure && a.intent != b.intent {
            flips.push(format!("{text}: {}, on the CPU {}", a.intent, b.intent));
        }
    }
    assert!(confident >= 20, "{confident} confident messages");
    assert!(flips.is_empty(), "{flips:#?}");
}

/// What to wait for is waited for here.
#[test]
fn natively_nothing_is_under_way_when_it_is_asked_for() {
    let Some(gpu) = gpu("natively_nothing_is_under_way_when_it_is_asked_for") else { return };
    let x = gpu.tensor(1, 4, vec![1.0; 4].into()).unwrap();
    let mut y = gpu.tensor(1, 4, vec![2.0; 4].into()).unwrap();
    gpu.add(&mut y, &x);
    assert_eq!(gpu.under_way(), None);
}

#[test]
fn a_lost_device_is_an_error_and_not_an_answer() {
    if gpu("a_lost_device_is_an_error_and_not_an_answer").is_none() {
        return;
    }
    let gpu = open();
    let (mut scorer, _) = scorers(&gpu, &TinyQwen2::default());
    scorer.score("my internet is down", false).unwrap();
    gpu.destroy();
    for _ in 0..2 {
        assert_eq!(scorer.score("my internet is down", false).unwrap_err().code(), "device_lost");
    }
}

/// Where a submission is refused its keys and values are never written. While a message is held nothing is read, so the
/// model takes them for held; whatever builds on them must not be an answer.
#[test]
fn what_a_device_refused_is_never_forgotten() {
    if gpu("what_a_device_refused_is_never_forgotten").is_none() {
        return;
    }
    let gpu = open();
    let (mut scorer, _) = scorers(&gpu, &TinyQwen2::default());
    let long = "my internet is down and ".repeat(20);
    scorer.score(MESSAGES[0], false).unwrap();
    assert_eq!(gpu.fault(), None);
    gpu.refuse_next_buffer();
    scorer.begin(long.trim(), Goal::Hold).unwrap();
    while matches!(scorer.advance(), Ok(Progress::Running)) {}
    assert!(gpu.fault().is_some());
    for text in [long.trim(), MESSAGES[0], "my internet is down and my"] {
        scorer.begin(text, Goal::Score).unwrap();
        let error = loop {
            match scorer.advance() {
                Ok(Progress::Running) => {}
                Ok(other) => panic!("{text}: {other:?}"),
                Err(error) => break error,
            }
        };
        assert_eq!(error.code(), "inference", "{text}");
        assert_eq!(scorer.score(text, false).unwrap_err().code(), "inference", "{text}");
    }
}

/// Paths beside every projection, of ranks that are no multiple of anything.
fn adapter(gpu: &Scorer<Gpu>, seed: u64) -> Adapter {
    let sizes = *gpu.model().config();
    let (h, f, kv) = (sizes.hidden, sizes.feed_forward, sizes.heads.kv * sizes.heads.dim);
    let mut adapter = Adapter::default();
    for layer in 0..sizes.layers {
        for (index, projection) in Projection::ALL.into_iter().enumerate() {
            let (out, width) = match projection {
                Projection::Query | Projection::Output => (h, h),
                Projection::Key | Projection::Value => (kv, h),
                Projection::Gate | Projection::Up => (f, h),
                Projection::Down => (h, f),
            };
            let rank = 1 + index;
            let path = Path {
                rank,
                scale: 0.05,
                a: random(seed + index as u64, rank * width),
                b: random(seed + 100 + index as u64, out * rank),
            };
            adapter.paths.insert((layer, projection), path);
        }
    }
    adapter
}

#[test]
fn adapters_swap_as_on_the_cpu() {
    let Some(gpu) = gpu("adapters_swap_as_on_the_cpu") else { return };
    let (mut on_gpu, mut on_cpu) = scorers(&gpu, &TinyQwen2::default());
    let plain = on_cpu.score(MESSAGES[0], false).unwrap();
    for seed in [Some(1), Some(2), None, Some(1)] {
        let adapter = seed.map(|seed| adapter(&on_gpu, seed));
        let config = IntentConfig::default();
        on_gpu.set_adapter(adapter.as_ref(), &config).unwrap();
        on_cpu.set_adapter(adapter.as_ref(), &config).unwrap();
        for message in MESSAGES {
            let (a, b) = (on_gpu.score(message, false).unwrap(), on_cpu.score(message, false).unwrap());
            assert_close(&a.log_probabilities, &b.log_probabilities, message);
        }
        let now = on_cpu.score(MESSAGES[0], false).unwrap();
        assert_eq!(now == plain, seed.is_none(), "an adapter changes answers");
    }
}

/// Bytes that a device holds after many messages of many lengths stay what they were after the first.
#[test]
fn many_messages_take_no_more_room_than_the_first() {
    if gpu("many_messages_take_no_more_room_than_the_first").is_none() {
        return;
    }
    let gpu = open();
    let (mut on_gpu, _) = scorers(&gpu, &TinyQwen2::default());
    let texts: Vec<String> = (1..=8).map(|words| "my internet is down ".repeat(words)).collect();
    let round = |on_gpu: &mut Scorer<Gpu>| {
        texts.iter().for_each(|text| drop(on_gpu.score(text.trim(), false).unwrap()))
    };
    round(&mut on_gpu);
    let buffers = on_gpu.model().backend().buffers();
    for _ in 0..30 {
        round(&mut on_gpu);
    }
    assert_eq!(on_gpu.model().backend().buffers(), buffers);
}
