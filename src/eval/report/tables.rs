//! The tables of a report.

use maud::{Markup, html};

use super::format::{NONE, decimal, identity, percent, percent_of, range, temperatures, thresholds};
use crate::eval::metrics::share;
use crate::eval::{Difference, Evaluation, Misread, OutOfScope, Slice};
use crate::gate::Route;

/// Models that have room beside each other in a table with several columns for each, on paper too.
const ABREAST: usize = 3;

/// What the models answer and what their confidence is worth, side by side.
pub(super) fn labels(results: &[Evaluation]) -> Markup {
    html! {
        div.wide { table {
            thead { tr { @for name in ["model", "accuracy,\u{a0}%", "macro\u{2011}F1,\u{a0}%", "ECE", "Brier", "NLL", "AURC", "AUGRC",
                "errors above 0.9,\u{a0}%"] { th { (name) } } } }
            tbody { @for result in results { tr {
                td.model { (result.model) }
                td { (percent(result.labels.accuracy)) small { (range(result.labels.accuracy_interval)) } }
                td { (percent(result.labels.macro_f1)) small { (range(result.labels.macro_f1_interval)) } }
                td { (decimal(result.calibration.ece)) small { "debiased " (decimal(result.calibration.ece_debiased)) } }
                td { (decimal(result.calibration.brier)) }
                td { (decimal(result.calibration.nll)) }
                td { (decimal(Some(result.selection.aurc))) small { "of " (decimal(Some(result.selection.aurc_random))) } }
                td { (decimal(Some(result.selection.augrc))) small { "of " (decimal(Some(result.selection.augrc_random))) } }
                td { (percent_of(result.calibration.confident_error_share)) }
            } } }
        } }
        @for result in results { (unscored(result)) }
    }
}

/// What no intent covers: found as `unknown`, and escalated.
pub(super) fn out_of_scope(results: &[Evaluation]) -> Markup {
    html! { div.wide { table {
        thead { tr { @for name in ["model", "near: found,\u{a0}%", "escalated,\u{a0}%", "n", "far: found,\u{a0}%", "escalated,\u{a0}%", "n"] {
            th { (name) } } } }
        tbody { @for result in results { tr {
            td.model { (result.model) }
            @for scope in [result.near_out_of_scope, result.far_out_of_scope] { (scope_cells(scope)) }
        } } }
    } } }
}

fn scope_cells(scope: Option<OutOfScope>) -> Markup {
    html! {
        td { (percent_of(scope.map(|scope| scope.recall))) small { (range(scope.and_then(|scope| scope.recall_interval))) } }
        td { (percent_of(scope.map(|scope| scope.escalated))) }
        td { (scope.map_or(0, |scope| scope.n)) }
    }
}

/// What the gate does with the answers, side by side.
pub(super) fn gate(results: &[Evaluation]) -> Markup {
    html! { div.wide { table {
        thead { tr { @for name in ["model", "temperature", "threshold", "kept local,\u{a0}%", "right of kept,\u{a0}%", "unsafe,\u{a0}%",
            "over-escalated,\u{a0}%"] { th { (name) } } } }
        tbody { @for result in results { @let gate = &result.gate; tr {
            td.model { (result.model) }
            td { (temperatures(result)) }
            td { (thresholds(result))
                @if let Some(guarantee) = &gate.guarantee { small {
                    @match guarantee.bound { Some(bound) => { "risk at most " (percent(bound)) "%" } None => { "no promise" } }
                } } }
            td { (percent(gate.coverage)) small { (range(gate.coverage_interval)) } }
            td { (percent_of(gate.selective_accuracy)) small { (range(gate.selective_accuracy_interval)) } }
            td { (percent_of(gate.unsafe_local_rate))
                small { (gate.unsafe_local) " of " (gate.must_escalate) ", at most " (percent_of(gate.unsafe_local_upper)) } }
            td { (percent_of(gate.over_escalation)) small { (range(gate.over_escalation_interval)) } }
        } } }
    } }
    @for result in results { @if let Some(guarantee) = &result.gate.guarantee {
        p { (result.model) ": " (guarantee) "." }
    } } }
}

fn unscored(result: &Evaluation) -> Markup {
    html! { @if result.unscored > 0 {
        p { (result.model) " did not classify " (result.unscored) " messages: "
            @for (reason, n) in &result.unscored_reasons { (n) " " (reason) " " } }
    } }
}

