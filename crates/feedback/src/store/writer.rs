//! One writer for many clients: a store on a thread of its own.
//!
//! SQLite has one writer at a time, and each commit waits for the disk. What came in while the last commit was under way is
//! therefore done in one transaction; nobody is told of success before it is on the disk.

use std::path::Path;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::thread;

use rusqlite::TransactionBehavior;

use super::{Change, Store, now};
use crate::error::FeedbackError;

/// Jobs that may wait; more make their senders wait.
const QUEUE: usize = 1024;
/// Jobs of one transaction at most.
const BATCH: usize = 256;

/// A handle to the writer; its clones share it. The thread ends with the last of them.
#[derive(Clone, Debug)]
pub struct Writer {
    jobs: SyncSender<Job>,
    path: Arc<Path>,
}

/// Does its change in a transaction, if there could be one.
struct Job(Box<Work>);

type Work = dyn FnOnce(Result<&Change<'_>, FeedbackError>) -> Acknowledge + Send;

/// Tells a client what became of its change, once that is certain: nothing if it is on the disk, else why it isn't.
type Acknowledge = Box<dyn FnOnce(Option<FeedbackError>) + Send>;

impl Writer {
    /// Opens the store in a file, on a thread of its own.
    pub fn open(path: &Path) -> Result<Self, FeedbackError> {
        let store = Store::open(path)?;
        let (jobs, queue) = sync_channel(QUEUE);
        thread::Builder::new()
            .name("feedback-writer".into())
            .spawn(move || serve(store, &queue))
            .map_err(|error| FeedbackError::Invalid(format!("no thread to write: {error}")))?;
        Ok(Self { jobs, path: path.into() })
    }

    /// Changes the store, and calls `then` with what came of it once it is on the disk or has failed.
    pub fn send<T: Send + 'static>(
        &self,
        change: impl FnOnce(&Change<'_>) -> Result<T, FeedbackError> + Send + 'static,
        then: impl FnOnce(Result<T, FeedbackError>) + Send + 'static,
    ) {
        let path = self.path.clone();
        let job = Job(Box::new(move |session| {
            let result = session.and_then(|session| within_savepoint(session, change));
            let result = result.map_err(|error| error.at(&path));
            Box::new(move |failure| then(failure.map_or(result, Err)))
        }));
        // The thread outlives all handles, unless it panicked; then nobody is told of success.
        drop(self.jobs.send(job));
    }

    /// Changes the store, and waits until that is on the disk.
    pub fn change<T: Send + 'static>(
        &self,
        change: impl FnOnce(&Change<'_>) -> Result<T, FeedbackError> + Send + 'static,
    ) -> Result<T, FeedbackError> {
        let (sender, receiver) = sync_channel(1);
        self.send(change, move |result| drop(sender.send(result)));
        receiver.recv().unwrap_or_else(|_| Err(stopped()))
    }
}

/// What clients are told when the writer isn't there any more.
pub(crate) fn stopped() -> FeedbackError {
    FeedbackError::Invalid("the store's writer has stopped; start the program again".into())
}

fn serve(mut store: Store, queue: &Receiver<Job>) {
    while let Ok(first) = queue.recv() {
        let rest = queue.try_iter().take(BATCH - 1);
        let batch: Vec<Job> = std::iter::once(first).chain(rest).collect();
        commit(&mut store, batch);
    }
}

/// Does jobs in one transaction, and tells their clients afterwards.
fn commit(store: &mut Store, batch: Vec<Job>) {
    let immediate = TransactionBehavior::Immediate;
    let transaction = match store.connection.transaction_with_behavior(immediate) {
        Ok(transaction) => transaction,
        Err(error) => {
            let reason = error.to_string();
            let refuse = |Job(job)| job(Err(not_stored(&reason)))(None);
            return batch.into_iter().for_each(refuse);
        }
    };
    let change = Change { connection: &transaction, now: now() };
    let waiting: Vec<Acknowledge> = batch.into_iter().map(|Job(job)| job(Ok(&change))).collect();
    let failure = transaction.commit().err().map(|error| error.to_string());
    for acknowledge in waiting {
        acknowledge(failure.as_deref().map(not_stored));
    }
}

fn not_stored(reason: &str) -> FeedbackError {
    FeedbackError::Invalid(format!("this couldn't be stored: {reason}"))
}

/// A change that fails undoes itself and leaves the others of its transaction alone.
fn within_savepoint<T>(
    session: &Change<'_>,
    change: impl FnOnce(&Change<'_>) -> Result<T, FeedbackError>,
) -> Result<T, FeedbackError> {
    session.connection.execute_batch("SAVEPOINT job")?;
    let result = change(session);
    let end = if result.is_ok() { "RELEASE job" } else { "ROLLBACK TO job; RELEASE job" };
    session.connection.execute_batch(end)?;
    result
}
