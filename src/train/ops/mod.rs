//! Fused operations with their own backward passes, on 32-bit floats in main memory.
//!
//! candle's fused layer norm and softmax have no backward pass, and composing them of single operations costs a pass
//! over the activations for each. These here know *packed* batches: the tokens of all messages one after the other,
//! `[tokens, width]`, with the bounds of the messages beside them, so that nothing is computed for padding.
//!
//! Work is cut into pieces of fixed size whose partial sums are added in a fixed order: results do not depend on the
//! number of threads.

mod attention;
pub(super) mod decoder;
mod dropout;
mod embedding;
mod gelu;
mod layer_norm;
mod linear;
mod math;
mod sink;
#[cfg(test)]
mod tests;

use candle_core::{CpuStorage, Layout, Result, Storage, Tensor, bail};
use rayon::prelude::*;

pub use attention::{Attention, Bounds};
pub use dropout::Dropout;
pub use embedding::Embedding;
pub use gelu::Gelu;
pub use layer_norm::LayerNorm;
pub use linear::Linear;
pub use sink::Sink;

/// Rows that one piece of work takes.
const ROWS: usize = 32;

/// The values of a contiguous operand.
pub(super) fn values<'a>(storage: &'a CpuStorage, layout: &Layout, what: &str) -> Result<&'a [f32]> {
    match layout.contiguous_offsets() {
        Some((start, end)) => match storage.as_slice::<f32>()?.get(start..end) {
            Some(values) => Ok(values),
            None => bail!("{what}: the layout reaches beyond the storage"),
        },
        None => bail!("{what}: not contiguous"),
    }
}

/// The values of a contiguous operand that is changed in place.
pub(super) fn values_mut<'a>(
    storage: &'a mut CpuStorage,
    layout: &Layout,
    what: &str,
) -> Result<&'a mut [f32]> {
    match (storage, layout.contiguous_offsets()) {
        (CpuStorage::F32(values), Some((start, end))) => match values.get_mut(start..end) {
            Some(values) => Ok(values),
            None => bail!("{what}: the layout reaches beyond the storage"),
        },
        _ => bail!("{what}: not contiguous 32-bit floats"),
    }
}

/// Sum of the squares of all elements.
///
/// # Errors
/// Where the tensor can't be read.
pub(super) fn sum_of_squares(tensor: &Tensor) -> Result<f64> {
    const PIECE: usize = 64 * 1024;
    if !tensor.device().is_cpu() {
        return Ok(f64::from(tensor.sqr()?.sum_all()?.to_scalar::<f32>()?));
    }
    with_values(&tensor.contiguous()?, "gradient", |values| {
        let partial = |values: &[f32]| f64::from(math::sum(values, |x| x * x));
        let partials: Vec<f64> = values.par_chunks(PIECE).map(partial).collect();
        Ok(partials.iter().sum())
    })
}

/// Calls `f` with the values of a contiguous tensor.
fn with_values<R>(tensor: &Tensor, what: &str, f: impl FnOnce(&[f32]) -> Result<R>) -> Result<R> {
    with_all([tensor], what, |[values]| f(values))
}

/// Calls `f` with the values of contiguous tensors.
pub(super) fn with_all<const N: usize, R>(
    tensors: [&Tensor; N],
    what: &str,
    f: impl FnOnce([&[f32]; N]) -> Result<R>,
) -> Result<R> {
    let guards = tensors.map(Tensor::storage_and_layout);
    let mut all: [&[f32]; N] = [&[]; N];
    for (slot, (storage, layout)) in all.iter_mut().zip(&guards) {
        *slot = match &**storage {
            Storage::Cpu(storage) => values(storage, layout, what)?,
            _ => bail!("{what}: not in main memory"),
        };
    }
    f(all)
}

/// Sums of the columns of `rows`, `[n, width]`.
fn column_sums(rows: &[f32], width: usize) -> Vec<f32> {
    let partial = |rows: &[f32]| {
        let mut sums = vec![0.0; width];
        rows.chunks_exact(width).for_each(|row| math::add(&mut sums, row));
        sums
    };
    let partials: Vec<Vec<f32>> = rows.par_chunks(ROWS * width).map(partial).collect();
    total(partials, width)
}

/// The sum of vectors of one length, in their order.
fn total(parts: Vec<Vec<f32>>, width: usize) -> Vec<f32> {
    let mut sums = vec![0.0; width];
    parts.iter().for_each(|part| math::add(&mut sums, part));
    sums
}
