//! Reliability diagram and risk-coverage curve as SVG.
//!
//! Colours are placeholders: the page's style sheet repaints every element by them, for light, dark and paper.

use plotters::coord::Shift;
use plotters::coord::types::RangedCoordf64;
use plotters::prelude::*;

use crate::eval::metrics::calibration::Bin;
use crate::eval::metrics::selective::RiskCoverage;
use crate::{IntentError, Result};

/// Width and height in pixels.
const SIZE: (u32, u32) = (340, 260);
/// Text, axes.
pub(super) const INK: RGBColor = RGBColor(1, 1, 1);
/// Grid.
pub(super) const GRID: RGBColor = RGBColor(2, 2, 2);
/// The model.
pub(super) const SERIES: RGBColor = RGBColor(3, 3, 3);
/// What would be perfect.
pub(super) const IDEAL: RGBColor = RGBColor(4, 4, 4);
/// What would be worthless.
pub(super) const RANDOM: RGBColor = RGBColor(5, 5, 5);

/// A placeholder as it stands in the SVG.
pub(super) fn hex(color: RGBColor) -> String {
    format!("#{:02X}{:02X}{:02X}", color.0, color.1, color.2)
}

type Area<'a> = DrawingArea<SVGBackend<'a>, Shift>;
type Chart<'a, 'b> = ChartContext<'a, SVGBackend<'b>, Cartesian2d<RangedCoordf64, RangedCoordf64>>;

fn failed(error: impl std::fmt::Display) -> IntentError {
    IntentError::Inference(format!("chart: {error}"))
}

fn svg(draw: impl FnOnce(&Area<'_>) -> Result<()>) -> Result<String> {
    let mut text = String::new();
    {
        let area = SVGBackend::with_string(&mut text, SIZE).into_drawing_area();
        draw(&area)?;
        area.present().map_err(failed)?;
    }
    Ok(text)
}

fn axes<'a, 'b>(area: &'a Area<'b>, top: f64, x: &str, y: &str) -> Result<Chart<'a, 'b>> {
    let mut chart = ChartBuilder::on(area)
        .margin(8)
        .margin_right(14)
        .x_label_area_size(38)
        .y_label_area_size(46)
        .build_cartesian_2d(0.0..1.0, 0.0..top)
        .map_err(failed)?;
    let text = ("sans-serif", 12).into_font().color(&INK);
    chart
        .configure_mesh()
        .light_line_style(TRANSPARENT)
        .bold_line_style(GRID)
        .axis_style(INK)
        .x_labels(6)
        .y_labels(6)
        .x_label_formatter(&|value| format!("{value:.1}"))
        .y_label_formatter(&|value| if top < 0.3 { format!("{value:.2}") } else { format!("{value:.1}") })
        .label_style(text.clone())
        .axis_desc_style(text)
        .x_desc(x)
        .y_desc(y)
        .draw()
        .map_err(failed)?;
    Ok(chart)
}

/// Bars of accuracy a bin against the diagonal, with a dot at each bin's mean confidence.
pub(super) fn reliability(bins: &[Bin]) -> Result<String> {
    svg(|area| {
        let mut chart = axes(area, 1.0, "confidence", "share right")?;
        let filled = || bins.iter().filter(|bin| bin.n > 0);
        let bar = |bin: &Bin| {
            Rectangle::new(
                [(bin.low + 0.004, 0.0), (bin.high - 0.004, bin.accuracy)],
                SERIES.mix(0.35).filled(),
            )
        };
        chart.draw_series(filled().map(bar)).map_err(failed)?;
        chart
            .draw_series(LineSeries::new([(0.0, 0.0), (1.0, 1.0)], IDEAL.stroke_width(2)))
            .map_err(failed)?;
        let dot = |bin: &Bin| Circle::new((bin.confidence, bin.accuracy), 4, SERIES.filled());
        chart.draw_series(filled().map(dot)).map_err(failed)?;
        Ok(())
    })
}

/// Selective risk at every coverage, with that of a perfect and of a worthless confidence.
pub(super) fn risk_coverage(curve: &RiskCoverage) -> Result<String> {
    let (model, oracle) = (curve.curve(), curve.oracle().curve());
    // The first few messages alone would set the scale: a single wrong one is a risk of 1.
    let settled = model.iter().filter(|(coverage, _)| *coverage >= 0.05).map(|(_, risk)| *risk);
    let top = (settled.fold(curve.error_rate(), f64::max) * 1.15).clamp(0.02, 1.0);
    let model = model.into_iter().map(|(coverage, risk)| (coverage, risk.min(top)));
    svg(|area| {
        let mut chart = axes(area, top, "coverage", "share wrong of kept")?;
        let random = [(0.0, curve.error_rate()), (1.0, curve.error_rate())];
        chart.draw_series(LineSeries::new(random, RANDOM.stroke_width(2))).map_err(failed)?;
        chart.draw_series(LineSeries::new(oracle, IDEAL.stroke_width(2))).map_err(failed)?;
        chart.draw_series(LineSeries::new(model, SERIES.stroke_width(2))).map_err(failed)?;
        Ok(())
    })
}
