//! Further messages from the families of the training part.

use std::collections::BTreeSet;

use super::build::sampler_of;
use super::files::{Corpus, Files};
use super::similarity::{Index, Pair, Taken};
use super::{Example, Splits};
use crate::Result;

/// Messages that nothing trained on may come near.
pub(super) struct Held {
    /// Validation, test and both evaluation sets.
    all: Index,
    /// The evaluation sets, of which no run of words may be quoted either.
    hard: Index,
}

impl Held {
    pub(super) fn new(splits: &Splits, corpus: &Corpus) -> Self {
        let hard: Vec<&str> =
            corpus.adversarial.iter().chain(&corpus.dev).map(|line| line.value.text.as_str()).collect();
        let held = splits.val.iter().chain(&splits.test).map(|example| example.text.as_str());
        Self { all: Index::new(held.chain(hard.iter().copied())), hard: Index::new(hard.iter().copied()) }
    }

    /// Whether `text` is near none of them, and quotes and holds none of the evaluation sets'.
    pub(super) fn is_clear(&self, text: &str) -> bool {
        let near = self.all.nearest(&[text]).into_iter().flatten().any(Pair::is_near);
        !near && self.hard.quoted(text).is_none() && self.hard.held(text).is_none()
    }
}

/// Up to `each` further messages of every family whose group is in `splits.train`, in the order of the families: none
/// that is a message of the dataset or of `extra.jsonl`, none near a message of validation, test, `dev.jsonl` or
/// `adversarial.jsonl`.
///
/// # Errors
/// `invalid_data` naming file and line.
pub fn further(splits: &Splits, each: usize) -> Result<Vec<Example>> {
    let corpus = Corpus::read(&Files::EMBEDDED)?;
    let groups: BTreeSet<&str> = splits.train.iter().map(|example| example.group.as_str()).collect();
    let held = Held::new(splits, &corpus);
    let mut taken = Taken::default();
    for (_, part) in splits.parts() {
        part.iter().for_each(|example| _ = taken.take(&example.text));
    }
    corpus.extra.iter().for_each(|line| _ = taken.take(&line.value.text));
    let mut drawn = Vec::new();
    for line in corpus.families.iter().filter(|line| groups.contains(line.value.0.group.as_str())) {
        let mut sampler = sampler_of(line, "further");
        let texts = std::iter::from_fn(|| sampler.draw());
        let clear = texts.filter(|text| held.is_clear(text) && taken.take(text));
        drawn.extend(clear.take(each).map(|text| line.value.0.example(text)));
    }
    Ok(drawn)
}

#[cfg(test)]
mod tests {
    use super::super::{SEED, adversarial, build, dev, extra, split};
    use super::*;

    #[test]
    fn further_messages_are_new_and_far_from_what_is_held_out() {
        let splits = split(&build().unwrap(), SEED);
        let drawn = further(&splits, 3).unwrap();
        assert!(drawn.len() > 300, "{}", drawn.len());
        for example in &drawn {
            assert!(splits.train.iter().any(|e| e.group == example.group && e.intent == example.intent));
        }
        let mut taken = Taken::default();
        let known = splits.parts().into_iter().flat_map(|(_, part)| part.iter().map(|e| e.text.clone()));
        let known: Vec<String> = known.chain(extra().unwrap().into_iter().map(|e| e.text)).collect();
        known.iter().for_each(|text| _ = taken.take(text));
        assert!(drawn.iter().all(|example| taken.take(&example.text)), "one is not new");
        let hard = adversarial().unwrap().into_iter().chain(dev().unwrap()).map(|e| e.text);
        let held: Vec<String> =
            splits.val.iter().chain(&splits.test).map(|e| e.text.clone()).chain(hard).collect();
        let index = Index::new(held.iter().map(String::as_str));
        let texts: Vec<&str> = drawn.iter().map(|e| e.text.as_str()).collect();
        assert!(!index.nearest(&texts).into_iter().flatten().any(Pair::is_near));
        assert_eq!(drawn, further(&splits, 3).unwrap());
        assert!(further(&splits, 0).unwrap().is_empty());
    }
}
