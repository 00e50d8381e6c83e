//! Curves as SVG.

use anyhow::{Result, anyhow};
use plotters::prelude::*;

const SIZE: (u32, u32) = (560, 300);
const COLOURS: [RGBColor; 3] =
    [RGBColor(31, 119, 180), RGBColor(214, 99, 20), RGBColor(44, 140, 60)];

/// Points of a curve that are worth drawing.
const MOST_POINTS: usize = 120;

/// A chart of a few curves over one axis.
#[derive(Clone, Debug)]
pub(super) struct Chart {
    pub(super) title: &'static str,
    /// What the horizontal and the vertical axis show.
    pub(super) axes: [&'static str; 2],
    pub(super) series: Vec<Series>,
}

/// How a series is drawn.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum Mark {
    /// As a curve.
    #[default]
    Line,
    /// As points.
    Points,
}

/// Some points of a chart.
#[derive(Clone, Debug)]
pub(super) struct Series {
    pub(super) name: &'static str,
    pub(super) mark: Mark,
    pub(super) points: Vec<(f64, f64)>,
}

impl Series {
    /// From left to right.
    pub(super) fn sorted(mut self) -> Self {
        self.points.sort_by(|a, b| a.0.total_cmp(&b.0));
        self
    }

    /// Means of as many points each as leave no more than can be told apart.
    pub(super) fn smoothed(mut self) -> Self {
        let size = self.points.len().div_ceil(MOST_POINTS).max(1);
        let mean = |points: &[(f64, f64)]| {
            let n = points.len() as f64;
            let (x, y) = points.iter().fold((0.0, 0.0), |sum, it| (sum.0 + it.0, sum.1 + it.1));
            (x / n, y / n)
        };
        self.points = self.points.chunks(size).map(mean).collect();
        self
    }
}

impl Chart {
    pub(super) fn is_empty(&self) -> bool {
        self.series.iter().all(|series| series.points.len() < 2)
    }

    /// The chart as an `<svg>` element.
    pub(super) fn draw(&self) -> Result<String> {
        let mut svg = String::new();
        self.draw_on(&SVGBackend::with_string(&mut svg, SIZE).into_drawing_area())
            .map_err(|error| anyhow!("the chart \"{}\": {error}", self.title))?;
        Ok(svg)
    }

    fn draw_on(
        &self,
        area: &DrawingArea<SVGBackend<'_>, plotters::coord::Shift>,
    ) -> Result<(), Box<dyn std::error::Error>> {
        area.fill(&WHITE)?;
        let [horizontal, vertical] = self.ranges();
        let mut chart = ChartBuilder::on(area)
            .caption(self.title, ("sans-serif", 16))
            .margin(10)
            // Half of the last number of the axis.
            .margin_right(24)
            .x_label_area_size(36)
            .y_label_area_size(48)
            .build_cartesian_2d(horizontal, vertical)?;
        chart
            .configure_mesh()
            .light_line_style(TRANSPARENT)
            .bold_line_style(RGBColor(228, 228, 228))
            .x_desc(self.axes[0])
            .y_desc(self.axes[1])
            .x_label_formatter(&label)
            .y_label_formatter(&label)
            .draw()?;
        // Colours follow from the place, whether or not those before have points.
        let series = self.series.iter().zip(COLOURS.into_iter().cycle());
        for (series, colour) in series.filter(|(series, _)| !series.points.is_empty()) {
            let points = series.points.iter().copied();
            match series.mark {
                Mark::Line => chart
                    .draw_series(LineSeries::new(points, colour.stroke_width(2)))?
                    .label(series.name)
                    .legend(move |(x, y)| {
                        PathElement::new([(x, y), (x + 14, y)], colour.stroke_width(2))
                    }),
                Mark::Points => chart
                    .draw_series(points.map(|it| Circle::new(it, 4, colour.filled())))?
                    .label(series.name)
                    .legend(move |(x, y)| Circle::new((x + 7, y), 4, colour.filled())),
            };
        }
        chart
            .configure_series_labels()
            .position(self.legend())
            .background_style(WHITE.mix(0.8))
            .draw()?;
        area.present()?;
        Ok(())
    }

    /// Where the names of series stand: curves that rise leave room below them, and points above them.
    fn legend(&self) -> SeriesLabelPosition {
        let is_points = |it: &Series| it.mark == Mark::Points && !it.points.is_empty();
        match self.series.iter().any(is_points) {
            true => SeriesLabelPosition::UpperLeft,
            false => SeriesLabelPosition::LowerRight,
        }
    }

    /// What each axis spans, with a little room; never empty.
    fn ranges(&self) -> [std::ops::Range<f64>; 2] {
        let points = || self.series.iter().flat_map(|series| &series.points);
        let span = |value: fn(&(f64, f64)) -> f64, room: f64| {
            let values = points().map(value).filter(|value| value.is_finite());
            let (low, high) = values.fold((f64::INFINITY, f64::NEG_INFINITY), |(low, high), it| {
                (low.min(it), high.max(it))
            });
            let room = ((high - low) * room).max(1e-6);
            low - room..high + room
        };
        [span(|point| point.0, 0.0), span(|point| point.1, 0.05)]
    }
}

/// `5`, `0.25`
fn label(value: &f64) -> String {
    let text = format!("{value:.4}");
    let short = text.trim_end_matches('0').trim_end_matches('.');
    if short == "-0" { "0".to_owned() } else { short.to_owned() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_of_axes_are_short() {
        let values = [50.0, 0.25, 0.1 + 0.2, -1.5, -1e-9, 0.0];
        assert_eq!(values.map(|it| label(&it)), ["50", "0.25", "0.3", "-1.5", "0", "0"]);
    }

    #[test]
    fn many_points_become_means() {
        let series = |n: usize| {
            let points = (0..n).map(|it| (it as f64, (it % 2) as f64)).collect();
            Series { name: "training", mark: Mark::Line, points }.smoothed().points
        };
        assert_eq!(series(3), [(0.0, 0.0), (1.0, 1.0), (2.0, 0.0)]);
        let many = series(240);
        assert_eq!((many.len(), many[0], many[119]), (120, (0.5, 0.5), (238.5, 0.5)));
        assert!(series(0).is_empty());
    }
}
