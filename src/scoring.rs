//! One forward pass per message.
//!
//! The prefix's keys and values are computed once. A message then costs one batch: its tokens, the suffix that
//! forces the answer's opening, and the trie's inner nodes, each seeing the sequence and its own ancestors. The
//! probabilities of all labels are read from the rows where labels part, through their children's rows of the
//! output matrix alone.

use std::mem::replace;

use crate::adapter::Adapter;
use crate::backend::{Backend, Visible, causal};
use crate::model::qwen2::{Batch, KvCache, Paths, Qwen2};
use crate::pack::IntentConfig;
use crate::profile::{self, Part};
use crate::prompt::Prompt;
use crate::quant::{QuantMatrix, matmul};
use crate::tokenizer::{TokenId, Tokenizer};
use crate::trie::LabelTrie;
use crate::{IntentError, Result};

/// Most rows of one batch before the last: bounds the memory that a long message takes.
const PREFILL_ROWS: usize = 256;

/// What a model says of one message.
#[derive(Debug, Clone, PartialEq)]
pub struct Scores {
    /// Natural log-probability of each label, uncalibrated; their exponentials sum to one.
    pub log_probabilities: Vec<f32>,
    /// Mean full-softmax probability of the emitted answer tokens, where asked for.
    pub token_confidence: Option<f32>,
}

/// A prompt and its answers, for one model.
struct Task {
    prompt: Prompt,
    trie: LabelTrie,
    /// The tokens that logits are needed for, ascending.
    head_tokens: Vec<TokenId>,
    /// Their rows of the output matrix.
    head: QuantMatrix,
}

impl Task {
    fn new<B: Backend>(model: &Qwen2<B>, tokenizer: &Tokenizer, config: &IntentConfig) -> Result<Self> {
        let prompt = Prompt::new(config, tokenizer)?;
        let trie = LabelTrie::new(&prompt.answers)?;
        let head_tokens = trie.children();
        let head = model.head(&head_tokens)?;
        Ok(Self { prompt, trie, head_tokens, head })
    }
}

/// Qwen2 with a prompt, scoring labels.
pub struct Scorer<B: Backend> {
    model: Qwen2<B>,
    tokenizer: Tokenizer,
    task: Task,
    /// Holds the prefix between messages.
    cache: KvCache<B>,
}

impl<B: Backend> Scorer<B> {
    /// Tokenizes the prompt, builds the trie and computes the prefix.
    ///
    /// # Errors
    /// `invalid_config` where prompt or labels do not work with this tokenizer, and the errors of a forward pass.
    pub fn new(model: Qwen2<B>, tokenizer: Tokenizer, config: &IntentConfig) -> Result<Self> {
        let task = Task::new(&model, &tokenizer, config)?;
        let cache = model.cache();
        let mut scorer = Self { model, tokenizer, task, cache };
        scorer.fill_prefix()?;
        Ok(scorer)
    }

    /// Computes the prefix into the empty cache.
    fn fill_prefix(&mut self) -> Result<()> {
        let prefix = self.task.prompt.prefix.clone();
        for chunk in prefix.chunks(PREFILL_ROWS) {
            self.append(chunk, &[])?;
        }
        Ok(())
    }

