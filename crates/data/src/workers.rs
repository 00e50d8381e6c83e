//! Processes that train one model together.
//!
//! All of them build the same state from the same seeds and take the same decisions. Of everything that
//! has rows (a batch, a step's prompts, an evaluation), worker `k` of `n` computes rows `k`, `k + n`,
//! `k + 2n`, …, and sums or merges what came of them, so that each of them then knows what one process
//! would have known. The first worker alone writes.
//!
//! How they reach each other is a [`Link`], of which this crate knows none: [`Workers::default`] is one
//! process, for which all of this does nothing.

use std::sync::Arc;

use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::DataError;
use crate::seed::{RowSeeds, Seed};

/// What carries numbers and bytes between workers. Every worker makes the same calls in the same order;
/// each call waits for the others. A worker that is lost must end the others: calls don't fail.
pub trait Link: std::fmt::Debug + Send + Sync {
    /// Which of the workers this one is, counted from 0.
    fn rank(&self) -> usize;
    /// How many there are.
    fn count(&self) -> usize;
    /// Replaces values by their sums over all workers, the same bits everywhere.
    fn sum_f32(&self, values: &mut [f32]);
    /// The same in double precision.
    fn sum_f64(&self, values: &mut [f64]);
    /// What each worker gives, in the order of their ranks.
    fn gather(&self, bytes: &[u8]) -> Vec<Vec<u8>>;
    /// What the first worker gives.
    fn spread(&self, bytes: Vec<u8>) -> Vec<u8>;
}

/// This process among the workers of a run.
#[derive(Clone, Debug, Default)]
pub struct Workers(Option<Arc<dyn Link>>);

impl Workers {
    /// Those that `link` connects.
    pub fn new(link: Arc<dyn Link>) -> Self {
        Self(Some(link))
    }

    /// Which of the workers this one is, counted from 0.
    pub fn rank(&self) -> usize {
        self.0.as_ref().map_or(0, |link| link.rank())
    }

    /// How many there are.
    pub fn count(&self) -> usize {
        self.0.as_ref().map_or(1, |link| link.count())
    }

    /// Whether this is the one that writes and speaks.
    pub fn leads(&self) -> bool {
        self.rank() == 0
    }

    /// Of these rows, the ones that this worker computes.
    pub fn share<'a, T>(&self, rows: &'a [T]) -> Vec<&'a T> {
        rows.iter().skip(self.rank()).step_by(self.count()).collect()
    }

    /// The random streams of [`share`](Self::share)'s rows: those that one process would give them.
    pub fn row_seeds(&self, seed: Seed) -> RowSeeds {
        RowSeeds::every(seed, self.rank(), self.count())
    }

    /// All rows, in their order, where each worker gives what became of its [`share`](Self::share).
    ///
    /// # Errors
    /// Another worker is of a different build.
    pub fn merge<T: Serialize + DeserializeOwned>(
        &self,
        rows: Vec<T>,
    ) -> Result<Vec<T>, DataError> {
        let Some(link) = &self.0 else { return Ok(rows) };
        let parts = link.gather(&encode(&rows));
        let parts: Vec<Vec<T>> =
            parts.iter().map(|part| decode(part)).collect::<Result<_, DataError>>()?;
        let n_rows = parts.iter().map(Vec::len).sum::<usize>();
        let mut parts: Vec<_> = parts.into_iter().map(Vec::into_iter).collect();
        let merged = (0..n_rows).map(|row| parts[row % self.count()].next().ok_or_else(misfit));
        merged.collect()
    }

    /// What the first worker makes, for all of them. If it fails, it has to end the others.
    ///
    /// # Errors
    /// The first worker's own, and a first worker of a different build.
    pub fn from_first<T: Serialize + DeserializeOwned, E: From<DataError>>(
        &self,
        make: impl FnOnce() -> Result<T, E>,
    ) -> Result<T, E> {
        match &self.0 {
            None => make(),
            Some(link) if self.leads() => {
                let made = make()?;
                link.spread(encode(&made));
                Ok(made)
            }
            Some(link) => Ok(decode(&link.spread(Vec::new()))?),
        }
    }

    /// Replaces values by their sums over all workers.
    pub fn sum_f32(&self, values: &mut [f32]) {
        if let Some(link) = &self.0 {
            link.sum_f32(values);
        }
    }

    /// Replaces values by their sums over all workers, in double precision.
    pub fn sum_f64(&self, values: &mut [f64]) {
        if let Some(link) = &self.0 {
            link.sum_f64(values);
        }
    }

    /// The largest of the workers' values.
    pub fn largest(&self, value: f64) -> f64 {
        let mut values = vec![0.0; self.count()];
        values[self.rank()] = value;
        self.sum_f64(&mut values);
        values.into_iter().fold(f64::NEG_INFINITY, f64::max)
    }

    /// Whether any of the workers says so.
    pub fn any(&self, says: bool) -> bool {
        self.largest(f64::from(u8::from(says))) > 0.0
    }

    /// Compares what all workers have made until `step`, by its digest. One worker alone isn't asked for it; if
    /// one of several has none, none of them has.
    ///
    /// # Errors
    /// A worker whose digest isn't the first one's. All of them hear it.
    pub fn agree(
        &self,
        step: usize,
        digest: impl FnOnce() -> Option<Vec<u8>>,
    ) -> Result<(), DataError> {
        let Some(link) = &self.0 else { return Ok(()) };
        let Some(digest) = digest() else { return Ok(()) };
        let digests = link.gather(&digest);
        let count = digests.len();
        match digests.iter().position(|it| *it != digests[0]) {
            Some(rank) => Err(DataError::Diverged { step, worker: rank + 1, count }),
            None => Ok(()),
        }
    }

    /// Waits for the others.
    pub fn meet(&self) {
        self.sum_f64(&mut [0.0]);
    }
}

