//! Rows of one forward pass: sequences behind a common beginning, each with the labels' trie behind it.

use std::ops::Range;

use crate::backend::Visible;
use crate::model::TokenId;
use crate::model::qwen2::Batch;
use crate::trie::LabelTrie;

/// Rows that are to follow what a cache holds.
pub(super) struct Rows {
    /// Slots that the cache holds, which every sequence sees.
    common: usize,
    tokens: Vec<TokenId>,
    positions: Vec<usize>,
    visible: Vec<Visible>,
    /// Rows whose hidden states are wanted.
    outputs: Vec<usize>,
}

impl Rows {
    /// None yet, behind `common` slots.
    pub(super) fn behind(common: usize) -> Self {
        Self { common, tokens: Vec::new(), positions: Vec::new(), visible: Vec::new(), outputs: Vec::new() }
    }

    pub(super) fn batch(&self) -> Batch<'_> {
        Batch {
            tokens: &self.tokens,
            positions: &self.positions,
            visible: &self.visible,
            outputs: &self.outputs,
        }
    }

    /// Adds a sequence that sees the common slots and itself, and nothing of other sequences. Returns its rows.
    pub(super) fn sequence<'t>(&mut self, tokens: impl IntoIterator<Item = &'t TokenId>) -> Range<usize> {
        let first = self.tokens.len();
        self.tokens.extend(tokens);
        for row in first..self.tokens.len() {
            self.positions.push(self.common + row - first);
            let own = self.common + first..self.common + row + 1;
            self.visible.push(if first == 0 {
                std::iter::once(0..own.end).collect()
            } else {
                [0..self.common, own].into_iter().filter(|range| !range.is_empty()).collect()
            });
        }
        first..self.tokens.len()
    }

    /// Adds the rows of `trie` behind a sequence, which must be the last that was added, and asks for those where labels
    /// part. A node sees the sequence and its own ancestors.
    pub(super) fn trie(&mut self, trie: &LabelTrie, sequence: &Range<usize>) {
        let Some(last) = sequence.end.checked_sub(1).filter(|last| *last >= sequence.start) else { return };
        let first = self.tokens.len();
        for node in &trie.nodes {
            let slot = self.common + self.tokens.len();
            self.tokens.push(node.token);
            self.positions.push(self.positions[last] + node.depth);
            let mut sees = self.visible[node.parent.map_or(last, |parent| first + parent)].clone();
            match sees.last_mut() {
                Some(range) if range.end == slot => range.end += 1,
                _ => sees.push(slot..slot + 1),
            }
            self.visible.push(sees);
        }
        let row = |parting: &crate::trie::Parting| parting.node.map_or(last, |node| first + node);
        self.outputs.extend(trie.partings.iter().map(row));
    }

    /// Asks for hidden states of `rows`, behind those that were asked for before.
    pub(super) fn ask(&mut self, rows: Range<usize>) {
        self.outputs.extend(rows);
    }
}
