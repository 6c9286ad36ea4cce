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
        .x_label_area_size(42)
        .y_label_area_size(52)
        .build_cartesian_2d(0.0..1.0, 0.0..top)
        .map_err(failed)?;
    let text = ("sans-serif", 14).into_font().color(&INK);
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

/// The scale on which all of these curves can be drawn, and compared.
pub(super) fn risk_top<'a>(curves: impl IntoIterator<Item = &'a RiskCoverage>) -> f64 {
    let highest = curves.into_iter().flat_map(RiskCoverage::curve).map(|(_, risk)| risk).fold(0.0, f64::max);
    (highest * 1.05).clamp(0.02, 1.0)
}

/// Selective risk at every coverage, up to `top`, with that of a perfect and of a worthless confidence.
pub(super) fn risk_coverage(curve: &RiskCoverage, top: f64) -> Result<String> {
    let (model, oracle) = (curve.curve(), curve.oracle().curve());
    svg(|area| {
        let mut chart = axes(area, top, "coverage", "share wrong of kept")?;
        let random = [(0.0, curve.error_rate()), (1.0, curve.error_rate())];
        chart.draw_series(LineSeries::new(random, RANDOM.stroke_width(2))).map_err(failed)?;
        chart.draw_series(LineSeries::new(oracle, IDEAL.stroke_width(2))).map_err(failed)?;
        chart.draw_series(LineSeries::new(model, SERIES.stroke_width(2))).map_err(failed)?;
        Ok(())
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::eval::metrics::Point;

    /// Vertical pixels of the model's line.
    fn heights(svg: &str) -> Vec<f64> {
        let line =
            svg.lines().find(|line| line.starts_with("<polyline") && line.contains(&hex(SERIES))).unwrap();
        let points = line.split_once("points=\"").unwrap().1.split('"').next().unwrap();
        points.split_whitespace().map(|pair| pair.split_once(',').unwrap().1.parse().unwrap()).collect()
    }

    #[test]
    fn the_whole_curve_is_drawn() {
        // The surest answer is wrong: a risk of 1 at the lowest coverage, then 1/k.
        let points: Vec<Point> = (0..100)
            .map(|rank| Point { confidence: 1.0 - f64::from(rank) / 200.0, correct: rank > 0 })
            .collect();
        let curve = RiskCoverage::new(&points);
        let top = risk_top([&curve]);
        assert_eq!(top, 1.0);
        let drawn = heights(&risk_coverage(&curve, top).unwrap());
        assert_eq!(drawn.len(), 100);
        // Nothing is cut off: from the top edge down, the second point half way, as it ought to be.
        let (highest, lowest) = (drawn[0], drawn[99]);
        let half = (drawn[1] - highest) / (lowest - highest);
        assert!((half - 0.5 / 0.99).abs() < 0.01, "{half}: {drawn:?}");
        assert!(drawn.windows(2).all(|pair| pair[0] <= pair[1]));
    }

    #[test]
    fn curves_side_by_side_share_a_scale() {
        let curve = |wrong: i32| {
            let point =
                |rank| Point { confidence: 1.0 - f64::from(rank) / 200.0, correct: rank < 100 - wrong };
            RiskCoverage::new(&(0..100).map(point).collect::<Vec<_>>())
        };
        assert!((risk_top([&curve(10), &curve(40)]) - 0.42).abs() < 1e-9);
        assert!((risk_top([&curve(0)]) - 0.02).abs() < 1e-9, "an axis needs a length");
    }
}
