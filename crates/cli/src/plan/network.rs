use rein_model::Precision;

use super::FLOAT;

/// A network in a stage's memory.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Network {
    pub(super) name: &'static str,
    n_params: usize,
    n_trained: usize,
    precision: Precision,
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

    /// Frozen weights with `n_trained` more beside them.
    pub(super) fn adapted(name: &'static str, n_frozen: usize, n_trained: usize) -> Self {
        Self { name, n_params: n_frozen + n_trained, n_trained, precision: Precision::F32 }
    }

    pub(super) fn weights(&self) -> u64 {
        let bytes = match self.precision {
            Precision::F32 => FLOAT,
            Precision::Bf16 => FLOAT / 2,
        };
        self.n_params as u64 * bytes
    }

    /// One number to a weight that is trained.
    pub(super) fn gradients(&self) -> u64 {
        self.n_trained as u64 * FLOAT
    }

    /// AdamW keeps two numbers to a weight.
    pub(super) fn optimizer(&self) -> u64 {
        2 * self.gradients()
    }
}
