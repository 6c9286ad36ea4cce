//! Computes all figures of one model on one set.

use std::collections::{BTreeMap, BTreeSet};

use super::figures::{
    CalibrationFigures, Difference, Evaluation, GateFigures, IntervalMethod, LabelFigures, Misread,
    OutOfScope, SelectionFigures, Slice,
};
use super::metrics::bootstrap::Bootstrap;
use super::metrics::calibration::{
    BINS, CONFIDENT, bins, brier, confident_errors, ece, ece_debiased as debiased, nll,
};
use super::metrics::classification::Confusion;
use super::metrics::gate::GateCounts;
use super::metrics::rates::{Method, Rates};
use super::metrics::selective::RiskCoverage;
use super::metrics::{Interval, Outcome, Point, rate};
use super::runner::{Answered, Evaluator};
use super::sets::{EvalSet, Labelled};
use super::sweep;
use crate::classifier::UNKNOWN;
use crate::{IntentError, Result};

/// How to evaluate.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct Options {
    /// Draws for the intervals.
    pub bootstrap: Bootstrap,
    /// Also the gate's figures at several thresholds.
    pub sweep: bool,
}

/// Evaluates a model on a set whose messages it has read.
///
/// # Errors
/// As [`Evaluator::answers`].
pub fn evaluate(evaluator: &Evaluator, set: &EvalSet, options: Options) -> Result<Evaluation> {
    let answers = evaluator.answers(&set.messages)?;
    let outcomes: Vec<Outcome> = answers.iter().map(|answered| answered.outcome.clone()).collect();
    let config = evaluator.config();
    let must = evaluator.must_escalate();
    let units = set.units();
    let drawn = Drawn::new(&outcomes, config.labels.len(), &units, options.bootstrap);
    let rates = Rates::new(set.is_grouped().then_some(&*units), options.bootstrap);
    let unscored_reasons = unscored_reasons(&answers);
    Ok(Evaluation {
        model: evaluator.name().to_owned(),
        identity: evaluator.identity().clone(),
        set: set.name.clone(),
        n: outcomes.len(),
        units: units.len(),
        interval_method: interval_method(set, &units),
        labels: label_figures(&outcomes, &config.labels, &drawn),
        temperature: config.temperature,
        temperature_from: evaluator.temperature_from().clone(),
        unscored: unscored_reasons.values().sum(),
        failed: outcomes.iter().filter(|outcome| outcome.predicted.is_none()).count(),
        unscored_reasons,
        calibration: calibration_figures(&outcomes, &drawn),
        selection: selection_figures(&outcomes, &drawn),
        gate: gate_figures(&outcomes, &must, evaluator, &rates),
        cascade: sweep::cascade_figures(evaluator, &answers),
        not_chosen_on: sweep::not_chosen_on(evaluator, set, options.bootstrap)?,
        sweep: if options.sweep { sweep::sweep(evaluator, set, options.bootstrap)? } else { Vec::new() },
        near_out_of_scope: out_of_scope("near_oos", &set.messages, &outcomes, &rates),
        far_out_of_scope: out_of_scope("far_oos", &set.messages, &outcomes, &rates),
        slices: slices(&set.messages, &outcomes, &must, &rates),
        bootstrap: options.bootstrap,
        errors: misread(&set.messages, &answers),
        outcomes,
    })
}

fn interval_method(set: &EvalSet, units: &[Vec<usize>]) -> IntervalMethod {
    let (n, grouped) = (set.messages.len(), set.is_grouped());
    let [figures, rates] = if grouped {
        [Method::ClusterBootstrap, Method::ClusterBootstrap]
    } else {
        [Method::Bootstrap, Method::ClopperPearson]
    };
    IntervalMethod { figures, rates, n, groups: grouped.then_some(units.len()) }
}

