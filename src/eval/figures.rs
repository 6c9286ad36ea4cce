//! What an evaluation holds: the objects that `eval --json` prints.

use std::collections::BTreeMap;

use serde::{Serialize, Serializer};

use super::identity::{ModelIdentity, Origin};
use super::metrics::bootstrap::Bootstrap;
use super::metrics::calibration::Bin;
use super::metrics::classification::ClassScores;
use super::metrics::rates::Method;
use super::metrics::{Interval, Outcome};
use super::sgr::Guarantee;
use super::sweep::{AtThresholds, CascadeFigures, Choice, NotChosenOn};
use crate::gate::Route;

/// The figures of one model on one set. Serialised it is the object that `eval --json` prints.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Evaluation {
    /// The model.
    pub model: String,
    /// Its bytes, its training data and its configuration.
    #[serde(flatten)]
    pub identity: ModelIdentity,
    /// The set.
    pub set: String,
    /// Messages.
    pub n: usize,
    /// Independent units among them that the bootstrap draws: groups of paraphrases, and messages without a group.
    pub units: usize,
    /// How the intervals were made.
    pub interval_method: IntervalMethod,
    /// Labels.
    #[serde(flatten)]
    pub labels: LabelFigures,
    /// Temperature in force; of a cascade that of its last stage.
    pub temperature: f32,
    /// Where it comes from.
    pub temperature_from: Origin,
    /// Messages without probabilities. Too long ones are answered `unknown` by policy; where the model failed nothing is
    /// answered, which is wrong whatever the label. All are escalated and have confidence 0; calibration figures leave
    /// them out.
    pub unscored: usize,
    /// Of these, messages that the model failed on.
    pub failed: usize,
    /// Why, with counts.
    pub unscored_reasons: BTreeMap<String, usize>,
    /// Calibration.
    #[serde(flatten)]
    pub calibration: CalibrationFigures,
    /// Selection by confidence.
    #[serde(flatten)]
    pub selection: SelectionFigures,
    /// The gate.
    #[serde(flatten)]
    pub gate: GateFigures,
    /// The stages, where there are several.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cascade: Option<CascadeFigures>,
    /// The gate at thresholds that were chosen, on messages of the set that they were not chosen on; `None` where they were
    /// not chosen, or where there are none.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub not_chosen_on: Option<NotChosenOn>,
    /// The gate at several thresholds, those in force first; empty where they were not asked for.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub sweep: Vec<AtThresholds>,
    /// Messages of slice `near_oos` that are truly `unknown`; `None` where the set has none.
    pub near_out_of_scope: Option<OutOfScope>,
    /// Messages of slice `far_oos` that are truly `unknown`; `None` where the set has none.
    pub far_out_of_scope: Option<OutOfScope>,
    /// Figures of each slice.
    #[serde(serialize_with = "as_map")]
    pub slices: Vec<(String, Slice)>,
    /// Draws of the bootstrap.
    pub bootstrap: Bootstrap,
    /// Wrong labels, the most confident first.
    pub errors: Vec<Misread>,
    /// What went in, in the order of the set.
    #[serde(skip)]
    pub outcomes: Vec<Outcome>,
}

/// How intervals were made.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct IntervalMethod {
    /// Those of accuracy, macro-F1, ECE, AURC, AUGRC and of differences between models.
    pub figures: Method,
    /// Those of the gate's rates, of out-of-scope recall and of slices; [`Rates`](super::metrics::rates::Rates) says what
    /// is done where all trials are alike.
    pub rates: Method,
    /// Messages.
    pub n: usize,
    /// Groups that are drawn whole; `None` where the set has none.
    pub groups: Option<usize>,
}

/// Which labels were answered.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct LabelFigures {
    /// Share of right labels.
    pub accuracy: f64,
    /// Its interval.
    pub accuracy_interval: Option<Interval>,
    /// Unweighted mean of F1 over the classes that occur.
    pub macro_f1: f64,
    /// Its interval.
    pub macro_f1_interval: Option<Interval>,
    /// Figures of each class.
    #[serde(serialize_with = "as_map")]
    pub per_class: Vec<(String, ClassScores)>,
    /// Counts of `[gold][predicted]`.
    #[serde(serialize_with = "as_matrix")]
    pub confusion: Vec<(String, Vec<(String, usize)>)>,
}

/// Whether a confidence is a probability.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct CalibrationFigures {
    /// Expected calibration error over 15 bins of equal width; `None`, like all here, where nothing was scored.
    pub ece: Option<f64>,
    /// Bins of `ece`.
    pub ece_bins: usize,
    /// The same less its bias by sampling noise.
    pub ece_debiased: Option<f64>,
    /// Its interval.
    pub ece_debiased_interval: Option<Interval>,
    /// The bins.
    pub reliability: Vec<Bin>,
    /// Brier score over all classes, 0 to 2.
    pub brier: Option<f64>,
    /// Mean negative natural log-likelihood.
    pub nll: Option<f64>,
    /// Errors with a confidence above 0.9 / errors; `None` without errors.
    pub confident_error_share: Option<f64>,
}

