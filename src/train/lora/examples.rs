//! Messages as trees, and what their hidden states say of labels.

use std::ops::Range;

use candle_core::{DType, Device, Result, Tensor, bail};

use crate::IntentError;
use crate::backend::RopeTable;
use crate::model::TokenId;
use crate::model::qwen2::Qwen2Config;
use crate::pack::IntentConfig;
use crate::prompt::Prompt;
use crate::scoring::Scores;
use crate::tokenizer::Tokenizer;
use crate::train::qwen2::{Batch, Block, Network, Tree};
use crate::trie::LabelTrie;

/// A message as tokens, and the distribution over labels that it should get.
#[derive(Debug, Clone, PartialEq)]
pub struct Example {
    /// Tokens of the message alone.
    pub tokens: Vec<TokenId>,
    /// Probability of each label.
    pub wanted: Vec<f64>,
}

/// The prompt around messages and the trie of their answers.
pub struct Examples {
    config: Qwen2Config,
    prefix: Vec<TokenId>,
    suffix: Vec<TokenId>,
    trie: LabelTrie,
    /// The tokens that logits are needed for, ascending.
    head_tokens: Vec<TokenId>,
    /// Their rows of the output matrix, `[tokens, hidden]`.
    head: Tensor,
}

/// An output of a batch: the hidden state at a node where labels part.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Parted {
    /// Index of the example.
    pub example: usize,
    /// Index of the parting.
    pub parting: usize,
}

/// A loss and the gradient of the hidden states that it is of.
pub struct Loss {
    /// Sum over the examples.
    pub sum: f64,
    /// `[outputs, hidden]`
    pub gradient: Tensor,
}

impl Examples {
    /// Tokenizes the prompt and builds the trie.
    ///
    /// # Errors
    /// `invalid_config` where prompt or labels do not work with this tokenizer.
    pub fn new(network: &Network, tokenizer: &Tokenizer, config: &IntentConfig) -> crate::Result<Self> {
        let Prompt { prefix, suffix, answers, .. } = Prompt::new(config, tokenizer)?;
        let trie = LabelTrie::new(&answers)?;
        let mut head_tokens: Vec<TokenId> = trie.partings.iter().flat_map(|p| &p.children).copied().collect();
        head_tokens.sort_unstable();
        head_tokens.dedup();
        let head = network.head(&head_tokens).map_err(crate::train::failed)?;
        Ok(Self { config: *network.config(), prefix, suffix, trie, head_tokens, head })
    }

    /// Tokens of the prefix.
    #[must_use]
    pub fn prefix_tokens(&self) -> usize {
        self.prefix.len()
    }

    /// Tokens between a message and its label.
    #[must_use]
    pub fn suffix_tokens(&self) -> usize {
        self.suffix.len()
    }

    /// Checks that a message fits the model.
    ///
    /// # Errors
    /// `invalid_argument` where it is longer than the context.
    pub fn check(&self, tokens: &[TokenId]) -> crate::Result<()> {
        let depth = self.trie.nodes.iter().map(|node| node.depth).max().unwrap_or(0);
        let longest = self.prefix.len() + tokens.len() + self.suffix.len() + depth;
        if longest <= self.config.context {
            return Ok(());
        }
        let detail = format!("a message takes {longest} tokens, the model {}", self.config.context);
        Err(IntentError::argument("context", detail))
    }

    /// The prefix once and the examples behind it, with rows for the nodes where `wanted` says so.
    pub fn batch(&self, examples: &[&Example], wanted: impl Fn(Parted) -> bool) -> (Batch, Vec<Parted>) {
        let mut rows = Rows::new(&self.prefix);
        let mut parted = Vec::new();
        for (example, Example { tokens, .. }) in examples.iter().enumerate() {
            let needed: Vec<bool> =
                (0..self.trie.partings.len()).map(|parting| wanted(Parted { example, parting })).collect();
            let nodes = rows.example(tokens, &self.suffix, &self.trie, &needed);
            for (parting, (at, needed)) in self.trie.partings.iter().zip(&needed).enumerate() {
                if let (Some(row), true) =
                    (at.node.map_or(Some(nodes.last), |node| nodes.rows[node]), *needed)
                {
                    rows.outputs.push(row);
                    parted.push(Parted { example, parting });
                }
            }
        }
        let Rows { prefix, tokens, positions, blocks, outputs } = rows;
        let table = RopeTable::new(&positions, self.config.heads.dim, self.config.rope_base);
        (Batch { tokens, tree: Tree { prefix, blocks, table }, outputs }, parted)
    }

