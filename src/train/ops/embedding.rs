//! The sum of word, position and segment embeddings of a packed batch.

use std::sync::Arc;

use candle_core::{CpuStorage, CustomOp3, Layout, Result, Shape, Tensor, bail};

use super::attention::Bounds;
use super::{math, values, with_values};

/// Operands: `words` `[rows of the vocabulary, width]`, `positions` `[positions, width]`, `segments` `[segments,
/// width]` of which row 0 is used; result `[tokens, width]`.
pub struct Embedding {
    /// Row of `words` of each token.
    pub rows: Arc<[u32]>,
    /// Bounds of the messages; positions count from 0 in each.
    pub bounds: Bounds,
}

impl Embedding {
    /// Applies it.
    ///
    /// # Errors
    /// Where a row or position does not exist.
    pub fn apply(self, words: &Tensor, positions: &Tensor, segments: &Tensor) -> Result<Tensor> {
        words.apply_op3(positions, segments, self)
    }

    /// Row and position of each token.
    fn tokens(&self) -> impl Iterator<Item = (usize, usize)> {
        let positions = self.bounds.ranges().flat_map(|range| 0..range.len());
        self.rows.iter().map(|row| *row as usize).zip(positions)
    }

    fn check(&self, words: usize, positions: usize) -> Result<()> {
        if self.rows.len() != self.bounds.tokens() {
            bail!("embedding: {} tokens in bounds for {}", self.rows.len(), self.bounds.tokens());
        }
        match self.tokens().find(|(row, position)| *row >= words || *position >= positions) {
            Some((row, position)) => {
                bail!("embedding: row {row} of {words}, position {position} of {positions}")
            }
            None => Ok(()),
        }
    }
}

impl CustomOp3 for Embedding {
    fn name(&self) -> &'static str {
        "embedding"
    }

    fn cpu_fwd(
        &self,
        words: &CpuStorage,
        words_layout: &Layout,
        positions: &CpuStorage,
        positions_layout: &Layout,
        segments: &CpuStorage,
        segments_layout: &Layout,
    ) -> Result<(CpuStorage, Shape)> {
        let (rows, width) = words_layout.shape().dims2()?;
        let (count, _) = positions_layout.shape().dims2()?;
        self.check(rows, count)?;
        let words = values(words, words_layout, "words")?;
        let positions = values(positions, positions_layout, "positions")?;
        let segment = &values(segments, segments_layout, "segments")?[..width];
        let mut out = vec![0.0; self.rows.len() * width];
        for (out, (row, position)) in out.chunks_exact_mut(width).zip(self.tokens()) {
            out.copy_from_slice(&words[row * width..][..width]);
            math::add(out, &positions[position * width..][..width]);
            math::add(out, segment);
        }
        Ok((CpuStorage::F32(out), (self.rows.len(), width).into()))
    }

    fn bwd(
        &self,
        words: &Tensor,
        positions: &Tensor,
        segments: &Tensor,
        _result: &Tensor,
        gradient: &Tensor,
    ) -> Result<(Option<Tensor>, Option<Tensor>, Option<Tensor>)> {
        let gradient = gradient.contiguous()?;
        let (_, width) = words.dims2()?;
        let zeros = |tensor: &Tensor| vec![0.0; tensor.elem_count()];
        let (mut of_words, mut of_positions, mut of_segments) =
            (zeros(words), zeros(positions), zeros(segments));
        with_values(&gradient, "embedding", |gradient| {
            for (gradient, (row, position)) in gradient.chunks_exact(width).zip(self.tokens()) {
                math::add(&mut of_words[row * width..][..width], gradient);
                math::add(&mut of_positions[position * width..][..width], gradient);
                math::add(&mut of_segments[..width], gradient);
            }
            Ok(())
        })?;
        let of_words = Tensor::from_vec(of_words, words.shape(), words.device())?;
        let of_positions = Tensor::from_vec(of_positions, positions.shape(), words.device())?;
        let of_segments = Tensor::from_vec(of_segments, segments.shape(), words.device())?;
        Ok((Some(of_words), Some(of_positions), Some(of_segments)))
    }
}
