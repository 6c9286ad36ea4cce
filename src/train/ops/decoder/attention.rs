//! Attention over a tree: a prefix, and behind it blocks that all see the prefix and each itself.

use std::ops::Range;

use rayon::prelude::*;

use super::super::math;
use super::product::{Matrix, MatrixMut, Threads, product};
use crate::backend::{Heads, RopeTable};

/// Rows that see each other.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Block {
    /// Where it stands in the batch.
    pub rows: Range<usize>,
    /// `[rows, rows]`: whether the row of the first index sees that of the second. Every row sees itself.
    pub visible: Vec<bool>,
}

/// Who sees whom in a batch, and where everybody stands.
pub struct Tree {
    /// Rows of the prefix, which every row behind it sees.
    pub prefix: usize,
    /// The prefix, unless it is empty, then all others; together they are the batch.
    pub blocks: Vec<Block>,
    /// Rotary angles of the rows.
    pub table: RopeTable,
}

/// Queries and keys of all rows, rotated, beside the values: what the heads read.
struct Operands<'a> {
    tree: &'a Tree,
    heads: Heads,
    rows: usize,
    qkv: &'a [f32],
    /// `[rows, (query heads + kv heads) * dim]`
    rotated: Vec<f32>,
}

/// Attention weights of one query head.
struct Weights {
    /// Of the rows behind the prefix, `[rows - prefix, prefix]`.
    prefix: Vec<f32>,
    /// Of each block, `[n, n]`.
    blocks: Vec<Vec<f32>>,
}

/// Gradients of one query head, `[rows, dim]` each.
struct OfHead {
    query: Vec<f32>,
    key: Vec<f32>,
    value: Vec<f32>,
}

impl Tree {
    /// Rows of the batch.
    #[must_use]
    pub fn rows(&self) -> usize {
        self.blocks.last().map_or(0, |block| block.rows.end)
    }

    /// `[rows, query heads * dim]` of queries, keys and values `[rows, (query heads + 2 kv heads) * dim]` that are not
    /// yet rotated.
    pub(in crate::train) fn forward(&self, qkv: &[f32], heads: Heads) -> Vec<f32> {
        let operands = Operands::new(self, qkv, heads);
        let outs: Vec<Vec<f32>> =
            (0..heads.query).into_par_iter().map(|head| operands.forward(head)).collect();
        let mut out = vec![0.0; operands.rows * heads.query * heads.dim];
        out.par_chunks_mut(heads.query * heads.dim).enumerate().for_each(|(row, out)| {
            for (out, head) in out.chunks_exact_mut(heads.dim).zip(&outs) {
                out.copy_from_slice(&head[row * heads.dim..][..heads.dim]);
            }
        });
        out
    }

    /// Gradient of the operand of [`forward`](Self::forward), of that of its result.
    pub(in crate::train) fn backward(&self, qkv: &[f32], gradient: &[f32], heads: Heads) -> Vec<f32> {
        let operands = Operands::new(self, qkv, heads);
        let ofs: Vec<OfHead> =
            (0..heads.query).into_par_iter().map(|head| operands.backward(head, gradient)).collect();
        let (d, width, group) = (heads.dim, operands.width(), heads.query / heads.kv);
        let mut out = vec![0.0; qkv.len()];
        out.par_chunks_mut(width).enumerate().for_each(|(row, out)| {
            let at = row * d..(row + 1) * d;
            for (head, out) in out.chunks_exact_mut(d).enumerate() {
                if head < heads.query {
                    out.copy_from_slice(&ofs[head].query[at.clone()]);
                    self.rotate(row, out, true);
                    continue;
                }
                let (kv, value) = ((head - heads.query) % heads.kv, head >= heads.query + heads.kv);
                for of in &ofs[kv * group..(kv + 1) * group] {
                    math::add(out, &if value { &of.value } else { &of.key }[at.clone()]);
                }
                if !value {
                    self.rotate(row, out, true);
                }
            }
        });
        out
    }

