//! One-pass scores against separate passes and against candle-transformers.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test fails by panicking")]

use std::collections::HashMap;

use candle_core::quantized::GgmlDType;
use candle_core::{Device, Tensor};
use candle_transformers::models::quantized_qwen2::ModelWeights;
use relayops_intent::backend::cpu::Cpu;
use relayops_intent::loader::Loader;
use relayops_intent::model::qwen2::Batch;
use relayops_intent::pack::IntentConfig;
use relayops_intent::quant::matmul;
use relayops_intent::scoring::{Scorer, log_sum_exp};
use relayops_intent::tokenizer::TokenId;
use relayops_testkit::{QWEN_05B, TinyQwen2, real_model};

const MESSAGES: [&str; 6] = [
    "my internet is down",
    "why was I charged twice",
    "is my modem online",
    "how do I restart the router",
    "hello there, thanks",
    "x",
];

fn config(labels: &[&str]) -> IntentConfig {
    let mut config = IntentConfig::default();
    if !labels.is_empty() {
        config.labels = labels.iter().map(|label| (*label).to_owned()).collect();
        config.policy.always_escalate.clear();
    }
    config
}

fn tiny(model: &TinyQwen2, config: IntentConfig) -> Scorer<Cpu> {
    let bytes = model.bytes().unwrap();
    let mut loader = Loader::new("tiny.gguf", Some(bytes.len() as u64), config).unwrap();
    loader.push(&bytes).unwrap();
    loader.finish_scorer().unwrap().0
}

/// The real model with a short prompt: what is compared is arithmetic.
fn real(test: &str) -> Option<Scorer<Cpu>> {
    let path = real_model(test, QWEN_05B)?;
    let mut config = config(&[]);
    config.prompt.as_mut().unwrap().system = "Label the message.".to_owned();
    Some(Loader::read_file(&path, config).unwrap().finish_scorer().unwrap().0)
}

/// Hidden state after the last of `tokens`, run from nothing, `chunk` rows at a time.
fn hidden_after(scorer: &Scorer<Cpu>, tokens: &[TokenId], chunk: usize) -> Vec<f32> {
    let mut cache = scorer.model().cache();
    let mut hidden = Vec::new();
    for tokens in tokens.chunks(chunk) {
        let start = cache.slots();
        let positions: Vec<usize> = (start..start + tokens.len()).collect();
        let visible = positions.iter().map(|p| 0..p + 1).collect();
        let outputs = vec![tokens.len() - 1];
        let batch = Batch { tokens: tokens.to_vec(), positions, visible, outputs };
        hidden = scorer.model().forward(&mut cache, batch).unwrap().into();
    }
    hidden
}

fn prompt_tokens(scorer: &Scorer<Cpu>, message: &str) -> Vec<TokenId> {
    let prompt = scorer.prompt();
    [prompt.prefix.clone(), scorer.tokenizer().encode(message).unwrap(), prompt.suffix.clone()].concat()
}

/// Label log-probabilities from the labels' tokens alone: at each step a softmax over the distinct tokens with which
/// labels go on that began like this one, one full pass each, nothing shared with the scorer's trie or cache.
fn separate_passes(scorer: &Scorer<Cpu>, message: &str) -> Vec<f32> {
    let answers = &scorer.prompt().answers;
    let mut steps: HashMap<Vec<TokenId>, Vec<(TokenId, f32)>> = HashMap::new();
    let mut log_probability = |answer: &Vec<TokenId>| {
        let mut sum = 0.0;
        for depth in 0..answer.len() {
            let begun = &answer[..depth];
            let mut next: Vec<TokenId> =
                answers.iter().filter(|other| other.starts_with(begun)).map(|other| other[depth]).collect();
            next.sort_unstable();
            next.dedup();
            if next.len() > 1 {
                let step =
                    steps.entry(begun.to_vec()).or_insert_with(|| conditional(scorer, message, begun, &next));
                sum += step.iter().find(|(token, _)| *token == answer[depth]).unwrap().1;
            }
        }
        sum
    };
    answers.iter().map(&mut log_probability).collect()
}

