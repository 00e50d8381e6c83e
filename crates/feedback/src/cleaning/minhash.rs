//! How similar two sets are, from a few numbers of each.

use rand::RngExt;
use rein_data::seed::Seed;

/// Hash functions of a signature.
pub(super) const N_HASHES: usize = 128;

/// The least value of each hash function over a set.
pub(super) type Signature = [u32; N_HASHES];

/// Hash functions `h(x) = ⌊(a x + b mod 2⁶⁴) / 2³²⌋` with odd `a` (Dietzfelbinger et al., 1997).
pub(super) struct MinHash {
    functions: Vec<(u64, u64)>,
}

impl MinHash {
    /// Always the same functions.
    pub(super) fn new() -> Self {
        let mut rng = Seed::new(0).child("minhash").rng();
        let functions = (0..N_HASHES).map(|_| (rng.random::<u64>() | 1, rng.random::<u64>()));
        Self { functions: functions.collect() }
    }

    /// The signature of a set of well-mixed hashes (Broder, 1997).
    pub(super) fn signature(&self, set: &[u64]) -> Signature {
        let mut signature = [u32::MAX; N_HASHES];
        for x in set {
            for (least, (a, b)) in signature.iter_mut().zip(&self.functions) {
                *least = (*least).min((a.wrapping_mul(*x).wrapping_add(*b) >> 32) as u32);
            }
        }
        signature
    }
}

/// The share of equal values estimates the Jaccard similarity `J`; its standard deviation is `√(J (1 − J) / 128)`.
pub(super) fn estimate(a: &Signature, b: &Signature) -> f64 {
    let n_equal = a.iter().zip(b).filter(|(a, b)| a == b).count();
    n_equal as f64 / N_HASHES as f64
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::cleaning::shingles::{jaccard, mix};

    /// Two sets of which this many are common, and this many only in the first and in the second.
    fn sets(first: u64, counts: [u64; 3]) -> [Vec<u64>; 2] {
        let [n_common, n_first, n_second] = counts;
        let end = first + n_common;
        let numbers = |rest: std::ops::Range<u64>| {
            let mut set: Vec<u64> = (first..end).chain(rest).map(mix).collect();
            set.sort_unstable();
            set
        };
        [numbers(end..end + n_first), numbers(end + n_first..end + n_first + n_second)]
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(24))]

        #[test]
        fn estimates_are_near_what_they_estimate(
            first in any::<u32>(),
            counts in [1..200u64, 0..200u64, 0..200u64],
        ) {
            const N_PAIRS: usize = 8;
            let minhash = MinHash::new();
            let errors = (0..N_PAIRS as u64).map(|pair| {
                let [a, b] = sets(u64::from(first) + pair * 1000, counts);
                let [x, y] = [&a, &b].map(|set| minhash.signature(set));
                (estimate(&x, &y) - jaccard(&a, &b)).abs()
            });
            // One error has a standard deviation of 0.044 at most; the mean of eight stays far below 0.1.
            let mean = errors.sum::<f64>() / N_PAIRS as f64;
            prop_assert!(mean < 0.1, "{mean}");
        }
    }

    #[test]
    fn estimates_are_not_biased() {
        let minhash = MinHash::new();
        for counts in [[80, 10, 10], [50, 25, 25], [20, 40, 40]] {
            let sum: f64 = (0..200)
                .map(|pair| {
                    let [a, b] = sets(pair * 1000, counts).map(|set| minhash.signature(&set));
                    estimate(&a, &b)
                })
                .sum();
            // The mean of 200 has a standard deviation of 0.0031 at most, if the functions are independent of the sets.
            let error = sum / 200.0 - counts[0] as f64 / 100.0;
            assert!(error.abs() < 0.012, "{counts:?}: {error}");
        }
    }
}
