//! How good a model and its gate are, with the uncertainty of every figure that is compared.
//!
//! [`sets`] holds labelled messages, [`Evaluator`] asks a model about each text once, [`Evaluation`] is what comes out:
//! the object that `eval --json` prints. The formulas are pure functions in [`metrics`]. [`temperature`] and [`sgr`] fit
//! what is fitted, on the calibration half of the development set and on nothing else. [`report`] draws.

pub mod cross_validation;
mod evaluation;
mod figures;
pub mod metrics;
pub mod report;
mod runner;
pub mod sets;
pub mod sgr;
pub mod temperature;

pub use evaluation::{Options, compare, evaluate};
pub use figures::{
    CalibrationFigures, Difference, Evaluation, GateFigures, LabelFigures, Misread, OutOfScope,
    SelectionFigures, Slice,
};
pub use runner::{Answered, Evaluator};
