//! Matrix products over views of slices.

use std::ops::Range;

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
        let to = self.layout;
        let (from, by) = (a.layout, b.layout);
        assert!(
            from.rows == to.rows && from.columns == by.rows && by.columns == to.columns,
            "shapes of a product agree"
        );
        if to.is_empty() {
            return;
        }
        let threads = match threads {
            Threads::One => gemm::Parallelism::None,
            Threads::All => gemm::Parallelism::Rayon(0),
        };
        // Fits: strides are lengths of slices' parts.
        let stride = |stride: usize| isize::try_from(stride).unwrap_or_default();
        // SAFETY: each pointer stays in its slice: a layout begins as the whole of its slice and is only ever narrowed or
        // transposed, with checks; empty matrices, whose start may be the slice's end, are not read by an empty product.
        // `self` is borrowed mutably and so shares nothing with `a` and `b`.
        unsafe {
            gemm::gemm(
                to.rows,
                to.columns,
                from.columns,
                self.values.as_mut_ptr().add(to.start),
                stride(to.column),
                stride(to.row),
                add,
                a.values.as_ptr().add(from.start),
                stride(from.column),
                stride(from.row),
                b.values.as_ptr().add(by.start),
                stride(by.column),
                stride(by.row),
                1.0,
                factor,
                false,
                false,
                false,
                threads,
            );
        }
    }
}