/// What the confidence is worth for choosing which answers to keep, before any gate.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct SelectionFigures {
    /// Area under the risk-coverage curve.
    pub aurc: f64,
    /// Its interval.
    pub aurc_interval: Option<Interval>,
    /// What a confidence that says nothing would have: the error rate.
    pub aurc_random: f64,
    /// What a perfect confidence would have.
    pub aurc_oracle: f64,
    /// Area under the generalised risk-coverage curve.
    pub augrc: f64,
    /// Its interval.
    pub augrc_interval: Option<Interval>,
    /// What a confidence that says nothing would have.
    pub augrc_random: f64,
    /// What a perfect confidence would have.
    pub augrc_oracle: f64,
}

/// What the gate made of the answers, at the threshold in force.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct GateFigures {
    /// Least confidence that stays local; of a cascade that of its last stage.
    pub threshold: f32,
    /// Where it comes from.
    pub threshold_from: Origin,
    /// What is promised of it, where a promise was asked for.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub guarantee: Option<Guarantee>,
    /// How it was chosen, where it was chosen for a rate of unsafe answers.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub choice: Option<Choice>,
    /// Kept local / all.
    pub coverage: f64,
    /// Its interval.
    pub coverage_interval: Option<Interval>,
    /// Right among kept local; `None` where nothing was kept.
    pub selective_accuracy: Option<f64>,
    /// Its interval.
    pub selective_accuracy_interval: Option<Interval>,
    /// Kept local among messages that must escalate / their number; `None` where there are none.
    pub unsafe_local_rate: Option<f64>,
    /// One-sided upper bound of it, at the level of the intervals.
    pub unsafe_local_upper: Option<f64>,
    /// Messages that must escalate and were kept local.
    pub unsafe_local: usize,
    /// Messages that must escalate.
    pub must_escalate: usize,
    /// Escalated among messages that need not / their number; `None` where there are none.
    pub over_escalation: Option<f64>,
    /// Its interval.
    pub over_escalation_interval: Option<Interval>,
}

/// Recall of what no intent covers.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct OutOfScope {
    /// Messages.
    pub n: usize,
    /// Share answered `unknown`.
    pub recall: f64,
    /// Its interval.
    pub recall_interval: Option<Interval>,
    /// Share escalated, for whatever reason.
    pub escalated: f64,
}

/// Figures of one slice.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct Slice {
    /// Messages.
    pub n: usize,
    /// Share of right labels.
    pub accuracy: f64,
    /// Its interval.
    pub accuracy_interval: Option<Interval>,
    /// Kept local / all.
    pub coverage: f64,
    /// Right among kept local; `None` where nothing was kept.
    pub selective_accuracy: Option<f64>,
    /// Messages that must escalate and were kept local.
    pub unsafe_local: usize,
}

/// A wrong label.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Misread {
    /// The message.
    pub text: String,
    /// Its true label.
    pub expected: String,
    /// The label answered; `None` where the model failed.
    pub predicted: Option<String>,
    /// Its probability; `None` where the message was not classified.
    pub confidence: Option<f64>,
    /// The gate's route.
    pub route: Route,
    /// The gate's reason.
    pub reason: String,
    /// What kind of message it is.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub slice: Option<String>,
}

/// How much better one model is than another on the same messages.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Difference {
    /// The set.
    pub set: String,
    /// The model that is subtracted from.
    pub model: String,
    /// The model that is subtracted.
    pub baseline: String,
    /// How the intervals were made.
    pub interval_method: Method,
    /// Accuracy of `model` less that of `baseline`.
    pub accuracy: f64,
    /// Its paired-bootstrap interval.
    pub accuracy_interval: Option<Interval>,
    /// Macro-F1 of `model` less that of `baseline`.
    pub macro_f1: f64,
    /// Its paired-bootstrap interval.
    pub macro_f1_interval: Option<Interval>,
}

fn as_map<T: Serialize, S: Serializer>(pairs: &[(String, T)], serializer: S) -> Result<S::Ok, S::Error> {
    serializer.collect_map(pairs.iter().map(|(key, value)| (key, value)))
}

fn as_matrix<S: Serializer>(
    rows: &[(String, Vec<(String, usize)>)],
    serializer: S,
) -> Result<S::Ok, S::Error> {
    struct Row<'a>(&'a [(String, usize)]);
    impl Serialize for Row<'_> {
        fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
            as_map(self.0, serializer)
        }
    }
    serializer.collect_map(rows.iter().map(|(gold, row)| (gold, Row(row))))
}
