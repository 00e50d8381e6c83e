//! Two networks that are updated at the same time, each by one half of the threads.
//!
//! An operation of a small network is so short that handing a part of it to another thread and waiting
//! for it takes about as long as the part; two networks that share nothing needn't wait for each other at
//! all. Large networks use all threads, one after the other: their operations are long enough, only one
//! of them has activations and a gradient at a time, and two compete for caches.

use rayon::{ThreadPool, ThreadPoolBuilder};

/// Networks of fewer parameters leave threads waiting. One of 6 million (256 wide, 4,096 entries) is
/// updated faster side by side, one of 110 million is not.
const SMALL: usize = 1 << 22;
/// Bytes of a thread's stack: as much as a program's first thread has.
const STACK: usize = 8 << 20;

/// The threads of this pool, in two halves.
#[derive(Debug)]
pub(crate) struct Halves([ThreadPool; 2]);

impl Halves {
    /// Threads for networks with so many parameters; `None` where they are better updated one after
    /// the other.
    pub(crate) fn for_networks(n_parameters: [usize; 2]) -> Option<Self> {
        let n_threads = rayon::current_num_threads();
        if n_threads < 2 || n_parameters.into_iter().any(|count| count >= SMALL) {
            return None;
        }
        let pool = |count| ThreadPoolBuilder::new().stack_size(STACK).num_threads(count).build();
        // Threads that the system doesn't give are done without.
        Some(Self([pool(n_threads.div_ceil(2)).ok()?, pool(n_threads / 2).ok()?]))
    }

    /// What both return. If one of them panics, this panics when both have ended.
    pub(crate) fn run<T: Send, U: Send>(
        &self,
        first: impl FnOnce() -> T + Send,
        second: impl FnOnce() -> U + Send,
    ) -> (T, U) {
        let [of_first, of_second] = &self.0;
        let mut brought = None;
        let first = of_second.in_place_scope(|scope| {
            scope.spawn(|_| brought = Some(second()));
            of_first.install(first)
        });
        (first, brought.expect("a scope waits for what it spawned"))
    }
}
