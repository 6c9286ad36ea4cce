//! What a manifest keeps of an evaluation.

use serde_json::{Map, Value};

/// What says what was measured, and the figures themselves. Left out is what is long (errors, slices, diagrams) and what
/// names the pack, whose identity the figures are part of.
const KEPT: [&str; 32] = [
    "set",
    "n",
    "units",
    "interval_method",
    "accuracy",
    "accuracy_interval",
    "macro_f1",
    "macro_f1_interval",
    "per_class",
    "confusion",
    "temperature",
    "ece",
    "ece_bins",
    "ece_debiased",
    "ece_debiased_interval",
    "brier",
    "nll",
    "confident_error_share",
    "aurc",
    "aurc_interval",
    "augrc",
    "augrc_interval",
    "threshold",
    "coverage",
    "coverage_interval",
    "selective_accuracy",
    "selective_accuracy_interval",
    "unsafe_local",
    "unsafe_local_rate",
    "unsafe_local_upper",
    "must_escalate",
    "over_escalation",
];

/// The figures of what `eval --json` printed, one object a set; null stays null.
#[must_use]
pub fn condense(printed: &Value) -> Value {
    let one = |result: &Value| {
        let kept = KEPT.iter().filter_map(|key| Some(((*key).to_owned(), result.get(*key)?.clone())));
        Value::Object(kept.collect::<Map<_, _>>())
    };
    match (printed, printed.get("results").and_then(Value::as_array)) {
        (_, Some(results)) => results.iter().map(one).collect(),
        (Value::Object(_), None) => Value::Array(vec![one(printed)]),
        _ => Value::Null,
    }
}
