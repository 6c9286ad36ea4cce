//! Nothing that is trained on stands in, or near, a set that judges.

use serde::Serialize;

use super::files::{Corpus, Placed};
use super::similarity::{self, Index, Taken};
use super::{Example, HardExample};
use crate::{IntentError, Result};

/// How near the sets come to each other: the highest Jaccard index of character trigrams over all pairs.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct LeakReport {
    /// Training messages compared: seeds, extra, all that the families can give, and the noisy ones.
    pub training: usize,
    /// Training against `adversarial.jsonl`.
    pub training_adversarial: f64,
    /// Training against `dev.jsonl`.
    pub training_dev: f64,
    /// `dev.jsonl` against `adversarial.jsonl`.
    pub dev_adversarial: f64,
}

/// A message and its place.
type Line<'a> = (&'a str, &'a str);

/// Checks training against both evaluation sets, and these against each other.
///
/// # Errors
/// `invalid_data` at the training message (or the `dev.jsonl` one), naming the other.
pub(super) fn check(
    corpus: &Corpus,
    expansions: &[Placed<Example>],
    built: &[Placed<Example>],
) -> Result<LeakReport> {
    let training = [corpus.extra.as_slice(), expansions, built];
    let training: Vec<Line> = training.into_iter().flatten().map(|l| (&*l.place, &*l.value.text)).collect();
    let (adversarial, dev) = (hard(&corpus.adversarial), hard(&corpus.dev));
    Ok(LeakReport {
        training: training.len(),
        training_adversarial: apart(&training, &adversarial)?,
        training_dev: apart(&training, &dev)?,
        dev_adversarial: apart(&dev, &adversarial)?,
    })
}

fn hard(lines: &[Placed<HardExample>]) -> Vec<Line<'_>> {
    lines.iter().map(|line| (&*line.place, &*line.value.text)).collect()
}

/// The highest index over all pairs, if no two lines are the same or near, or share a run of words, and no line of
/// `right` stands as a whole inside one of `left`.
fn apart(left: &[Line], right: &[Line]) -> Result<f64> {
    let clash = |(place, text): Line, what: &str, (other, other_text): Line| {
        IntentError::data(place, format!("{text:?} {what} {other}: {other_text:?}"))
    };
    let mut taken = Taken::default();
    for (_, text) in right {
        taken.take(text);
    }
    let index = Index::new(right.iter().map(|(_, text)| *text));
    let texts: Vec<&str> = left.iter().map(|(_, text)| *text).collect();
    let nearest = index.nearest(&texts);
    if let Some(pair) = nearest.iter().flatten().find(|pair| pair.is_near()) {
        let what = format!("is near (similarity {:.2})", pair.similarity());
        return Err(clash(left[pair.left], &what, right[pair.right]));
    }
    for line in left {
        if taken.has(line.1) {
            return Err(IntentError::data(line.0, format!("{:?} stands in an evaluation set too", line.1)));
        }
        if let Some((number, run)) = index.quoted(line.1) {
            return Err(clash(*line, &format!("shares {run:?} with"), right[number]));
        }
        if let Some(number) = index.held(line.1) {
            return Err(clash(*line, "holds the whole of", right[number]));
        }
    }
    Ok(similarity::highest(&nearest).map_or(0.0, similarity::Pair::similarity))
}
