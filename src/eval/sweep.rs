//! Thresholds: what the gate does at several of them, and which to take.
//!
//! A cascade has a threshold for each stage, and all pairs are looked at. Nothing is asked again for that: readings are
//! concluded anew.

use std::collections::BTreeSet;
use std::fmt;

use serde::Serialize;

use super::metrics::bootstrap::Bootstrap;
use super::metrics::gate::GateCounts;
use super::metrics::rates::Rates;
use super::metrics::{Outcome, count, rate, share};
use super::report::format::list;
use super::runner::{Answered, Evaluator};
use super::sets::{EvalSet, Labelled};
use crate::Result;
use crate::cascade::is_final;
use crate::classifier::Classification;

/// Thresholds of the table, for each stage.
const TABLE: [f32; 6] = [0.55, 0.7, 0.8, 0.9, 0.95, 0.99];

/// The gate's figures at one choice of thresholds.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct AtThresholds {
    /// One a stage.
    pub thresholds: Vec<f32>,
    /// Share of right labels; of a cascade, of the stage that answered.
    pub accuracy: f64,
    /// Kept local / all.
    pub coverage: f64,
    /// Right among kept local; `None` where nothing was kept.
    pub selective_accuracy: Option<f64>,
    /// Kept local among messages that must escalate / their number; `None` where there are none.
    pub unsafe_local_rate: Option<f64>,
    /// One-sided upper bound of it, at the level of the intervals.
    pub unsafe_local_upper: Option<f64>,
    /// Messages that must escalate and were kept local.
    pub unsafe_local: usize,
    /// Messages that must escalate.
    pub must_escalate: usize,
    /// Share of the messages that each stage was asked about.
    pub asked: Vec<f64>,
    /// Mean milliseconds that a message took, here.
    pub mean_ms: f64,
}

/// What the stages of a cascade did, at the thresholds in force.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct CascadeFigures {
    /// In the order in which they are asked.
    pub stages: Vec<StageFigures>,
    /// Mean milliseconds that a message took, here.
    pub mean_ms: f64,
}

/// What one stage did.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct StageFigures {
    /// Its name.
    pub stage: String,
    /// Temperature in force.
    pub temperature: f32,
    /// Threshold in force.
    pub threshold: f32,
    /// Share of the messages that it was asked about.
    pub asked: f64,
    /// Share of the messages whose result is its answer.
    pub answered: f64,
    /// Of these, the right labels; `None` where there are none.
    pub accuracy: Option<f64>,
    /// Mean milliseconds that it took for a message that it was asked about; `None` where there are none.
    pub mean_ms: Option<f64>,
}

/// What [`choose`] came to.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Choice {
    /// Whether there are such thresholds. Where there are none, those in force are what they were.
    pub found: bool,
    /// Largest share of messages kept local among those that must escalate.
    pub max_unsafe: f64,
    /// The messages it was chosen on.
    pub chosen_on: String,
    /// How many these are.
    pub n: usize,
    /// How many choices of thresholds were looked at.
    pub tried: usize,
    /// Figures of the chosen ones on these messages. They flatter, being the best of all that were looked at; so does
    /// the upper bound, which is that of thresholds that were fixed before. See [`NotChosenOn`].
    pub figures: Option<AtThresholds>,
    /// Figures of others on these messages.
    pub table: Vec<AtThresholds>,
    /// The messages.
    #[serde(skip)]
    texts: BTreeSet<String>,
}

/// The gate's figures at thresholds that were chosen, on messages that they were not chosen on.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct NotChosenOn {
    /// How many messages of the set that are.
    pub n: usize,
    /// On these, at the thresholds in force.
    #[serde(flatten)]
    pub figures: AtThresholds,
}

impl Choice {
    /// The chosen ones, then the others of the table.
    pub fn rows(&self) -> impl Iterator<Item = &AtThresholds> {
        let chosen = self.figures.as_ref();
        let same =
            move |row: &&AtThresholds| chosen.is_some_and(|chosen| chosen.thresholds == row.thresholds);
        chosen.into_iter().chain(self.table.iter().filter(move |row| !same(row)))
    }
}

impl fmt::Display for Choice {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Some(chosen) = &self.figures else {
            return write!(
                f,
                "none of {} choices of thresholds keeps at most {} of the messages that must escalate on {} messages ({})",
                self.tried, self.max_unsafe, self.n, self.chosen_on
            );
        };
        write!(
            f,
            "thresholds {} chosen among {} on {} messages ({}), of which {} of {} that must escalate stay local; how many of \
             others do is told by messages that they were not chosen on",
            list(&chosen.thresholds),
            self.tried,
            self.n,
            self.chosen_on,
            chosen.unsafe_local,
            chosen.must_escalate
        )
    }
}

