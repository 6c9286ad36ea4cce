//! Train, validation and test, by groups.

use std::collections::{BTreeMap, BTreeSet};

use serde::Serialize;

use super::Example;
use super::random::Random;
use super::similarity::{self, Index};
use crate::{IntentError, Result};

/// The seed of the published split.
pub const SEED: u64 = 13;

/// Test: this share of all examples, in per cent.
const TEST_PERCENT: usize = 30;

/// Validation: this share of the others, in per cent.
const VAL_PERCENT: usize = 15;

/// How far a label's count may be from its share of a split: one in this many, and always one example.
const BALANCE_ONE_IN: usize = 20;

const NAMES: [&str; 3] = ["train", "val", "test"];

/// Three parts of the dataset, in the order of its files. No group is in two of them, nor are two messages that are
/// near each other.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Splits {
    /// For fitting.
    pub train: Vec<Example>,
    /// For stopping and for looking while training; 15% of what test leaves.
    pub val: Vec<Example>,
    /// For in-distribution figures; 30% of all.
    pub test: Vec<Example>,
}

impl Splits {
    /// The parts with their names, in the order train, val, test.
    #[must_use]
    pub fn parts(&self) -> [(&'static str, &[Example]); 3] {
        [(NAMES[0], &self.train), (NAMES[1], &self.val), (NAMES[2], &self.test)]
    }
}

/// Parts the examples into train, validation and test; the same seed gives the same parts everywhere. The published
/// seed is [`SEED`], others are for cross-validation.
///
/// Groups that hold messages near each other are kept together as one cluster. Clusters draw seats in random order,
/// large ones first: a split is as likely as it has free seats for the cluster's labels, so that each label fills its
/// seats in each split, and large clusters are in test no more often than small ones.
#[must_use]
pub fn split(examples: &[Example], seed: u64) -> Splits {
    let mut random = Random::named(&format!("split/{seed}"));
    let mut clusters = clusters(examples);
    random.shuffle(&mut clusters);
    clusters.sort_by_key(|cluster| std::cmp::Reverse(cluster.len()));
    let mut seats = seats(examples);
    let mut places = vec![0; examples.len()];
    for cluster in &clusters {
        let mut needs: BTreeMap<&str, usize> = BTreeMap::new();
        for &member in cluster {
            *needs.entry(&examples[member].intent).or_default() += 1;
        }
        let place = choose(&needs, &seats, &mut random);
        for (label, need) in needs {
            if let Some(free) = seats.get_mut(label) {
                free[place] = free[place].saturating_sub(need);
            }
        }
        for &member in cluster {
            places[member] = place;
        }
    }
    let part =
        |place| examples.iter().zip(&places).filter(|(_, p)| **p == place).map(|(e, _)| e.clone()).collect();
    Splits { train: part(0), val: part(1), test: part(2) }
}

/// Free seats of each label in train, val and test.
fn seats(examples: &[Example]) -> BTreeMap<&str, [usize; 3]> {
    let mut seats = BTreeMap::new();
    for example in examples {
        seats.entry(example.intent.as_str()).or_insert([0; 3])[0] += 1;
    }
    for [train, val, test] in seats.values_mut() {
        *test = *train * TEST_PERCENT / 100;
        *train -= *test;
        *val = *train * VAL_PERCENT / 100;
        *train -= *val;
    }
    seats
}

/// Draws a free seat in a split that has room for all of a cluster; train takes what fits nowhere.
fn choose(needs: &BTreeMap<&str, usize>, seats: &BTreeMap<&str, [usize; 3]>, random: &mut Random) -> usize {
    let free = |place: usize, label: &str| seats.get(label).map_or(0, |free| free[place]);
    let weights = [0, 1, 2].map(|place| {
        let fits = needs.iter().all(|(label, need)| free(place, label) >= *need);
        if fits { needs.keys().map(|label| free(place, label)).sum() } else { 0 }
    });
    let mut seat = random.below(weights.iter().sum());
    for (place, weight) in weights.into_iter().enumerate() {
        if seat < weight {
            return place;
        }
        seat -= weight;
    }
    0
}

/// Examples that must stay together: those of a group, and of groups that have messages near each other.
fn clusters(examples: &[Example]) -> Vec<Vec<usize>> {
    let texts: Vec<&str> = examples.iter().map(|example| example.text.as_str()).collect();
    let mut first_of_group: BTreeMap<&str, usize> = BTreeMap::new();
    let mut links: Vec<(usize, usize)> = Vec::new();
    for (number, example) in examples.iter().enumerate() {
        links.push((*first_of_group.entry(&example.group).or_insert(number), number));
    }
    let near = Index::new(texts.iter().copied()).near_pairs(&texts);
    links.extend(near.into_iter().map(|pair| (pair.left, pair.right)));
    let mut leaders: Vec<usize> = (0..examples.len()).collect();
    for (a, b) in links {
        let (a, b) = (leader(&mut leaders, a), leader(&mut leaders, b));
        leaders[a.max(b)] = a.min(b);
    }
    let mut clusters: BTreeMap<usize, Vec<usize>> = BTreeMap::new();
    for number in 0..examples.len() {
        clusters.entry(leader(&mut leaders, number)).or_default().push(number);
    }
    clusters.into_values().collect()
}

/// The first member of a cluster, found by following leaders (and halving the path on the way).
fn leader(leaders: &mut [usize], mut number: usize) -> usize {
    while leaders[number] != number {
        leaders[number] = leaders[leaders[number]];
        number = leaders[number];
    }
    number
}

/// What [`check_splits`] measured.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct SplitReport {
    /// Examples in train, val and test.
    pub sizes: [usize; 3],
    /// Groups in train, val and test.
    pub groups: [usize; 3],
    /// Highest similarity of two messages in different parts.
    pub max_similarity: f64,
}

