//! Low-rank paths beside products.

use crate::Result;
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
            let inner: Vec<f32> = self.a.chunks_exact(self.width).map(|a| dot_f32(x, a)).collect();
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

#[cfg(test)]
mod tests {
    use super::*;

    /// Numbers of both signs, small enough that sums are exact.
    fn numbers(count: usize, step: usize) -> Vec<f32> {
        (0..count).map(|i| ((i * step) % 17) as f32 - 8.0).collect()
    }

    #[test]
    fn a_path_is_two_products() {
        for (rank, width, out, rows) in [(1, 3, 2, 1), (4, 8, 5, 2), (6, 32, 33, 3), (16, 64, 48, 300)] {
            let (a, b) = (numbers(rank * width, 5), numbers(out * rank, 7));
            let (x, start) = (numbers(rows * width, 3), numbers(rows * out, 11));
            let mut y = start.clone();
            assert!(LowRank::new(rank, &a, &b, 0.5).map(|path| path.add(&x, &mut y)).is_ok());
            for row in 0..rows {
                for column in 0..out {
                    let mut expected = f64::from(start[row * out + column]);
                    for r in 0..rank {
                        let inner: f64 = (0..width)
                            .map(|k| f64::from(x[row * width + k]) * f64::from(a[r * width + k]))
                            .sum();
                        expected += 0.5 * inner * f64::from(b[column * rank + r]);
                    }
                    assert_eq!(
                        f64::from(y[row * out + column]),
                        expected,
                        "rank {rank}, row {row}, column {column}"
                    );
                }
            }
        }
    }
}
