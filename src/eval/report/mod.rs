//! One HTML file that shows everything: no script, no request, readable in light and dark and on paper.

mod charts;
pub mod format;
mod parts;
mod tables;
mod thresholds;

use maud::{DOCTYPE, PreEscaped, html};
use plotters::style::RGBColor;

use super::{Difference, Evaluation};
use crate::Result;

/// The report of evaluations, which stand together by set. All text from outside is escaped.
///
/// # Errors
/// `inference` where a chart can't be drawn.
pub fn html(results: &[Evaluation], differences: &[Difference]) -> Result<String> {
    let sets: Vec<&[Evaluation]> = results.chunk_by(|a, b| a.set == b.set).collect();
    let mut sections = Vec::new();
    for (index, results) in sets.iter().enumerate() {
        sections.push(parts::section(index, results, differences)?);
    }
    let page = html! {
        (DOCTYPE)
        html lang="en" {
            head {
                meta charset="utf-8";
                meta name="viewport" content="width=device-width, initial-scale=1";
                // The page promises to ask for nothing; this holds it to that.
                meta http-equiv="Content-Security-Policy" content="default-src 'none'; style-src 'unsafe-inline'";
                title { "relayops-intent: evaluation" }
                style { (PreEscaped(include_str!("style.css"))) (PreEscaped(chart_style())) }
            }
            body {
                h1 { "Evaluation" }
                @if let Some(first) = results.first() { (parts::method(first)) }
                nav {
                    @for (index, results) in sets.iter().enumerate() {
                        a href={ "#set-" (index) } { (results[0].set) }
                    }
                }
                @if let Some(results) = sets.first() {
                    h2 { "Models" }
                    (tables::models(results))
                }
                @for section in &sections { (section) }
            }
        }
    };
    Ok(page.into_string())
}

/// Rules that give the charts' placeholders their colours.
fn chart_style() -> String {
    let rule = |(color, variable): (RGBColor, &str)| {
        let hex = charts::hex(color);
        format!(
            "svg [fill=\"{hex}\"]{{fill:var(--{variable})}}svg [stroke=\"{hex}\"]{{stroke:var(--{variable})}}\n"
        )
    };
    let colors = [
        (charts::INK, "ink"),
        (charts::GRID, "line"),
        (charts::SERIES, "series"),
        (charts::IDEAL, "ideal"),
        (charts::RANDOM, "random"),
    ];
    colors.map(rule).concat()
}
