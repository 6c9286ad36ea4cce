//! The labels as a token trie.
//!
//! `P(label)` is the product, along the label's path, of a softmax over the children of each node; where a
//! node has one child that factor is 1. So only the nodes where labels part need logits, and only for the
//! tokens of their children.

use crate::tokenizer::TokenId;
use crate::{IntentError, Result};

/// An inner node below the root that the forward pass needs as a row: it parts labels, or a node below it does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Node {
    /// Token that leads here.
    pub token: TokenId,
    /// The node above, as an index into [`LabelTrie::nodes`]; `None` under the root.
    pub parent: Option<usize>,
    /// Steps from the root, 1 or more.
    pub depth: usize,
}

/// A node where labels part.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Parting {
    /// Index into [`LabelTrie::nodes`]; `None` for the root.
    pub node: Option<usize>,
    /// The tokens that lead on, two or more, ascending.
    pub children: Vec<TokenId>,
}

/// The trie of all answers.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LabelTrie {
    /// Inner nodes that need a row, parents before children.
    pub nodes: Vec<Node>,
    /// Nodes where labels part, the root first if it does.
    pub partings: Vec<Parting>,
    /// For each label the choices on its path: (index into `partings`, index into its `children`).
    pub paths: Vec<Vec<(usize, usize)>>,
}

impl LabelTrie {
    /// The trie of `answers`, one token sequence a label.
    ///
    /// # Errors
    /// `invalid_config` where two answers are the same tokens or one is the beginning of another.
    pub fn new(answers: &[Vec<TokenId>]) -> Result<Self> {
        for (index, answer) in answers.iter().enumerate() {
            let clash = answers
                .iter()
                .enumerate()
                .any(|(other, tokens)| other != index && tokens.starts_with(answer));
            if clash || answer.is_empty() {
                let detail = "its tokens are the beginning of another label's";
                return Err(IntentError::config(format!("labels[{index}]"), detail));
            }
        }
        let mut trie =
            Self { nodes: Vec::new(), partings: Vec::new(), paths: vec![Vec::new(); answers.len()] };
        let all: Vec<usize> = (0..answers.len()).collect();
        trie.grow(answers, &all, None, 0);
        Ok(trie)
    }

    /// Adds the node that `members` (labels) share after `depth` tokens, and what is below it.
    fn grow(&mut self, answers: &[Vec<TokenId>], members: &[usize], node: Option<usize>, depth: usize) {
        let mut children: Vec<TokenId> = members.iter().map(|label| answers[*label][depth]).collect();
        children.sort_unstable();
        children.dedup();
        if children.len() > 1 {
            for label in members {
                if let Ok(child) = children.binary_search(&answers[*label][depth]) {
                    self.paths[*label].push((self.partings.len(), child));
                }
            }
            self.partings.push(Parting { node, children: children.clone() });
        }
        for token in children {
            let below: Vec<usize> =
                members.iter().copied().filter(|label| answers[*label][depth] == token).collect();
            // One label left: nothing parts below.
            if below.len() > 1 {
                self.nodes.push(Node { token, parent: node, depth: depth + 1 });
                let index = self.nodes.len() - 1;
                self.grow(answers, &below, Some(index), depth + 1);
            }
        }
    }

    /// The tokens that logits are needed for, ascending.
    #[must_use]
    pub fn children(&self) -> Vec<TokenId> {
        let mut tokens: Vec<TokenId> = self.partings.iter().flat_map(|p| &p.children).copied().collect();
        tokens.sort_unstable();
        tokens.dedup();
        tokens
    }

    /// Natural log-probability of each label from the log-probabilities of the children of each parting.
    #[must_use]
    pub fn label_log_probabilities(&self, partings: &[Vec<f32>]) -> Vec<f32> {
        let log_probability = |path: &Vec<(usize, usize)>| path.iter().map(|(p, c)| partings[*p][*c]).sum();
        self.paths.iter().map(log_probability).collect()
    }
}
