//! Connections that read, while the writer writes.

use std::collections::HashMap;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use crate::error::FeedbackError;
use crate::store::{Progress, Store};

/// Connections that are kept open.
const KEPT: usize = 8;

/// Connections to read with, shared by all requests.
#[derive(Debug)]
pub(super) struct Readers {
    path: PathBuf,
    idle: Mutex<Vec<Store>>,
    progress: Mutex<HashMap<String, Measured>>,
}

/// How far a project was a moment ago.
#[derive(Clone, Debug)]
struct Measured {
    progress: Arc<Progress>,
    agreement: Option<f64>,
    at: Instant,
    took: Duration,
}

/// What is counted faster than this is counted anew each time.
const AT_ONCE: Duration = Duration::from_millis(5);
/// Larger projects are counted less often: counting takes one part in so many of the time.
const SHARE: u32 = 20;

impl Readers {
    pub(super) fn new(path: PathBuf) -> Self {
        Self { path, idle: Mutex::default(), progress: Mutex::default() }
    }

    /// Reads, on a thread that may wait.
    pub(super) async fn read<T: Send + 'static>(
        self: &Arc<Self>,
        read: impl FnOnce(&Store) -> Result<T, FeedbackError> + Send + 'static,
    ) -> Result<T, FeedbackError> {
        let this = Arc::clone(self);
        let reading = tokio::task::spawn_blocking(move || this.with(read));
        let stopped = |_| FeedbackError::Invalid("reading the store failed".into());
        reading.await.map_err(stopped)?
    }

    /// How far a project is, or was a moment ago, and how often its annotators agree.
    pub(super) async fn progress(
        self: &Arc<Self>,
        project: String,
    ) -> Result<(Arc<Progress>, Option<f64>), FeedbackError> {
        if let Some(known) = lock(&self.progress).get(&project)
            && known.took > AT_ONCE
            && known.at.elapsed() < known.took * SHARE
        {
            return Ok((known.progress.clone(), known.agreement));
        }
        let name = project.clone();
        let measured = self
            .read(move |store| {
                let begin = Instant::now();
                let progress = Arc::new(store.progress(&name)?);
                let agreement = crate::preferences::raw_agreement(&store.answers(&name)?);
                Ok(Measured { progress, agreement, at: Instant::now(), took: begin.elapsed() })
            })
            .await?;
        lock(&self.progress).insert(project, measured.clone());
        Ok((measured.progress, measured.agreement))
    }

    /// Reads, on this thread.
    pub(super) fn with<T>(
        &self,
        read: impl FnOnce(&Store) -> Result<T, FeedbackError>,
    ) -> Result<T, FeedbackError> {
        let idle = lock(&self.idle).pop();
        let store = idle.map_or_else(|| Store::read(&self.path), Ok)?;
        let result = read(&store);
        let mut idle = lock(&self.idle);
        if idle.len() < KEPT {
            idle.push(store);
        }
        result
    }
}

fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
