//! One forward pass per message.
//!
//! The prefix's keys and values are computed once. A message then costs one batch: its tokens, the suffix that
//! forces the answer's opening, and the trie's inner nodes, each seeing the sequence and its own ancestors. The
//! probabilities of all labels are read from the rows where labels part, through their children's rows of the
//! output matrix alone.
//!
//! While a message is typed, keys and values of its tokens stay in the cache, and a newer text costs only what follows
//! the tokens that both begin with. Such a pass goes on in steps ([`Scorer::advance`]), so that a newer text need not
//! wait for an older one. Several messages share one pass over the weights ([`Scorer::score_batch`]): each sees the
//! prefix and itself.

mod rows;
mod run;

use std::mem::replace;
use std::sync::Arc;

use serde::Serialize;
use web_time::Instant;

use crate::adapter::Adapter;
use crate::backend::{Backend, Taken};
use crate::model::qwen2::{KvCache, Paths, Qwen2};
use crate::pack::IntentConfig;
use crate::profile::{self, Part};
use crate::prompt::Prompt;
use crate::quant::{QuantMatrix, matmul};
use crate::tokenizer::{TokenId, Tokenizer};
use crate::trie::LabelTrie;
use crate::{IntentError, Result};
use rows::Rows;
use run::Run;
pub use run::{Goal, Progress};

/// Most rows of one batch before the last: bounds the memory that long messages, and many, take.
const PREFILL_ROWS: usize = 256;

/// What a model says of one message.
#[derive(Debug, Clone, PartialEq)]
pub struct Scores {
    /// Natural log-probability of each label, uncalibrated; their exponentials sum to one.
    pub log_probabilities: Vec<f32>,
    /// Mean full-softmax probability of the emitted answer tokens, where asked for.
    pub token_confidence: Option<f32>,
}

/// The constant beginning of every prompt, as it was last computed.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct Prefix {
    /// Its tokens.
    pub tokens: usize,
    /// Bytes of their keys and values.
    pub bytes: u64,
    /// Milliseconds that these took.
    pub ms: f64,
}

/// A prompt and its answers, for one model.
struct Task<B: Backend> {
    prompt: Prompt,
    trie: LabelTrie,
    /// The tokens that logits are needed for, ascending.
    head_tokens: Vec<TokenId>,
    /// Their rows of the output matrix, so that nothing but logits need come back of a device.
    head: Arc<B::Matrix>,
    /// The same on the host, where hidden states come for `token_confidence`.
    host_head: QuantMatrix,
}

impl<B: Backend> Task<B> {
    fn new(model: &Qwen2<B>, tokenizer: &Tokenizer, config: &IntentConfig) -> Result<Self> {
        let prompt = Prompt::new(config, tokenizer)?;
        let trie = LabelTrie::new(&prompt.answers)?;
        let head_tokens = trie.children();
        let head = Arc::new(model.backend().matrix(model.head(&head_tokens)?)?);
        let host_head = model.head(&head_tokens)?;
        Ok(Self { prompt, trie, head_tokens, head, host_head })
    }

    /// Logits of hidden states, for those tokens.
    fn logits(&self, hidden: &[f32]) -> Vec<f32> {
        let rows = hidden.len() / self.host_head.cols();
        let mut logits = vec![0.0; rows * self.head_tokens.len()];
        matmul(hidden, rows, &self.host_head, &mut logits);
        logits
    }
}

/// What an adapter replaced: paths beside the weights, labels and prompt.
pub struct Before<B: Backend> {
    paths: Paths<B>,
    task: Task<B>,
}

/// Qwen2 with a prompt, scoring labels.
pub struct Scorer<B: Backend> {
    model: Qwen2<B>,
    tokenizer: Tokenizer,
    task: Task<B>,
    /// Holds the prefix between messages.
    cache: KvCache<B>,
    /// Milliseconds that computing it took.
    prefix_ms: f64,
    /// Tokens of a message that the cache holds behind the prefix.
    held: Vec<TokenId>,
    /// The message under way; its rows are not yet counted as held.
    run: Option<Run<B>>,
}

impl<B: Backend> Scorer<B> {
    /// Tokenizes the prompt, builds the trie and computes the prefix.
    ///
    /// # Errors
    /// `invalid_config` where prompt or labels do not work with this tokenizer, and the errors of a forward pass.
    pub fn new(model: Qwen2<B>, tokenizer: Tokenizer, config: &IntentConfig) -> Result<Self> {
        let task = Task::new(&model, &tokenizer, config)?;
        let cache = model.cache();
        let mut scorer = Self { model, tokenizer, task, cache, prefix_ms: 0.0, held: Vec::new(), run: None };
        scorer.fill_prefix()?;
        Ok(scorer)
    }