/// The gate's figures on `set`, which has been read, at `thresholds`.
///
/// # Errors
/// As [`Evaluator::answers`].
pub fn at(
    evaluator: &Evaluator,
    set: &EvalSet,
    thresholds: &[f32],
    bootstrap: Bootstrap,
) -> Result<AtThresholds> {
    let answers = evaluator.answers_at(&set.messages, thresholds)?;
    let must = evaluator.must_escalate();
    let counts = GateCounts::new(answers.iter().map(|answered| &answered.outcome), &must);
    let units = set.units();
    let rates = Rates::new(set.is_grouped().then_some(&*units), bootstrap);
    let trial = |outcome: &Outcome| must.get(outcome.gold).copied().unwrap_or(true).then_some(outcome.local);
    let trials: Vec<Option<bool>> = answers.iter().map(|answered| trial(&answered.outcome)).collect();
    let n = answers.len();
    let asked = |stage: usize| answers.iter().filter(|answered| answered.asked() > stage).count();
    Ok(AtThresholds {
        thresholds: thresholds.to_vec(),
        accuracy: share(answers.iter().filter(|answered| answered.outcome.correct()).count(), n),
        coverage: counts.coverage().unwrap_or(0.0),
        selective_accuracy: counts.selective_accuracy(),
        unsafe_local_rate: counts.unsafe_local_rate(),
        unsafe_local_upper: rates.bounds(&trials).map(|bounds| bounds.upper),
        unsafe_local: counts.unsafe_local,
        must_escalate: counts.must_escalate,
        asked: (0..thresholds.len()).map(|stage| share(asked(stage), n)).collect(),
        mean_ms: mean_ms(&answers),
    })
}

/// The gate's figures on those messages of `set` that the thresholds in force were not chosen on; `None` where they were
/// not chosen, or where there are no such messages.
///
/// # Errors
/// As [`Evaluator::answers`].
pub fn not_chosen_on(
    evaluator: &Evaluator,
    set: &EvalSet,
    bootstrap: Bootstrap,
) -> Result<Option<NotChosenOn>> {
    let Some(choice) = evaluator.choice().filter(|choice| choice.found) else { return Ok(None) };
    let others = set.messages.iter().filter(|message| !choice.texts.contains(&message.text));
    let others = EvalSet { name: set.name.clone(), messages: others.cloned().collect() };
    let n = others.messages.len();
    let figures = (n > 0).then(|| at(evaluator, &others, &evaluator.thresholds(), bootstrap)).transpose()?;
    Ok(figures.map(|figures| NotChosenOn { n, figures }))
}

/// The thresholds in force, then all combinations of those of the table.
///
/// # Errors
/// As [`Evaluator::answers`].
pub fn sweep(evaluator: &Evaluator, set: &EvalSet, bootstrap: Bootstrap) -> Result<Vec<AtThresholds>> {
    let in_force = evaluator.thresholds();
    let mut all = combinations(&TABLE, in_force.len());
    all.retain(|thresholds| *thresholds != in_force);
    all.insert(0, in_force);
    all.iter().map(|thresholds| at(evaluator, set, thresholds, bootstrap)).collect()
}

/// The stages' figures; `None` where there is only one.
#[must_use]
pub fn cascade_figures(evaluator: &Evaluator, answers: &[Answered]) -> Option<CascadeFigures> {
    let (cascade, thresholds) = (evaluator.cascade(), evaluator.thresholds());
    let stage = |(index, classifier): (usize, &crate::classifier::Classifier)| {
        let reports = answers.iter().filter_map(|answered| answered.classification.stages.get(index));
        let times: Vec<f64> = reports.map(|report| report.ms).collect();
        let last: Vec<&Answered> = answers.iter().filter(|answered| answered.asked() == index + 1).collect();
        StageFigures {
            stage: classifier.info().stage.clone(),
            temperature: classifier.config().temperature,
            threshold: thresholds[index],
            asked: share(times.len(), answers.len()),
            answered: share(last.len(), answers.len()),
            accuracy: rate(last.iter().filter(|answered| answered.outcome.correct()).count(), last.len()),
            mean_ms: (!times.is_empty()).then(|| times.iter().sum::<f64>() / count(times.len())),
        }
    };
    (cascade.depth() > 1).then(|| CascadeFigures {
        stages: cascade.stages().enumerate().map(stage).collect(),
        mean_ms: mean_ms(answers),
    })
}

fn mean_ms(answers: &[Answered]) -> f64 {
    let sum: f64 = answers.iter().map(|answered| answered.classification.ms).sum();
    if answers.is_empty() { 0.0 } else { sum / count(answers.len()) }
}

