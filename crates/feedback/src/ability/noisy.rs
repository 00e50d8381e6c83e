use rand::{Rng, RngExt};
use rein_data::seed::Seed;

use super::comparisons::{Comparison, Comparisons, Outcome};
use crate::optimize::{Climb, Top, maximize, sigmoid};

/// A later start has to beat the best one by this many nats: rounding doesn't choose.
const BETTER: f64 = 1e-9;

/// Bradley and Terry's model among people some of whom don't look: worker `w` judges by the scores with probability
/// `σ(g_w)`, and otherwise takes the left side with probability `σ(q_w)` whatever is shown (crowd-kit's noisy
/// Bradley-Terry, whose gradient is wrong in version 1.4.2, so that only the model is taken from there),
///
/// `P(left) = σ(g_w) σ(s_left − s_right) + (1 − σ(g_w)) σ(q_w)`
///
/// by the maximum of `LL − ½ λ (|s|² + |q|² + |g|²)`. It has several local ones: L-BFGS climbs from several starts
/// and the highest counts. Ties are half a win for each.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct NoisyBradleyTerry {
    /// `λ`, the unknowns' prior precision. 0.02; above 0, or there may be no maximum.
    pub ridge: f64,
    /// From how many points to start: from `s = q = 0`, `g = 1`, then from normal draws. 8.
    pub n_starts: usize,
    /// Where the starts are drawn from.
    pub seed: Seed,
    /// When to stop: once no derivative is above `tolerance`, at the latest after `max_iterations`. 1e-8 and 2000.
    pub climb: Climb,
}

/// What [`NoisyBradleyTerry`] finds.
#[derive(Clone, Debug, PartialEq)]
pub struct NoisyFit {
    /// `s` of each item, in nats, with mean 0.
    pub scores: Vec<f64>,
    /// `σ(g_w)`, how often each worker looks.
    pub skill: Vec<f64>,
    /// `q_w`, in nats: how much each worker takes the left side when they don't.
    pub habit: Vec<f64>,
    /// What was maximised.
    pub objective: f64,
    /// Whether the highest climb reached a top.
    pub converged: bool,
}

impl NoisyBradleyTerry {
    /// The usual settings.
    pub fn new(seed: Seed) -> Self {
        let climb = Climb { max_iterations: 2000, tolerance: 1e-8 };
        Self { ridge: 0.02, n_starts: 8, seed, climb }
    }

    /// The likeliest scores and workers.
    pub fn fit(&self, comparisons: &Comparisons) -> NoisyFit {
        let rows = Rows::of(comparisons);
        let top_from = |start| maximize(start, self.climb, |at| self.objective(&rows, at));
        let mut best = top_from(all_look(comparisons));
        for number in 1..self.n_starts {
            let mut rng = self.seed.index(number as u64).rng();
            let start = (0..n_unknowns(comparisons)).map(|_| normal(&mut rng)).collect();
            let other: Top = top_from(start);
            if other.value > best.value + BETTER {
                best = other;
            }
        }
        report(best, comparisons)
    }

    fn objective(&self, rows: &Rows, at: &[f64]) -> (f64, Vec<f64>) {
        let mut value: f64 = at.iter().map(|it| -0.5 * self.ridge * it * it).sum();
        let mut gradient: Vec<f64> = at.iter().map(|it| -self.ridge * it).collect();
        let workers: Vec<Odds> = at[rows.n_items..].iter().map(|it| Odds::of(*it)).collect();
        for row in &rows.rows {
            value += rows.add(row, at, &workers, &mut gradient);
        }
        (value, gradient)
    }
}

/// Comparisons of the same two items by the same worker.
struct Row {
    left: usize,
    right: usize,
    worker: usize,
    n_left: f64,
    n_right: f64,
}

struct Rows {
    n_items: usize,
    n_workers: usize,
    rows: Vec<Row>,
}

impl Rows {
    fn of(comparisons: &Comparisons) -> Self {
        let row = |(comparison, count): (&Comparison, f64)| {
            let says_left = match comparison.outcome {
                Outcome::Left => 1.0,
                Outcome::Right => 0.0,
                Outcome::Tie => 0.5,
            };
            let Comparison { left, right, worker, .. } = *comparison;
            Row {
                left,
                right,
                worker,
                n_left: count * says_left,
                n_right: count * (1.0 - says_left),
            }
        };
        let (n_items, n_workers) = (comparisons.n_items(), comparisons.n_workers());
        Self { n_items, n_workers, rows: comparisons.counts().map(row).collect() }
    }

    /// Adds the derivatives of `n_left ln P(left) + n_right ln P(right)` to the gradient, and returns its value.
    /// Unknowns are scores, habits and skills; `workers` are the odds of the latter two.
    fn add(&self, row: &Row, at: &[f64], workers: &[Odds], gradient: &mut [f64]) -> f64 {
        let (left, looks) = (&workers[row.worker], &workers[self.n_workers + row.worker]);
        let better = Odds::of(at[row.left] - at[row.right]);
        let chance_left = looks.yes * better.yes + looks.no * left.yes;
        let chance_right = looks.yes * better.no + looks.no * left.no;
        let slope = row.n_left / chance_left - row.n_right / chance_right;
        let by_score = slope * looks.yes * better.yes * better.no;
        let habit = self.n_items + row.worker;
        gradient[row.left] += by_score;
        gradient[row.right] -= by_score;
        gradient[habit] += slope * looks.no * left.yes * left.no;
        gradient[habit + self.n_workers] += slope * looks.yes * looks.no * (better.yes - left.yes);
        row.n_left * chance_left.ln() + row.n_right * chance_right.ln()
    }
}

/// A probability and what it lacks of 1, neither of which loses digits; nor is it ever 0.
struct Odds {
    yes: f64,
    no: f64,
}

impl Odds {
    fn of(logit: f64) -> Self {
        let odds = (-logit.abs()).max(-700.0).exp();
        let [small, large] = [odds / (1.0 + odds), 1.0 / (1.0 + odds)];
        if logit < 0.0 { Self { yes: small, no: large } } else { Self { yes: large, no: small } }
    }
}

fn n_unknowns(comparisons: &Comparisons) -> usize {
    comparisons.n_items() + 2 * comparisons.n_workers()
}

fn all_look(comparisons: &Comparisons) -> Vec<f64> {
    let mut start = vec![0.0; n_unknowns(comparisons)];
    start[comparisons.n_items() + comparisons.n_workers()..].fill(1.0);
    start
}

/// A standard normal number (Box and Muller, 1958).
fn normal(rng: &mut impl Rng) -> f64 {
    let [radius, angle]: [f64; 2] = [rng.random(), rng.random()];
    (-2.0 * (1.0 - radius).ln()).sqrt() * (std::f64::consts::TAU * angle).cos()
}

fn report(top: Top, comparisons: &Comparisons) -> NoisyFit {
    let (scores, workers) = top.at.split_at(comparisons.n_items());
    let (habit, skill) = workers.split_at(comparisons.n_workers());
    let mean = scores.iter().sum::<f64>() / scores.len() as f64;
    NoisyFit {
        scores: scores.iter().map(|it| it - mean).collect(),
        skill: skill.iter().map(|it| sigmoid(*it)).collect(),
        habit: habit.to_vec(),
        objective: top.value,
        converged: top.converged,
    }
}
