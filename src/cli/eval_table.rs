//! Evaluations as terminal tables.

use std::collections::BTreeSet;

use comfy_table::presets::UTF8_HORIZONTAL_ONLY;
use comfy_table::{CellAlignment, ColumnConstraint, ContentArrangement, Table, Width};

use crate::eval::cross_validation::{CrossValidation, SEEDS, Spread};
use crate::eval::report::format::{
    NONE, decimal, identity, interval_method, percent, percent_of, range, temperatures, thresholds,
};
use crate::eval::{Difference, Evaluation};

/// Columns of the terminal that a table may take.
const WIDTH: u16 = 120;
/// Columns that the name of a model may take before it is broken.
const NAME: u16 = 30;

pub(super) fn table(header: &[&str], left: usize) -> Table {
    let mut table = Table::new();
    table
        .load_style(UTF8_HORIZONTAL_ONLY)
        .set_content_arrangement(ContentArrangement::Dynamic)
        .set_width(WIDTH)
        .set_header(header.iter().copied());
    for column in table.column_iter_mut().skip(left) {
        column.set_cell_alignment(CellAlignment::Right);
        // Numbers are never broken, names are.
        column.set_constraint(ColumnConstraint::ContentWidth);
    }
    for column in table.column_iter_mut().take(left) {
        column.set_constraint(ColumnConstraint::UpperBoundary(Width::Fixed(NAME)));
    }
    table
}

/// All results, the differences between models, for a single result its classes, and what the models are.
pub(super) fn render(results: &[Evaluation], differences: &[Difference]) -> String {
    let mut parts = Vec::new();
    for results in results.chunk_by(|a, b| a.set == b.set) {
        parts.push(set(results));
    }
    if !differences.is_empty() {
        parts.push(compared(differences));
    }
    if let [result] = results {
        parts.push(classes(result));
    }
    if let Some(first) = results.first() {
        let models = results.iter().filter(|result| result.set == first.set);
        let said = |result: &Evaluation| format!("{}\n  {}", result.model, identity(result).join("\n  "));
        parts.push(models.map(said).collect::<Vec<_>>().join("\n"));
        parts.push(format!(
            "Brackets: {:.0}% intervals, made as said beside each set; bootstrap of {} draws, seed {}. ECE: {} bins; in\n\
             parentheses less its bias. AURC, AUGRC: of what a confidence without information would have. sure: share of\n\
             the errors with a confidence above 0.9. unsafe: kept local of those that must escalate, and its one-sided\n\
             bound. over: escalated of those that need not.",
            100.0 * first.bootstrap.level,
            first.bootstrap.replicates,
            first.bootstrap.seed,
            first.calibration.ece_bins
        ));
    }
    parts.join("\n\n")
}

fn set(results: &[Evaluation]) -> String {
    let first = &results[0];
    let notes: String = results.iter().flat_map(note).collect();
    let method = interval_method(&first.interval_method);
    format!("{}: {method}\n{}\n{}{notes}", first.set, confidence(results), gate(results))
}

fn confidence(results: &[Evaluation]) -> Table {
    let header = ["model", "accuracy", "macro-F1", "ECE", "Brier", "NLL", "AURC", "AUGRC", "sure"];
    let mut table = table(&header, 1);
    for result in results {
        let (labels, calibration, selection) = (&result.labels, &result.calibration, &result.selection);
        table.add_row([
            result.model.clone(),
            format!("{}\n{}", percent(labels.accuracy), range(labels.accuracy_interval)),
            format!("{}\n{}", percent(labels.macro_f1), range(labels.macro_f1_interval)),
            format!("{}\n({})", decimal(calibration.ece), decimal(calibration.ece_debiased)),
            decimal(calibration.brier),
            decimal(calibration.nll),
            format!("{}\nof {}", decimal(Some(selection.aurc)), decimal(Some(selection.aurc_random))),
            format!("{}\nof {}", decimal(Some(selection.augrc)), decimal(Some(selection.augrc_random))),
            percent_of(calibration.confident_error_share),
        ]);
    }
    table
}

