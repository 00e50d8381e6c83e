//! Minima of smooth convex functions of up to some thousands of numbers.

use std::collections::VecDeque;

/// Steps that the curvature is estimated from.
const N_REMEMBERED: usize = 10;
/// The share of the promised descent that a step must bring (Armijo's rule).
const SUFFICIENT: f64 = 1e-4;
const N_HALVINGS: usize = 40;

/// When to stop.
#[derive(Clone, Copy, Debug)]
pub(super) struct Limits {
    pub(super) n_steps: usize,
    /// The largest entry of the gradient that counts as none.
    pub(super) gradient: f64,
}

/// The minimum of `value`, which also gives its gradient, from `start` on, by L-BFGS (Liu and Nocedal, 1989)
/// with backtracking. Where no step brings anything more, that is where it ends.
pub(super) fn minimize(
    start: Vec<f64>,
    limits: Limits,
    value: impl Fn(&[f64]) -> (f64, Vec<f64>),
) -> Vec<f64> {
    let mut at = start;
    let (mut height, mut slope) = value(&at);
    let mut past = Past::default();
    for _ in 0..limits.n_steps {
        if slope.iter().all(|it| it.abs() <= limits.gradient) {
            break;
        }
        let direction = past.direction(&slope);
        let descent = dot(&direction, &slope);
        // Without a past, the gradient's length says nothing about the step's.
        let mut length = if past.0.is_empty() { 1.0 / (1.0 + norm(&slope)) } else { 1.0 };
        let step = (0..N_HALVINGS).find_map(|_| {
            let next = moved(&at, length, &direction);
            let (new_height, new_slope) = value(&next);
            let is_down = new_height <= height + SUFFICIENT * length * descent;
            length *= 0.5;
            is_down.then_some((next, new_height, new_slope))
        });
        let Some((next, new_height, new_slope)) = step else { break };
        past.remember(moved(&next, -1.0, &at), moved(&new_slope, -1.0, &slope));
        (at, height, slope) = (next, new_height, new_slope);
    }
    at
}

/// The last steps, and how the gradient changed over them.
#[derive(Default)]
struct Past(VecDeque<[Vec<f64>; 2]>);

impl Past {
    fn remember(&mut self, step: Vec<f64>, change: Vec<f64>) {
        // Rounding may make curvature look negative.
        if dot(&step, &change) <= 1e-12 * norm(&step) * norm(&change) {
            return;
        }
        self.0.push_back([step, change]);
        if self.0.len() > N_REMEMBERED {
            self.0.pop_front();
        }
    }

    /// `−H g`, with the inverse Hessian `H` that the past suggests: the two-loop recursion.
    fn direction(&self, slope: &[f64]) -> Vec<f64> {
        let mut direction: Vec<f64> = slope.iter().map(|it| -it).collect();
        let mut shares = Vec::new();
        for [step, change] in self.0.iter().rev() {
            let share = dot(step, &direction) / dot(step, change);
            direction = moved(&direction, -share, change);
            shares.push(share);
        }
        if let Some([step, change]) = self.0.back() {
            let scale = dot(step, change) / dot(change, change);
            direction.iter_mut().for_each(|it| *it *= scale);
        }
        for ([step, change], share) in self.0.iter().zip(shares.into_iter().rev()) {
            let back = dot(change, &direction) / dot(step, change);
            direction = moved(&direction, share - back, step);
        }
        direction
    }
}

fn dot(one: &[f64], other: &[f64]) -> f64 {
    one.iter().zip(other).map(|(a, b)| a * b).sum()
}

fn norm(vector: &[f64]) -> f64 {
    dot(vector, vector).sqrt()
}

/// `at + length · direction`
fn moved(at: &[f64], length: f64, direction: &[f64]) -> Vec<f64> {
    at.iter().zip(direction).map(|(a, d)| a + length * d).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_minimum_of_a_bent_valley_is_found() {
        // ln(e^(x + 2y) + e^(−x − 2y)) + (x − 3)² / 2 + 50 (y + 1)²: where x + 2y = t, both slopes vanish
        // for x = 3 − tanh t, y = −1 − tanh t / 50.
        let value = |at: &[f64]| {
            let [x, y] = [at[0], at[1]];
            let sum = x + 2.0 * y;
            let height = (sum.exp() + (-sum).exp()).ln();
            let slope = sum.tanh();
            let value = height + 0.5 * (x - 3.0).powi(2) + 50.0 * (y + 1.0).powi(2);
            (value, vec![slope + x - 3.0, 2.0 * slope + 100.0 * (y + 1.0)])
        };
        let limits = Limits { n_steps: 100, gradient: 1e-10 };
        let at = minimize(vec![0.0, 0.0], limits, value);
        let slope = (at[0] + 2.0 * at[1]).tanh();
        assert!((at[0] - (3.0 - slope)).abs() < 1e-9, "{at:?}");
        assert!((at[1] - (-1.0 - slope / 50.0)).abs() < 1e-9, "{at:?}");
    }
}
