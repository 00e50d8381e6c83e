//! Random streams that a resumed run can continue.
//!
//! A stream is named by where it is used, as in `Seed::new(7).child("rl").index(12).index(3)`: run
//! seed, stage, step, row. No state is carried from draw to draw across steps, so a run that
//! restarts at step 12 draws the very numbers that the uninterrupted run would have drawn.

use rand::{Rng, RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;
use sha2::{Digest, Sha256};

/// A node in the tree of random streams.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Seed([u8; 32]);

impl Seed {
    /// The root of a run's streams.
    pub fn new(run_seed: u64) -> Self {
        Self(Sha256::digest(run_seed.to_le_bytes()).into())
    }

    /// The branch with this name: a stage, a tensor, a purpose.
    #[must_use]
    pub fn child(&self, name: &str) -> Self {
        self.derive(b'n', name.as_bytes())
    }

    /// The branch with this number: a step, an epoch, a row.
    #[must_use]
    pub fn index(&self, number: u64) -> Self {
        self.derive(b'i', &number.to_le_bytes())
    }

    /// The generator at this node. The same node always gives the same numbers.
    pub fn rng(&self) -> ChaCha8Rng {
        ChaCha8Rng::from_seed(self.0)
    }

    fn derive(&self, kind: u8, label: &[u8]) -> Self {
        Self(
            Sha256::new()
                .chain_update(self.0)
                .chain_update([kind])
                .chain_update(label)
                .finalize()
                .into(),
        )
    }
}

/// The streams of some rows, each a branch of one node.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RowSeeds {
    seed: Seed,
    first: usize,
    step: usize,
}

impl RowSeeds {
    /// The streams of rows `first`, `first + step`, `first + 2 step`, … of those below `seed`.
    pub fn every(seed: Seed, first: usize, step: usize) -> Self {
        Self { seed, first, step }
    }

    /// The stream of a row.
    pub fn of(&self, row: usize) -> Seed {
        self.seed.index((self.first + row * self.step) as u64)
    }
}

impl From<Seed> for RowSeeds {
    /// Row `i` draws from `seed.index(i)`.
    fn from(seed: Seed) -> Self {
        Self::every(seed, 0, 1)
    }
}

/// Puts `items` in a random order (Fisher-Yates, written out so that no library's version changes
/// the order that a seed gives).
pub fn shuffle<T>(items: &mut [T], rng: &mut impl Rng) {
    for last in (1..items.len()).rev() {
        items.swap(last, rng.random_range(0..=last));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_node_always_gives_the_same_numbers() {
        let node = Seed::new(7).child("rl").index(3);
        assert_eq!(node.rng().next_u64(), node.rng().next_u64());
    }

    #[test]
    fn neighbours_and_kinds_do_not_collide() {
        let root = Seed::new(7);
        let nodes =
            [root, Seed::new(8), root.child("a"), root.index(u64::from(b'a')), root.index(0)];
        for (i, a) in nodes.iter().enumerate() {
            for b in &nodes[i + 1..] {
                assert_ne!(a, b);
            }
        }
    }
}
