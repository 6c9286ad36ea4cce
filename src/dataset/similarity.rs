//! When two messages are the same, near each other, or one quotes the other.
//!
//! All three look at a message in NFC and lower case. *Same* compares letters and digits only. *Near* is the
//! Jaccard index of the sets of character trigrams over words parted by one space, with a space at both ends;
//! unlike word n-grams it sees through typing errors and works on messages of two words. *Quotes* is a run of
//! [`QUOTED_WORDS`] words in a row, which catches a part of a long message inside another, where the index is low.
//! *Holds* is a whole message of at least [`WHOLE_WORDS`] words, in a row, inside the other: a short message has no run
//! of that length, and inside a longer one its index is low too.

use std::collections::{HashMap, HashSet};

use rayon::prelude::*;
use unicode_normalization::UnicodeNormalization;
use unicode_normalization::char::is_combining_mark;

/// Messages that share more than one in this many of their trigrams (of the union) are near each other.
pub const NEAR_ONE_IN: usize = 2;

/// Words in a row that no two messages on different sides share.
pub const QUOTED_WORDS: usize = 7;

/// From this many words on no message that judges stands as a whole inside another. Two words are no message of
/// anyone's own ("thank you").
pub const WHOLE_WORDS: usize = 3;

/// What two messages that are the same have in common; the trimmed text where it has no letter or digit.
pub(super) fn key(text: &str) -> String {
    let key: String = text
        .nfc()
        .flat_map(char::to_lowercase)
        .filter(|&c| c.is_alphanumeric() || is_combining_mark(c))
        .collect();
    if key.is_empty() { text.trim().to_owned() } else { key }
}

/// Words in lower case parted by one space; apostrophes join, everything else that is no letter or digit parts.
fn words(text: &str) -> String {
    let mut words = String::with_capacity(text.len());
    for c in text.nfc().flat_map(char::to_lowercase) {
        if c.is_alphanumeric() || is_combining_mark(c) {
            words.push(c);
        } else if !matches!(c, '\'' | '’') && !words.ends_with(' ') && !words.is_empty() {
            words.push(' ');
        }
    }
    words.truncate(words.trim_end().len());
    if words.is_empty() { text.trim().to_owned() } else { words }
}

/// The distinct character trigrams of a message, three code points of 21 bits each to a number.
fn trigrams(text: &str) -> Vec<u64> {
    let padded: Vec<u64> =
        std::iter::once(' ').chain(words(text).chars()).chain(std::iter::once(' ')).map(u64::from).collect();
    let mut trigrams: Vec<u64> = padded.windows(3).map(|w| w[0] << 42 | w[1] << 21 | w[2]).collect();
    trigrams.sort_unstable();
    trigrams.dedup();
    trigrams
}

/// Every run of `length` words.
fn runs(text: &str, length: usize) -> Vec<String> {
    let words = words(text);
    let words: Vec<&str> = words.split(' ').collect();
    words.windows(length).map(|run| run.join(" ")).collect()
}

/// A pair of messages and how many trigrams they share of how many.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Pair {
    pub(super) left: usize,
    pub(super) right: usize,
    shared: usize,
    union: usize,
}

impl Pair {
    /// Whether the two are near each other.
    pub(super) fn is_near(self) -> bool {
        self.shared * NEAR_ONE_IN > self.union
    }

    /// The Jaccard index.
    #[expect(clippy::cast_precision_loss, reason = "for display; comparisons are in integers")]
    pub(super) fn similarity(self) -> f64 {
        self.shared as f64 / self.union as f64
    }

    /// Whether the index is above the other's, in integers so that it is the same everywhere.
    fn above(self, other: Self) -> bool {
        self.shared * other.union > other.shared * self.union
    }
}

/// Messages by their trigrams. Its maps are only looked up, never walked, so their order does not matter.
pub(super) struct Index {
    postings: HashMap<u64, Vec<usize>>,
    sizes: Vec<usize>,
    quotes: HashMap<String, usize>,
    /// Messages of [`WHOLE_WORDS`] to less than [`QUOTED_WORDS`] words; longer ones are in `quotes`.
    wholes: HashMap<String, usize>,
}

