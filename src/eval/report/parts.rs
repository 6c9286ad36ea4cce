//! The sections of a report.

use maud::{Markup, PreEscaped, html};

use super::format::{decimal, interval_method, percent};
use super::{charts, tables, thresholds};
use crate::Result;
use crate::eval::metrics::selective::RiskCoverage;
use crate::eval::metrics::{Outcome, Point};
use crate::eval::{Difference, Evaluation};

/// How to read the figures.
pub(super) fn method(first: &Evaluation) -> Markup {
    let bootstrap = &first.bootstrap;
    html! {
        p {
            "Brackets are " (format!("{:.0}", 100.0 * bootstrap.level)) "% intervals, made as said beside each set. The bootstrap "
            "takes percentiles of " (bootstrap.replicates) " draws (seed " (bootstrap.seed) "); where a set has groups of "
            "paraphrases, it draws whole groups, for the gate's rates too. Clopper-Pearson is exact for messages drawn one by "
            "one; it also stands in, with one trial a group, where all trials of a rate are alike, and the bound of unsafe is "
            "never below it. ECE has " (first.calibration.ece_bins)
            " bins of equal width; below it, less its bias by sampling noise (debiased). AUGRC is the area under the generalised "
            "risk-coverage curve; below it, what a confidence without information would have. Unsafe is the share kept "
            "local of the messages that must escalate; below it, the one-sided 95% upper bound."
        }
    }
}

/// One set with all its models.
pub(super) fn section(index: usize, results: &[Evaluation], differences: &[Difference]) -> Result<Markup> {
    let Some(first) = results.first() else { return Ok(html! {}) };
    let curves: Vec<RiskCoverage> = results.iter().map(curve).collect();
    let top = charts::risk_top(&curves);
    let mut figures = Vec::new();
    for (result, curve) in results.iter().zip(&curves) {
        figures.push(charts_of(result, curve, top)?);
    }
    let differences: Vec<&Difference> = differences.iter().filter(|d| d.set == first.set).collect();
    Ok(html! {
        section id={ "set-" (index) } {
            h2 { (first.set) }
            p { (interval_method(&first.interval_method)) "." }
            h3 { "Labels and confidence" }
            (tables::labels(results))
            h3 { "Gate" }
            (tables::gate(results))
            (thresholds::section(results))
            @if results.iter().any(|r| r.near_out_of_scope.is_some() || r.far_out_of_scope.is_some()) {
                h3 { "Out of scope" }
                (tables::out_of_scope(results))
            }
            @if !differences.is_empty() { h3 { "Differences" } (tables::differences(&differences)) }
            h3 { "Confidence" }
            p { (legend()) }
            div.grid { @for figure in &figures { (figure) } }
            h3 { "Confusion" }
            p { "Rows are true intents, columns answers; shades are shares of the row." }
            div.grid { @for result in results { div.card { h4 { (result.model) } (tables::confusion(result)) } } }
            h3 { "Intents" }
            (tables::intents(results))
            @if !first.slices.is_empty() { h3 { "Slices" } (tables::slices(results)) }
            @for result in results { (errors(result)) }
        }
    })
}

fn legend() -> Markup {
    let keys = [
        ("series", "the model"),
        ("ideal", "perfect: the diagonal, the oracle"),
        ("random", "a confidence without information"),
    ];
    html! { @for (class, text) in keys { span.legend { span class={ "key " (class) } {} (text) } } }
}

fn curve(result: &Evaluation) -> RiskCoverage {
    RiskCoverage::new(&result.outcomes.iter().map(Outcome::point).collect::<Vec<Point>>())
}

fn charts_of(result: &Evaluation, curve: &RiskCoverage, top: f64) -> Result<Markup> {
    let (reliability, risk) =
        (charts::reliability(&result.calibration.reliability)?, charts::risk_coverage(curve, top)?);
    Ok(html! {
        div.card {
            h4 { (result.model) }
            div.charts {
                figure role="img" aria-label={ "Reliability diagram of " (result.model) } {
                    (PreEscaped(reliability))
                    figcaption {
                        "Reliability: ECE " (decimal(result.calibration.ece)) ", temperature "
                        (format!("{:.3}", result.temperature))
                    }
                }
                figure role="img" aria-label={ "Risk-coverage curve of " (result.model) } {
                    (PreEscaped(risk))
                    figcaption {
                        "Risk and coverage: AURC " (decimal(Some(result.selection.aurc))) ", random "
                        (decimal(Some(result.selection.aurc_random))) ", oracle " (decimal(Some(result.selection.aurc_oracle)))
                    }
                }
            }
        }
    })
}

/// Messages shown of each model's errors.
const SHOWN: usize = 30;

fn errors(result: &Evaluation) -> Markup {
    let shown = result.errors.len().min(SHOWN);
    html! {
        h3 { "Worst errors of " (result.model) }
        @if shown == 0 {
            p { "None." }
        } @else {
            p {
                "The most confident " (shown) " of " (result.errors.len()) "; "
                @match result.calibration.confident_error_share {
                    Some(share) => { (percent(share)) "% of the errors have a confidence above 0.9." }
                    None => {}
                }
            }
            (tables::errors(&result.errors[..shown]))
        }
    }
}
