//! The logistic function on the host, in double precision.

/// `σ(a) = 1 / (1 + e^−a)`
pub(crate) fn sigmoid(logit: f64) -> f64 {
    1.0 / (1.0 + (-logit).exp())
}

/// `−ln σ(a) = ln(1 + e^−a)`, without overflow.
pub(crate) fn log_loss(logit: f64) -> f64 {
    (-logit.abs()).exp().ln_1p() + (-logit).max(0.0)
}