/// Compares two models by the paired bootstrap.
///
/// # Errors
/// `invalid_argument` where the evaluations are not of the same set.
pub fn compare(
    model: &Evaluation,
    baseline: &Evaluation,
    set: &EvalSet,
    bootstrap: Bootstrap,
) -> Result<Difference> {
    let sizes = [model.n, baseline.n, set.messages.len()];
    if sizes != [model.n; 3]
        || model.set != baseline.set
        || model.labels.per_class.len() != baseline.labels.per_class.len()
    {
        return Err(IntentError::argument("evaluations", "are not of the same set"));
    }
    let classes = model.labels.per_class.len();
    let difference = |indices: &[usize]| {
        let [a, b] =
            [model, baseline].map(|evaluation| confusion(&evaluation.outcomes, classes, Some(indices)));
        [a.accuracy() - b.accuracy(), a.macro_f1() - b.macro_f1()]
    };
    let [accuracy_interval, macro_f1_interval] = bootstrap.intervals(&set.units(), difference);
    Ok(Difference {
        set: model.set.clone(),
        model: model.model.clone(),
        baseline: baseline.model.clone(),
        interval_method: interval_method(set, &set.units()).figures,
        accuracy: model.labels.accuracy - baseline.labels.accuracy,
        accuracy_interval,
        macro_f1: model.labels.macro_f1 - baseline.labels.macro_f1,
        macro_f1_interval,
    })
}

fn named<T>(labels: &[String], values: impl IntoIterator<Item = T>) -> Vec<(String, T)> {
    labels.iter().cloned().zip(values).collect()
}

/// The outcomes at `indices`, or all.
fn chosen<'a>(
    outcomes: &'a [Outcome],
    indices: Option<&'a [usize]>,
) -> Box<dyn Iterator<Item = &'a Outcome> + 'a> {
    match indices {
        Some(indices) => Box::new(indices.iter().map(|index| &outcomes[*index])),
        None => Box::new(outcomes.iter()),
    }
}

fn confusion(outcomes: &[Outcome], classes: usize, indices: Option<&[usize]>) -> Confusion {
    Confusion::new(classes, chosen(outcomes, indices).map(|o| (o.gold, o.predicted)))
}

fn scored_points(outcomes: &[Outcome], indices: Option<&[usize]>) -> Vec<Point> {
    chosen(outcomes, indices).filter(|o| o.probabilities.is_some()).map(Outcome::point).collect()
}

/// Bootstrap intervals, all from the same draws.
struct Drawn {
    accuracy: Option<Interval>,
    macro_f1: Option<Interval>,
    ece_debiased: Option<Interval>,
    aurc: Option<Interval>,
    augrc: Option<Interval>,
}

impl Drawn {
    fn new(outcomes: &[Outcome], classes: usize, units: &[Vec<usize>], bootstrap: Bootstrap) -> Self {
        let points: Vec<Point> = outcomes.iter().map(Outcome::point).collect();
        let [accuracy, macro_f1, ece_debiased, aurc, augrc] = bootstrap.intervals(units, |indices| {
            let confusion = confusion(outcomes, classes, Some(indices));
            let drawn: Vec<Point> = indices.iter().map(|index| points[*index]).collect();
            let curve = RiskCoverage::new(&drawn);
            let bins = bins(&scored_points(outcomes, Some(indices)), BINS);
            let debiased = debiased(&bins).unwrap_or(f64::NAN);
            [confusion.accuracy(), confusion.macro_f1(), debiased, curve.aurc(), curve.augrc()]
        });
        let whole = bins(&scored_points(outcomes, None), BINS);
        let ece_debiased = ece_debiased
            .zip(debiased(&whole).zip(ece(&whole)))
            .map(|(drawn, (estimate, plain))| reflected(drawn, estimate, plain));
        Self { accuracy, macro_f1, ece_debiased, aurc, augrc }
    }
}