    /// Rotates one head of a row by its angles, or back.
    fn rotate(&self, row: usize, head: &mut [f32], back: bool) {
        let half = self.table.half;
        let (low, high) = head.split_at_mut(half);
        let (cos, sin) = (&self.table.cos[row * half..][..half], &self.table.sin[row * half..][..half]);
        for (((low, high), cos), sin) in low.iter_mut().zip(high).zip(cos).zip(sin) {
            let sin = if back { -sin } else { *sin };
            (*low, *high) = (*low * cos - *high * sin, *high * cos + *low * sin);
        }
    }
}

impl<'a> Operands<'a> {
    fn new(tree: &'a Tree, qkv: &'a [f32], heads: Heads) -> Self {
        let rotating = (heads.query + heads.kv) * heads.dim;
        let width = rotating + heads.kv * heads.dim;
        let rows = qkv.len() / width;
        assert_eq!(rows, tree.rows(), "a tree has the batch's rows");
        let mut rotated = vec![0.0; rows * rotating];
        rotated.par_chunks_mut(rotating).zip(qkv.par_chunks(width)).enumerate().for_each(
            |(row, (rotated, qkv))| {
                rotated.copy_from_slice(&qkv[..rotating]);
                rotated.chunks_exact_mut(heads.dim).for_each(|head| tree.rotate(row, head, false));
            },
        );
        Self { tree, heads, rows, qkv, rotated }
    }

    fn width(&self) -> usize {
        (self.heads.query + 2 * self.heads.kv) * self.heads.dim
    }

    /// Queries, keys and values that query head `head` reads, `[rows, dim]` each.
    fn views(&self, head: usize) -> [Matrix<'_>; 3] {
        let Heads { query, kv, dim } = self.heads;
        let shared = head / (query / kv);
        let rotated = Matrix::new(&self.rotated, self.rows, (query + kv) * dim);
        let values = Matrix::new(self.qkv, self.rows, self.width());
        let at = |head: usize| head * dim..(head + 1) * dim;
        [
            rotated.columns(&at(head)),
            rotated.columns(&at(query + shared)),
            values.columns(&at(query + kv + shared)),
        ]
    }

    /// Rows of the prefix and of what is behind it.
    fn parts(&self) -> (Range<usize>, Range<usize>) {
        (0..self.tree.prefix, self.tree.prefix..self.rows)
    }

    #[expect(clippy::cast_precision_loss, reason = "a head's width")]
    fn scale(&self) -> f32 {
        1.0 / (self.heads.dim as f32).sqrt()
    }

    /// Products of rows of `a` with rows of `b`, laid out as attention weights.
    fn pairs(&self, factor: f32, a: Matrix, b: Matrix) -> Weights {
        let (prefix, behind) = self.parts();
        let product = |rows: &Range<usize>, columns: &Range<usize>| {
            product(factor, a.rows(rows), b.rows(columns).transposed(), Threads::One)
        };
        let blocks = self.tree.blocks.iter().map(|block| product(&block.rows, &block.rows)).collect();
        Weights { prefix: product(&behind, &prefix), blocks }
    }

    fn weights(&self, [queries, keys, _]: [Matrix; 3]) -> Weights {
        let mut weights = self.pairs(self.scale(), queries, keys);
        let prefix = self.tree.prefix;
        for (block, scores) in self.tree.blocks.iter().zip(&mut weights.blocks) {
            let n = block.rows.len();
            let rows = scores.chunks_exact_mut(n).zip(block.visible.chunks_exact(n)).zip(block.rows.clone());
            for ((own, visible), row) in rows {
                let to_prefix = match row.checked_sub(prefix) {
                    Some(behind) => &mut weights.prefix[behind * prefix..][..prefix],
                    None => &mut [][..],
                };
                softmax(to_prefix, own, visible);
            }
        }
        weights
    }

    fn forward(&self, head: usize) -> Vec<f32> {
        let views = self.views(head);
        let weights = self.weights(views);
        let mut out = vec![0.0; self.rows * self.heads.dim];
        self.mix(&weights, views[2], &mut out);
        out
    }