/// Which models these are.
pub(super) fn models(results: &[Evaluation]) -> Markup {
    html! { dl.models { @for result in results {
        dt { (result.model) }
        dd { (identity(result).join("; ")) "." }
    } } }
}

/// Paired differences.
pub(super) fn differences(differences: &[&Difference]) -> Markup {
    let points = |value: f64| format!("{:+.1}", 100.0 * value);
    html! { div.wide { table {
        thead { tr { th { "model" } th.model { "less" } th { "accuracy, points" } th { "macro\u{2011}F1, points" } } }
        tbody { @for difference in differences { tr {
            td.model { (difference.model) }
            td.model { (difference.baseline) }
            td { (points(difference.accuracy)) small { (range(difference.accuracy_interval)) } }
            td { (points(difference.macro_f1)) small { (range(difference.macro_f1_interval)) } }
        } } }
    } } }
}

/// Counts of true against answered intents.
pub(super) fn confusion(result: &Evaluation) -> Markup {
    html! { table.matrix {
        thead { tr { th { "" } @for (label, _) in &result.labels.confusion { th { (spaced(label)) } }
            @if result.failed > 0 { th { "(failed)" } } } }
        tbody { @for ((gold, row), (_, scores)) in result.labels.confusion.iter().zip(&result.labels.per_class) { tr {
            th scope="row" { (spaced(gold)) }
            @for (predicted, n) in row {
                td class=(if gold == predicted { "hit" } else { "miss" })
                    style=(format!("--share:{:.3}", share(*n, scores.support))) { (n) }
            }
            @if result.failed > 0 { td.miss style=(format!("--share:{:.3}", share(scores.failed, scores.support))) { (scores.failed) } }
        } } }
    } }
}

/// Labels break at their underscores.
fn spaced(label: &str) -> String {
    label.replace('_', " ")
}

/// Precision, recall and F1 of each intent and model.
pub(super) fn intents(results: &[Evaluation]) -> Markup {
    html! { @for results in results.chunks(ABREAST) { div.wide { table {
        thead {
            tr { th { "" } th { "" } @for result in results { th.over.start colspan="3" { (result.model) } } }
            tr { th { "intent" } th { "n" }
                @for _ in results { th.start { "precision" } th { "recall" } th { "F1" } } }
        }
        tbody { @for (index, (label, scores)) in results[0].labels.per_class.iter().enumerate() { tr {
            td { (label) }
            td { (scores.support) }
            @for (_, scores) in results.iter().filter_map(|result| result.labels.per_class.get(index)) {
                td.start { (percent(scores.precision)) } td { (percent(scores.recall)) } td { (percent(scores.f1)) }
            }
        } } }
    } } } }
}

/// Accuracy and gate of each slice and model.
pub(super) fn slices(results: &[Evaluation]) -> Markup {
    html! { @for results in results.chunks(ABREAST) { div.wide { table {
        thead {
            tr { th { "" } th { "" } @for result in results { th.over.start colspan="4" { (result.model) } } }
            tr { th { "slice" } th { "n" }
                @for _ in results { th.start { "right,\u{a0}%" } th { "kept,\u{a0}%" } th { "right of kept,\u{a0}%" } th { "unsafe" } } }
        }
        tbody { @for (index, (name, slice)) in results[0].slices.iter().enumerate() { tr {
            td { (name) }
            td { (slice.n) }
            @for (_, slice) in results.iter().filter_map(|result| result.slices.get(index)) { (slice_cells(slice)) }
        } } }
    } } } }
}

fn slice_cells(slice: &Slice) -> Markup {
    html! {
        td.start { (percent(slice.accuracy)) small { (range(slice.accuracy_interval)) } }
        td { (percent(slice.coverage)) }
        td { (percent_of(slice.selective_accuracy)) }
        td.bad[slice.unsafe_local > 0] { (slice.unsafe_local) }
    }
}

/// Wrong answers.
pub(super) fn errors(errors: &[Misread]) -> Markup {
    html! { div.wide { table {
        thead { tr { th.text { "message" } th { "true" } th { "answered" } th { "confidence" } th { "route" } th { "slice" } } }
        tbody { @for error in errors { tr {
            td.text { (error.text) }
            td { (error.expected) }
            td { (error.predicted.as_deref().unwrap_or("(failed)")) }
            td { (decimal(error.confidence)) }
            td.bad[error.route == Route::Local] { @if error.route == Route::Local { "local" } @else { "escalate" } }
            td { (error.slice.as_deref().unwrap_or(NONE)) }
        } } }
    } } }
}
