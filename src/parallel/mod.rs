//! Sharing work out to threads: rayon's natively, a small pool of Workers in the browser (`pool`), none where there are
//! none.

#[cfg(any(test, all(target_arch = "wasm32", target_feature = "atomics")))]
pub mod pool;

#[cfg(all(target_arch = "wasm32", not(target_feature = "atomics")))]
pub use alone::{for_each, threads};
#[cfg(not(target_arch = "wasm32"))]
pub use native::{for_each, threads};
#[cfg(all(target_arch = "wasm32", target_feature = "atomics"))]
pub use pool::{for_each, threads};

/// Calls `run` once for each run of `len` of `values` (the last may be shorter), with its number, as [`for_each`].
///
/// # Panics
/// Where `len` is 0.
pub fn for_each_chunk<T: Send>(values: &mut [T], len: usize, run: impl Fn(usize, &mut [T]) + Sync) {
    let (start, all) = (Shared(values.as_mut_ptr()), values.len());
    let start = &start;
    for_each(all.div_ceil(len), &|index| {
        let first = index * len;
        // SAFETY: inside `values`, which is borrowed until `for_each` returns; each number comes once, so nobody else
        // has these.
        run(index, unsafe { std::slice::from_raw_parts_mut(start.0.add(first), len.min(all - first)) });
    });
}

/// A pointer whose users see to it that they do not meet.
struct Shared<T>(*mut T);

// SAFETY: `for_each_chunk` hands out parts that are apart.
unsafe impl<T: Send> Sync for Shared<T> {}

#[cfg(not(target_arch = "wasm32"))]
mod native {
    use rayon::prelude::*;

    /// Threads that work is shared out to, the caller's included.
    #[must_use]
    pub fn threads() -> usize {
        rayon::current_num_threads()
    }

    /// Calls `run` once for each of `0..tasks`, on any thread and in any order, and returns when all are done.
    pub fn for_each(tasks: usize, run: &(dyn Fn(usize) + Sync)) {
        if tasks <= 1 || threads() == 1 {
            // Rayon would have one of its threads do it, and the caller wait.
            (0..tasks).for_each(run);
        } else {
            (0..tasks).into_par_iter().with_max_len(1).for_each(run);
        }
    }
}

#[cfg(all(target_arch = "wasm32", not(target_feature = "atomics")))]
mod alone {
    /// Threads that work is shared out to, the caller's included: this build has no others.
    #[must_use]
    pub fn threads() -> usize {
        1
    }

    /// Calls `run` for each of `0..tasks`.
    pub fn for_each(tasks: usize, run: &(dyn Fn(usize) + Sync)) {
        (0..tasks).for_each(run);
    }
}
