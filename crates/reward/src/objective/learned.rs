use serde::{Deserialize, Serialize};

/// Numbers that a loss learns beside the model, by Adam (Kingma and Ba, 2015) in double precision. They are few and
/// their gradients are known in closed form, so they need no tensor.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub(crate) struct Numbers {
    values: Vec<f64>,
    first: Vec<f64>,
    second: Vec<f64>,
    n_updates: i32,
}

const BETAS: [f64; 2] = [0.9, 0.999];
const EPSILON: f64 = 1e-8;
/// The highest step of a number.
const RATE: f64 = 0.02;

impl Numbers {
    pub(crate) fn new(values: Vec<f64>) -> Self {
        let zeros = vec![0.0; values.len()];
        Self { first: zeros.clone(), second: zeros, values, n_updates: 0 }
    }

    pub(crate) fn values(&self) -> &[f64] {
        &self.values
    }

    /// One step down this gradient; `rate` is a share of the highest. A gradient that isn't finite changes nothing.
    pub(crate) fn update(&mut self, gradient: &[f64], rate: f64) {
        if gradient.is_empty() || gradient.iter().any(|it| !it.is_finite()) {
            return;
        }
        self.n_updates = self.n_updates.saturating_add(1);
        let [bias_1, bias_2] = BETAS.map(|beta| 1.0 - beta.powi(self.n_updates));
        for (place, slope) in gradient.iter().enumerate() {
            let (first, second) = (&mut self.first[place], &mut self.second[place]);
            *first = BETAS[0] * *first + (1.0 - BETAS[0]) * slope;
            *second = BETAS[1] * *second + (1.0 - BETAS[1]) * slope * slope;
            let step = (*first / bias_1) / ((*second / bias_2).sqrt() + EPSILON);
            self.values[place] -= RATE * rate * step;
        }
    }
}
