//! Where a message's time goes: parts of the forward pass with their times, for `relayops-intent bench`.
//!
//! Parts do not nest, so that their times add up. While nothing is recorded, which is always but in that command, a part
//! costs a look at a flag.

use std::cell::RefCell;
use std::time::Duration;

use web_time::Instant;

/// A part of a forward pass.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Part {
    /// Text to tokens.
    Tokenize,
    /// Rows of the embedding.
    Embed,
    /// Products for queries, keys and values.
    QueryKeyValue,
    /// Products after attention.
    AttentionOutput,
    /// Products into the feed-forward layer.
    Up,
    /// Products out of it.
    Down,
    /// Attention, its cache included.
    Attention,
    /// Norms, rotations, activation functions and sums.
    Elementwise,
    /// The labels' rows and the distribution over them.
    Head,
}

impl Part {
    /// All, in the order in which they are shown.
    pub const ALL: [Self; 9] = [
        Self::Tokenize,
        Self::Embed,
        Self::QueryKeyValue,
        Self::AttentionOutput,
        Self::Up,
        Self::Down,
        Self::Attention,
        Self::Elementwise,
        Self::Head,
    ];

    /// What tables call it.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Tokenize => "tokenize",
            Self::Embed => "embed",
            Self::QueryKeyValue => "matmul q, k, v",
            Self::AttentionOutput => "matmul attention output",
            Self::Up => "matmul gate, up",
            Self::Down => "matmul down",
            Self::Attention => "attention",
            Self::Elementwise => "norms, activations",
            Self::Head => "head",
        }
    }

    /// Whether it is a product of the layers.
    #[must_use]
    pub const fn is_matmul(self) -> bool {
        matches!(self, Self::QueryKeyValue | Self::AttentionOutput | Self::Up | Self::Down)
    }
}

/// Time in each part, in the order of [`Part::ALL`].
pub type Times = [Duration; Part::ALL.len()];

thread_local! {
    static TIMES: RefCell<Option<Times>> = const { RefCell::new(None) };
}

/// Records the parts that run on this thread within `run`.
pub fn record<T>(run: impl FnOnce() -> T) -> (T, Times) {
    let before = TIMES.replace(Some(Times::default()));
    let value = run();
    (value, TIMES.replace(before).unwrap_or_default())
}

/// Runs `run` as `part`.
pub(crate) fn measure<T>(part: Part, run: impl FnOnce() -> T) -> T {
    if TIMES.with_borrow(Option::is_none) {
        return run();
    }
    let start = Instant::now();
    let value = run();
    let time = start.elapsed();
    TIMES.with_borrow_mut(|times| {
        if let Some(times) = times {
            times[part as usize] += time;
        }
    });
    value
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parts_are_recorded_only_where_asked_for() {
        let pause = || std::thread::sleep(Duration::from_millis(2));
        measure(Part::Head, pause);
        let ((), times) = record(|| {
            measure(Part::Head, pause);
            measure(Part::Head, pause);
        });
        for part in Part::ALL {
            assert_eq!(times[part as usize] >= Duration::from_millis(4), part == Part::Head);
        }
        assert!(TIMES.with_borrow(Option::is_none));
    }
}