impl Index {
    pub(super) fn new<'a>(texts: impl IntoIterator<Item = &'a str>) -> Self {
        let mut index = Self {
            postings: HashMap::new(),
            sizes: Vec::new(),
            quotes: HashMap::new(),
            wholes: HashMap::new(),
        };
        for (number, text) in texts.into_iter().enumerate() {
            let trigrams = trigrams(text);
            index.sizes.push(trigrams.len());
            for trigram in trigrams {
                index.postings.entry(trigram).or_default().push(number);
            }
            for run in runs(text, QUOTED_WORDS) {
                index.quotes.entry(run).or_insert(number);
            }
            let words = words(text);
            if (WHOLE_WORDS..QUOTED_WORDS).contains(&words.split(' ').count()) {
                index.wholes.entry(words).or_insert(number);
            }
        }
        index
    }

    /// The pairs of message `left` (which is `text`) with every message of the index that shares a trigram.
    fn pairs(&self, left: usize, text: &str) -> impl Iterator<Item = Pair> + use<'_> {
        let trigrams = trigrams(text);
        let mut shared = vec![0; self.sizes.len()];
        for posting in trigrams.iter().filter_map(|trigram| self.postings.get(trigram)) {
            for &right in posting {
                shared[right] += 1;
            }
        }
        let size = trigrams.len();
        shared.into_iter().enumerate().filter(|&(_, shared)| shared > 0).map(move |(right, shared)| Pair {
            left,
            right,
            shared,
            union: size + self.sizes[right] - shared,
        })
    }

    /// The nearest message of the index for each of `texts`; ties go to the first.
    pub(super) fn nearest(&self, texts: &[&str]) -> Vec<Option<Pair>> {
        let nearest = |(left, text): (usize, &&str)| {
            self.pairs(left, text).reduce(|best, pair| if pair.above(best) { pair } else { best })
        };
        texts.par_iter().enumerate().map(nearest).collect()
    }

    /// All pairs within `texts`, of which this is the index, that are near each other, the left number the smaller.
    pub(super) fn near_pairs(&self, texts: &[&str]) -> Vec<Pair> {
        let near = |(left, text): (usize, &&str)| -> Vec<Pair> {
            self.pairs(left, text).filter(|pair| pair.left < pair.right && pair.is_near()).collect()
        };
        let rows: Vec<Vec<Pair>> = texts.par_iter().enumerate().map(near).collect();
        rows.concat()
    }

    /// The first message of the index that shares a run of words with `text`, and the run.
    pub(super) fn quoted(&self, text: &str) -> Option<(usize, String)> {
        runs(text, QUOTED_WORDS)
            .into_iter()
            .find_map(|run| self.quotes.get(&run).map(|&number| (number, run)))
    }

    /// The first message of the index that stands as a whole inside `text`, the shortest first.
    pub(super) fn held(&self, text: &str) -> Option<usize> {
        let runs = (WHOLE_WORDS..QUOTED_WORDS).flat_map(|length| runs(text, length));
        runs.into_iter().find_map(|run| self.wholes.get(&run).copied())
    }
}

/// The pair with the highest index; ties go to the first.
pub(super) fn highest(pairs: &[Option<Pair>]) -> Option<Pair> {
    pairs.iter().flatten().copied().reduce(|best, pair| if pair.above(best) { pair } else { best })
}

/// The first text that is the same as an earlier one: both numbers, the earlier one first.
pub(super) fn first_repeat<'a>(texts: impl IntoIterator<Item = &'a str>) -> Option<(usize, usize)> {
    let mut seen = HashMap::new();
    for (number, text) in texts.into_iter().enumerate() {
        if let Some(earlier) = seen.insert(key(text), number) {
            return Some((earlier, number));
        }
    }
    None
}

/// The keys of messages that are taken.
#[derive(Default)]
pub(super) struct Taken(HashSet<String>);

impl Taken {
    /// Takes a message; false where it was taken before.
    pub(super) fn take(&mut self, text: &str) -> bool {
        self.0.insert(key(text))
    }

    /// Whether a message is taken.
    pub(super) fn has(&self, text: &str) -> bool {
        self.0.contains(&key(text))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pair(a: &str, b: &str) -> Option<Pair> {
        Index::new([a]).nearest(&[b])[0]
    }

    #[test]
    fn the_same_message_in_other_clothes_has_the_same_key() {
        assert_eq!(key("Hello, WORLD!"), key("hello world"));
        assert_eq!(key("Cafe\u{301} 2"), key("café2"));
        assert_eq!(key(" ?! "), "?!");
        assert_ne!(key("is it up"), key("is it down"));
    }

    #[test]
    fn the_index_is_shared_over_union() {
        // " ab", "abc", "bc " against " ab", "abd", "bd ": one of five.
        let found = pair("abc", "abd").unwrap();
        assert_eq!((found.shared, found.union), (1, 5));
        assert!((found.similarity() - 0.2).abs() < 1e-12);
        assert_eq!(pair("abc", "xyz"), None);
        // " a " against " a ", "a a".
        let found = pair("a", "a, A!").unwrap();
        assert_eq!((found.shared, found.union), (1, 2));
        assert!(!found.is_near(), "exactly half is not above half");
        assert!(pair("is my router online", "is my ruoter online?").unwrap().is_near());
    }

    #[test]
    fn quotes_are_seven_words_in_a_row() {
        let index = Index::new(["one two three four five six seven eight"]);
        let quoted = index.quoted("Zero, two three FOUR five six seven: eight!");
        assert_eq!(quoted, Some((0, "two three four five six seven eight".to_owned())));
        assert_eq!(index.quoted("two three four five six seven nine"), None);
    }

    #[test]
    fn a_whole_short_message_is_held() {
        let index = Index::new(["Thank you", "No dial tone", "one two three four five six", "1 2 3 4 5 6 7"]);
        assert_eq!(index.held("there's NO dial-tone here"), Some(1));
        assert_eq!(index.held("no dial tones"), None);
        assert_eq!(index.held("zero one two three four five six seven"), Some(2));
        assert_eq!(index.held("two three four five six seven"), None, "not the whole of it");
        assert_eq!(index.held("thank you so much"), None, "two words are anyone's");
        // Seven words are a quote.
        assert_eq!(index.held("0 1 2 3 4 5 6 7"), None);
        assert_eq!(index.quoted("0 1 2 3 4 5 6 7").map(|(number, _)| number), Some(3));
    }

    #[test]
    fn repeats_are_found() {
        assert_eq!(first_repeat(["a b", "c", "A-B"]), Some((0, 2)));
        assert_eq!(first_repeat(["a", "b", "?"]), None);
    }
}
