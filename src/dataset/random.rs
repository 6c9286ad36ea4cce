//! Random numbers that are the same on every machine and in every version: the ChaCha8 stream, which
//! `rand_chacha` promises not to change, keyed by a name, and integer sampling spelt out here.

use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::{RngCore, SeedableRng};
use sha2::{Digest, Sha256};

/// A generator of its own for each purpose, so that a change in one place leaves all other draws as they were.
pub(crate) struct Random(ChaCha8Rng);

impl Random {
    /// The generator of that name: its key is the name's SHA-256.
    pub(crate) fn named(name: &str) -> Self {
        Self(ChaCha8Rng::from_seed(Sha256::digest(name).into()))
    }

    /// Uniform in `0..bound`; 0 where `bound` is 0.
    pub(crate) fn below(&mut self, bound: usize) -> usize {
        // Fits: usize has at most 64 bits on every target.
        let bound = bound as u64;
        if bound == 0 {
            return 0;
        }
        // Draws in the last, incomplete stretch of bounds would favour small numbers.
        let limit = u64::MAX - u64::MAX % bound;
        loop {
            let draw = self.0.next_u64();
            if draw < limit {
                return usize::try_from(draw % bound).unwrap_or_default();
            }
        }
    }

    /// True `numerator` times in `denominator`.
    pub(crate) fn chance(&mut self, numerator: usize, denominator: usize) -> bool {
        self.below(denominator) < numerator
    }

    /// Shuffles in place (Fisher and Yates, from the end).
    pub(crate) fn shuffle<T>(&mut self, items: &mut [T]) {
        for last in (1..items.len()).rev() {
            items.swap(last, self.below(last + 1));
        }
    }

    /// The numbers below `len` in random order.
    pub(crate) fn order(&mut self, len: usize) -> Vec<usize> {
        let mut order: Vec<usize> = (0..len).collect();
        self.shuffle(&mut order);
        order
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_stream_of_a_name_is_fixed() {
        let mut random = Random::named("relayops");
        let draws: Vec<usize> = (0..8).map(|_| random.below(1000)).collect();
        assert_eq!(draws, [919, 636, 86, 23, 468, 193, 446, 172]);
        assert_eq!(Random::named("x").below(0), 0);
    }

    #[test]
    fn shuffles_keep_every_item() {
        let mut order = Random::named("order").order(50);
        assert_ne!(order, (0..50).collect::<Vec<_>>());
        order.sort_unstable();
        assert_eq!(order, (0..50).collect::<Vec<_>>());
    }
}