    /// Results of one head, `[rows, dim]`.
    fn head<'b>(&self, out: &'b mut [f32]) -> MatrixMut<'b> {
        MatrixMut::new(out, self.rows, self.heads.dim)
    }

    /// `out += weights * values`
    fn mix(&self, weights: &Weights, values: Matrix, out: &mut [f32]) {
        let (prefix, behind) = self.parts();
        let seen = Matrix::new(&weights.prefix, behind.len(), prefix.len());
        self.head(out).rows(&behind).add(1.0, seen, values.rows(&prefix), Threads::One);
        for (block, own) in self.tree.blocks.iter().zip(&weights.blocks) {
            let own = Matrix::new(own, block.rows.len(), block.rows.len());
            self.head(out).rows(&block.rows).add(1.0, own, values.rows(&block.rows), Threads::One);
        }
    }

    /// `out += weights' * of_rows`
    fn mix_back(&self, weights: &Weights, of_rows: Matrix, out: &mut [f32]) {
        let (prefix, behind) = self.parts();
        let seen = Matrix::new(&weights.prefix, behind.len(), prefix.len());
        self.head(out).rows(&prefix).add(1.0, seen.transposed(), of_rows.rows(&behind), Threads::One);
        for (block, own) in self.tree.blocks.iter().zip(&weights.blocks) {
            let own = Matrix::new(own, block.rows.len(), block.rows.len());
            let from = of_rows.rows(&block.rows);
            self.head(out).rows(&block.rows).add(1.0, own.transposed(), from, Threads::One);
        }
    }

    fn backward(&self, head: usize, gradient: &[f32]) -> OfHead {
        let [queries, keys, values] = self.views(head);
        let Heads { query, dim, .. } = self.heads;
        let gradient = Matrix::new(gradient, self.rows, query * dim).columns(&(head * dim..(head + 1) * dim));
        let weights = self.weights([queries, keys, values]);
        let mut of_scores = self.pairs(1.0, gradient, values);
        self.through_softmax(&weights, &mut of_scores);
        let zeros = || vec![0.0; self.rows * dim];
        let mut of = OfHead { query: zeros(), key: zeros(), value: zeros() };
        self.mix(&of_scores, keys, &mut of.query);
        self.mix_back(&of_scores, queries, &mut of.key);
        self.mix_back(&weights, gradient, &mut of.value);
        of
    }

    /// Turns gradients of attention weights into those of unscaled scores.
    fn through_softmax(&self, weights: &Weights, of: &mut Weights) {
        let (prefix, scale) = (self.tree.prefix, self.scale());
        for ((block, own), of_own) in self.tree.blocks.iter().zip(&weights.blocks).zip(&mut of.blocks) {
            let n = block.rows.len();
            let rows = own.chunks_exact(n).zip(of_own.chunks_exact_mut(n)).zip(block.rows.clone());
            for ((own, of_own), row) in rows {
                let (seen, of_seen) = match row.checked_sub(prefix) {
                    Some(behind) => {
                        let at = behind * prefix..(behind + 1) * prefix;
                        (&weights.prefix[at.clone()], &mut of.prefix[at])
                    }
                    None => (&[][..], &mut [][..]),
                };
                let mean = math::sum2(own, of_own, |p, g| p * g) + math::sum2(seen, of_seen, |p, g| p * g);
                for (p, g) in own.iter().chain(seen).zip(of_own.iter_mut().chain(of_seen)) {
                    *g = p * (*g - mean) * scale;
                }
            }
        }
    }
}

/// Softmax over the scores of the prefix and the visible ones of the row's own block; the others become 0.
fn softmax(prefix: &mut [f32], own: &mut [f32], visible: &[bool]) {
    let hide = |(score, visible): (&mut f32, &bool)| {
        if !visible {
            *score = f32::NEG_INFINITY;
        }
    };
    own.iter_mut().zip(visible).for_each(hide);
    let largest = prefix.iter().chain(own.iter()).copied().fold(f32::NEG_INFINITY, f32::max);
    prefix.iter_mut().chain(own.iter_mut()).for_each(|score| *score = math::exp(*score - largest));
    // `exp` is never 0.
    own.iter_mut().zip(visible).for_each(|(weight, visible)| *weight *= f32::from(u8::from(*visible)));
    let scale = 1.0 / (math::sum(prefix, |p| p) + math::sum(own, |p| p));
    prefix.iter_mut().chain(own).for_each(|weight| *weight *= scale);
}
