//! Room for activations that is used again.

use std::cell::RefCell;
use std::fmt;
use std::ops::{Deref, DerefMut};

/// Floats that a thread keeps at most, 16 MiB: what a pass of 256 rows over the 0.5B takes, or of 190 over the 1.5B. What
/// one very long message took beyond that goes back to the allocator.
const MOST_FLOATS: usize = 4 << 20;

/// Buffers that a thread keeps at most. A pass has a dozen at a time.
const MOST_BUFFERS: usize = 32;

thread_local! {
    /// A list a thread, because then nobody waits for it.
    static FREE: RefCell<Free> = const { RefCell::new(Free { buffers: Vec::new(), floats: 0 }) };
}

/// Floats whose room goes to the thread that drops them, to be used for the next ones there.
#[derive(Default, PartialEq)]
pub struct Buffer(Vec<f32>);

impl Buffer {
    /// `len` values, which are whatever was there before: they are there to be overwritten. With debug assertions they
    /// are NaNs, so that one that is forgotten shows.
    #[must_use]
    pub fn new(len: usize) -> Self {
        // A thread that ends has no list any more.
        let free = FREE.try_with(|free| free.borrow_mut().take(len)).ok().flatten();
        let mut values = match free {
            Some(mut values) => {
                values.resize(len, 0.0);
                values
            }
            None => vec![0.0; len],
        };
        if cfg!(debug_assertions) {
            values.fill(f32::NAN);
        }
        Self(values)
    }
}

impl Drop for Buffer {
    fn drop(&mut self) {
        let values = std::mem::take(&mut self.0);
        if values.capacity() > 0 {
            let _ = FREE.try_with(|free| free.borrow_mut().give(values));
        }
    }
}

impl Deref for Buffer {
    type Target = [f32];

    fn deref(&self) -> &[f32] {
        &self.0
    }
}

impl DerefMut for Buffer {
    fn deref_mut(&mut self) -> &mut [f32] {
        &mut self.0
    }
}

impl Clone for Buffer {
    fn clone(&self) -> Self {
        let mut copy = Self::new(self.len());
        copy.copy_from_slice(self);
        copy
    }
}

impl fmt::Debug for Buffer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl From<Vec<f32>> for Buffer {
    fn from(values: Vec<f32>) -> Self {
        Self(values)
    }
}

impl From<Buffer> for Vec<f32> {
    fn from(mut buffer: Buffer) -> Self {
        std::mem::take(&mut buffer.0)
    }
}

/// What nobody uses at the moment.
struct Free {
    buffers: Vec<Vec<f32>>,
    /// The sum of their capacities.
    floats: usize,
}

impl Free {
    /// The smallest that has room for `len` values.
    fn take(&mut self, len: usize) -> Option<Vec<f32>> {
        // Of equals the last that came back, which is likeliest to be in a cache.
        let sizes = || self.buffers.iter().map(Vec::capacity).enumerate().rev();
        let fitting = sizes().filter(|(_, size)| *size >= len).min_by_key(|(_, size)| *size);
        if let Some((index, _)) = fitting {
            return Some(self.remove(index));
        }
        // One that is to be allocated comes in the place of another: otherwise messages that get longer and longer would
        // leave a buffer of every length behind.
        if let Some((index, _)) = sizes().max_by_key(|(_, size)| *size) {
            self.remove(index);
        }
        None
    }

    fn remove(&mut self, index: usize) -> Vec<f32> {
        let buffer = self.buffers.remove(index);
        self.floats -= buffer.capacity();
        buffer
    }

    fn give(&mut self, buffer: Vec<f32>) {
        let floats = self.floats + buffer.capacity();
        if floats <= MOST_FLOATS && self.buffers.len() < MOST_BUFFERS {
            self.floats = floats;
            self.buffers.push(buffer);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Capacities of what this thread keeps, ascending. Each test has a thread of its own.
    fn kept() -> Vec<usize> {
        let mut sizes: Vec<usize> = FREE.with_borrow(|free| free.buffers.iter().map(Vec::capacity).collect());
        sizes.sort_unstable();
        FREE.with_borrow(|free| assert_eq!(free.floats, sizes.iter().sum::<usize>()));
        sizes
    }

    #[test]
    fn room_is_used_again() {
        let (a, b) = (Buffer::new(100), Buffer::new(10));
        let places = [a.as_ptr(), b.as_ptr()];
        drop((a, b));
        assert_eq!(kept(), [10, 100]);
        // The smallest that fits, whatever came back last.
        let (c, d) = (Buffer::new(9), Buffer::new(11));
        assert_eq!([d.as_ptr(), c.as_ptr()], places);
        assert_eq!((c.len(), d.len()), (9, 11));
        assert!(kept().is_empty());
    }

    #[test]
    fn what_grows_leaves_nothing_behind() {
        for len in 1..200 {
            drop(Buffer::new(len));
        }
        assert_eq!(kept(), [199]);
    }

    #[test]
    fn little_is_kept() {
        drop(Buffer::new(MOST_FLOATS + 1));
        assert!(kept().is_empty());
        let many: Vec<Buffer> = (0..2 * MOST_BUFFERS).map(|_| Buffer::new(1)).collect();
        drop(many);
        assert_eq!(kept().len(), MOST_BUFFERS);
        let large: Vec<Buffer> = (0..3).map(|_| Buffer::new(MOST_FLOATS / 2)).collect();
        drop(large);
        assert!(kept().iter().sum::<usize>() <= MOST_FLOATS);
    }

    #[test]
    fn values_stay_with_their_owner() {
        let mut a = Buffer::new(3);
        a.copy_from_slice(&[1.0, 2.0, 3.0]);
        let b = a.clone();
        a.fill(0.0);
        assert_eq!(&b[..], [1.0, 2.0, 3.0]);
        assert_eq!(Vec::from(b), [1.0, 2.0, 3.0]);
        assert_eq!(kept(), [0usize; 0]);
        drop(Buffer::from(vec![1.0; 5]));
        assert_eq!(kept(), [5]);
    }
}
