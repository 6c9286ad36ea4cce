//! How much of a figure is the luck of one split.

use serde::Serialize;

use super::metrics::count;
use super::sets::{BuiltIn, EvalSet};
use super::{Evaluation, Evaluator, Options, evaluate};
use crate::Result;
use crate::classifier::Classifier;
use crate::dataset::{self, Example};

/// Seeds of the splits.
pub const SEEDS: [u64; 5] = [13, 29, 47, 71, 101];

/// One figure over the splits.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct Spread {
    /// Mean.
    pub mean: f64,
    /// Sample standard deviation (divisor n - 1); 0 for one value.
    pub sd: f64,
    /// Smallest value.
    pub min: f64,
    /// Largest value.
    pub max: f64,
}

impl Spread {
    /// Of values; `None` without any.
    #[must_use]
    pub fn of(values: &[f64]) -> Option<Self> {
        let n = count(values.len());
        let mean = (!values.is_empty()).then(|| values.iter().sum::<f64>() / n)?;
        let squares: f64 = values.iter().map(|value| (value - mean).powi(2)).sum();
        Some(Self {
            mean,
            sd: if values.len() > 1 { (squares / (n - 1.0)).sqrt() } else { 0.0 },
            min: values.iter().copied().fold(f64::INFINITY, f64::min),
            max: values.iter().copied().fold(f64::NEG_INFINITY, f64::max),
        })
    }
}

/// The figures of one split.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Run {
    /// Seed of the split.
    pub seed: u64,
    /// Messages evaluated.
    pub n: usize,
    /// Share of right labels.
    pub accuracy: f64,
    /// Unweighted mean of F1.
    pub macro_f1: f64,
    /// Expected calibration error; `None` where nothing was scored.
    pub ece: Option<f64>,
    /// Area under the generalised risk-coverage curve.
    pub augrc: f64,
    /// Kept local / all.
    pub coverage: f64,
    /// Kept local among messages that must escalate / their number.
    pub unsafe_local_rate: Option<f64>,
}

/// A model over all splits.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct CrossValidation {
    /// The model.
    pub model: String,
    /// The set: `held-out` is each split's own test part, `adversarial` is the same for all.
    pub set: String,
    /// Mean and spread of the accuracy.
    pub accuracy: Spread,
    /// Mean and spread of macro-F1.
    pub macro_f1: Spread,
    /// Mean and spread of the expected calibration error, over the splits where something was scored.
    pub ece: Option<Spread>,
    /// Each split.
    pub runs: Vec<Run>,
}

/// Calls `fit` with the training part of each split of [`SEEDS`] and evaluates what it gives on the split's test part
/// and on the adversarial set.
///
/// # Errors
/// Those of building the dataset and of fitting.
pub fn cross_validate(
    model: &str,
    mut fit: impl FnMut(&[Example]) -> Result<Classifier>,
) -> Result<Vec<CrossValidation>> {
    let examples = dataset::build()?;
    let adversarial = BuiltIn::Adversarial.load()?;
    let mut runs = [Vec::new(), Vec::new()];
    for seed in SEEDS {
        let splits = dataset::split(&examples, seed);
        let held_out = EvalSet {
            name: BuiltIn::HeldOut.name().to_owned(),
            messages: splits.test.into_iter().map(Into::into).collect(),
        };
        let mut evaluator = Evaluator::new(model, fit(&splits.train)?);
        for (runs, set) in runs.iter_mut().zip([&held_out, &adversarial]) {
            evaluator.read(&set.messages, || ())?;
            runs.push(run(seed, &evaluate(&evaluator, set, Options::default())?));
        }
    }
    let names = [BuiltIn::HeldOut, BuiltIn::Adversarial].map(BuiltIn::name);
    Ok(names.into_iter().zip(runs).filter_map(|(set, runs)| summary(model, set, runs)).collect())
}

fn run(seed: u64, evaluation: &Evaluation) -> Run {
    Run {
        seed,
        n: evaluation.n,
        accuracy: evaluation.labels.accuracy,
        macro_f1: evaluation.labels.macro_f1,
        ece: evaluation.calibration.ece,
        augrc: evaluation.selection.augrc,
        coverage: evaluation.gate.coverage,
        unsafe_local_rate: evaluation.gate.unsafe_local_rate,
    }
}

fn summary(model: &str, set: &str, runs: Vec<Run>) -> Option<CrossValidation> {
    let spread = |figure: fn(&Run) -> f64| Spread::of(&runs.iter().map(figure).collect::<Vec<_>>());
    Some(CrossValidation {
        model: model.to_owned(),
        set: set.to_owned(),
        accuracy: spread(|run| run.accuracy)?,
        macro_f1: spread(|run| run.macro_f1)?,
        ece: Spread::of(&runs.iter().filter_map(|run| run.ece).collect::<Vec<_>>()),
        runs,
    })
}
