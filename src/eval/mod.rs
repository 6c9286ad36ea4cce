//! How good a model and its gate are, with the uncertainty of every figure that is compared.
//!
//! [`sets`] holds labelled messages, [`Evaluator`] asks a model about each text once, [`Evaluation`] is what comes out:
//! the object that `eval --json` prints. The formulas are pure functions in [`metrics`]. [`temperature`], [`sgr`] and
//! [`sweep`] fit what is fitted, each on its part of the development set's calibration half and on nothing else.
//! [`identity`] says which model it was. [`report`] draws.

pub mod cross_validation;
mod evaluation;
mod figures;
pub mod identity;
pub mod metrics;
pub mod report;
mod runner;
pub mod sets;
pub mod sgr;
pub mod sweep;
pub mod temperature;

pub use evaluation::{Options, compare, evaluate};
pub use figures::{
    CalibrationFigures, Difference, Evaluation, GateFigures, IntervalMethod, LabelFigures, Misread,
    OutOfScope, SelectionFigures, Slice,
};
pub use runner::{Answered, Evaluator};
