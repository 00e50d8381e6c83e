//! All curves in one picture: reward against samples and against KL, mean and spread of the seeds.

use std::collections::BTreeMap;
use std::ops::Range;

use anyhow::{Result, anyhow};
use plotters::coord::Shift;
use plotters::prelude::*;

use super::method::Method;
use super::task::Task;
use super::trial::{Point, Trial};
use super::verdict::Spread;

/// A panel's size, and the width of the names beside the panels.
const PANEL: (u32, u32) = (400, 280);
const NAMES: u32 = 150;
const COLOURS: [RGBColor; 13] = [
    RGBColor(31, 119, 180),
    RGBColor(255, 127, 14),
    RGBColor(44, 160, 44),
    RGBColor(214, 39, 40),
    RGBColor(148, 103, 189),
    RGBColor(140, 86, 75),
    RGBColor(227, 119, 194),
    RGBColor(90, 90, 90),
    RGBColor(168, 168, 20),
    RGBColor(23, 190, 207),
    RGBColor(0, 60, 120),
    RGBColor(0, 0, 0),
    RGBColor(190, 150, 110),
];
type Area<'a> = DrawingArea<SVGBackend<'a>, Shift>;
type Drawn<T = ()> = Result<T, Box<dyn std::error::Error>>;

/// How the spread of the seeds is drawn.
#[derive(Clone, Copy)]
enum Spreads {
    /// Over samples, which only grow.
    Band,
    /// Over KL, which goes back and forth.
    Bars,
}

impl Spreads {
    /// What the horizontal axis shows.
    fn axis(self) -> &'static str {
        match self {
            Self::Band => "completions learned from",
            Self::Bars => "KL from the fine-tuned model, nats a completion",
        }
    }
}

/// The mean curve of an algorithm.
struct Curve {
    method: Method,
    colour: RGBColor,
    points: Vec<MeanPoint>,
}

/// What the seeds had after the same step.
struct MeanPoint {
    samples: f64,
    kl: f64,
    reward: Spread,
}

/// Draws the runs of each task: those that sample and those that learn from pairs side by side.
pub(super) fn draw(tasks: &[(Task, Vec<Trial>)]) -> Result<String> {
    let mut svg = String::new();
    let (n_columns, n_rows) = (4, tasks.len() as u32);
    let size = (n_columns * PANEL.0 + 2 * NAMES, n_rows * PANEL.1);
    draw_on(&SVGBackend::with_string(&mut svg, size).into_drawing_area(), tasks)
        .map_err(|error| anyhow!("the picture: {error}"))?;
    Ok(svg)
}

fn draw_on(area: &Area<'_>, tasks: &[(Task, Vec<Trial>)]) -> Drawn {
    area.fill(&WHITE)?;
    let rows = area.split_evenly((tasks.len(), 1));
    for (row, (task, trials)) in rows.iter().zip(tasks) {
        let curves = curves(trials);
        let (on_policy, offline): (Vec<&Curve>, Vec<&Curve>) =
            curves.iter().partition(|it| it.method.is_on_policy());
        let (left, right) = row.split_horizontally(2 * PANEL.0 + NAMES);
        for (half, curves) in [(left, on_policy), (right, offline)] {
            draw_family(&half, *task, &curves)?;
        }
    }
    area.present()?;
    Ok(())
}

/// The two panels of some algorithms, and their names.
fn draw_family(area: &Area<'_>, task: Task, curves: &[&Curve]) -> Drawn {
    if curves.is_empty() {
        return Ok(());
    }
    let (panels, names) = area.split_horizontally(2 * PANEL.0);
    let panels = panels.split_evenly((1, 2));
    draw_panel(&panels[0], task, Spreads::Band, curves, |point| point.samples)?;
    draw_panel(&panels[1], task, Spreads::Bars, curves, |point| point.kl)?;
    for (curve, y) in curves.iter().zip((30..).step_by(18)) {
        let line = PathElement::new([(4, y), (22, y)], curve.colour.stroke_width(2));
        names.draw(&line)?;
        names.draw(&Text::new(curve.method.title(), (28, y - 6), ("sans-serif", 13)))?;
    }
    Ok(())
}

fn draw_panel(
    area: &Area<'_>,
    task: Task,
    spread: Spreads,
    curves: &[&Curve],
    across: fn(&MeanPoint) -> f64,
) -> Drawn {
    let most = curves.iter().flat_map(|it| &it.points).map(across).fold(1e-6, f64::max);
    let mut chart = ChartBuilder::on(area)
        .caption(task.name(), ("sans-serif", 14))
        .margin(8)
        .x_label_area_size(34)
        .y_label_area_size(44)
        .build_cartesian_2d(0.0..most * 1.02, rewards(curves))?;
    chart
        .configure_mesh()
        .light_line_style(TRANSPARENT)
        .bold_line_style(RGBColor(228, 228, 228))
        .x_labels(6)
        .x_desc(spread.axis())
        .y_desc("reward, held-out")
        .draw()?;
    for Curve { colour, points, .. } in curves {
        let edge = |side: f64| {
            points.iter().map(move |it| (across(it), it.reward.mean + side * it.reward.std))
        };
        match spread {
            Spreads::Band => {
                let band: Vec<(f64, f64)> = edge(1.0).chain(edge(-1.0).rev()).collect();
                chart.draw_series([Polygon::new(band, colour.mix(0.12))])?;
            }
            Spreads::Bars => {
                let bars = edge(-1.0).zip(edge(1.0));
                let bar = |(low, high)| PathElement::new([low, high], colour.mix(0.4));
                chart.draw_series(bars.map(bar))?;
            }
        }
        chart.draw_series(LineSeries::new(edge(0.0), colour.stroke_width(2)))?;
    }
    Ok(())
}

/// What the vertical axis spans.
fn rewards(curves: &[&Curve]) -> Range<f64> {
    let points = || curves.iter().flat_map(|it| &it.points).map(|it| it.reward);
    let low = points().map(|it| it.mean - it.std).fold(f64::INFINITY, f64::min);
    let high = points().map(|it| it.mean + it.std).fold(f64::NEG_INFINITY, f64::max);
    let room = 0.03 * (high - low).max(1e-6);
    low - room..high + room
}

/// The mean curves, each family's colours in their order.
fn curves(trials: &[Trial]) -> Vec<Curve> {
    let mut n_drawn = [0; 2];
    let curve = |group: &[Trial]| {
        let method = group[0].method;
        let number = &mut n_drawn[usize::from(method.is_on_policy())];
        *number += 1;
        let colour = COLOURS[(*number - 1) % COLOURS.len()];
        Curve { method, colour, points: means(group) }
    };
    trials.chunk_by(|a, b| a.method == b.method).map(curve).collect()
}

/// The means after the steps that all seeds have.
fn means(group: &[Trial]) -> Vec<MeanPoint> {
    let mut by_step = BTreeMap::<usize, Vec<&Point>>::new();
    for point in group.iter().flat_map(|it| &it.points) {
        by_step.entry(point.step).or_default().push(point);
    }
    let of_all = by_step.into_values().filter(|points| points.len() == group.len());
    of_all
        .map(|points| MeanPoint {
            samples: points[0].samples as f64,
            kl: points.iter().map(|it| it.kl).sum::<f64>() / points.len() as f64,
            reward: Spread::of(&points.iter().map(|it| it.reward).collect::<Vec<f64>>()),
        })
        .collect()
}
