//! Training, on candle's automatic differentiation.
//!
//! The frame is the same for every kind of model: [`Parameters`] that an [`Optimizer`](optimizer::Optimizer) moves
//! along a [`Schedule`](schedule::Schedule), their [`Average`](average::Average), [`Checkpoint`](checkpoint::Checkpoint)s,
//! the log, and the loop over them ([`Run`]). A model brings a [`Task`]: steps with gradients, and figures.
//! [`compact`] is the small encoder of [`bert`]; [`ops`] are the operations that candle has no backward pass for, [`loss`]
//! what is minimised, [`data`] what is trained on and looked at, [`soft`] what a larger model says of it.
//!
//! A run is a function of its settings: random numbers are drawn from streams named by the seed and the position, so a
//! run that was killed and continued ends in the same weights, bit for bit, as one that was not. Between machines the
//! order of additions in matrix products may differ.

pub mod average;
pub mod base;
pub mod bert;
pub mod checkpoint;
mod command;
pub mod compact;
pub mod data;
mod log;
pub mod lora;
pub mod loss;
pub mod noise;
pub mod ops;
pub mod optimizer;
pub mod parameters;
pub mod qwen2;
mod run;
pub mod schedule;
pub mod soft;

pub use parameters::{Parameter, Parameters, Weights};
pub use run::{CHECKPOINT, Event, LOG, Outcome, Position, Run, Settings, Step, Task, rounded};

use crate::IntentError;

/// An error of candle or the like during a run.
fn failed(error: impl std::fmt::Display) -> IntentError {
    IntentError::Training(error.to_string())
}
