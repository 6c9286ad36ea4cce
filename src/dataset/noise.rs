//! Seeded noise: what hurried people do to a message without changing what it asks.

use super::random::Random;

/// Attempts to find a noisy form before a message is passed over.
const ATTEMPTS: usize = 32;

/// Shorter words stay as they are: a slip in "is", "up" or "not" could change what is asked.
const SHORTEST_SLIP: usize = 5;

/// One slip for each started stretch of this many characters, at most.
const CHARS_PER_SLIP: usize = 48;

/// Neighbours on a QWERTY keyboard, same row first.
const NEIGHBOURS: [(char, &str); 26] = [
    ('a', "sqz"),
    ('b', "vnh"),
    ('c', "xvd"),
    ('d', "sfe"),
    ('e', "wrd"),
    ('f', "dgr"),
    ('g', "fht"),
    ('h', "gjy"),
    ('i', "uok"),
    ('j', "hku"),
    ('k', "jli"),
    ('l', "kop"),
    ('m', "nkj"),
    ('n', "bmh"),
    ('o', "ipl"),
    ('p', "ol"),
    ('q', "wa"),
    ('r', "etf"),
    ('s', "adw"),
    ('t', "ryg"),
    ('u', "yij"),
    ('v', "cbf"),
    ('w', "qes"),
    ('x', "zcs"),
    ('y', "tuh"),
    ('z', "xa"),
];

/// Chat shorthand that leaves the meaning alone, by words in lower case.
const SHORTHAND: [(&str, &str); 30] = [
    ("about", "abt"),
    ("and", "n"),
    ("anyone", "any1"),
    ("are", "r"),
    ("back", "bk"),
    ("because", "bc"),
    ("before", "b4"),
    ("could", "cud"),
    ("do not", "dont"),
    ("for", "4"),
    ("have", "hv"),
    ("internet", "inet"),
    ("just", "jst"),
    ("know", "kno"),
    ("message", "msg"),
    ("minutes", "mins"),
    ("okay", "ok"),
    ("people", "ppl"),
    ("please", "pls"),
    ("really", "rly"),
    ("right now", "rn"),
    ("someone", "some1"),
    ("thank you", "ty"),
    ("thanks", "thx"),
    ("though", "tho"),
    ("tomorrow", "tmrw"),
    ("with", "w/"),
    ("would", "wud"),
    ("you", "u"),
    ("your", "ur"),
];

/// A noisy form of `text`, the same for the same text, that `accept` takes; `None` where none is found.
pub(super) fn noisy(text: &str, accept: impl FnMut(&str) -> bool) -> Option<String> {
    noisy_from(&mut Random::named(&format!("noise/{text}")), text, accept)
}

/// A noisy form of `text` by draws from `random`, that `accept` takes; `None` where none is found.
pub(super) fn noisy_from(
    random: &mut Random,
    text: &str,
    mut accept: impl FnMut(&str) -> bool,
) -> Option<String> {
    (0..ATTEMPTS).map(|_| once(text, random)).find(|noisy| noisy != text && accept(noisy))
}

fn once(text: &str, random: &mut Random) -> String {
    let mut noisy = text.to_owned();
    if random.chance(1, 2) {
        noisy = shorten(&noisy, random);
    }
    if random.chance(2, 3) {
        noisy = slip(&noisy, random);
    }
    noisy = match random.below(8) {
        0..=2 => noisy.trim_end_matches(['.', '?', '!']).to_owned(),
        3..=4 => without_punctuation(&noisy),
        _ => noisy,
    };
    match random.below(12) {
        0..=5 => noisy.to_lowercase(),
        6 => noisy.to_uppercase(),
        _ => noisy,
    }
}

/// Puts shorthand for about two in three of the words that have one.
fn shorten(text: &str, random: &mut Random) -> String {
    let mut text = text.to_owned();
    for (long, short) in SHORTHAND {
        if let Some(at) = find_word(&text, long)
            && random.chance(2, 3)
        {
            text.replace_range(at..at + long.len(), short);
        }
    }
    text
}

