use serde::Serialize;

use crate::logistic::{log_loss, sigmoid};

/// Whether a model is right as often as it says: `σ(margin)` against what people said.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Calibration {
    /// Expected calibration error (Guo et al., 2017): confidences in 15 bins of equal width, and in each the distance
    /// from the share that is right, weighted by cases.
    pub ece: f64,
    /// Mean square of the probability's error (Brier, 1950); 0.25 is that of a coin.
    pub brier: f64,
    /// Mean `−log P` of what people said, in nats.
    pub nll: f64,
    /// What margins would have to be divided by for the lowest `nll`; above 1, the model is too sure.
    pub temperature: f64,
    /// The calibration error then.
    pub ece_at_temperature: f64,
}

const N_BINS: usize = 15;

impl Calibration {
    /// Of margins towards what people prefer, and how probable it is that they do; `None` without any.
    pub(super) fn of(cases: &[(f64, f64)]) -> Option<Self> {
        let cases: Vec<(f64, f64)> =
            cases.iter().filter(|(it, _)| it.is_finite()).copied().collect();
        if cases.is_empty() {
            return None;
        }
        let count = cases.len() as f64;
        let mean = |of: &dyn Fn(f64, f64) -> f64| {
            cases.iter().map(|(margin, said)| of(*margin, *said)).sum::<f64>() / count
        };
        let temperature = temperature(&cases);
        Some(Self {
            ece: error(&cases, 1.0),
            brier: mean(&|margin, said| {
                // Over both ways in which people can say it.
                let p = sigmoid(margin);
                said * (p - 1.0).powi(2) + (1.0 - said) * p.powi(2)
            }),
            nll: mean(&|margin, said| log_loss(margin) + (1.0 - said) * margin),
            temperature,
            ece_at_temperature: error(&cases, temperature),
        })
    }
}

/// The expected calibration error of margins divided by `temperature`.
fn error(cases: &[(f64, f64)], temperature: f64) -> f64 {
    let mut bins = [(0.0, 0.0); N_BINS];
    for (margin, said) in cases {
        let confidence = sigmoid((margin / temperature).abs());
        let right = match margin {
            0.0 => 0.5,
            margin if *margin > 0.0 => *said,
            _ => 1.0 - said,
        };
        let bin = ((confidence * N_BINS as f64) as usize).min(N_BINS - 1);
        bins[bin].0 += confidence;
        bins[bin].1 += right;
    }
    bins.iter().map(|(confident, right)| (confident - right).abs()).sum::<f64>()
        / cases.len() as f64
}

/// Minimises `mean −ln σ(a m) + (1 − p) a m` over `a = 1 / temperature`, which is convex, by bisection of its slope
/// between 1/1000 and 1000.
fn temperature(cases: &[(f64, f64)]) -> f64 {
    let slope = |a: f64| {
        let of = |(margin, said): &(f64, f64)| margin * ((1.0 - said) - sigmoid(-a * margin));
        cases.iter().map(of).sum::<f64>()
    };
    let (mut low, mut high) = (1e-3_f64.ln(), 1e3_f64.ln());
    for _ in 0..80 {
        let middle = (low + high) / 2.0;
        if slope(middle.exp()) < 0.0 { low = middle } else { high = middle }
    }
    (-(low + high) / 2.0).exp()
}
