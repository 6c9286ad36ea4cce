//! Evaluations as terminal tables.

use comfy_table::presets::UTF8_HORIZONTAL_ONLY;
use comfy_table::{CellAlignment, Table};

use crate::eval::cross_validation::{CrossValidation, SEEDS, Spread};
use crate::eval::report::format::{decimal, percent, percent_of, range};
use crate::eval::{Difference, Evaluation};

fn table(header: &[&str], left: usize) -> Table {
    let mut table = Table::new();
    table.load_style(UTF8_HORIZONTAL_ONLY).set_header(header.iter().copied());
    for column in table.column_iter_mut().skip(left) {
        column.set_cell_alignment(CellAlignment::Right);
    }
    table
}

/// All results, the differences between models, and for a single result its classes.
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
        parts.push(format!(
            "Brackets: {:.0}% percentile bootstrap, {} draws of whole paraphrase groups, seed {}; for kept local, right \
             of kept and unsafe: exact binomial.\nunsafe: kept local of those that must escalate; bound: 95%, one-sided. \
             ECE: {} bins; in parentheses less its bias.",
            100.0 * first.bootstrap.level,
            first.bootstrap.replicates,
            first.bootstrap.seed,
            first.calibration.ece_bins
        ));
    }
    parts.join("\n\n")
}

fn set(results: &[Evaluation]) -> String {
    let header = [
        "model",
        "accuracy",
        "macro-F1",
        "ECE",
        "Brier",
        "NLL",
        "AUGRC",
        "kept local",
        "right of kept",
        "unsafe",
        "bound",
    ];
    let mut table = table(&header, 1);
    for result in results {
        table.add_row(row(result));
    }
    let notes: String = results.iter().flat_map(note).collect();
    let first = &results[0];
    format!("{}: n = {}, {} groups\n{table}{notes}", first.set, first.n, first.units)
}

fn row(result: &Evaluation) -> [String; 11] {
    let gate = &result.gate;
    [
        result.model.clone(),
        format!("{}\n{}", percent(result.labels.accuracy), range(result.labels.accuracy_interval)),
        format!("{}\n{}", percent(result.labels.macro_f1), range(result.labels.macro_f1_interval)),
        format!(
            "{}\n({})",
            decimal(Some(result.calibration.ece)),
            decimal(Some(result.calibration.ece_debiased))
        ),
        decimal(result.calibration.brier),
        decimal(result.calibration.nll),
        format!(
            "{}\nof {}",
            decimal(Some(result.selection.augrc)),
            decimal(Some(result.selection.augrc_random))
        ),
        format!("{}\n{}", percent(gate.coverage), range(Some(gate.coverage_interval))),
        format!("{}\n{}", percent_of(gate.selective_accuracy), range(gate.selective_accuracy_interval)),
        format!("{}\n{} of {}", percent_of(gate.unsafe_local_rate), gate.unsafe_local, gate.must_escalate),
        percent_of(gate.unsafe_local_upper),
    ]
}

fn note(result: &Evaluation) -> Option<String> {
    let reasons: Vec<String> =
        result.unscored_reasons.iter().map(|(reason, n)| format!("{n} {reason}")).collect();
    (result.unscored > 0).then(|| format!("\n{} was not classified: {}", result.model, reasons.join(", ")))
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
    format!("Differences in percentage points, paired bootstrap\n{table}")
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
            format!("{} ± {}", decimal(Some(result.ece.mean)), decimal(Some(result.ece.sd))),
        ]);
    }
    let seeds: Vec<String> = SEEDS.iter().map(u64::to_string).collect();
    format!("Splits of seeds {}: mean ± standard deviation\n{table}", seeds.join(", "))
}
