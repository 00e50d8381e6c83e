//! Proxy and truth against the distance from the fine-tuned model: each seed thin, their mean bold.

use anyhow::{Result, anyhow};
use plotters::coord::Shift;
use plotters::prelude::*;

use super::arm::Arm;
use super::curves::{Curves, Point};

const PANEL: (u32, u32) = (420, 320);
const COLOURS: [RGBColor; 3] =
    [RGBColor(200, 60, 50), RGBColor(31, 119, 180), RGBColor(44, 140, 60)];

type Area<'a> = DrawingArea<SVGBackend<'a>, Shift>;
type Drawn = Result<(), Box<dyn std::error::Error>>;

/// A curve's points in a panel.
type Line = Vec<(f64, f64)>;

/// Draws the truth against √KL, the proxy against √KL, and the truth against steps.
pub(super) fn draw(curves: &Curves) -> Result<String> {
    let mut svg = String::new();
    draw_on(&SVGBackend::with_string(&mut svg, (3 * PANEL.0, PANEL.1)).into_drawing_area(), curves)
        .map_err(|error| anyhow!("the picture: {error}"))?;
    Ok(svg)
}

fn draw_on(area: &Area<'_>, curves: &Curves) -> Drawn {
    area.fill(&WHITE)?;
    let panels = area.split_evenly((1, 3));
    let distance = "√KL from the fine-tuned model";
    draw_panel(&panels[0], curves, ["truth", distance], |it| (it.kl.sqrt(), it.gold))?;
    draw_panel(&panels[1], curves, ["mean of the heads", distance], |it| (it.kl.sqrt(), it.proxy))?;
    draw_panel(&panels[2], curves, ["truth", "steps"], |it| (it.step as f64, it.gold))?;
    area.present()?;
    Ok(())
}

fn draw_panel(
    area: &Area<'_>,
    curves: &Curves,
    [caption, across]: [&str; 2],
    place: fn(&Point) -> (f64, f64),
) -> Drawn {
    let all: Line = curves.points().map(place).collect();
    let span = |values: &mut dyn Iterator<Item = f64>| {
        let (low, high) = values.fold((f64::INFINITY, f64::NEG_INFINITY), |(low, high), it| {
            (low.min(it), high.max(it))
        });
        let room = 0.03 * (high - low).max(1e-6);
        low - room..high + room
    };
    let (x, y) = (span(&mut all.iter().map(|it| it.0)), span(&mut all.iter().map(|it| it.1)));
    let mut chart = ChartBuilder::on(area)
        .caption(caption, ("sans-serif", 15))
        .margin(8)
        .x_label_area_size(34)
        .y_label_area_size(44)
        .build_cartesian_2d(x, y)?;
    chart
        .configure_mesh()
        .light_line_style(TRANSPARENT)
        .bold_line_style(RGBColor(228, 228, 228))
        .x_desc(across)
        .draw()?;
    for (arm, colour) in Arm::ALL.into_iter().zip(COLOURS) {
        let seeds: Vec<Line> =
            curves.of(arm).iter().map(|points| points.iter().map(place).collect()).collect();
        for line in &seeds {
            chart.draw_series(LineSeries::new(line.iter().copied(), colour.mix(0.25)))?;
        }
        chart
            .draw_series(LineSeries::new(mean(&seeds), colour.stroke_width(3)))?
            .label(arm.name())
            .legend(move |(x, y)| PathElement::new([(x, y), (x + 14, y)], colour.stroke_width(3)));
    }
    chart.configure_series_labels().background_style(WHITE.mix(0.8)).draw()?;
    Ok(())
}

/// The mean of curves, point by point, as far as all of them go.
fn mean(lines: &[Line]) -> Line {
    let n_points = lines.iter().map(Vec::len).min().unwrap_or(0);
    let count = lines.len() as f64;
    let at = |place: usize| {
        let sum =
            lines.iter().fold((0.0, 0.0), |sum, it| (sum.0 + it[place].0, sum.1 + it[place].1));
        (sum.0 / count, sum.1 / count)
    };
    (0..n_points).map(at).collect()
}