/// Log-probabilities of the tokens `next` after the prompt and `begun`, among themselves.
fn conditional(
    scorer: &Scorer<Cpu>,
    message: &str,
    begun: &[TokenId],
    next: &[TokenId],
) -> Vec<(TokenId, f32)> {
    let tokens = [prompt_tokens(scorer, message), begun.to_vec()].concat();
    let head = scorer.model().head(next).unwrap();
    let mut logits = vec![0.0; next.len()];
    matmul(&hidden_after(scorer, &tokens, usize::MAX), 1, &head, &mut logits);
    let normaliser = log_sum_exp(&logits);
    next.iter().zip(&logits).map(|(token, logit)| (*token, logit - normaliser)).collect()
}

fn largest_difference(a: &[f32], b: &[f32]) -> f32 {
    assert_eq!(a.len(), b.len());
    a.iter().zip(b).map(|(a, b)| (a - b).abs()).fold(0.0, f32::max)
}

/// Both are the same arithmetic row by row; only the order of some float sums may differ.
const SAME_ARITHMETIC: f32 = 1e-4;

fn assert_one_pass_is_separate_passes(scorer: &mut Scorer<Cpu>, messages: &[&str]) {
    for message in messages {
        let scores = scorer.score(message, false).unwrap();
        let sum: f32 = scores.log_probabilities.iter().map(|l| l.exp()).sum();
        assert!((sum - 1.0).abs() < 1e-5, "{message}: probabilities sum to {sum}");
        let difference = largest_difference(&scores.log_probabilities, &separate_passes(scorer, message));
        assert!(difference <= SAME_ARITHMETIC, "{message}: log-probabilities differ by {difference}");
    }
}

#[test]
fn one_pass_equals_separate_passes() {
    let model = TinyQwen2::uniform(GgmlDType::F32);
    let mut scorer = tiny(&model, config(&[]));
    assert!(scorer.trie().partings.len() >= 2, "today's labels part below the root too");
    assert_one_pass_is_separate_passes(&mut scorer, &MESSAGES);
}

#[test]
fn one_pass_equals_separate_passes_on_quantized_weights() {
    assert_one_pass_is_separate_passes(&mut tiny(&TinyQwen2::default(), config(&[])), &MESSAGES);
}

#[test]
fn one_pass_equals_separate_passes_for_deeper_tries() {
    let model = TinyQwen2::uniform(GgmlDType::F32);
    let orders = ["order_cancel", "order_cancel_all", "order_change", "refund_request"];
    let digits = ["z1z1z1", "z1z1z2", "z1z2z1", "z2z1z1"];
    for (labels, least_depth) in [(orders, 2), (digits, 4), (["aaaa", "aaab", "aaba", "abaa"], 0)] {
        let mut scorer = tiny(&model, config(&labels));
        let depth = scorer.trie().nodes.iter().map(|node| node.depth).max().unwrap_or(0);
        assert!(depth >= least_depth, "{labels:?} part at depth {depth}");
        assert_one_pass_is_separate_passes(&mut scorer, &MESSAGES);
    }
}

#[test]
fn a_label_that_begins_another_is_told_apart_by_its_close() {
    let labels = ["device", "device_status", "device_status_all"];
    assert_one_pass_is_separate_passes(
        &mut tiny(&TinyQwen2::uniform(GgmlDType::F32), config(&labels)),
        &MESSAGES,
    );
}

#[test]
fn one_pass_equals_separate_passes_on_real_weights() {
    let Some(mut scorer) = real("one_pass_equals_separate_passes_on_real_weights") else { return };
    assert_one_pass_is_separate_passes(&mut scorer, &MESSAGES[..3]);
}

#[test]
fn a_message_does_not_change_the_next_ones_scores() {
    let mut scorer = tiny(&TinyQwen2::default(), config(&[]));
    let first = scorer.score(MESSAGES[0], false).unwrap();
    scorer.score(&"restart the router ".repeat(60), true).unwrap();
    assert_eq!(scorer.score(MESSAGES[0], false).unwrap(), first);
}

