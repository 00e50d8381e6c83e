use std::collections::VecDeque;

use super::Top;

/// How many steps back curvature is remembered.
const MEMORY: usize = 10;
/// A step has to gain this share of what its slope promises (Armijo).
const SUFFICIENT: f64 = 1e-4;
/// Halvings before a direction is given up: 2⁻⁶⁰ of a step is none.
const MAX_HALVINGS: usize = 60;
/// Differences of values below this share of them are rounding.
const ROUNDING: f64 = 1e-14;

/// When a climb ends.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Climb {
    /// At the latest after so many steps.
    pub max_iterations: usize,
    /// Once no derivative is above this.
    pub tolerance: f64,
}

/// A step that was taken, and how the (negative) gradient changed.
struct Step {
    moved: Vec<f64>,
    turned: Vec<f64>,
    product: f64,
}

/// A local maximum by L-BFGS (Nocedal, 1980) with halved steps. `function` gives a value and its gradient; where it
/// isn't finite, steps are halved until it is.
pub(crate) fn maximize(
    start: Vec<f64>,
    climb: Climb,
    function: impl Fn(&[f64]) -> (f64, Vec<f64>),
) -> Top {
    let (mut value, mut gradient) = function(&start);
    let mut at = start;
    let mut steps: VecDeque<Step> = VecDeque::with_capacity(MEMORY);
    for n_iterations in 0..climb.max_iterations {
        if gradient.iter().all(|it| it.abs() <= climb.tolerance) {
            return Top { at, value, n_iterations, converged: true };
        }
        let direction = ascent(&gradient, &steps);
        let Some((next, next_value, next_gradient)) =
            search(&at, value, &gradient, &direction, &function)
        else {
            if steps.is_empty() {
                return Top { at, value, n_iterations, converged: false };
            }
            steps.clear();
            continue;
        };
        remember(&mut steps, difference(&next, &at), difference(&gradient, &next_gradient));
        (at, value, gradient) = (next, next_value, next_gradient);
    }
    Top { at, value, n_iterations: climb.max_iterations, converged: false }
}

/// The gradient times the inverse curvature that the last steps showed (two-loop recursion).
fn ascent(gradient: &[f64], steps: &VecDeque<Step>) -> Vec<f64> {
    let mut direction = gradient.to_vec();
    let mut weights = Vec::with_capacity(steps.len());
    for step in steps.iter().rev() {
        let weight = dot(&step.moved, &direction) / step.product;
        add(&mut direction, -weight, &step.turned);
        weights.push(weight);
    }
    let scale = match steps.back() {
        Some(step) => step.product / dot(&step.turned, &step.turned),
        None => 1.0 / dot(gradient, gradient).sqrt().max(1.0),
    };
    direction.iter_mut().for_each(|it| *it *= scale);
    for (step, weight) in steps.iter().zip(weights.into_iter().rev()) {
        let back = dot(&step.turned, &direction) / step.product;
        add(&mut direction, weight - back, &step.moved);
    }
    direction
}

type Point = (Vec<f64>, f64, Vec<f64>);

fn search(
    at: &[f64],
    value: f64,
    gradient: &[f64],
    direction: &[f64],
    function: &impl Fn(&[f64]) -> (f64, Vec<f64>),
) -> Option<Point> {
    let slope = dot(gradient, direction);
    let mut length = 1.0;
    for _ in 0..MAX_HALVINGS {
        let mut next = at.to_vec();
        add(&mut next, length, direction);
        let (next_value, next_gradient) = function(&next);
        let enough = value + SUFFICIENT * length * slope - ROUNDING * value.abs();
        if next_value >= enough && next_gradient.iter().all(|it| it.is_finite()) {
            return Some((next, next_value, next_gradient));
        }
        length *= 0.5;
    }
    None
}

/// Only curvature that points downwards makes the next direction point upwards.
fn remember(steps: &mut VecDeque<Step>, moved: Vec<f64>, turned: Vec<f64>) {
    let product = dot(&moved, &turned);
    if product <= 1e-12 * dot(&turned, &turned).sqrt() * dot(&moved, &moved).sqrt() {
        return;
    }
    if steps.len() == MEMORY {
        steps.pop_front();
    }
    steps.push_back(Step { moved, turned, product });
}

fn dot(a: &[f64], b: &[f64]) -> f64 {
    a.iter().zip(b).map(|(a, b)| a * b).sum()
}

fn add(to: &mut [f64], factor: f64, what: &[f64]) {
    to.iter_mut().zip(what).for_each(|(to, what)| *to += factor * what);
}

fn difference(a: &[f64], b: &[f64]) -> Vec<f64> {
    a.iter().zip(b).map(|(a, b)| a - b).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Rosenbrock's banana, upside down: its top is 0 at (1, 1).
    fn banana(at: &[f64]) -> (f64, Vec<f64>) {
        let (x, y) = (at[0], at[1]);
        let value = (1.0 - x).powi(2) + 100.0 * (y - x * x).powi(2);
        let gradient = [2.0 * (1.0 - x) + 400.0 * x * (y - x * x), -200.0 * (y - x * x)];
        (-value, gradient.to_vec())
    }

    #[test]
    fn the_bananas_top_is_found() {
        let climb = Climb { max_iterations: 200, tolerance: 1e-9 };
        let top = maximize(vec![-1.2, 1.0], climb, banana);
        assert!(top.converged && top.value > -1e-16, "{top:?}");
        assert!(top.at.iter().all(|it| (it - 1.0).abs() < 1e-8), "{top:?}");
    }

    #[test]
    fn a_cliff_is_not_climbed_over() {
        // ln x is −∞ or NaN left of 0; the top of ln x − x is at 1.
        let climb = Climb { max_iterations: 200, tolerance: 1e-9 };
        let top = maximize(vec![1e-3], climb, |at| (at[0].ln() - at[0], vec![1.0 / at[0] - 1.0]));
        assert!((top.at[0] - 1.0).abs() < 1e-8, "{top:?}");
    }

    #[test]
    fn nothing_to_climb_is_no_climb() {
        let climb = Climb { max_iterations: 10, tolerance: 1e-9 };
        assert!(maximize(Vec::new(), climb, |_| (0.0, Vec::new())).converged);
    }
}
