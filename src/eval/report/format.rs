//! Numbers for people.

use crate::eval::metrics::Interval;

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