    /// What each child of each parting should get: the sum over the labels behind it.
    fn shares(&self, wanted: &[f64]) -> Vec<Vec<f64>> {
        let mut shares: Vec<Vec<f64>> =
            self.trie.partings.iter().map(|parting| vec![0.0; parting.children.len()]).collect();
        for (path, wanted) in self.trie.paths.iter().zip(wanted) {
            for (parting, child) in path {
                shares[*parting][*child] += wanted;
            }
        }
        shares
    }

    /// Whether the loss of `example` reads that parting: some label that it should get lies behind it.
    #[must_use]
    pub fn matters(&self, example: &Example, parting: usize) -> bool {
        self.shares(&example.wanted).get(parting).is_some_and(|shares| shares.iter().sum::<f64>() > 0.0)
    }

    /// Log-probabilities of the children at each output, by a softmax over those children alone.
    fn children(&self, hidden: &Tensor, parted: &[Parted]) -> Result<Vec<Vec<f64>>> {
        // Not every GPU has doubles.
        let logits = hidden.matmul(&self.head.t()?)?.to_device(&Device::Cpu)?.to_dtype(DType::F64)?;
        let logits: Vec<Vec<f64>> = logits.to_vec2()?;
        if logits.len() != parted.len() {
            bail!("{} hidden states for {} partings", logits.len(), parted.len());
        }
        Ok(logits.iter().zip(parted).map(|(logits, parted)| self.conditional(logits, *parted)).collect())
    }

    fn columns(&self, parting: usize) -> impl Iterator<Item = usize> {
        let children = self.trie.partings.get(parting).map(|parting| parting.children.as_slice());
        children.unwrap_or_default().iter().filter_map(|token| self.head_tokens.binary_search(token).ok())
    }

    fn conditional(&self, logits: &[f64], parted: Parted) -> Vec<f64> {
        let own: Vec<f64> = self.columns(parted.parting).map(|column| logits[column]).collect();
        let largest = own.iter().copied().fold(f64::NEG_INFINITY, f64::max);
        let normaliser = largest + own.iter().map(|logit| (logit - largest).exp()).sum::<f64>().ln();
        own.iter().map(|logit| logit - normaliser).collect()
    }

    /// Cross-entropy of the labels' distribution against the wanted one, summed over the examples, and the gradient of
    /// `factor` times that.
    ///
    /// The log-probability of a label is a sum along its path, so the loss is a sum over partings: the cross-entropy of
    /// the children's distribution against their shares.
    ///
    /// # Errors
    /// Those of candle.
    pub fn loss(
        &self,
        hidden: &Tensor,
        parted: &[Parted],
        examples: &[&Example],
        factor: f64,
    ) -> Result<Loss> {
        let width = self.head_tokens.len();
        let mut sum = 0.0;
        let mut of_logits = vec![0.0; parted.len() * width];
        let rows = of_logits.chunks_exact_mut(width).zip(parted).zip(self.children(hidden, parted)?);
        for ((row, parted), log_probabilities) in rows {
            let Some(example) = examples.get(parted.example) else { bail!("example {}", parted.example) };
            let shares = self.shares(&example.wanted).swap_remove(parted.parting);
            let total: f64 = shares.iter().sum();
            for ((column, share), l) in self.columns(parted.parting).zip(&shares).zip(&log_probabilities) {
                sum -= share * l;
                row[column] = factor * (total * l.exp() - share);
            }
        }
        let of_logits = Tensor::from_vec(of_logits, (parted.len(), width), &Device::Cpu)?;
        let of_logits = of_logits.to_dtype(self.head.dtype())?.to_device(self.head.device())?;
        Ok(Loss { sum, gradient: of_logits.matmul(&self.head)? })
    }