/// Byte position of `word` (ASCII, lower case), in any case, parted from other letters, digits and apostrophes.
fn find_word(text: &str, word: &str) -> Option<usize> {
    let lower = text.to_ascii_lowercase();
    let joins = |c: char| c.is_alphanumeric() || matches!(c, '\'' | '’' | '-' | '_' | '@');
    lower
        .match_indices(word)
        .map(|(at, _)| at)
        .find(|&at| !lower[..at].ends_with(joins) && !lower[at + word.len()..].starts_with(joins))
}

/// Slips of the finger in long words: a neighbouring key, a letter dropped, doubled or swapped with the next.
fn slip(text: &str, random: &mut Random) -> String {
    let mut chars: Vec<char> = text.chars().collect();
    let most = chars.len() / CHARS_PER_SLIP + 1;
    for _ in 0..=random.below(most) {
        let places = places(&chars);
        if places.is_empty() {
            break;
        }
        let at = places[random.below(places.len())];
        match random.below(4) {
            0 => chars[at] = neighbour(chars[at], random),
            1 => {
                chars.remove(at);
            }
            2 => chars.insert(at, chars[at]),
            _ => chars.swap(at - 1, at),
        }
    }
    chars.into_iter().collect()
}

/// Where a letter may slip: lower case ASCII inside a word of enough letters and nothing else, from its third on.
fn places(chars: &[char]) -> Vec<usize> {
    let mut places = Vec::new();
    let mut start = 0;
    let joins = |c: char| !c.is_whitespace() && !matches!(c, '.' | ',' | '?' | '!' | ';' | ':');
    for end in 0..=chars.len() {
        if chars.get(end).is_some_and(|&c| joins(c)) {
            continue;
        }
        let word = &chars[start..end];
        if word.len() >= SHORTEST_SLIP
            && word[1..].iter().all(char::is_ascii_lowercase)
            && word[0].is_ascii_alphabetic()
        {
            places.extend(start + 2..end);
        }
        start = end + 1;
    }
    places
}

fn neighbour(letter: char, random: &mut Random) -> char {
    let keys = NEIGHBOURS.iter().find(|(key, _)| *key == letter).map_or("", |(_, keys)| keys);
    keys.chars().nth(random.below(keys.len())).unwrap_or(letter)
}

fn without_punctuation(text: &str) -> String {
    text.chars().filter(|c| !matches!(c, '.' | ',' | '?' | '!' | ';' | '\'' | '’')).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn short_words_digits_and_mixed_words_never_slip() {
        let mut random = Random::named("slip");
        for text in ["is it up", "not now", "don't 1234 wi-fi", "£12.40", "PUK"] {
            for _ in 0..50 {
                assert_eq!(slip(text, &mut random), text);
            }
        }
        let slipped: Vec<String> = (0..50).map(|_| slip("router", &mut random)).collect();
        assert!(
            slipped.iter().all(|word| word.starts_with('r') && word.len().abs_diff(6) <= 1),
            "{slipped:?}"
        );
        assert!(slipped.iter().filter(|word| *word != "router").count() > 40);
    }

    #[test]
    fn shorthand_replaces_whole_words() {
        assert_eq!(find_word("Your youth, you", "you"), Some(12));
        assert_eq!(find_word("you're", "you"), None);
        assert_eq!(find_word("Thank YOU!", "thank you"), Some(0));
        let shortened: Vec<String> =
            (0..50).map(|n| shorten("could you", &mut Random::named(&n.to_string()))).collect();
        assert!(shortened.iter().any(|text| text == "cud u"), "{shortened:?}");
    }

    #[test]
    fn noise_is_the_same_each_time_and_obeys() {
        let text = "Could you please restart my router, it has been stuck since lunchtime?";
        let first = noisy(text, |_| true).unwrap();
        assert_ne!(first, text);
        assert_eq!(noisy(text, |_| true).unwrap(), first);
        assert_ne!(noisy(text, |noisy| noisy != first).unwrap(), first);
        assert_eq!(noisy(text, |_| false), None);
    }
}
