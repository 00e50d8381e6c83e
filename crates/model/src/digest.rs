//! A hash of weights, by which workers find out whether they still have the same.

use burn::module::AutodiffModule;
use sha2::{Digest, Sha256};

use crate::backend::LmAutodiffBackend;
use crate::learner::Learner;
use crate::named::named_tensors;

impl<B: LmAutodiffBackend, M: AutodiffModule<B>> Learner<B, M> {
    /// SHA-256 of all weights with their names. Of each tensor there is a copy on the host, one at a time.
    pub fn digest(&self) -> Vec<u8> {
        let mut hash = Sha256::new();
        let mut bytes = Vec::new();
        for (name, tensor) in named_tensors(&self.module().valid()) {
            bytes.clear();
            bytes.extend(tensor.to_values().iter().flat_map(|it| it.to_le_bytes()));
            // Lengths stand first, so that no two lists of tensors give the same bytes.
            hash.update((name.len() as u64).to_le_bytes());
            hash.update(name);
            hash.update((bytes.len() as u64).to_le_bytes());
            hash.update(&bytes);
        }
        hash.finalize().to_vec()
    }
}