    /// Computes into the cache what it lacks of the prefix.
    fn fill_prefix(&mut self) -> Result<()> {
        let missing = match self.task.prompt.prefix.get(self.cache.slots()..) {
            Some(missing) if !missing.is_empty() => missing,
            _ => return Ok(()),
        };
        let start = Instant::now();
        for chunk in missing.chunks(PREFILL_ROWS) {
            let mut rows = Rows::behind(self.cache.slots());
            rows.sequence(chunk);
            self.model.forward(&mut self.cache, rows.into_batch())?;
        }
        self.prefix_ms = start.elapsed().as_secs_f64() * 1e3;
        Ok(())
    }

    /// Puts an adapter beside the weights, or none, with the labels and the prompt of `config`; the weights stay where
    /// they are. Returns what was there before. After an error everything is as it was.
    ///
    /// # Errors
    /// Those of [`new`](Self::new).
    pub fn set_adapter(&mut self, adapter: Option<&Adapter>, config: &IntentConfig) -> Result<Before<B>> {
        self.forget();
        let task = Task::new(&self.model, &self.tokenizer, config)?;
        let paths = adapter.map_or_else(|| Ok(Paths::default()), |adapter| self.model.prepare(adapter))?;
        let before = self.swap(Before { paths, task });
        match self.fill_prefix() {
            Ok(()) => Ok(before),
            Err(error) => {
                self.restore(before)?;
                Err(error)
            }
        }
    }

    /// Puts back what [`set_adapter`](Self::set_adapter) replaced.
    ///
    /// # Errors
    /// Those of a forward pass; the prefix is computed when it is needed then.
    pub fn restore(&mut self, before: Before<B>) -> Result<()> {
        self.forget();
        self.swap(before);
        self.fill_prefix()
    }

    fn swap(&mut self, Before { paths, task }: Before<B>) -> Before<B> {
        let paths = self.model.swap(paths);
        let task = replace(&mut self.task, task);
        self.model.truncate(&mut self.cache, 0);
        Before { paths, task }
    }

    /// The model.
    #[must_use]
    pub fn model(&self) -> &Qwen2<B> {
        &self.model
    }

    /// The tokenizer.
    #[must_use]
    pub fn tokenizer(&self) -> &Tokenizer {
        &self.tokenizer
    }

    /// The tokenized prompt.
    #[must_use]
    pub fn prompt(&self) -> &Prompt {
        &self.task.prompt
    }

    /// What the constant beginning of the prompt takes. The time is the last one's that was computed.
    #[must_use]
    pub fn prefix(&self) -> Prefix {
        let tokens = self.task.prompt.prefix.len();
        Prefix { tokens, bytes: self.model.kv_bytes(tokens), ms: self.prefix_ms }
    }

    /// The labels' trie.
    #[must_use]
    pub fn trie(&self) -> &LabelTrie {
        &self.task.trie
    }

    /// Scores `text` (already trimmed and normalised), from where the cache holds its beginning, and forgets it.
    ///
    /// # Errors
    /// `tokenizer`, `inference`, `out_of_memory`, and `unavailable` for `token_confidence` of a model without the whole
    /// output matrix; the scorer is usable afterwards.
    pub fn score(&mut self, text: &str, token_confidence: bool) -> Result<Scores> {
        let result = self.score_at_once(text, token_confidence);
        self.forget();
        result
    }

    fn score_at_once(&mut self, text: &str, token_confidence: bool) -> Result<Scores> {
        self.begin(text, if token_confidence { Goal::ScoreInFullAtOnce } else { Goal::ScoreAtOnce })?;
        loop {
            match self.advance()? {
                Progress::Running => {}
                Progress::Scored(scores) => return Ok(scores),
                Progress::Waiting(signal) => Taken::Later(signal).now().map(|_| ())?,
                Progress::Held => {
                    return Err(IntentError::Inference("a message ended without scores".to_owned()));
                }
            }
        }
    }

    /// Scores several texts (already trimmed and normalised) in as few passes as their lengths allow. Results are in the
    /// order of `texts`, each what [`score`](Self::score) gives.
    pub fn score_batch(&mut self, texts: &[&str]) -> Vec<Result<Scores>> {
        self.forget();
        let beside = self.task.prompt.suffix.len() + self.task.trie.nodes.len();
        let (mut results, mut group, mut rows) = (Vec::with_capacity(texts.len()), Vec::new(), 0);
        for text in texts {
            let tokens = match self.tokenizer.encode(text) {
                Ok(tokens) => tokens,
                Err(error) => {
                    results.extend(self.score_group(std::mem::take(&mut group)));
                    results.push(Err(error));
                    continue;
                }
            };
            let own = tokens.len() + beside;
            if rows + own > PREFILL_ROWS || group.is_empty() {
                results.extend(self.score_group(std::mem::take(&mut group)));
                rows = 0;
            }
            rows += own;
            group.push((*text, tokens));
        }
        results.extend(self.score_group(group));
        results
    }

