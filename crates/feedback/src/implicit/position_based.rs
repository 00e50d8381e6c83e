//! The position-based model.

use std::collections::BTreeMap;

use super::propensity::Propensities;
use super::tally::{Shown, Tally};

/// Iterations after which expectation maximisation gives up.
const MAX_ITERATIONS: usize = 2000;
/// Gain of mean log-likelihood a view, in nats, below which it stops.
const TOLERANCE: f64 = 1e-10;
/// Keeps probabilities from 0 and 1, where logarithms and odds end.
pub(super) const EDGE: f64 = 1e-12;

/// Who looks at a place clicks what is attractive: `P(click) = examination(position) ·
/// attractiveness(response)` (Richardson, Dominowska, Ragno, WWW 2007; Chuklin, Markov, de Rijke, Click
/// Models for Web Search, 2015).
///
/// Responses must change places for the two factors to be told apart.
#[derive(Clone, Debug, PartialEq)]
pub struct PositionBased {
    /// Probability that a place is looked at, relative to the place that is looked at most.
    pub examination: BTreeMap<u32, f64>,
    /// Probability that a response is clicked where everybody looks.
    pub attractiveness: BTreeMap<Shown, f64>,
    /// Log-likelihood of the clicks in nats before each iteration, and after the last.
    pub log_likelihoods: Vec<f64>,
}

impl PositionBased {
    /// The most likely model by expectation maximisation.
    ///
    /// A view without a click was looked at with probability `θ(1 − α)/(1 − θα)` and attractive with
    /// `α(1 − θ)/(1 − θα)`, for examination `θ` and attractiveness `α`; a click was both. New values
    /// are means of these. Clicks fix `θα` only: in the end, `max θ = 1`.
    pub fn fit(tally: &Tally) -> Self {
        let views = Views::of(tally);
        let mut examination = vec![0.5; views.positions.len()];
        let mut attractiveness = vec![0.5; views.shown.len()];
        let mut log_likelihoods = vec![views.log_likelihood(&examination, &attractiveness)];
        for _ in 0..MAX_ITERATIONS {
            (examination, attractiveness) = views.improve(&examination, &attractiveness);
            log_likelihoods.push(views.log_likelihood(&examination, &attractiveness));
            if has_converged(&log_likelihoods, views.total) {
                break;
            }
        }
        let scale = examination.iter().copied().fold(0.0, f64::max);
        let shown = views.shown.into_iter().cloned();
        Self {
            examination: views
                .positions
                .into_iter()
                .zip(examination.iter().map(|it| it / scale))
                .collect(),
            attractiveness: shown.zip(attractiveness.iter().map(|it| it * scale)).collect(),
            log_likelihoods,
        }
    }

    /// The examination as propensities.
    pub fn propensities(&self) -> Propensities {
        Propensities::ByPosition(self.examination.clone())
    }
}

/// Whether the last iteration gained next to nothing.
pub(super) fn has_converged(log_likelihoods: &[f64], n_views: f64) -> bool {
    let [.., before, after] = log_likelihoods else { return false };
    after - before <= TOLERANCE * n_views
}

/// A tally with numbers in place of names.
struct Views<'a> {
    shown: Vec<&'a Shown>,
    positions: Vec<u32>,
    cells: Vec<View>,
    total: f64,
}

#[derive(Clone, Copy)]
struct View {
    response: usize,
    position: usize,
    clicked: f64,
    passed: f64,
}

impl<'a> Views<'a> {
    fn of(tally: &'a Tally) -> Self {
        let positions = tally.positions();
        let (mut shown, mut cells) = (Vec::new(), Vec::new());
        for (response, (name, places)) in tally.iter().enumerate() {
            shown.push(name);
            cells.extend(places.iter().map(|(position, cell)| View {
                response,
                position: positions.binary_search(position).expect("it is one of them"),
                clicked: cell.clicks,
                passed: cell.views - cell.clicks,
            }));
        }
        let total = cells.iter().map(|it| it.clicked + it.passed).sum();
        Self { shown, positions, cells, total }
    }