/// Binary, so that numbers keep their bits and NaN stays NaN.
fn encode(value: &impl Serialize) -> Vec<u8> {
    // With names, since a row may leave fields out.
    rmp_serde::to_vec_named(value).expect("plain data")
}

fn decode<T: DeserializeOwned>(bytes: &[u8]) -> Result<T, DataError> {
    rmp_serde::from_slice(bytes).map_err(|_| misfit())
}

fn misfit() -> DataError {
    let reason = "what another worker sent can't be read; start all workers from the same build";
    DataError::Invalid(reason.into())
}

#[cfg(test)]
pub(crate) mod tests {
    use std::sync::{Barrier, Mutex};
    use std::thread;

    use super::*;

    /// Workers that are threads of one process.
    #[derive(Debug)]
    struct Table {
        seats: Mutex<Vec<Vec<u8>>>,
        barrier: Barrier,
    }

    #[derive(Debug)]
    struct Seat {
        rank: usize,
        table: Arc<Table>,
    }

    impl Link for Seat {
        fn rank(&self) -> usize {
            self.rank
        }

        fn count(&self) -> usize {
            self.table.seats.lock().expect("nobody panicked").len()
        }

        fn sum_f32(&self, _: &mut [f32]) {
            unreachable!("these tests sum in double precision");
        }

        fn sum_f64(&self, values: &mut [f64]) {
            let parts = self.gather(&encode(&values));
            let parts = parts.iter().map(|part| decode::<Vec<f64>>(part).expect("is a list"));
            let parts: Vec<Vec<f64>> = parts.collect();
            for (place, value) in values.iter_mut().enumerate() {
                *value = parts.iter().map(|part| part[place]).sum();
            }
        }

        fn gather(&self, bytes: &[u8]) -> Vec<Vec<u8>> {
            self.table.seats.lock().expect("nobody panicked")[self.rank] = bytes.to_vec();
            self.table.barrier.wait();
            let all = self.table.seats.lock().expect("nobody panicked").clone();
            self.table.barrier.wait();
            all
        }

        fn spread(&self, bytes: Vec<u8>) -> Vec<u8> {
            self.gather(&bytes).swap_remove(0)
        }
    }