    /// Scores the messages of `group` in one pass; one alone, or where that fails, each by itself.
    fn score_group(&mut self, group: Vec<(&str, Vec<TokenId>)>) -> Vec<Result<Scores>> {
        if group.len() > 1
            && let Ok(scores) = self.score_together(&group)
        {
            return scores.into_iter().map(Ok).collect();
        }
        group.into_iter().map(|(text, _)| self.score(text, false)).collect()
    }

    fn score_together(&mut self, group: &[(&str, Vec<TokenId>)]) -> Result<Vec<Scores>> {
        self.fill_prefix()?;
        let before = self.cache.slots();
        let mut rows = Rows::behind(before);
        for (_, tokens) in group {
            let sequence = rows.sequence(tokens.iter().chain(&self.task.prompt.suffix));
            rows.trie(&self.task.trie, &sequence);
        }
        let mut pass = self.model.begin(&self.cache, rows.into_batch())?;
        pass.read_through(&self.task.head);
        let logits = self.model.finish(&mut self.cache, pass)?;
        self.model.truncate(&mut self.cache, before);
        let one = self.task.trie.partings.len() * self.task.head_tokens.len();
        let scores = |logits: &[f32]| {
            let log_probabilities = self.label_log_probabilities(logits)?;
            Ok(Scores { log_probabilities, token_confidence: None })
        };
        logits.chunks_exact(one).map(scores).collect()
    }

    /// Log-probabilities of the labels from logits of the rows where labels part.
    fn label_log_probabilities(&self, logits: &[f32]) -> Result<Vec<f32>> {
        let partings = profile::measure(Part::Head, || self.partings(logits))?;
        Ok(self.task.trie.label_log_probabilities(&partings))
    }

    /// Log-probabilities of each parting's children, by a softmax over those children alone.
    fn partings(&self, logits: &[f32]) -> Result<Vec<Vec<f32>>> {
        let columns = self.task.head_tokens.len();
        let children = |(parting, logits): (&crate::trie::Parting, &[f32])| {
            let logits: Vec<f32> = parting
                .children
                .iter()
                .filter_map(|token| {
                    self.task.head_tokens.binary_search(token).ok().map(|column| logits[column])
                })
                .collect();
            let normaliser = log_sum_exp(&logits);
            if normaliser.is_finite() {
                Ok(logits.iter().map(|logit| logit - normaliser).collect())
            } else {
                Err(IntentError::Inference("logits are not finite".to_owned()))
            }
        };
        self.task.trie.partings.iter().zip(logits.chunks_exact(columns)).map(children).collect()
    }

    /// Mean full-softmax probability of the answer's tokens: its opening (`forced`), the best label, its close.
    /// `predicting` holds the hidden states that predict them.
    fn token_confidence(
        &self,
        log_probabilities: &[f32],
        forced: &[TokenId],
        predicting: &[f32],
    ) -> Result<f32> {
        let answer = &self.task.prompt.answers[argmax(log_probabilities)];
        let logits = self.model.logits(predicting)?;
        let tokens = forced.iter().chain(answer);
        let probabilities = logits.chunks_exact(self.model.config().vocab).zip(tokens);
        let sum: f32 =
            probabilities.map(|(row, token)| (row[token.0 as usize] - log_sum_exp(row)).exp()).sum();
        Ok(sum / (forced.len() + answer.len()) as f32)
    }
}

/// Index of the largest value; the first of equals.
#[must_use]
pub fn argmax(values: &[f32]) -> usize {
    let better =
        |best: usize, (index, value): (usize, &f32)| if *value > values[best] { index } else { best };
    values.iter().enumerate().fold(0, better)
}

/// `ln(sum(exp(values)))`, shifted by the largest value so that nothing overflows.
#[must_use]
pub fn log_sum_exp(values: &[f32]) -> f32 {
    let largest = values.iter().fold(f32::NEG_INFINITY, |a, b| a.max(*b));
    let sum: f64 = values.iter().map(|value| f64::from(value - largest).exp()).sum();
    largest + sum.ln() as f32
}

/// Probabilities at `temperature`: `exp(l / T)` renormalised (Guo et al. 2017, arXiv 1706.04599).
#[must_use]
pub fn calibrate(log_probabilities: &[f32], temperature: f32) -> Vec<f32> {
    let scaled: Vec<f32> = log_probabilities.iter().map(|l| l / temperature).collect();
    let normaliser = log_sum_exp(&scaled);
    scaled.iter().map(|l| (l - normaliser).exp()).collect()
}
