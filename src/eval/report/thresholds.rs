//! Stages, and what the gate does at several thresholds.

use maud::{Markup, html};

use super::format::{decimal, list, percent, percent_of};
use crate::eval::Evaluation;
use crate::eval::sweep::{AtThresholds, CascadeFigures};

/// What there is of it; nothing for plain results.
pub(super) fn section(results: &[Evaluation]) -> Markup {
    html! { @for result in results {
        @if let Some(cascade) = &result.cascade {
            h3 { "Stages of " (result.model) }
            p { (format!("{:.1}", cascade.mean_ms)) " ms a message on average." }
            (stages(cascade))
        }
        @if let Some(choice) = &result.gate.choice {
            h3 { "Thresholds of " (result.model) ", chosen" }
            p { (choice) "." }
            (rows(choice.rows()))
            @if let Some(others) = &result.not_chosen_on {
                p { "On " (others.n) " of the " (result.n) " messages of this set, which they were not chosen on:" }
                (rows([&others.figures]))
            }
        }
        @if !result.sweep.is_empty() {
            h3 { "Thresholds of " (result.model) ", in force and others" }
            (rows(&result.sweep))
        }
    } }
}

fn stages(cascade: &CascadeFigures) -> Markup {
    html! { div.wide { table {
        thead { tr { @for name in ["stage", "asked,\u{a0}%", "answered,\u{a0}%", "right of these,\u{a0}%", "ms when asked"] {
            th { (name) } } } }
        tbody { @for stage in &cascade.stages { tr {
            td.model { (stage.stage) }
            td { (percent(stage.asked)) }
            td { (percent(stage.answered)) }
            td { (percent_of(stage.accuracy)) }
            td { (decimal(stage.mean_ms)) }
        } } }
    } } }
}

fn rows<'a>(rows: impl IntoIterator<Item = &'a AtThresholds>) -> Markup {
    html! { div.wide { table {
        thead { tr { @for name in ["thresholds", "accuracy,\u{a0}%", "kept local,\u{a0}%", "right of kept,\u{a0}%", "unsafe,\u{a0}%",
            "last stage asked,\u{a0}%", "ms"] { th { (name) } } } }
        tbody { @for row in rows { tr {
            td.model { (list(&row.thresholds)) }
            td { (percent(row.accuracy)) }
            td { (percent(row.coverage)) }
            td { (percent_of(row.selective_accuracy)) }
            td { (percent_of(row.unsafe_local_rate))
                small { (row.unsafe_local) " of " (row.must_escalate) ", at most " (percent_of(row.unsafe_local_upper)) } }
            td { (percent_of(row.asked.last().copied())) }
            td { (format!("{:.1}", row.mean_ms)) }
        } } }
    } } }
}
