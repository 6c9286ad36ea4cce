//! `x W' + b` with a frozen `W`, and low-rank paths beside it (LoRA, Hu et al. 2021, arXiv 2106.09685).

use std::ops::Range;

use rayon::prelude::*;

use super::super::ROWS;
use super::product::{Matrix, MatrixMut, Threads};

/// A frozen matrix; several that take the same input are one, their rows under each other.
pub(in crate::train) struct Linear<'a> {
    /// `[out, in]`
    pub(in crate::train) weight: &'a [f32],
    /// `[out]`
    pub(in crate::train) bias: Option<&'a [f32]>,
    /// Input features.
    pub(in crate::train) width: usize,
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
        self.weight.len() / self.width
    }

    fn weight(&self) -> Matrix<'_> {
        Matrix::new(self.weight, self.out(), self.width)
    }

    /// `[rows, out]` of `x` `[rows, in]`. The low-rank paths read `seen`, which is `x` or what dropout left of it.
    pub(in crate::train) fn forward(&self, low: Option<&LowRank>, x: &[f32], seen: &[f32]) -> Vec<f32> {
        let (rows, out) = (x.len() / self.width, self.out());
        let mut result = vec![0.0; rows * out];
        let by = self.weight().transposed();
        let x = Matrix::new(x, rows, self.width);
        match self.bias {
            None => MatrixMut::new(&mut result, rows, out).set(1.0, x, by, Threads::All),
            Some(bias) => {
                let fill =
                    |rows: &mut [f32]| rows.chunks_exact_mut(out).for_each(|row| row.copy_from_slice(bias));
                result.par_chunks_mut(ROWS * out).for_each(fill);
                MatrixMut::new(&mut result, rows, out).add(1.0, x, by, Threads::All);
            }
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
        let rows = gradient.len() / self.out();
        let mut of_x = vec![0.0; rows * self.width];
        let gradient = Matrix::new(gradient, rows, self.out());
        MatrixMut::new(&mut of_x, rows, self.width).set(1.0, gradient, self.weight(), Threads::All);
        of_x
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
        let rows = seen.len() / width;
        let mut inner = vec![0.0; rows * self.ranks()];
        let by = self.a(width).transposed();
        let seen = Matrix::new(seen, rows, width);
        MatrixMut::new(&mut inner, rows, self.ranks()).set(1.0, seen, by, Threads::All);
        inner
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
        let mut of_a = vec![0.0; self.a.len()];
        MatrixMut::new(&mut of_a, ranks, width).set(
            1.0,
            of_inner.transposed(),
            Matrix::new(seen, rows, width),
            Threads::All,
        );
        if let Some(of_seen) = of_seen {
            MatrixMut::new(of_seen, rows, width).add(1.0, of_inner, self.a(width), Threads::All);
        }
        OfLowRank { a: of_a, b: of_b }
    }
}
