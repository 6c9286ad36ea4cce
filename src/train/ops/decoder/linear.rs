//! `x W' + b` with a frozen `W`, and low-rank paths beside it (LoRA, Hu et al. 2021, arXiv 2106.09685).

use std::ops::Range;

use rayon::prelude::*;

use super::super::{ROWS, math};
use super::bf16::Tiles;
use super::product::{Matrix, MatrixMut, Threads, product};

/// A frozen matrix; several that take the same input are one, their rows under each other.
pub(in crate::train) struct Linear<'a> {
    /// `[out, in]`
    pub(in crate::train) weight: Weight<'a>,
    /// `[out]`
    pub(in crate::train) bias: Option<&'a [f32]>,
    /// Input features.
    pub(in crate::train) width: usize,
}

/// The values of a frozen matrix.
#[derive(Clone, Copy)]
pub(in crate::train) enum Weight<'a> {
    /// As they are.
    Floats(&'a [f32]),
    /// In bf16, with which products round the other operand too.
    Tiles(&'a Tiles),
}

/// The low-rank paths beside it: to some columns of `x W'` each adds `scale * (x A') B'` of its own rows of `A` and `B`.
pub(in crate::train) struct LowRank<'a> {
    /// `[sum of ranks, in]`
    pub(in crate::train) a: &'a [f32],
    /// `[sum of the parts' columns, rank]`
    pub(in crate::train) b: &'a [f32],
    /// Rank of each part.
    pub(in crate::train) rank: usize,
    /// Factor of each path.
    pub(in crate::train) scale: f32,
    /// The paths.
    pub(in crate::train) parts: &'a [Part],
}

/// One low-rank path.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Part {
    /// Rows of `A`.
    pub ranks: Range<usize>,
    /// Rows of `B`.
    pub rows: Range<usize>,
    /// Columns of the result.
    pub columns: Range<usize>,
}

/// Gradients of a [`LowRank`].
pub(in crate::train) struct OfLowRank {
    pub(in crate::train) a: Vec<f32>,
    pub(in crate::train) b: Vec<f32>,
}

impl Linear<'_> {
    fn out(&self) -> usize {
        match self.weight {
            Weight::Floats(values) => values.len() / self.width,
            Weight::Tiles(tiles) => tiles.shape().0,
        }
    }

    /// `[rows, out]` of `x` `[rows, in]`. The low-rank paths read `seen`, which is `x` or what dropout left of it.
    pub(in crate::train) fn forward(&self, low: Option<&LowRank>, x: &[f32], seen: &[f32]) -> Vec<f32> {
        let (rows, out) = (x.len() / self.width, self.out());
        let mut result = match self.weight {
            Weight::Floats(values) => {
                let weight = Matrix::new(values, out, self.width);
                product(1.0, Matrix::new(x, rows, self.width), weight.transposed(), Threads::All)
            }
            Weight::Tiles(tiles) => tiles.forward(x),
        };
        if let Some(bias) = self.bias {
            let add = |rows: &mut [f32]| rows.chunks_exact_mut(out).for_each(|row| math::add(row, bias));
            result.par_chunks_mut(ROWS * out).for_each(add);
        }
        if let Some(low) = low {
            let inner = low.inner(seen, self.width);
            for part in low.parts {
                MatrixMut::new(&mut result, rows, out).columns(&part.columns).add(
                    low.scale,
                    Matrix::new(&inner, rows, low.ranks()).columns(&part.ranks),
                    low.rows_of_b(part).transposed(),
                    Threads::All,
                );
            }
        }
        result
    }

    /// Gradient of `x` by the frozen matrix, `[rows, in]`, of that of the result.
    pub(in crate::train) fn backward(&self, gradient: &[f32]) -> Vec<f32> {
        match self.weight {
            Weight::Floats(values) => {
                let (rows, out) = (gradient.len() / self.out(), self.out());
                let weight = Matrix::new(values, out, self.width);
                product(1.0, Matrix::new(gradient, rows, out), weight, Threads::All)
            }
            Weight::Tiles(tiles) => tiles.backward(gradient),
        }
    }
}

impl LowRank<'_> {
    fn ranks(&self) -> usize {
        self.parts.len() * self.rank
    }

    fn a(&self, width: usize) -> Matrix<'_> {
        Matrix::new(self.a, self.ranks(), width)
    }

    fn rows_of_b(&self, part: &Part) -> Matrix<'_> {
        Matrix::new(self.b, self.b.len() / self.rank, self.rank).rows(&part.rows)
    }

    /// `x A'`, `[rows, sum of ranks]`.
    fn inner(&self, seen: &[f32], width: usize) -> Vec<f32> {
        let seen = Matrix::new(seen, seen.len() / width, width);
        product(1.0, seen, self.a(width).transposed(), Threads::All)
    }

    /// Gradients of `A` and `B`, and that of `seen` added to `of_seen` (both `[rows, in]`) where that is wanted.
    pub(in crate::train) fn backward(
        &self,
        seen: &[f32],
        width: usize,
        gradient: &[f32],
        of_seen: Option<&mut [f32]>,
    ) -> OfLowRank {
        let (rows, ranks) = (seen.len() / width, self.ranks());
        let gradient = Matrix::new(gradient, rows, gradient.len() / rows.max(1));
        let inner = self.inner(seen, width);
        let mut of_inner = vec![0.0; inner.len()];
        let mut of_b = vec![0.0; self.b.len()];
        for part in self.parts {
            let gradient = gradient.columns(&part.columns);
            MatrixMut::new(&mut of_inner, rows, ranks).columns(&part.ranks).set(
                self.scale,
                gradient,
                self.rows_of_b(part),
                Threads::All,
            );
            MatrixMut::new(&mut of_b, self.b.len() / self.rank, self.rank).rows(&part.rows).set(
                self.scale,
                gradient.transposed(),
                Matrix::new(&inner, rows, ranks).columns(&part.ranks),
                Threads::All,
            );
        }
        let of_inner = Matrix::new(&of_inner, rows, ranks);
        let of_a = product(1.0, of_inner.transposed(), Matrix::new(seen, rows, width), Threads::All);
        if let Some(of_seen) = of_seen {
            MatrixMut::new(of_seen, rows, width).add(1.0, of_inner, self.a(width), Threads::All);
        }
        OfLowRank { a: of_a, b: of_b }
    }
}
