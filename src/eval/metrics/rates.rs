//! How sure a rate is, for messages drawn one by one and for messages that come in groups.

use serde::Serialize;

use super::bootstrap::{Bootstrap, quantile};
use super::intervals::{clopper_pearson, upper_bound};
use super::{Interval, share};

/// How an interval was made.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub enum Method {
    /// Exact binomial (Clopper and Pearson 1934): each message is a trial of its own.
    #[serde(rename = "clopper-pearson")]
    ClopperPearson,
    /// Percentile bootstrap over messages.
    #[serde(rename = "bootstrap")]
    Bootstrap,
    /// Percentile bootstrap over whole groups of messages.
    #[serde(rename = "cluster-bootstrap over groups")]
    ClusterBootstrap,
}

impl Method {
    /// Its name, as results show it.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::ClopperPearson => "clopper-pearson",
            Self::Bootstrap => "bootstrap",
            Self::ClusterBootstrap => "cluster-bootstrap over groups",
        }
    }
}

/// Where a rate is believed to lie.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Bounds {
    /// Two-sided, at the bootstrap's level.
    pub interval: Interval,
    /// One-sided upper bound at the same level.
    pub upper: f64,
}

/// Bounds of rates over one set of messages.
#[derive(Debug, Clone, Copy)]
pub struct Rates<'a> {
    /// Groups of message indices, where the set has groups.
    groups: Option<&'a [Vec<usize>]>,
    bootstrap: Bootstrap,
}

impl<'a> Rates<'a> {
    /// `groups` are those of the set; without them each message counts as drawn by itself.
    #[must_use]
    pub fn new(groups: Option<&'a [Vec<usize>]>, bootstrap: Bootstrap) -> Self {
        Self { groups, bootstrap }
    }

    /// How [`bounds`](Self::bounds) makes them.
    #[must_use]
    pub fn method(&self) -> Method {
        if self.groups.is_some() { Method::ClusterBootstrap } else { Method::ClopperPearson }
    }

    /// Bounds of a rate. `trials[message]` is whether it counts for the rate, and if so whether it is a success; `None`
    /// without any trial.
    ///
    /// Without groups they are exact binomial ones. With groups whole groups are drawn with replacement (Field and Welsh
    /// 2007), since the messages of a group tend to succeed and fail together and are fewer trials than they look. Two
    /// cases that the bootstrap answers too boldly are not left to it. Where all trials are alike every draw is too:
    /// the bounds are then the exact binomial ones with one trial a group. And percentiles of few events lie low: the
    /// one-sided bound is never below the exact binomial one.
    #[must_use]
    pub fn bounds(&self, trials: &[Option<bool>]) -> Option<Bounds> {
        let (successes, all) = tally(trials.iter().copied());
        if all == 0 {
            return None;
        }
        let Some(groups) = self.groups else { return Some(self.exact(successes, all)) };
        let group =
            |group: &Vec<usize>| tally(group.iter().map(|index| trials.get(*index).copied().flatten()));
        let groups: Vec<(usize, usize)> = groups.iter().map(group).filter(|(_, all)| *all > 0).collect();
        match successes {
            0 => Some(self.exact(0, groups.len())),
            _ if successes == all => Some(self.exact(groups.len(), groups.len())),
            _ => {
                let drawn = self.bootstrap.rates(&groups);
                let exact = self.exact(successes, all).upper;
                let upper = quantile(&drawn, self.bootstrap.level)?.max(exact);
                Some(Bounds { interval: self.bootstrap.percentiles(&drawn)?, upper })
            }
        }
    }

    fn exact(&self, successes: usize, trials: usize) -> Bounds {
        let level = self.bootstrap.level;
        Bounds {
            interval: clopper_pearson(successes, trials, level),
            upper: upper_bound(successes, trials, 1.0 - level),
        }
    }
}

fn tally(trials: impl Iterator<Item = Option<bool>>) -> (usize, usize) {
    trials.flatten().fold((0, 0), |(successes, all), success| (successes + usize::from(success), all + 1))
}

impl Bootstrap {
    /// Rates of drawn lists of `(successes, trials)`, ascending. Each must have trials.
    fn rates(&self, groups: &[(usize, usize)]) -> Vec<f64> {
        let mut random = fastrand::Rng::with_seed(self.seed);
        let mut draw = || {
            let drawn = (0..groups.len()).map(|_| groups[random.usize(0..groups.len())]);
            let (successes, all) = drawn.fold((0, 0), |(s, a), (successes, all)| (s + successes, a + all));
            share(successes, all)
        };
        let mut rates: Vec<f64> = (0..self.replicates).map(|_| draw()).collect();
        rates.sort_by(f64::total_cmp);
        rates
    }
}