#[test]
fn long_messages_in_several_batches_score_as_in_one() {
    let mut scorer = tiny(&TinyQwen2::uniform(GgmlDType::F32), config(&[]));
    for words in [255, 256, 257, 400] {
        let message = "a ".repeat(words).trim().to_owned();
        let scores = scorer.score(&message, true).unwrap();
        let difference = largest_difference(&scores.log_probabilities, &separate_passes(&scorer, &message));
        assert!(difference <= 1e-4, "{words} words: {difference}");
    }
}

/// The definition, one full pass a token: the mean over the answer's tokens of their full-softmax probability.
fn token_confidence_by_definition(scorer: &Scorer<Cpu>, message: &str, label: usize) -> f32 {
    let prompt = scorer.prompt();
    let mut tokens = prompt_tokens(scorer, message);
    let forced = tokens.len() - prompt.open;
    tokens.extend(&prompt.answers[label]);
    let probabilities: Vec<f32> = (forced..tokens.len())
        .map(|at| {
            let logits = scorer.model().logits(&hidden_after(scorer, &tokens[..at], usize::MAX)).unwrap();
            (logits[tokens[at].0 as usize] - log_sum_exp(&logits)).exp()
        })
        .collect();
    probabilities.iter().sum::<f32>() / probabilities.len() as f32
}

#[test]
fn token_confidence_is_the_mean_over_the_answers_tokens() {
    assert_token_confidence(&mut tiny(&TinyQwen2::uniform(GgmlDType::F32), config(&[])));
}

#[test]
fn token_confidence_needs_no_parting_at_the_root() {
    let labels = config(&["order_cancel", "order_cancel_all", "order_change"]);
    let mut scorer = tiny(&TinyQwen2::uniform(GgmlDType::F32), labels);
    assert!(scorer.trie().partings.iter().all(|parting| parting.node.is_some()));
    assert_token_confidence(&mut scorer);
}

fn assert_token_confidence(scorer: &mut Scorer<Cpu>) {
    for message in MESSAGES {
        let scores = scorer.score(message, true).unwrap();
        let label = relayops_intent::scoring::argmax(&scores.log_probabilities);
        let expected = token_confidence_by_definition(scorer, message, label);
        let actual = scores.token_confidence.unwrap();
        assert!(
            (actual - expected).abs() <= 1e-4 * expected,
            "{message}: {actual}, by definition {expected}"
        );
    }
}

/// Logits after the last token by candle-transformers.
fn candle_logits(bytes: &[u8], tokens: &[TokenId]) -> Vec<f32> {
    let mut reader = std::io::Cursor::new(bytes);
    let content = candle_core::quantized::gguf_file::Content::read(&mut reader).unwrap();
    let mut model = ModelWeights::from_gguf(content, &mut reader, &Device::Cpu).unwrap();
    candle_forward(&mut model, tokens)
}

fn candle_forward(model: &mut ModelWeights, tokens: &[TokenId]) -> Vec<f32> {
    let ids: Vec<u32> = tokens.iter().map(|token| token.0).collect();
    let input = Tensor::new(ids.as_slice(), &Device::Cpu).unwrap().unsqueeze(0).unwrap();
    let logits = model.forward(&input, 0).unwrap();
    logits.flatten_all().unwrap().to_vec1().unwrap()
}

#[test]
fn logits_agree_with_candle_transformers_on_floats() {
    // Rounding of float sums alone; logits of these models spread over some 20 units.
    for output in [true, false] {
        let model = TinyQwen2 { output, ..TinyQwen2::uniform(GgmlDType::F32) };
        let bytes = model.bytes().unwrap();
        let scorer = tiny(&model, config(&[]));
        for message in &MESSAGES[..3] {
            let tokens = prompt_tokens(&scorer, message);
            let expected = candle_logits(&bytes, &tokens);
            for chunk in [usize::MAX, 7, 1] {
                let logits = scorer.model().logits(&hidden_after(&scorer, &tokens, chunk)).unwrap();
                let difference = largest_difference(&logits, &expected);
                assert!(difference <= 1e-3, "{message}, {chunk} at a time: {difference}");
            }
        }
    }
}