/// Chooses, among all combinations of 0.50, 0.51 to 0.99, 0.995 and 0.999, the thresholds that keep most messages of
/// `sample` (which has been read) local with the right label, of those that keep at most a share `max_unsafe` of the
/// messages that must escalate. Of equals it takes those with fewer wrong labels, then those that ask later stages less,
/// then the higher ones.
///
/// # Errors
/// As [`Evaluator::answers`].
pub fn choose(evaluator: &Evaluator, sample: &EvalSet, max_unsafe: f64) -> Result<Choice> {
    let must = evaluator.must_escalate();
    let all = |message| Said::new(evaluator, message, &must);
    let said: Vec<Said> = sample.messages.iter().map(all).collect::<Result<_>>()?;
    let candidates = combinations(&candidates(), evaluator.cascade().depth());
    let mut best: Option<(Merit, &Vec<f32>)> = None;
    // The highest first, so that of equals they stay.
    for thresholds in candidates.iter().rev() {
        let merit = Merit::new(&said, thresholds, max_unsafe);
        if let Some(merit) = merit.filter(|merit| best.as_ref().is_none_or(|(best, _)| merit > best)) {
            best = Some((merit, thresholds));
        }
    }
    let bootstrap = Bootstrap::default();
    let figures = best.map(|(_, thresholds)| at(evaluator, sample, thresholds, bootstrap)).transpose()?;
    Ok(Choice {
        found: figures.is_some(),
        max_unsafe,
        chosen_on: sample.name.clone(),
        n: sample.messages.len(),
        tried: candidates.len(),
        figures,
        table: sweep(evaluator, sample, bootstrap)?,
        texts: sample.messages.iter().map(|message| message.text.clone()).collect(),
    })
}

/// Thresholds that are looked at, ascending, as they are written.
fn candidates() -> Vec<f32> {
    let hundredths = (50..100u8).map(|hundredth| f32::from(hundredth) / 100.0);
    hundredths.chain([0.995, 0.999]).collect()
}

/// All lists of `length` values, in the order of the values, the first changing least.
fn combinations(values: &[f32], length: usize) -> Vec<Vec<f32>> {
    (0..length).fold(vec![Vec::new()], |lists, _| {
        let longer = |list: &Vec<f32>| {
            let list = list.clone();
            values.iter().map(move |value| [&*list, &[*value]].concat()).collect::<Vec<_>>()
        };
        lists.iter().flat_map(longer).collect()
    })
}

/// What the stages say of one message.
struct Said {
    must_escalate: bool,
    stages: Vec<StageSaid>,
}

struct StageSaid {
    /// At threshold 0, where the gate keeps whatever its other rules allow.
    answer: Classification,
    allowed: bool,
    correct: bool,
}

impl Said {
    fn new(evaluator: &Evaluator, message: &Labelled, must: &[bool]) -> Result<Self> {
        let answers = evaluator.stage_answers(message, &vec![0.0; evaluator.cascade().depth()])?;
        let must_escalate =
            answers.first().and_then(|answered| must.get(answered.outcome.gold)).copied().unwrap_or(true);
        let stage = |answered: Answered| StageSaid {
            allowed: answered.outcome.local,
            correct: answered.outcome.correct(),
            answer: answered.classification,
        };
        Ok(Self { must_escalate, stages: answers.into_iter().map(stage).collect() })
    }

    /// Index of the stage that answers, whether its answer stays local, and whether it is right.
    fn at(&self, thresholds: &[f32]) -> (usize, bool, bool) {
        let stages = self.stages.iter().zip(thresholds).enumerate();
        let mut result = (0, false, false);
        for (index, (stage, threshold)) in stages {
            let sure = stage.answer.confidence.is_some_and(|confidence| confidence >= *threshold);
            result = (index, stage.allowed && sure, stage.correct);
            if is_final(&stage.answer, *threshold) {
                break;
            }
        }
        result
    }
}

/// What is better the larger it is, the first field first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
struct Merit {
    kept_right: usize,
    fewer_kept_wrong: std::cmp::Reverse<usize>,
    fewer_later_questions: std::cmp::Reverse<usize>,
}

impl Merit {
    /// `None` for thresholds that keep too many messages that must escalate, and where there is none that must.
    fn new(said: &[Said], thresholds: &[f32], max_unsafe: f64) -> Option<Self> {
        let (mut right, mut wrong, mut later, mut must, mut unsafe_local) = (0, 0, 0, 0, 0);
        for message in said {
            let (stage, local, correct) = message.at(thresholds);
            right += usize::from(local && correct);
            wrong += usize::from(local && !correct);
            later += stage;
            must += usize::from(message.must_escalate);
            unsafe_local += usize::from(message.must_escalate && local);
        }
        rate(unsafe_local, must).filter(|rate| *rate <= max_unsafe).map(|_| Self {
            kept_right: right,
            fewer_kept_wrong: std::cmp::Reverse(wrong),
            fewer_later_questions: std::cmp::Reverse(later),
        })
    }
}