    fn log_likelihood(&self, examination: &[f64], attractiveness: &[f64]) -> f64 {
        let of_cell = |it: &View| {
            let click = examination[it.position] * attractiveness[it.response];
            it.clicked * click.ln() + it.passed * (-click).ln_1p()
        };
        self.cells.iter().map(of_cell).sum()
    }

    /// One iteration.
    fn improve(&self, examination: &[f64], attractiveness: &[f64]) -> (Vec<f64>, Vec<f64>) {
        let mut looked = vec![Mean::default(); examination.len()];
        let mut attracted = vec![Mean::default(); attractiveness.len()];
        for it in &self.cells {
            let (theta, alpha) = (examination[it.position], attractiveness[it.response]);
            let passed = it.passed / (1.0 - theta * alpha);
            let views = it.clicked + it.passed;
            looked[it.position].add(it.clicked + passed * theta * (1.0 - alpha), views);
            attracted[it.response].add(it.clicked + passed * alpha * (1.0 - theta), views);
        }
        let means = |of: Vec<Mean>| of.into_iter().map(Mean::value).collect();
        (means(looked), means(attracted))
    }
}

/// A mean that keeps away from 0 and 1.
#[derive(Clone, Copy, Default)]
pub(super) struct Mean {
    sum: f64,
    count: f64,
}

impl Mean {
    pub(super) fn add(&mut self, sum: f64, count: f64) {
        self.sum += sum;
        self.count += count;
    }

    pub(super) fn value(self) -> f64 {
        let mean = if self.count > 0.0 { self.sum / self.count } else { 0.5 };
        mean.clamp(EDGE, 1.0 - EDGE)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::implicit::tally::Cell;

    fn tally(attractiveness: &[f64], examination: &[f64], views: f64) -> Tally {
        let mut tally = Tally::default();
        for (response, alpha) in attractiveness.iter().enumerate() {
            for (position, theta) in (1..).zip(examination) {
                let shown = Shown { prompt_id: "p".into(), response_id: response.to_string() };
                tally.add(shown, position, Cell { views, clicks: views * alpha * theta });
            }
        }
        tally
    }

    #[test]
    fn it_recovers_the_model_that_made_the_clicks_and_never_steps_back() {
        let (attractiveness, examination) = ([0.2, 0.9, 0.4], [1.0, 0.5, 0.25]);
        let model = PositionBased::fit(&tally(&attractiveness, &examination, 1000.0));
        for (got, want) in model.examination.values().zip(examination) {
            assert!((got - want).abs() < 1e-3, "{model:?}");
        }
        for (got, want) in model.attractiveness.values().zip(attractiveness) {
            assert!((got - want).abs() < 1e-3, "{model:?}");
        }
        let lls = &model.log_likelihoods;
        assert!(lls.len() > 10 && lls.windows(2).all(|it| it[1] >= it[0] - 1e-9), "{lls:?}");
        // Every cell has its own click probability: Σ n (q ln q + (1 − q) ln(1 − q)).
        let entropy = |q: f64| q * q.ln() + (1.0 - q) * (1.0 - q).ln();
        let best: f64 =
            attractiveness.iter().flat_map(|a| examination.map(|t| 1000.0 * entropy(a * t))).sum();
        assert!((lls[lls.len() - 1] - best).abs() < 1e-2, "{} {best}", lls[lls.len() - 1]);
    }

    #[test]
    fn extremes_stay_finite() {
        for (attractiveness, views) in [(vec![], 0.0), (vec![0.0], 1.0), (vec![1.0, 0.0], 5.0)] {
            let model = PositionBased::fit(&tally(&attractiveness, &[1.0], views));
            let values = model.examination.values().chain(model.attractiveness.values());
            assert!(values.chain(&model.log_likelihoods).all(|it| it.is_finite()), "{model:?}");
        }
    }
}
