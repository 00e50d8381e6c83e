//! The SQLite file: everything people said, and all that is needed to understand it later.
//!
//! A [`Store`] reads, and changes the file by way of a [`Change`], which is one transaction; a [`Writer`] is a store on a
//! thread of its own that many clients share, and that commits what came in together together.

mod annotators;
mod answers;
mod assign;
mod events;
mod lessons;
mod projects;
mod read;
mod repeats;
mod rulings;
mod tasks;
#[cfg(test)]
mod tests;
mod writer;

use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use rusqlite::{Connection, OpenFlags, TransactionBehavior};
use sha2::{Digest, Sha256};

use crate::error::FeedbackError;
use crate::records::{Annotation, NewTask};

pub(crate) use annotators::random_token;
pub use annotators::{Annotator, Role};
pub use answers::{Receipt, Said, Submission};
pub use assign::Asked;
pub use events::Reported;
pub use lessons::{Lesson, Reply};
pub use projects::Project;
pub use read::{Progress, Stored};
pub use rulings::{Ruling, Subject, Verdict};
pub use writer::Writer;
pub(crate) use writer::stopped;

/// Each brings the schema from the version before to its own.
const MIGRATIONS: [&str; 3] =
    [include_str!("schema/1.sql"), include_str!("schema/2.sql"), include_str!("schema/3.sql")];

/// An open store.
#[derive(Debug)]
pub struct Store {
    path: PathBuf,
    connection: Connection,
}

/// One transaction at work. What its methods do happens together or, after an error or a crash, not at all.
#[derive(Debug)]
pub struct Change<'a> {
    connection: &'a Connection,
    /// Milliseconds since 1970.
    now: i64,
}

impl Store {
    /// Opens the store in a file, made if there is none, and brings it to the newest schema.
    pub fn open(path: &Path) -> Result<Self, FeedbackError> {
        let connection = Connection::open(path).map_err(|it| FeedbackError::from(it).at(path))?;
        configure(&connection).map_err(|it| FeedbackError::from(it).at(path))?;
        let mut store = Self { path: path.to_path_buf(), connection };
        store.migrate()?;
        Ok(store)
    }

    /// Opens a store that is there, to read it.
    pub fn read(path: &Path) -> Result<Self, FeedbackError> {
        if !path.is_file() {
            return Err(FeedbackError::NoStore { path: path.to_path_buf() });
        }
        // Older schemas are brought up to date first, which a reader couldn't do.
        drop(Self::open(path)?);
        let flags = OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_NO_MUTEX;
        let open = Connection::open_with_flags(path, flags).and_then(|connection| {
            connection.busy_timeout(BUSY)?;
            Ok(connection)
        });
        let connection = open.map_err(|it| FeedbackError::from(it).at(path))?;
        Ok(Self { path: path.to_path_buf(), connection })
    }

    /// The file.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Changes the store in one transaction. When this returns, what was done is on the disk.
    pub fn change<T>(
        &mut self,
        change: impl FnOnce(&Change<'_>) -> Result<T, FeedbackError>,
    ) -> Result<T, FeedbackError> {
        self.change_at(now(), change)
    }

    /// Adds tasks to a project, which is made if there is none.
    pub fn add_tasks(&mut self, project: &str, tasks: &[NewTask]) -> Result<(), FeedbackError> {
        self.change(|change| change.add_tasks(project, tasks).map(|_| ()))
    }

    /// Makes somebody known who says things elsewhere: a person of a program that embeds this one, or a simulated one.
    pub fn add_annotator(&mut self, name: &str, role: Role) -> Result<(), FeedbackError> {
        self.change(|change| change.add_annotator(name, role).map(|_| ()))
    }

    /// Stores answers that were given elsewhere. An answer whose key is known is passed over.
    pub fn annotate(&mut self, annotations: &[Annotation]) -> Result<(), FeedbackError> {
        self.change(|change| change.annotate(annotations).map(|_| ()))
    }

    /// As [`Self::change`], at some other time.
    pub(crate) fn change_at<T>(
        &mut self,
        now: i64,
        change: impl FnOnce(&Change<'_>) -> Result<T, FeedbackError>,
    ) -> Result<T, FeedbackError> {
        let path = self.path.clone();
        let changed = || {
            let immediate = TransactionBehavior::Immediate;
            let transaction = self.connection.transaction_with_behavior(immediate)?;
            let result = change(&Change { connection: &transaction, now })?;
            transaction.commit()?;
            Ok(result)
        };
        changed().map_err(|error: FeedbackError| error.at(&path))
    }

    fn query<T>(
        &self,
        query: impl FnOnce(&Connection) -> Result<T, FeedbackError>,
    ) -> Result<T, FeedbackError> {
        query(&self.connection).map_err(|error| error.at(&self.path))
    }

    fn migrate(&mut self) -> Result<(), FeedbackError> {
        let found: i64 = self.query(|connection| {
            let query = "SELECT user_version FROM pragma_user_version";
            Ok(connection.query_row(query, [], |row| row.get(0))?)
        })?;
        let known = MIGRATIONS.len() as i64;
        if found > known {
            return Err(FeedbackError::TooNew { path: self.path.clone(), found, known });
        }
        for (version, migration) in (1..).zip(MIGRATIONS).skip(found as usize) {
            self.change(|change| {
                // Another process may have been faster.
                let query = "SELECT user_version FROM pragma_user_version";
                let found: i64 = change.connection.query_row(query, [], |row| row.get(0))?;
                if found >= version {
                    return Ok(());
                }
                change.connection.execute_batch(migration)?;
                Ok(change.connection.pragma_update(None, "user_version", version)?)
            })?;
        }
        Ok(())
    }
}

/// How long a process waits for another one that writes.
const BUSY: Duration = Duration::from_secs(5);

/// A write-ahead log synced at each commit: what was acknowledged survives a loss of power.
fn configure(connection: &Connection) -> rusqlite::Result<()> {
    connection.busy_timeout(BUSY)?;
    connection.pragma_update(None, "journal_mode", "WAL")?;
    connection.pragma_update(None, "synchronous", "FULL")?;
    connection.pragma_update(None, "foreign_keys", true)
}

pub(crate) fn sha256(text: &str) -> String {
    Sha256::digest(text).iter().map(|byte| format!("{byte:02x}")).collect()
}

pub(crate) fn now() -> i64 {
    let elapsed = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    i64::try_from(elapsed.as_millis()).unwrap_or(i64::MAX)
}