/// Checks that no group and no two near messages are in two parts, and that every part has its share of every label.
///
/// # Errors
/// `invalid_data` naming the line in `train.jsonl`, `val.jsonl` or `test.jsonl` as [`jsonl`](super::jsonl) writes them.
pub fn check_splits(splits: &Splits) -> Result<SplitReport> {
    let parts = splits.parts();
    let mut group_of: BTreeMap<&str, (usize, usize)> = BTreeMap::new();
    for (number, (_, part)) in parts.iter().enumerate() {
        for (line, example) in part.iter().enumerate() {
            let first = *group_of.entry(&example.group).or_insert((number, line));
            if first.0 != number {
                let detail = format!("group {:?} is also at {}", example.group, place(first));
                return Err(IntentError::data(place((number, line)), detail));
            }
        }
    }
    check_balance(splits)?;
    let max_similarity = check_near(splits)?;
    let groups = [0, 1, 2].map(|part| group_of.values().filter(|first| first.0 == part).count());
    Ok(SplitReport { sizes: parts.map(|(_, part)| part.len()), groups, max_similarity })
}

fn place((part, line): (usize, usize)) -> String {
    format!("{}.jsonl:{}", NAMES[part], line + 1)
}

fn check_balance(splits: &Splits) -> Result<()> {
    let all: Vec<Example> = splits.parts().iter().flat_map(|(_, part)| part.iter().cloned()).collect();
    for (label, seats) in seats(&all) {
        for ((name, part), expected) in splits.parts().into_iter().zip(seats) {
            let count = part.iter().filter(|example| example.intent == label).count();
            if count.abs_diff(expected) > 1.max(expected / BALANCE_ONE_IN) {
                let detail = format!("{count} of {label}, its share is {expected}");
                return Err(IntentError::data(format!("{name}.jsonl"), detail));
            }
        }
    }
    Ok(())
}

fn check_near(splits: &Splits) -> Result<f64> {
    let parts = splits.parts();
    let mut highest: f64 = 0.0;
    for (left, right) in [(0, 1), (0, 2), (1, 2)] {
        let [left_part, right_part] = [parts[left].1, parts[right].1];
        let texts: Vec<&str> = left_part.iter().map(|example| example.text.as_str()).collect();
        let index = Index::new(right_part.iter().map(|example| example.text.as_str()));
        let Some(pair) = similarity::highest(&index.nearest(&texts)) else { continue };
        highest = highest.max(pair.similarity());
        if pair.is_near() {
            let (near, far) = (&left_part[pair.left].text, &right_part[pair.right].text);
            let detail = format!(
                "{near:?} is near (similarity {:.2}) {}: {far:?}",
                pair.similarity(),
                place((right, pair.right))
            );
            return Err(IntentError::data(place((left, pair.left)), detail));
        }
    }
    Ok(highest)
}

/// The part of [`extra`](super::extra) that may be trained on beside `splits.train`: no group of validation or
/// test, and nothing near their messages.
///
/// # Errors
/// `invalid_data` naming file and line.
pub fn extra_for(splits: &Splits) -> Result<Vec<Example>> {
    let extra = super::extra()?;
    let held: Vec<&Example> = splits.val.iter().chain(&splits.test).collect();
    let texts: Vec<&str> = extra.iter().map(|example| example.text.as_str()).collect();
    let nearest = Index::new(held.iter().map(|example| example.text.as_str())).nearest(&texts);
    let groups: BTreeSet<&str> = held.iter().map(|example| example.group.as_str()).collect();
    let keep: Vec<bool> = (extra.iter().zip(&nearest))
        .map(|(example, pair)| {
            !groups.contains(example.group.as_str()) && !pair.is_some_and(similarity::Pair::is_near)
        })
        .collect();
    Ok(extra.into_iter().zip(keep).filter_map(|(example, keep)| keep.then_some(example)).collect())
}
