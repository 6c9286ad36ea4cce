//! Low-rank paths beside products.

use crate::Result;
use crate::backend::Buffer;
use crate::memory::room;
use crate::parallel;
use crate::quant::dot_f32;

/// What memory is for.
const WHAT: &str = "a low-rank path";

/// Multiplications below which the work is not shared out.
const SHARED: usize = 1 << 18;

/// One path as this backend keeps it.
pub struct LowRank {
    /// `[rank, in]`
    a: Vec<f32>,
    /// `scale * B'`, `[rank, out]`: so that a row of the result is a sum of whole rows.
    b: Vec<f32>,
    width: usize,
    out: usize,
}

impl LowRank {
    /// `a` is `[rank, in]`, `b` is `[out, rank]`.
    ///
    /// # Errors
    /// `out_of_memory`.
    pub(super) fn new(rank: usize, a: &[f32], b: &[f32], scale: f32) -> Result<Self> {
        let out = b.len() / rank;
        let mut transposed = room(b.len(), WHAT)?;
        transposed.resize(b.len(), 0.0);
        let mut own = room(a.len(), WHAT)?;
        own.extend_from_slice(a);
        for (row, values) in b.chunks_exact(rank).enumerate() {
            values.iter().enumerate().for_each(|(r, value)| transposed[r * out + row] = scale * value);
        }
        Ok(Self { a: own, b: transposed, width: a.len() / rank, out })
    }

    /// `y += scale * (x A') B'`: `x` is `[rows, in]`, `y` is `[rows, out]`.
    pub(super) fn add(&self, x: &[f32], y: &mut [f32]) {
        let row = |x: &[f32], y: &mut [f32]| {
            let mut inner = Buffer::new(self.a.len() / self.width);
            let rows = self.a.chunks_exact(self.width);
            inner.iter_mut().zip(rows).for_each(|(inner, a)| *inner = dot_f32(x, a));
            add_rows(y, &inner, &self.b);
        };
        if x.len() / self.width * (self.a.len() + self.b.len()) < SHARED {
            x.chunks_exact(self.width).zip(y.chunks_exact_mut(self.out)).for_each(|(x, y)| row(x, y));
        } else {
            parallel::for_each_chunk(y, self.out, |index, y| row(&x[index * self.width..][..self.width], y));
        }
    }
}

/// `y += sum over r of factors[r] * rows[r]`, four rows in a pass over `y`.
fn add_rows(y: &mut [f32], factors: &[f32], rows: &[f32]) {
    let (fours, rest) = factors.as_chunks::<4>();
    let (four_rows, rest_rows) = rows.split_at(fours.len() * 4 * y.len());
    for ([f, g, h, i], rows) in fours.iter().zip(four_rows.chunks_exact(4 * y.len())) {
        let (a, others) = rows.split_at(y.len());
        let (b, others) = others.split_at(y.len());
        let (c, d) = others.split_at(y.len());
        for ((((y, a), b), c), d) in y.iter_mut().zip(a).zip(b).zip(c).zip(d) {
            *y += (f * a + g * b) + (h * c + i * d);
        }
    }
    for (factor, row) in rest.iter().zip(rest_rows.chunks_exact(y.len())) {
        y.iter_mut().zip(row).for_each(|(y, value)| *y += factor * value);
    }
}