/// The basic bootstrap interval of a debiased ECE (Davison and Hinkley 1997, section 5.2): a draw's estimate misses the
/// ECE of the sample it was drawn from, the plain one, as the sample's estimate misses the true one. The percentiles
/// themselves would lie too high, since drawing adds the very noise that the estimate takes off.
fn reflected(drawn: Interval, estimate: f64, plain: f64) -> Interval {
    let bound = |quantile: f64| (estimate - (quantile - plain)).max(0.0);
    Interval { low: bound(drawn.high), high: bound(drawn.low) }
}

fn label_figures(outcomes: &[Outcome], labels: &[String], drawn: &Drawn) -> LabelFigures {
    let confusion = confusion(outcomes, labels.len(), None);
    LabelFigures {
        accuracy: confusion.accuracy(),
        accuracy_interval: drawn.accuracy,
        macro_f1: confusion.macro_f1(),
        macro_f1_interval: drawn.macro_f1,
        per_class: named(labels, confusion.per_class()),
        confusion: named(labels, confusion.counts().iter().map(|row| named(labels, row.iter().copied()))),
    }
}

fn calibration_figures(outcomes: &[Outcome], drawn: &Drawn) -> CalibrationFigures {
    let scored = || outcomes.iter().filter_map(|o| o.probabilities.as_deref().map(|p| (o.gold, p)));
    let points = scored_points(outcomes, None);
    let reliability = bins(&points, BINS);
    let (confident, wrong) = confident_errors(&points, CONFIDENT);
    CalibrationFigures {
        ece: ece(&reliability),
        ece_bins: BINS,
        ece_debiased: debiased(&reliability),
        ece_debiased_interval: drawn.ece_debiased,
        brier: brier(scored()),
        nll: nll(scored()),
        confident_error_share: rate(confident, wrong),
        reliability,
    }
}

fn selection_figures(outcomes: &[Outcome], drawn: &Drawn) -> SelectionFigures {
    let points: Vec<Point> = outcomes.iter().map(Outcome::point).collect();
    let curve = RiskCoverage::new(&points);
    let oracle = curve.oracle();
    SelectionFigures {
        aurc: curve.aurc(),
        aurc_interval: drawn.aurc,
        aurc_random: curve.error_rate(),
        aurc_oracle: oracle.aurc(),
        augrc: curve.augrc(),
        augrc_interval: drawn.augrc,
        augrc_random: curve.error_rate() / 2.0,
        augrc_oracle: oracle.augrc(),
    }
}

fn unscored_reasons(answers: &[Answered]) -> BTreeMap<String, usize> {
    let mut reasons = BTreeMap::new();
    for answered in answers.iter().filter(|answered| answered.outcome.probabilities.is_none()) {
        *reasons.entry(answered.classification.decision.reason.clone()).or_default() += 1;
    }
    reasons
}

fn gate_figures(
    outcomes: &[Outcome],
    must: &[bool],
    evaluator: &Evaluator,
    rates: &Rates<'_>,
) -> GateFigures {
    let counts = GateCounts::new(outcomes, must);
    let must = |outcome: &Outcome| must.get(outcome.gold).copied().unwrap_or(true);
    // Of the outcomes that `counts`, whether each is a `success`.
    let bounds = |counts: &dyn Fn(&Outcome) -> bool, success: &dyn Fn(&Outcome) -> bool| {
        let trial = |outcome: &Outcome| counts(outcome).then(|| success(outcome));
        rates.bounds(&outcomes.iter().map(trial).collect::<Vec<_>>())
    };
    let local = |outcome: &Outcome| outcome.local;
    GateFigures {
        threshold: evaluator.thresholds().last().copied().unwrap_or(1.0),
        threshold_from: evaluator.threshold_from().clone(),
        guarantee: evaluator.guaranteed().cloned(),
        choice: evaluator.choice().cloned(),
        coverage: counts.coverage().unwrap_or(0.0),
        coverage_interval: bounds(&|_| true, &local).map(|bounds| bounds.interval),
        selective_accuracy: counts.selective_accuracy(),
        selective_accuracy_interval: bounds(&local, &Outcome::correct).map(|bounds| bounds.interval),
        unsafe_local_rate: counts.unsafe_local_rate(),
        unsafe_local_upper: bounds(&must, &local).map(|bounds| bounds.upper),
        unsafe_local: counts.unsafe_local,
        must_escalate: counts.must_escalate,
        over_escalation: counts.over_escalation(),
        over_escalation_interval: bounds(&|o| !must(o), &|o| !o.local).map(|bounds| bounds.interval),
    }
}