    /// What each of `count` workers makes.
    pub(crate) fn together<T: Send>(count: usize, make: impl Fn(Workers) -> T + Sync) -> Vec<T> {
        let table =
            Table { seats: Mutex::new(vec![Vec::new(); count]), barrier: Barrier::new(count) };
        let table = Arc::new(table);
        thread::scope(|scope| {
            let begin = |rank| {
                let workers = Workers::new(Arc::new(Seat { rank, table: table.clone() }));
                let make = &make;
                scope.spawn(move || make(workers))
            };
            let running: Vec<_> = (0..count).map(begin).collect();
            running.into_iter().map(|it| it.join().expect("doesn't panic")).collect()
        })
    }

    #[test]
    fn shares_merge_into_all_rows_in_their_order() {
        for (n_rows, count) in [(0, 2), (1, 4), (7, 2), (8, 4), (5, 3)] {
            let rows: Vec<u32> = (0..n_rows).collect();
            let merged = together(count, |workers| {
                let mine = workers.share(&rows).into_iter().map(|row| 10 * row).collect();
                workers.merge(mine).expect("merges")
            });
            let expected: Vec<u32> = rows.iter().map(|row| 10 * row).collect();
            assert_eq!(merged, vec![expected; count]);
        }
    }

    #[test]
    fn a_row_has_the_seed_that_one_process_gives_it() {
        let seed = Seed::new(4);
        let rows: Vec<usize> = (0..7).collect();
        together(3, |workers| {
            let seeds = workers.row_seeds(seed);
            for (place, row) in workers.share(&rows).into_iter().enumerate() {
                assert_eq!(seeds.of(place), seed.index(*row as u64));
            }
        });
    }

    #[test]
    fn not_a_number_is_merged_as_such_and_shares_that_fit_no_list_are_refused() {
        let merged = together(2, |workers| workers.merge(vec![f32::NAN, 1.5]).expect("merges"));
        assert!(merged.iter().all(|it| it[0].is_nan() && it[2] == 1.5), "{merged:?}");
        let refused = together(2, |workers| workers.merge(vec![0; 2 * workers.rank()]).is_err());
        assert_eq!(refused, [true, true]);
    }

    #[test]
    fn fields_that_a_row_leaves_out_are_not_taken_for_others() {
        #[derive(Debug, PartialEq, Serialize, serde::Deserialize)]
        struct Row {
            #[serde(default, skip_serializing_if = "Vec::is_empty")]
            first: Vec<u8>,
            #[serde(default, skip_serializing_if = "Vec::is_empty")]
            second: Vec<u8>,
        }
        let merged = together(2, |workers| {
            let row = Row { first: Vec::new(), second: vec![workers.rank() as u8] };
            workers.merge(vec![row]).expect("merges")
        });
        let row = |rank| Row { first: Vec::new(), second: vec![rank] };
        assert!(merged.iter().all(|it| *it == [row(0), row(1)]), "{merged:?}");
    }

    #[test]
    fn all_hear_the_first_and_agree_on_what_any_says() {
        let heard = together(3, |workers| {
            let word = workers.from_first(|| Ok::<_, DataError>(workers.rank() + 40));
            let any = workers.any(workers.rank() == 2);
            (word.expect("is heard"), any, workers.any(false), workers.largest(-1.0))
        });
        assert_eq!(heard, vec![(40, true, false, -1.0); 3]);
    }

    #[test]
    fn whoever_made_something_else_is_named() {
        let agree = |odd: usize| {
            together(4, |workers| {
                let rank = workers.rank();
                workers
                    .agree(7, || Some(vec![3, u8::from(rank >= odd)]))
                    .map_err(|it| it.to_string())
            })
        };
        assert_eq!(agree(4), vec![Ok(()); 4]);
        let told = agree(2);
        for told in told {
            let error = told.expect_err("differs");
            assert!(error.contains("step 7: worker 3 of 4 has other weights"), "{error}");
        }
        let alone = Workers::default().agree(7, || unreachable!("nobody to compare with"));
        assert!(alone.is_ok());
    }

    #[test]
    fn one_process_is_alone_with_everything() {
        let workers = Workers::default();
        assert!(workers.leads() && workers.count() == 1);
        assert_eq!(workers.share(&[1, 2, 3]), [&1, &2, &3]);
        assert_eq!(workers.merge(vec![1, 2]).expect("merges"), [1, 2]);
        assert!(workers.any(true) && !workers.any(false));
    }
}
