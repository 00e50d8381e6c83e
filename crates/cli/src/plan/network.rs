//! A network in memory.

use rein_model::Precision;

use super::FLOAT;

/// The numbers of a network, of those that change it, and how many bytes they take.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Network {
    pub(super) name: &'static str,
    n_params: usize,
    pub(super) n_trained: usize,
    precision: Precision,
    /// In which the optimiser's moments are kept.
    moments: Precision,
}

impl Network {
    pub(super) fn trained(name: &'static str, n_params: usize) -> Self {
        Self::adapted(name, 0, n_params)
    }

    pub(super) fn frozen(name: &'static str, n_params: usize) -> Self {
        Self::adapted(name, n_params, 0)
    }

    /// Kept in another precision.
    pub(super) fn kept_in(self, precision: Precision) -> Self {
        Self { precision, ..self }
    }

    /// With an optimiser that keeps its moments in this precision.
    pub(super) fn with_moments(self, moments: Precision) -> Self {
        Self { moments, ..self }
    }

    /// Frozen weights with `n_trained` more beside them.
    pub(super) fn adapted(name: &'static str, n_frozen: usize, n_trained: usize) -> Self {
        let (precision, moments) = (Precision::F32, Precision::F32);
        Self { name, n_params: n_frozen + n_trained, n_trained, precision, moments }
    }

    pub(super) fn weights(&self) -> u64 {
        self.n_params as u64 * bytes_in(self.precision)
    }

    /// One number to a weight that is trained.
    pub(super) fn gradients(&self) -> u64 {
        self.n_trained as u64 * FLOAT
    }

    /// AdamW keeps two numbers to a weight.
    pub(super) fn optimizer(&self) -> u64 {
        2 * self.n_trained as u64 * bytes_in(self.moments)
    }
}

/// Bytes of a number.
fn bytes_in(precision: Precision) -> u64 {
    match precision {
        Precision::F32 => FLOAT,
        Precision::Bf16 => FLOAT / 2,
    }
}
