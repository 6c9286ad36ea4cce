//! Numbers for people.

use crate::eval::metrics::Interval;
use crate::eval::sweep::StageFigures;
use crate::eval::{Evaluation, IntervalMethod};

/// What stands where there is no figure.
pub const NONE: &str = "\u{2013}";

/// A share as a percentage with one decimal, without the sign.
#[must_use]
pub fn percent(share: f64) -> String {
    format!("{:.1}", 100.0 * share)
}

/// The same of a figure that may not exist.
#[must_use]
pub fn percent_of(share: Option<f64>) -> String {
    share.map_or_else(|| NONE.to_owned(), percent)
}

/// Three decimals.
#[must_use]
pub fn decimal(value: Option<f64>) -> String {
    value.map_or_else(|| NONE.to_owned(), |value| format!("{value:.3}"))
}

/// An interval of shares in percent.
#[must_use]
pub fn range(interval: Option<Interval>) -> String {
    interval.map_or_else(String::new, |i| format!("[{}, {}]", percent(i.low), percent(i.high)))
}

/// Messages, groups, and how intervals were made of them.
#[must_use]
pub fn interval_method(method: &IntervalMethod) -> String {
    let groups = method.groups.map_or(String::new(), |groups| format!(" in {groups} groups"));
    let (figures, rates) = (method.figures.name(), method.rates.name());
    let made = if figures == rates {
        figures.to_owned()
    } else {
        format!("{figures}; of the gate and of slices: {rates}")
    };
    format!("n = {}{groups}; intervals: {made}", method.n)
}

/// The temperature in force, of a cascade those of its stages.
#[must_use]
pub fn temperatures(result: &Evaluation) -> String {
    of_stages(result, result.temperature, |stage| stage.temperature)
}

/// The threshold in force, of a cascade those of its stages.
#[must_use]
pub fn thresholds(result: &Evaluation) -> String {
    of_stages(result, result.gate.threshold, |stage| stage.threshold)
}

fn of_stages(result: &Evaluation, single: f32, value: impl Fn(&StageFigures) -> f32) -> String {
    match &result.cascade {
        None => format!("{single:.3}"),
        Some(cascade) => list(cascade.stages.iter().map(|stage| format!("{:.3}", value(stage)))),
    }
}

/// Values behind each other.
pub fn list(values: impl IntoIterator<Item = impl ToString>) -> String {
    values.into_iter().map(|value| value.to_string()).collect::<Vec<_>>().join(", ")
}

/// What is known about the model of a result, in words, one thing after the other.
#[must_use]
pub fn identity(result: &Evaluation) -> Vec<String> {
    let model = &result.identity;
    let mut parts = Vec::new();
    if let Some(file) = &model.file {
        parts.push(format!("{}, {} bytes", file.path, file.bytes));
        parts.push(format!("SHA-256 {}", file.sha256));
    }
    if let Some(adapter) = &model.adapter {
        parts.push(format!("adapter SHA-256 {}", adapter.sha256));
    }
    let trained = model.trained_on.as_ref().map_or_else(|| "unknown data".to_owned(), ToString::to_string);
    parts.push(format!("trained on {trained}"));
    parts.extend(model.configuration.as_ref().map(|from| format!("configuration: {from}")));
    parts.push(format!("temperature {} {}", temperatures(result), result.temperature_from));
    parts.push(format!("threshold {} {}", thresholds(result), result.gate.threshold_from));
    parts
}
