//! Stages and thresholds as terminal tables.

use super::eval_table::table;
use crate::eval::Evaluation;
use crate::eval::report::format::{NONE, decimal, list, percent, percent_of};
use crate::eval::sweep::{AtThresholds, CascadeFigures, NotChosenOn};

/// What stages did, how thresholds were chosen, and figures at others, each behind an empty line; nothing where none of
/// that was asked for.
pub(super) fn render(results: &[Evaluation]) -> String {
    let mut parts = Vec::new();
    for result in results {
        let (model, set) = (&result.model, &result.set);
        if let Some(cascade) = &result.cascade {
            parts.push(format!("{model}, {set}: {}", stages(cascade)));
        }
        if !result.sweep.is_empty() {
            parts.push(format!("{model}, {set}: thresholds in force, then others\n{}", rows(&result.sweep)));
        }
    }
    // The choice is the model's, not the set's.
    let first = results.first().map(|result| &result.set);
    for result in results.iter().filter(|result| Some(&result.set) == first) {
        if let Some(choice) = &result.gate.choice {
            parts.push(format!("{}: {choice}\n{}", result.model, rows(choice.rows())));
            let of_model = results.iter().filter(|other| other.model == result.model);
            parts.extend(of_model.filter_map(not_chosen_on));
        }
    }
    parts.into_iter().map(|part| format!("\n\n{part}")).collect()
}

/// What the chosen thresholds do on messages that they were not chosen on.
fn not_chosen_on(result: &Evaluation) -> Option<String> {
    let NotChosenOn { n, figures } = result.not_chosen_on.as_ref()?;
    let (model, set, of) = (&result.model, &result.set, result.n);
    Some(format!(
        "{model}, {set}: on {n} of {of} messages, which they were not chosen on\n{}",
        rows([figures])
    ))
}

fn stages(cascade: &CascadeFigures) -> String {
    let header = ["stage", "temp.", "threshold", "asked", "answered", "right of these", "ms when asked"];
    let mut table = table(&header, 1);
    for stage in &cascade.stages {
        table.add_row([
            stage.stage.clone(),
            format!("{:.3}", stage.temperature),
            format!("{:.3}", stage.threshold),
            percent(stage.asked),
            percent(stage.answered),
            percent_of(stage.accuracy),
            decimal(stage.mean_ms),
        ]);
    }
    format!("{:.1} ms a message on average\n{table}", cascade.mean_ms)
}

fn rows<'a>(rows: impl IntoIterator<Item = &'a AtThresholds>) -> String {
    let header =
        ["thresholds", "accuracy", "kept local", "right of kept", "unsafe", "bound", "asked last", "ms"];
    let mut table = table(&header, 1);
    for row in rows {
        table.add_row([
            list(&row.thresholds),
            percent(row.accuracy),
            percent(row.coverage),
            percent_of(row.selective_accuracy),
            format!("{} of {}", row.unsafe_local, row.must_escalate),
            percent_of(row.unsafe_local_upper),
            row.asked.last().map_or_else(|| NONE.to_owned(), |share| percent(*share)),
            format!("{:.1}", row.mean_ms),
        ]);
    }
    table.to_string()
}
