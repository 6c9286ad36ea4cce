//! Rows of one forward pass: sequences behind a common beginning, each with the labels' trie behind it.

use std::ops::Range;

use crate::model::TokenId;
use crate::model::qwen2::Batch;
use crate::trie::LabelTrie;

/// Rows that are to follow what a cache holds.
pub(super) struct Rows {
    /// Slots that the cache holds, which every sequence sees.
    common: usize,
    batch: Batch,
}

impl Rows {
    /// None yet, behind `common` slots.
    pub(super) fn behind(common: usize) -> Self {
        Self { common, batch: Batch::default() }
    }

    pub(super) fn into_batch(self) -> Batch {
        self.batch
    }

    /// Adds a sequence that sees the common slots and itself, and nothing of other sequences. Returns its rows.
    pub(super) fn sequence<'t>(&mut self, tokens: impl IntoIterator<Item = &'t TokenId>) -> Range<usize> {
        let (common, Batch { tokens: all, positions, visible, .. }) = (self.common, &mut self.batch);
        let first = all.len();
        all.extend(tokens);
        positions.extend((first..all.len()).map(|row| common + row - first));
        for row in first..all.len() {
            let own = common + first..common + row + 1;
            if first == 0 {
                visible.push(std::iter::once(0..own.end));
            } else {
                visible.push([0..common, own]);
            }
        }
        first..all.len()
    }

    /// Adds the rows of `trie` behind a sequence, which must be the last that was added, and asks for those where labels
    /// part. A node sees the sequence and its own ancestors.
    pub(super) fn trie(&mut self, trie: &LabelTrie, sequence: &Range<usize>) {
        let Some(last) = sequence.end.checked_sub(1).filter(|last| *last >= sequence.start) else { return };
        let Batch { tokens, positions, visible, outputs } = &mut self.batch;
        let first = tokens.len();
        let row = |node: Option<usize>| node.map_or(last, |node| first + node);
        for node in &trie.nodes {
            visible.push_child(row(node.parent), self.common + tokens.len());
            positions.push(positions[last] + node.depth);
            tokens.push(node.token);
        }
        outputs.extend(trie.partings.iter().map(|parting| row(parting.node)));
    }

    /// Asks for hidden states of `rows`, behind those that were asked for before.
    pub(super) fn ask(&mut self, rows: Range<usize>) {
        self.batch.outputs.extend(rows);
    }
}