    /// Puts an adapter beside the weights, or none, with the labels and the prompt of `config`; the weights stay where
    /// they are. Then asks `check`. After an error everything is as it was.
    ///
    /// # Errors
    /// Those of [`new`](Self::new) and of `check`.
    pub fn set_adapter(
        &mut self,
        adapter: Option<&Adapter>,
        config: &IntentConfig,
        check: impl FnOnce(&mut Self) -> Result<()>,
    ) -> Result<()> {
        let task = Task::new(&self.model, &self.tokenizer, config)?;
        let paths = adapter.map_or_else(|| Ok(Paths::default()), |adapter| self.model.prepare(adapter))?;
        let paths = self.model.swap(paths);
        let cache = self.model.cache();
        let (task, cache) = (replace(&mut self.task, task), replace(&mut self.cache, cache));
        let result = self.fill_prefix().and_then(|()| check(self));
        if result.is_err() {
            self.model.swap(paths);
            (self.task, self.cache) = (task, cache);
        }
        result
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

    /// The labels' trie.
    #[must_use]
    pub fn trie(&self) -> &LabelTrie {
        &self.task.trie
    }

    /// Scores `text` (already trimmed and normalised).
    ///
    /// # Errors
    /// `tokenizer`, `inference`, `out_of_memory`, and `unavailable` for `token_confidence` of a model without the whole
    /// output matrix; the scorer is usable afterwards.
    pub fn score(&mut self, text: &str, token_confidence: bool) -> Result<Scores> {
        if token_confidence {
            self.model.require_output()?;
        }
        let result = self.score_from_prefix(text, token_confidence);
        self.model.truncate(&mut self.cache, self.task.prompt.prefix.len());
        result
    }

    fn score_from_prefix(&mut self, text: &str, token_confidence: bool) -> Result<Scores> {
        let message = profile::measure(Part::Tokenize, || self.tokenizer.encode(text))?;
        let late = message.len() % PREFILL_ROWS;
        // At least one message row stays for the last batch, beside what predicts the answer.
        let (early, late) =
            message.split_at(message.len() - if late == 0 { message.len().min(PREFILL_ROWS) } else { late });
        for chunk in early.chunks(PREFILL_ROWS) {
            self.append(chunk, &[])?;
        }
        let sequence: Vec<TokenId> = late.iter().chain(&self.task.prompt.suffix).copied().collect();
        // The rows that predict the opening, and the last one, which predicts the label.
        let opening = if token_confidence { self.task.prompt.open.min(sequence.len() - 1) + 1 } else { 0 };
        let hidden = self.last_batch(&sequence, opening)?;
        let width = self.model.config().hidden;
        let (opening_hidden, parting_hidden) = hidden.split_at(opening * width);
        let partings = profile::measure(Part::Head, || self.partings(parting_hidden))?;
        let log_probabilities = self.task.trie.label_log_probabilities(&partings);
        let token_confidence = if token_confidence {
            let forced = &sequence[sequence.len() + 1 - opening..];
            Some(self.token_confidence(&log_probabilities, forced, opening_hidden)?)
        } else {
            None
        };
        Ok(Scores { log_probabilities, token_confidence })
    }

    /// Appends `tokens` after all that the cache holds; returns the hidden states of `outputs`.
    fn append(&mut self, tokens: &[TokenId], outputs: &[usize]) -> Result<Vec<f32>> {
        let start = self.cache.slots();
        let positions: Vec<usize> = (start..start + tokens.len()).collect();
        let visible: Vec<Visible> = positions.iter().map(|p| causal(p + 1)).collect();
        self.model
            .forward(&mut self.cache, &Batch { tokens, positions: &positions, visible: &visible, outputs })
    }

    /// Runs `sequence` and the trie in one batch. Returns the hidden states of the last `opening` rows of
    /// the sequence, then of each parting's row.
    fn last_batch(&mut self, sequence: &[TokenId], opening: usize) -> Result<Vec<f32>> {
        let (start, rows) = (self.cache.slots(), sequence.len());
        let end = start + rows;
        let mut tokens = sequence.to_vec();
        let mut positions: Vec<usize> = (start..end).collect();
        let mut visible: Vec<Visible> = positions.iter().map(|p| causal(p + 1)).collect();
        for (index, node) in self.task.trie.nodes.iter().enumerate() {
            tokens.push(node.token);
            positions.push(end + node.depth - 1);
            let mut sees = match node.parent {
                Some(parent) => visible[rows + parent].clone(),
                None => causal(end),
            };
            match sees.last_mut() {
                Some(last) if last.end == end + index => last.end += 1,
                _ => sees.push(end + index..end + index + 1),
            }
            visible.push(sees);
        }
        let last = rows - 1;
        let partings =
            self.task.trie.partings.iter().map(|parting| parting.node.map_or(last, |node| rows + node));
        let outputs: Vec<usize> = (rows - opening..rows).chain(partings).collect();
        let batch = Batch { tokens: &tokens, positions: &positions, visible: &visible, outputs: &outputs };
        let hidden = self.model.forward(&mut self.cache, &batch)?;
        // The trie's rows are siblings of what may follow.
        self.model.truncate(&mut self.cache, end);
        Ok(hidden)
    }

    /// Log-probabilities of each parting's children, by a softmax over those children alone.
    fn partings(&self, hidden: &[f32]) -> Result<Vec<Vec<f32>>> {
        let (rows, columns) = (self.task.trie.partings.len(), self.task.head_tokens.len());
        let mut logits = vec![0.0; rows * columns];
        matmul(hidden, rows, &self.task.head, &mut logits);
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
    /// `predicting` holds the hidden states that predict the opening and the label's first token.
    fn token_confidence(
        &mut self,
        log_probabilities: &[f32],
        forced: &[TokenId],
        predicting: &[f32],
    ) -> Result<f32> {
        let answer = self.task.prompt.answers[argmax(log_probabilities)].clone();
        let rows: Vec<usize> = (0..answer.len() - 1).collect();
        let following = self.append(&answer[..answer.len() - 1], &rows)?;
        let logits = self.model.logits(&[predicting, &following].concat())?;
        let tokens = forced.iter().chain(&answer);
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