fn gate(results: &[Evaluation]) -> Table {
    let header = ["model", "temp.", "threshold", "kept local", "right of kept", "unsafe", "bound", "over"];
    let mut table = table(&header, 1);
    for result in results {
        let gate = &result.gate;
        let promise = gate.guarantee.as_ref().map_or(String::new(), |guarantee| match guarantee.bound {
            Some(bound) => format!("\nrisk <= {}", percent(bound)),
            None => "\nno promise".to_owned(),
        });
        table.add_row([
            result.model.clone(),
            temperatures(result),
            format!("{}{promise}", thresholds(result)),
            format!("{}\n{}", percent(gate.coverage), range(gate.coverage_interval)),
            format!("{}\n{}", percent_of(gate.selective_accuracy), range(gate.selective_accuracy_interval)),
            format!(
                "{}\n{} of {}",
                percent_of(gate.unsafe_local_rate),
                gate.unsafe_local,
                gate.must_escalate
            ),
            percent_of(gate.unsafe_local_upper),
            format!("{}\n{}", percent_of(gate.over_escalation), range(gate.over_escalation_interval)),
        ]);
    }
    table
}

fn note(result: &Evaluation) -> Option<String> {
    let reasons: Vec<String> =
        result.unscored_reasons.iter().map(|(reason, n)| format!("{n} {reason}")).collect();
    (result.unscored > 0).then(|| format!("\n{} did not classify: {}", result.model, reasons.join(", ")))
}

fn compared(differences: &[Difference]) -> String {
    let mut table = table(&["set", "model less model", "accuracy", "macro-F1"], 2);
    for difference in differences {
        table.add_row([
            difference.set.clone(),
            format!("{} - {}", difference.model, difference.baseline),
            format!("{} {}", points(difference.accuracy), range(difference.accuracy_interval)),
            format!("{} {}", points(difference.macro_f1), range(difference.macro_f1_interval)),
        ]);
    }
    let methods: BTreeSet<&str> = differences.iter().map(|d| d.interval_method.name()).collect();
    let methods: Vec<&str> = methods.into_iter().collect();
    format!("Differences in percentage points, paired: {}\n{table}", methods.join(" or "))
}

fn points(value: f64) -> String {
    format!("{:+.1}", 100.0 * value)
}

fn classes(result: &Evaluation) -> String {
    let mut table = table(&["intent", "precision", "recall", "F1", "support"], 1);
    for (label, scores) in &result.labels.per_class {
        table.add_row([
            label.clone(),
            percent(scores.precision),
            percent(scores.recall),
            percent(scores.f1),
            scores.support.to_string(),
        ]);
    }
    table.to_string()
}

/// Mean and spread over the splits.
pub(super) fn cross_validation(results: &[CrossValidation]) -> String {
    let mut table = table(&["model", "set", "n", "accuracy", "lowest", "highest", "macro-F1", "ECE"], 2);
    for result in results {
        let of = |spread: Spread| format!("{} ± {}", percent(spread.mean), percent(spread.sd));
        let sizes: Vec<String> = result.runs.iter().map(|run| run.n.to_string()).collect();
        let same = result.runs.windows(2).all(|runs| runs[0].n == runs[1].n);
        table.add_row([
            result.model.clone(),
            result.set.clone(),
            if same { sizes[0].clone() } else { sizes.join(", ") },
            of(result.accuracy),
            percent(result.accuracy.min),
            percent(result.accuracy.max),
            of(result.macro_f1),
            result.ece.map_or_else(
                || NONE.to_owned(),
                |ece| format!("{} ± {}", decimal(Some(ece.mean)), decimal(Some(ece.sd))),
            ),
        ]);
    }
    let seeds: Vec<String> = SEEDS.iter().map(u64::to_string).collect();
    format!("Splits of seeds {}: mean ± standard deviation\n{table}", seeds.join(", "))
}
