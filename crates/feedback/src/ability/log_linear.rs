use nalgebra::{DMatrix, DVector};

use crate::optimize::Local;

/// Unknowns and their factors in a sum.
pub(super) type Terms = Vec<(usize, f64)>;

/// A choice among options that was made several times. An option's probability is proportional to `exp(η)` of its
/// `η = Σ factor · unknown`.
pub(super) struct Choice {
    pub(super) options: Vec<Terms>,
    /// How often each option was chosen.
    pub(super) counts: Vec<f64>,
}

impl Choice {
    fn total(&self) -> f64 {
        self.counts.iter().sum()
    }

    /// Logarithms of the options' probabilities.
    fn ln_probabilities(&self, at: &[f64]) -> Vec<f64> {
        let sum = |terms: &Terms| terms.iter().map(|(unknown, factor)| factor * at[*unknown]).sum();
        let sums: Vec<f64> = self.options.iter().map(sum).collect();
        let largest = sums.iter().copied().fold(f64::NEG_INFINITY, f64::max);
        let total = largest + sums.iter().map(|it| (it - largest).exp()).sum::<f64>().ln();
        sums.into_iter().map(|it| it - total).collect()
    }
}

/// `Σ n ln P` over all choices.
pub(super) fn loglik(choices: &[Choice], at: &[f64]) -> f64 {
    let of_choice = |choice: &Choice| -> f64 {
        let ln_probabilities = choice.ln_probabilities(at);
        ln_probabilities.iter().zip(&choice.counts).map(|(ln_p, n)| ln_p * n).sum()
    };
    choices.iter().map(of_choice).sum()
}

/// `Σ n ln P − ½ Σ λ_u u²` at `at`, where every unknown `u` has its ridge `λ_u`, with derivatives. It is concave.
pub(super) fn penalized(choices: &[Choice], ridge: &[f64], at: &[f64]) -> Local {
    let pull = |(at, ridge): (&f64, &f64)| ridge * at;
    let pulls = DVector::from_iterator(at.len(), at.iter().zip(ridge).map(pull));
    let mut local = Local {
        value: loglik(choices, at) - 0.5 * pulls.dot(&DVector::from_row_slice(at)),
        gradient: -pulls,
        curvature: DMatrix::from_diagonal(&DVector::from_row_slice(ridge)),
    };
    choices.iter().for_each(|choice| add(choice, at, &mut local));
    local
}

/// Adds `Σ_o (n_o − n p_o) f_o` to the gradient and `n (Σ_o p_o f_o f_oᵀ − f̄ f̄ᵀ)` with `f̄ = Σ_o p_o f_o` to the
/// curvature, for the factors `f_o` of options `o`.
fn add(choice: &Choice, at: &[f64], local: &mut Local) {
    let n = choice.total();
    let mut mean: Terms = Vec::new();
    let shares = choice.ln_probabilities(at).into_iter().map(f64::exp);
    for ((share, count), terms) in shares.zip(&choice.counts).zip(&choice.options) {
        for (unknown, factor) in terms {
            local.gradient[*unknown] += (count - n * share) * factor;
            mean.push((*unknown, share * factor));
        }
        add_product(&mut local.curvature, n * share, terms);
    }
    add_product(&mut local.curvature, -n, &mean);
}

fn add_product(to: &mut DMatrix<f64>, weight: f64, terms: &Terms) {
    for (row, a) in terms {
        for (column, b) in terms {
            to[(*row, *column)] += weight * a * b;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn derivatives_are_those_of_the_value() {
        let options =
            vec![vec![(0, 1.0), (2, 0.5)], vec![(1, 1.0)], vec![(0, 0.5), (1, 0.5), (2, 1.0)]];
        let choices = [Choice { options, counts: vec![3.0, 1.0, 2.0] }];
        let (ridge, at, step) = ([0.3, 0.1, 0.0], [0.4, -0.2, 0.7], 1e-5);
        let local = penalized(&choices, &ridge, &at);
        for unknown in 0..3 {
            let [up, down] = [step, -step].map(|step| {
                let mut moved = at;
                moved[unknown] += step;
                penalized(&choices, &ridge, &moved)
            });
            let slope = (up.value - down.value) / (2.0 * step);
            assert!((slope - local.gradient[unknown]).abs() < 1e-8, "slope {unknown}: {slope}");
            let bend = (down.gradient - up.gradient) / (2.0 * step);
            let difference = (bend - local.curvature.column(unknown)).norm();
            assert!(difference < 1e-8, "curvature {unknown}: off by {difference}");
        }
    }
}