    /// Log-probabilities of all labels of `count` examples whose every parting is among the outputs.
    ///
    /// # Errors
    /// Where one is missing or not finite, and those of candle.
    pub fn scores(&self, hidden: &Tensor, parted: &[Parted], count: usize) -> Result<Vec<Scores>> {
        let all = self.children(hidden, parted)?;
        let each = self.trie.partings.len();
        if all.len() != count * each {
            bail!("{} partings for {count} examples", all.len());
        }
        let scores = |partings: &[Vec<f64>]| {
            #[expect(clippy::cast_possible_truncation, reason = "scores are single precision")]
            let single = |values: &Vec<f64>| values.iter().map(|value| *value as f32).collect();
            let partings: Vec<Vec<f32>> = partings.iter().map(single).collect();
            let log_probabilities = self.trie.label_log_probabilities(&partings);
            if log_probabilities.iter().any(|value| !value.is_finite()) {
                bail!("a score is not finite");
            }
            Ok(Scores { log_probabilities, token_confidence: None })
        };
        all.chunks(each.max(1)).map(scores).collect()
    }
}

/// A batch that is being put together.
struct Rows {
    /// Rows of the prefix.
    prefix: usize,
    tokens: Vec<TokenId>,
    positions: Vec<usize>,
    blocks: Vec<Block>,
    outputs: Vec<usize>,
}

/// Where an example's rows are.
struct Nodes {
    /// The one that predicts the label's first token.
    last: usize,
    /// That of each node of the trie, where it has one.
    rows: Vec<Option<usize>>,
}

impl Rows {
    fn new(prefix: &[TokenId]) -> Self {
        let count = prefix.len();
        let own = (count > 0).then(|| Block { rows: 0..count, visible: visible(count, &[]) });
        Self {
            prefix: count,
            tokens: prefix.to_vec(),
            positions: (0..count).collect(),
            blocks: own.into_iter().collect(),
            outputs: Vec::new(),
        }
    }

    /// Appends an example with rows for the nodes that lead to a needed parting.
    fn example(
        &mut self,
        message: &[TokenId],
        suffix: &[TokenId],
        trie: &LabelTrie,
        needed: &[bool],
    ) -> Nodes {
        let (start, prefix) = (self.tokens.len(), self.prefix);
        self.tokens.extend(message.iter().chain(suffix));
        let length = message.len() + suffix.len();
        self.positions.extend(prefix..prefix + length);
        let used = used(trie, needed);
        let mut sees: Vec<Vec<usize>> = Vec::new();
        let mut rows = vec![None; trie.nodes.len()];
        for (index, node) in trie.nodes.iter().enumerate().filter(|(index, _)| used[*index]) {
            let own = length + sees.len();
            let mut visible = node
                .parent
                .and_then(|parent| rows[parent])
                .map_or_else(Vec::new, |row: usize| sees[row - start - length].clone());
            visible.push(own);
            sees.push(visible);
            rows[index] = Some(start + own);
            self.tokens.push(node.token);
            self.positions.push(prefix + length + node.depth - 1);
        }
        self.blocks.push(Block { rows: start..self.tokens.len(), visible: visible(length, &sees) });
        Nodes { last: start + length - 1, rows }
    }
}

/// The nodes that a needed parting is at or below.
fn used(trie: &LabelTrie, needed: &[bool]) -> Vec<bool> {
    let mut used = vec![false; trie.nodes.len()];
    for (parting, _) in trie.partings.iter().zip(needed).filter(|(_, needed)| **needed) {
        let mut at = parting.node;
        while let Some(node) = at {
            used[node] = true;
            at = trie.nodes[node].parent;
        }
    }
    used
}

/// A sequence of `length` rows, then rows that see all of it and those of their own list.
fn visible(length: usize, sees: &[Vec<usize>]) -> Vec<bool> {
    let n = length + sees.len();
    let mut visible = vec![false; n * n];
    let show = |row: usize, range: Range<usize>, visible: &mut Vec<bool>| {
        visible[row * n..][range].fill(true);
    };
    for row in 0..length {
        show(row, 0..row + 1, &mut visible);
    }
    for (row, own) in (length..).zip(sees) {
        show(row, 0..length, &mut visible);
        own.iter().for_each(|seen| visible[row * n + seen] = true);
    }
    visible
}
