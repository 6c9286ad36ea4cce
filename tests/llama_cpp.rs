//! Log-probabilities at every parting node against llama.cpp's on the same file (fixture: see tests/fixtures).
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test fails by panicking")]

use relayops_intent::backend::cpu::Cpu;
use relayops_intent::loader::Loader;
use relayops_intent::model::qwen2::{Batch, KvCache};
use relayops_intent::pack::IntentConfig;
use relayops_intent::scoring::{Scorer, argmax, log_sum_exp};
use relayops_intent::tokenizer::TokenId;
use relayops_testkit::{QWEN_05B, real_model};
use serde_json::Value;

/// Builds of llama.cpp for different instruction sets differ from each other by up to 0.45 here: a last bit decides how
/// an activation is rounded, and 24 layers make much of it. So one value says little, and the mean is bounded too, which
/// hardly depends on such chances (0.06 to 0.07 over orders of summation and exponentials tried).
const TOLERANCE: f64 = 0.45;
const MEAN_TOLERANCE: f64 = 0.1;
/// Where the best label leads by more, in log-probability, the labels must be the same.
const CLEAR_LEAD: f64 = 0.6;

fn ids(value: &Value) -> Vec<TokenId> {
    value.as_array().unwrap().iter().map(|id| TokenId(u32::try_from(id.as_u64().unwrap()).unwrap())).collect()
}

/// Appends `tokens` to `cache` and returns full-vocabulary log-probabilities after the last.
fn append(scorer: &Scorer<Cpu>, cache: &mut KvCache<Cpu>, tokens: &[TokenId]) -> Vec<f32> {
    let positions: Vec<usize> = (cache.slots()..cache.slots() + tokens.len()).collect();
    let visible = positions.iter().map(|p| 0..p + 1).collect();
    let outputs = vec![tokens.len() - 1];
    let batch = Batch { tokens: tokens.to_vec(), positions, visible, outputs };
    let hidden = scorer.model().forward(cache, batch).unwrap();
    let logits = scorer.model().logits(&hidden).unwrap();
    let normaliser = log_sum_exp(&logits);
    logits.iter().map(|logit| logit - normaliser).collect()
}

#[test]
fn parting_nodes_agree_with_llama_cpp() {
    let Some(path) = real_model("parting_nodes_agree_with_llama_cpp", QWEN_05B) else { return };
    let fixture: Value =
        serde_json::from_str(include_str!("fixtures/llama_cpp_label_logprobs.json")).unwrap();
    let mut config = IntentConfig::default();
    config.prompt.as_mut().unwrap().system = fixture["system"].as_str().unwrap().to_owned();
    let (mut scorer, _) = Loader::read_file(&path, config).unwrap().finish_scorer().unwrap();
    let items = fixture["items"].as_array().unwrap();
    assert_eq!(items.len(), 20);
    let prefix = scorer.prompt().prefix.clone();
    let mut cache = scorer.model().cache();
    append(&scorer, &mut cache, &prefix);
    let (mut worst, mut sum, mut count) = (0f64, 0.0, 0.0);
    for item in items {
        let message = item["message"].as_str().unwrap();
        let prompt = scorer.prompt();
        let rest = [scorer.tokenizer().encode(message).unwrap(), prompt.suffix.clone()].concat();
        assert_eq!(
            [prefix.clone(), rest.clone()].concat(),
            ids(&item["prompt_ids"]),
            "{message}: prompt tokens"
        );
        for (node, expected) in
            fixture["nodes"].as_array().unwrap().iter().zip(item["nodes"].as_array().unwrap())
        {
            let path = ids(&node["path"]);
            scorer.model().truncate(&mut cache, prefix.len());
            let log_probabilities = append(&scorer, &mut cache, &[rest.clone(), path.clone()].concat());
            for (child, expected) in
                node["children"].as_array().unwrap().iter().zip(expected.as_array().unwrap())
            {
                let token = usize::try_from(child["id"].as_u64().unwrap()).unwrap();
                let difference = (f64::from(log_probabilities[token]) - expected.as_f64().unwrap()).abs();
                assert!(
                    difference <= TOLERANCE,
                    "{message}: after {path:?} token {child}: off by {difference}"
                );
                worst = worst.max(difference);
                sum += difference;
                count += 1.0;
            }
        }
        let scores = scorer.score(message, false).unwrap();
        let expected: Vec<f64> =
            item["probabilities"].as_array().unwrap().iter().map(|p| p.as_f64().unwrap()).collect();
        let mut ranked = expected.clone();
        ranked.sort_by(|a, b| b.total_cmp(a));
        for (log_probability, expected) in scores.log_probabilities.iter().zip(&expected) {
            let difference = (f64::from(*log_probability).exp() - expected).abs();
            assert!(difference <= 0.1, "{message}: {difference}, llama.cpp {expected:?}");
        }
        if (ranked[0] / ranked[1]).ln() > CLEAR_LEAD {
            let label = fixture["labels"][argmax(&scores.log_probabilities)].as_str();
            assert_eq!(label, item["label"].as_str(), "{message}: {expected:?}");
        }
    }
    assert!(sum / count <= MEAN_TOLERANCE, "mean difference {}", sum / count);
    println!("against llama.cpp: worst {worst:.3}, mean {:.3} over {count} log-probabilities", sum / count);
}
