//! Leaving pieces out that English messages never become.

use std::ops::RangeInclusive;

use regex::Regex;

use super::base::Vocabulary;
use crate::Result;

/// Letters that stay, beside what is no letter at all: Latin in all its extensions, phonetic and modifier letters, and
/// the letters that stand for units and number sets.
const LATIN: [RangeInclusive<char>; 12] = [
    'A'..='Z',
    'a'..='z',
    '\u{aa}'..='\u{2ff}',
    '\u{1d00}'..='\u{1dbf}',
    '\u{1e00}'..='\u{1eff}',
    '\u{2071}'..='\u{209c}',
    '\u{2100}'..='\u{214f}',
    '\u{2c60}'..='\u{2c7f}',
    '\u{a720}'..='\u{a7ff}',
    '\u{ab30}'..='\u{ab6f}',
    '\u{fb00}'..='\u{fb06}',
    '\u{ff21}'..='\u{ff5a}',
];

/// The vocabulary without reserved pieces and without letters and marks of other scripts than Latin, and the old id of
/// each piece that stays. Their order stays too. Latin text falls into the same pieces as before, because no piece that
/// could match it is gone; a word with other letters becomes the unknown token, as such words did before where the
/// vocabulary lacked a letter.
pub(super) fn prune(vocabulary: &Vocabulary) -> Result<(Vocabulary, Vec<usize>)> {
    let letters =
        Regex::new(r"[\p{L}\p{M}]").map_err(|error| crate::IntentError::argument("regex", error))?;
    let stays = |(id, piece): &(usize, &String)| {
        let foreign = letters.find_iter(piece).flat_map(|letter| letter.as_str().chars());
        vocabulary.control.contains(id)
            || !piece.starts_with("[unused")
                && foreign.into_iter().all(|c| LATIN.iter().any(|range| range.contains(&c)))
    };
    let kept: Vec<usize> = vocabulary.pieces.iter().enumerate().filter(stays).map(|(id, _)| id).collect();
    let renumbered = |id: usize| kept.binary_search(&id).unwrap_or(0);
    let pruned = Vocabulary {
        pieces: kept.iter().map(|id| vocabulary.pieces[*id].clone()).collect(),
        control: vocabulary.control.iter().map(|id| renumbered(*id)).collect(),
        unknown: renumbered(vocabulary.unknown),
        cls: renumbered(vocabulary.cls),
        sep: renumbered(vocabulary.sep),
        pad: renumbered(vocabulary.pad),
    };
    Ok((pruned, kept))
}
