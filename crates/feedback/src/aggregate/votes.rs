use std::collections::BTreeSet;

use crate::error::FeedbackError;

/// How many numbers a model may hold: 2²⁶ of 8 bytes are 512 MiB.
const MAX_NUMBERS: usize = 1 << 26;

/// A label that a worker gave to a task. Anything with an order can be a key; inside [`Votes`] they are indices.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Vote<T = usize, W = usize, L = usize> {
    /// What was labelled.
    pub task: T,
    /// Who labelled it.
    pub worker: W,
    /// As what.
    pub label: L,
}

/// All votes, sorted, with keys replaced by their places in [`Keys`]. Each task and each worker has a vote. A
/// worker may label a task several times; each counts.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Votes {
    n_tasks: usize,
    n_workers: usize,
    n_labels: usize,
    rows: Vec<Vote>,
}

/// What the indices of [`Votes`] stand for, each list in ascending order.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Keys<T, W, L> {
    /// Tasks.
    pub tasks: Vec<T>,
    /// Workers.
    pub workers: Vec<W>,
    /// Labels.
    pub labels: Vec<L>,
}

impl Votes {
    /// Votes over the labels that occur.
    ///
    /// # Errors
    /// Where the workers' confusion matrices would take more than 512 MiB, as free texts for labels do.
    pub fn new<T: Ord + Clone, W: Ord + Clone, L: Ord + Clone>(
        votes: &[Vote<T, W, L>],
    ) -> Result<(Self, Keys<T, W, L>), FeedbackError> {
        Self::among(votes, &[])
    }

    /// Votes over the labels that occur and those of `labels`, which need not.
    ///
    /// # Errors
    /// As [`Votes::new`].
    pub fn among<T: Ord + Clone, W: Ord + Clone, L: Ord + Clone>(
        votes: &[Vote<T, W, L>],
        labels: &[L],
    ) -> Result<(Self, Keys<T, W, L>), FeedbackError> {
        let keys = Keys {
            tasks: sorted(votes.iter().map(|it| &it.task)),
            workers: sorted(votes.iter().map(|it| &it.worker)),
            labels: sorted(votes.iter().map(|it| &it.label).chain(labels)),
        };
        check_size(keys.tasks.len(), keys.workers.len(), keys.labels.len())?;
        let mut rows: Vec<Vote> = votes.iter().map(|vote| keys.indices(vote)).collect();
        rows.sort_unstable();
        let [n_tasks, n_workers, n_labels] =
            [keys.tasks.len(), keys.workers.len(), keys.labels.len()];
        Ok((Self { n_tasks, n_workers, n_labels, rows }, keys))
    }

    /// How many tasks there are.
    pub fn n_tasks(&self) -> usize {
        self.n_tasks
    }

    /// How many workers there are.
    pub fn n_workers(&self) -> usize {
        self.n_workers
    }

    /// How many labels there are.
    pub fn n_labels(&self) -> usize {
        self.n_labels
    }

    /// The votes by task, worker and label.
    pub fn rows(&self) -> &[Vote] {
        &self.rows
    }

    /// The votes of each task in turn.
    pub(super) fn by_task(&self) -> impl Iterator<Item = &[Vote]> {
        self.rows.chunk_by(|a, b| a.task == b.task)
    }

    /// How many votes each worker gave.
    pub(super) fn n_of_workers(&self) -> Vec<f64> {
        let mut counts = vec![0.0; self.n_workers];
        self.rows.iter().for_each(|vote| counts[vote.worker] += 1.0);
        counts
    }
}

impl<T: Ord, W: Ord, L: Ord> Keys<T, W, L> {
    fn indices(&self, vote: &Vote<T, W, L>) -> Vote {
        Vote {
            task: place(&self.tasks, &vote.task),
            worker: place(&self.workers, &vote.worker),
            label: place(&self.labels, &vote.label),
        }
    }
}

/// The distinct keys in ascending order.
pub(crate) fn sorted<'a, K: Ord + Clone + 'a>(keys: impl Iterator<Item = &'a K>) -> Vec<K> {
    keys.collect::<BTreeSet<_>>().into_iter().cloned().collect()
}

/// Where a key stands among the [`sorted`] ones.
pub(crate) fn place<K: Ord>(keys: &[K], key: &K) -> usize {
    keys.binary_search(key).expect("the list is made of all keys")
}

fn check_size(n_tasks: usize, n_workers: usize, n_labels: usize) -> Result<(), FeedbackError> {
    let of_workers = n_labels.checked_mul(n_labels).and_then(|it| it.checked_mul(n_workers));
    let of_tasks = n_labels.checked_mul(n_tasks);
    match (of_workers, of_tasks) {
        (Some(of_workers), Some(of_tasks)) if of_workers.max(of_tasks) <= MAX_NUMBERS => Ok(()),
        _ => Err(FeedbackError::Invalid(format!(
            "{n_labels} labels of {n_workers} workers for {n_tasks} tasks are too many to aggregate; \
             free texts need to be grouped into a few labels first"
        ))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_become_indices_in_their_order() {
        let vote = |task, worker, label| Vote { task, worker, label };
        let rows = [vote("b", 7, 'y'), vote("a", 7, 'x'), vote("b", 3, 'x')];
        let (votes, keys) = Votes::new(&rows).expect("few labels");
        assert_eq!((keys.tasks, keys.workers), (vec!["a", "b"], vec![3, 7]));
        let indices: Vec<_> = votes.rows.iter().map(|it| [it.task, it.worker, it.label]).collect();
        assert_eq!(indices, [[0, 1, 0], [1, 0, 0], [1, 1, 1]]);
    }

    #[test]
    fn texts_for_labels_are_refused() {
        let vote = |number: usize| Vote { task: number, worker: number, label: number };
        let rows: Vec<Vote> = (0..1000).map(vote).collect();
        assert!(Votes::new(&rows).is_err());
    }
}
