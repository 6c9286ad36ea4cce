//! A matrix with an adapter's path added, in single precision, then rounded.

use rayon::prelude::*;

use super::encode::encode;
use super::formats::Sums;
use crate::Result;
use crate::adapter::Path;
use crate::quant::{Format, QuantMatrix};

/// Rows of a task: enough work for a core, few enough that their floats are small beside the matrix.
const TASK_ROWS: usize = 64;

/// The bytes of `matrix` plus `path` in `format`, and what that cost. A matrix without a path that has the format already
/// stays as it is.
///
/// # Errors
/// As [`encode`].
pub(super) fn merged(matrix: &QuantMatrix, path: Option<&Path>, format: Format) -> Result<(Vec<u8>, Sums)> {
    let tasks = matrix.rows().div_ceil(TASK_ROWS);
    let parts = (0..tasks).into_par_iter().map(|task| rows(matrix, path, format, task * TASK_ROWS));
    let parts: Vec<(QuantMatrix, Sums)> = parts.collect::<Result<_>>()?;
    let (mut data, mut sums) = (Vec::new(), Sums::default());
    for (part, cost) in parts {
        data.extend_from_slice(part.data());
        sums += cost;
    }
    Ok((data, sums))
}

/// [`merged`] for the rows from `first` on.
fn rows(
    matrix: &QuantMatrix,
    path: Option<&Path>,
    format: Format,
    first: usize,
) -> Result<(QuantMatrix, Sums)> {
    let cols = matrix.cols();
    let count = TASK_ROWS.min(matrix.rows() - first);
    let mut values = vec![0.0; count * cols];
    for (index, row) in values.chunks_exact_mut(cols).enumerate() {
        matrix.dequantize_row(first + index, row);
        if let Some(path) = path {
            add(path, first + index, row);
        }
    }
    let rounded = match path {
        None if matrix.format() == format => matrix.rows_of(first, count)?,
        _ => encode(format, count, cols, &values)?,
    };
    let sums = Sums::of(&rounded, &values);
    Ok((rounded, sums))
}

/// Adds row `index` of `scale * B A`.
fn add(path: &Path, index: usize, row: &mut [f32]) {
    let factors = &path.b[index * path.rank..][..path.rank];
    for (factor, a) in factors.iter().zip(path.a.chunks_exact(row.len())) {
        let factor = path.scale * factor;
        row.iter_mut().zip(a).for_each(|(value, a)| *value += factor * a);
    }
}