/// Bounds of the share of right labels among the messages that `of` picks.
fn accuracy_of(
    messages: &[Labelled],
    outcomes: &[Outcome],
    of: impl Fn(&Labelled) -> bool,
    rates: &Rates<'_>,
) -> Option<Interval> {
    let trial = |(message, outcome): (&Labelled, &Outcome)| of(message).then(|| outcome.correct());
    let trials: Vec<Option<bool>> = messages.iter().zip(outcomes).map(trial).collect();
    rates.bounds(&trials).map(|bounds| bounds.interval)
}

fn out_of_scope(
    slice: &str,
    messages: &[Labelled],
    outcomes: &[Outcome],
    rates: &Rates<'_>,
) -> Option<OutOfScope> {
    let of_slice = |message: &Labelled| message.slice.as_deref() == Some(slice) && message.intent == UNKNOWN;
    let pairs = messages.iter().zip(outcomes).filter(|(message, _)| of_slice(message));
    let chosen: Vec<&Outcome> = pairs.map(|(_, outcome)| outcome).collect();
    let n = chosen.len();
    Some(OutOfScope {
        n,
        recall: rate(chosen.iter().filter(|outcome| outcome.correct()).count(), n)?,
        recall_interval: accuracy_of(messages, outcomes, of_slice, rates),
        escalated: rate(chosen.iter().filter(|outcome| !outcome.local).count(), n)?,
    })
}

fn slices(
    messages: &[Labelled],
    outcomes: &[Outcome],
    must: &[bool],
    rates: &Rates<'_>,
) -> Vec<(String, Slice)> {
    let names: BTreeSet<&String> = messages.iter().filter_map(|message| message.slice.as_ref()).collect();
    let figures = |name: &String| {
        let of_slice = |message: &Labelled| message.slice.as_ref() == Some(name);
        let pairs = messages.iter().zip(outcomes).filter(|(message, _)| of_slice(message));
        let chosen: Vec<&Outcome> = pairs.map(|(_, outcome)| outcome).collect();
        let counts = GateCounts::new(chosen.iter().copied(), must);
        let correct = chosen.iter().filter(|outcome| outcome.correct()).count();
        Slice {
            n: counts.n,
            accuracy: rate(correct, counts.n).unwrap_or(0.0),
            accuracy_interval: accuracy_of(messages, outcomes, of_slice, rates),
            coverage: counts.coverage().unwrap_or(0.0),
            selective_accuracy: counts.selective_accuracy(),
            unsafe_local: counts.unsafe_local,
        }
    };
    names.into_iter().map(|name| (name.clone(), figures(name))).collect()
}

fn misread(messages: &[Labelled], answers: &[Answered]) -> Vec<Misread> {
    let wrong = messages.iter().zip(answers).filter(|(_, answered)| !answered.outcome.correct());
    let mut errors: Vec<Misread> = wrong
        .map(|(message, answered)| Misread {
            text: message.text.clone(),
            expected: message.intent.clone(),
            predicted: answered.outcome.predicted.map(|_| answered.classification.intent.clone()),
            confidence: answered.classification.confidence.map(f64::from),
            route: answered.classification.decision.route,
            reason: answered.classification.decision.reason.clone(),
            slice: message.slice.clone(),
        })
        .collect();
    // Stable: equal confidences keep the order of the set.
    errors.sort_by(|a, b| b.confidence.unwrap_or(0.0).total_cmp(&a.confidence.unwrap_or(0.0)));
    errors
}
