//! Tops of functions of some dozens of unknowns.
//!
//! [`maximize`] climbs by gradients (L-BFGS) and [`newton`] by second derivatives, for functions that are concave.

mod lbfgs;
mod newton;

pub use lbfgs::Climb;
pub(crate) use lbfgs::maximize;
pub(crate) use newton::{Local, newton, pseudo_inverse};

/// Where a climb ended.
#[derive(Clone, Debug)]
pub(crate) struct Top {
    pub(crate) at: Vec<f64>,
    pub(crate) value: f64,
    pub(crate) n_iterations: usize,
    pub(crate) converged: bool,
}

/// `1 / (1 + e^{−x})`
pub(crate) fn sigmoid(x: f64) -> f64 {
    ln_sigmoid(x).exp()
}

/// `ln σ(x) = −ln(1 + e^{−x})`, without overflow.
pub(crate) fn ln_sigmoid(x: f64) -> f64 {
    x.min(0.0) - (-x.abs()).exp().ln_1p()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sigmoids_far_out_are_finite() {
        assert_eq!(ln_sigmoid(-1000.0), -1000.0);
        assert_eq!(sigmoid(1000.0), 1.0);
        assert!((sigmoid(1.0) - 0.731_058_578_630_004_9).abs() < 1e-15);
    }
}