/// Root of the mean square difference.
fn rms_difference(a: &[f32], b: &[f32]) -> f32 {
    let sum: f32 = a.iter().zip(b).map(|(a, b)| (a - b) * (a - b)).sum();
    (sum / a.len() as f32).sqrt()
}

/// Logits in which no product rounds its activations, the output matrix's included.
fn exact_logits(exact: &Scorer<Cpu>, tokens: &[TokenId]) -> Vec<f32> {
    let vocab = exact.model().config().vocab;
    let all: Vec<TokenId> = (0..u32::try_from(vocab).unwrap()).map(TokenId).collect();
    let mut logits = vec![0.0; vocab];
    let output = exact.model().head(&all).unwrap();
    matmul(&hidden_after(exact, tokens, usize::MAX), 1, &output, &mut logits);
    logits
}

#[test]
fn logits_on_quantized_weights_are_as_exact_as_candle_transformers() {
    // Both engines round activations to 8 bits, each in its own way, so they differ from each other by about as much
    // as each differs from the same weights multiplied unrounded. Ours must not differ from those by more than candle's.
    use GgmlDType::{Q4_0, Q4K, Q5_0, Q6K, Q8_0};
    let mixed = TinyQwen2::default().formats;
    for formats in [vec![Q8_0], vec![Q5_0], vec![Q4_0], vec![Q4K], vec![Q6K], mixed] {
        let model = TinyQwen2 { formats, ..TinyQwen2::default() };
        let bytes = model.bytes().unwrap();
        let scorer = tiny(&model, config(&[]));
        let mut loader = Loader::new("tiny.gguf", None, config(&[])).unwrap().exact();
        loader.push(&bytes).unwrap();
        let exact = loader.finish_scorer().unwrap().0;
        let (mut ours_off, mut candle_off) = (0.0, 0.0);
        for message in &MESSAGES[..5] {
            let tokens = prompt_tokens(&scorer, message);
            let ours = scorer.model().logits(&hidden_after(&scorer, &tokens, usize::MAX)).unwrap();
            let (exact, candle) = (exact_logits(&exact, &tokens), candle_logits(&bytes, &tokens));
            let difference = largest_difference(&ours, &candle);
            assert!(difference <= 0.5, "{:?} {message}: {difference}", model.formats);
            ours_off += rms_difference(&ours, &exact);
            candle_off += rms_difference(&candle, &exact);
        }
        println!("{:?}: off by {ours_off}, candle by {candle_off}", model.formats);
        assert!(
            ours_off <= 1.25 * candle_off,
            "{:?}: off by {ours_off}, candle by {candle_off}",
            model.formats
        );
    }
}

#[test]
fn logits_agree_with_candle_transformers_on_real_weights() {
    let name = "logits_agree_with_candle_transformers_on_real_weights";
    let (Some(scorer), Some(path)) = (real(name), real_model(name, QWEN_05B)) else { return };
    let mut file = std::fs::File::open(path).unwrap();
    let content = candle_core::quantized::gguf_file::Content::read(&mut file).unwrap();
    let mut model = ModelWeights::from_gguf(content, &mut file, &Device::Cpu).unwrap();
    for message in &MESSAGES[..2] {
        let tokens = prompt_tokens(&scorer, message);
        let expected = candle_forward(&mut model, &tokens);
        let logits = scorer.model().logits(&hidden_after(&scorer, &tokens, usize::MAX)).unwrap();
        let normalise = |logits: &[f32]| -> Vec<f32> {
            let normaliser = log_sum_exp(logits);
            logits.iter().map(|logit| logit - normaliser).collect()
        };
        let (ours, candles) = (normalise(&logits), normalise(&expected));
        let mut order: Vec<usize> = (0..candles.len()).collect();
        order.sort_by(|a, b| candles[*b].total_cmp(&candles[*a]));
        assert_eq!(relayops_intent::scoring::argmax(&ours), order[0], "{message}: top-1");
        for token in &order[..20] {
            let difference = (ours[*token] - candles[*token]).abs();
            // Two engines' roundings of activations: llama.cpp's own builds differ by up to 0.29 in the top 20.
            assert!(difference <= 0.3, "{message}: token {token} differs by {difference}");
        }
    }
}
