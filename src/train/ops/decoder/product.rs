//! Matrix products over views of slices.

use std::ops::Range;

use rayon::prelude::*;

/// Who computes a product.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Threads {
    /// This thread, because others compute products of their own.
    One,
    /// All of them.
    All,
}

/// A view of a matrix: element `(i, j)` is at `start + i * row + j * column` of the slice.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Layout {
    start: usize,
    rows: usize,
    columns: usize,
    row: usize,
    column: usize,
}

impl Layout {
    fn row_major(len: usize, rows: usize, columns: usize) -> Self {
        assert_eq!(Some(len), rows.checked_mul(columns), "a matrix has rows times columns elements");
        Self { start: 0, rows, columns, row: columns, column: 1 }
    }

    fn rows(self, range: &Range<usize>) -> Self {
        assert!(range.start <= range.end && range.end <= self.rows, "rows of the matrix");
        Self { start: self.start + range.start * self.row, rows: range.len(), ..self }
    }

    fn columns(self, range: &Range<usize>) -> Self {
        assert!(range.start <= range.end && range.end <= self.columns, "columns of the matrix");
        Self { start: self.start + range.start * self.column, columns: range.len(), ..self }
    }

    fn is_empty(self) -> bool {
        self.rows == 0 || self.columns == 0
    }
}

/// A matrix that is read.
#[derive(Debug, Clone, Copy)]
pub(super) struct Matrix<'a> {
    values: &'a [f32],
    layout: Layout,
}

impl<'a> Matrix<'a> {
    /// All of `values`, `[rows, columns]`, row-major.
    pub(super) fn new(values: &'a [f32], rows: usize, columns: usize) -> Self {
        Self { values, layout: Layout::row_major(values.len(), rows, columns) }
    }

    pub(super) fn rows(self, range: &Range<usize>) -> Self {
        Self { layout: self.layout.rows(range), ..self }
    }

    pub(super) fn columns(self, range: &Range<usize>) -> Self {
        Self { layout: self.layout.columns(range), ..self }
    }

    pub(super) fn transposed(self) -> Self {
        let Layout { start, rows, columns, row, column } = self.layout;
        Self { layout: Layout { start, rows: columns, columns: rows, row: column, column: row }, ..self }
    }
}

/// A matrix that is written.
pub(super) struct MatrixMut<'a> {
    values: &'a mut [f32],
    layout: Layout,
}

impl<'a> MatrixMut<'a> {
    /// All of `values`, `[rows, columns]`, row-major.
    pub(super) fn new(values: &'a mut [f32], rows: usize, columns: usize) -> Self {
        Self { layout: Layout::row_major(values.len(), rows, columns), values }
    }

    pub(super) fn rows(self, range: &Range<usize>) -> Self {
        Self { layout: self.layout.rows(range), ..self }
    }

    pub(super) fn columns(self, range: &Range<usize>) -> Self {
        Self { layout: self.layout.columns(range), ..self }
    }

    /// `self = factor * a * b`
    pub(super) fn set(self, factor: f32, a: Matrix, b: Matrix, threads: Threads) {
        self.product(false, factor, a, b, threads);
    }

    /// `self += factor * a * b`
    pub(super) fn add(self, factor: f32, a: Matrix, b: Matrix, threads: Threads) {
        self.product(true, factor, a, b, threads);
    }

    fn product(self, add: bool, factor: f32, a: Matrix, b: Matrix, threads: Threads) {
        let product = Product::new(self.layout, a.layout, b.layout, add, factor);
        // SAFETY: the values are borrowed mutably, so nobody else has them.
        unsafe { product.run(&Target(self.values.as_mut_ptr()), a.values, b.values, threads) };
    }
}

/// `factor * a * b`, row-major, into memory that is not cleared before.
pub(super) fn product(factor: f32, a: Matrix, b: Matrix, threads: Threads) -> Vec<f32> {
    let (rows, columns) = (a.layout.rows, b.layout.columns);
    if a.layout.columns == 0 {
        return vec![0.0; rows * columns];
    }
    let mut values = Vec::with_capacity(rows * columns);
    let to = Layout::row_major(rows * columns, rows, columns);
    let product = Product::new(to, a.layout, b.layout, false, factor);
    // SAFETY: the allocation has room for all elements, nobody else has it, and a product that does not add writes every
    // element and reads none.
    unsafe {
        product.run(&Target(values.as_mut_ptr()), a.values, b.values, threads);
        values.set_len(rows * columns);
    }
    values
}

/// Multiplications below which a product is not shared out.
const SHARED: usize = 1 << 20;
/// A product is shared out in pieces of at least so many columns or rows, and in at most so many pieces. They are the
/// same for any number of threads. (gemm's own threads meet after every block, which costs up to a sixth of the time.)
const LEAST_COLUMNS: usize = 192;
const LEAST_ROWS: usize = 64;
const MOST: usize = 8;
/// Columns, or rows, that gemm's kernel takes at a time.
const TILE: usize = 64;

/// Part of a product's target.
struct Piece {
    rows: Range<usize>,
    columns: Range<usize>,
}

impl Piece {
    fn pieces(&self) -> Vec<Self> {
        if self.columns.len() >= 2 * LEAST_COLUMNS {
            let columns = cut(self.columns.len(), LEAST_COLUMNS);
            columns.map(|columns| Self { rows: self.rows.clone(), columns }).collect()
        } else {
            let rows = cut(self.rows.len(), LEAST_ROWS);
            rows.map(|rows| Self { rows, columns: self.columns.clone() }).collect()
        }
    }
}

/// Cuts `0..len` into whole tiles, if it can be into an even number of equal pieces.
fn cut(len: usize, least: usize) -> impl Iterator<Item = Range<usize>> {
    let tiles = len.div_ceil(TILE);
    let most = (len / least).clamp(1, MOST);
    let even = (1..=most).rev().find(|count| count % 2 == 0 && tiles.is_multiple_of(*count));
    let size = tiles.div_ceil(even.unwrap_or(most)).max(1) * TILE;
    (0..len).step_by(size).map(move |start| start..(start + size).min(len))
}

/// What pieces are written to.
struct Target(*mut f32);

// SAFETY: threads write to parts that have no element in common.
unsafe impl Sync for Target {}

/// A checked product.
struct Product {
    to: Layout,
    from: Layout,
    by: Layout,
    add: bool,
    factor: f32,
}

impl Product {
    fn new(to: Layout, from: Layout, by: Layout, add: bool, factor: f32) -> Self {
        assert!(
            from.rows == to.rows && from.columns == by.rows && by.columns == to.columns,
            "shapes of a product agree"
        );
        Self { to, from, by, add, factor }
    }

    /// Computes all of it.
    ///
    /// # Safety
    /// `target` is the start of the memory that `to` is a layout of, and nobody else uses it meanwhile.
    unsafe fn run(&self, target: &Target, a: &[f32], b: &[f32], threads: Threads) {
        let Layout { rows, columns, .. } = self.to;
        if self.to.is_empty() {
            return;
        }
        let whole = Piece { rows: 0..rows, columns: 0..columns };
        if threads == Threads::One || rows.saturating_mul(columns).saturating_mul(self.from.columns) < SHARED
        {
            // SAFETY: the caller's word.
            unsafe { self.compute(&whole, target, a, b) };
        } else {
            // SAFETY: the caller's word; and pieces have no element in common.
            let compute = |piece: Piece| unsafe { self.compute(&piece, target, a, b) };
            whole.pieces().into_par_iter().for_each(compute);
        }
    }

    /// Computes the elements of `piece`.
    ///
    /// # Safety
    /// `target` is the start of the memory that `to` is a layout of, and nobody else uses the elements of `piece`
    /// meanwhile.
    unsafe fn compute(&self, piece: &Piece, target: &Target, a: &[f32], b: &[f32]) {
        let to = self.to.rows(&piece.rows).columns(&piece.columns);
        let (from, by) = (self.from.rows(&piece.rows), self.by.columns(&piece.columns));
        // Fits: strides are lengths of slices' parts.
        let stride = |stride: usize| isize::try_from(stride).unwrap_or_default();
        // SAFETY: each pointer stays in its slice: a layout begins as the whole of its slice and is only ever narrowed or
        // transposed, with checks, and pieces of a product that is not empty are not empty. The operands are borrowed
        // beside a target that is borrowed mutably and so share nothing with it.
        unsafe {
            gemm::gemm(
                to.rows,
                to.columns,
                from.columns,
                target.0.add(to.start),
                stride(to.column),
                stride(to.row),
                self.add,
                a.as_ptr().add(from.start),
                stride(from.column),
                stride(from.row),
                b.as_ptr().add(by.start),
                stride(by.column),
                stride(by.row),
                1.0,
                self.factor,
                false,
                false,
                false,
                gemm::Parallelism::None,
            );
        }
    }
}
