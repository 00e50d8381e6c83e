//! Brings one file into the cache: whole and checked, or not at all.

use std::fmt::Display;
use std::fs::{self, File, OpenOptions, TryLockError};
use std::io::{self, Read, Seek, Write};
use std::path::{Path, PathBuf};
use std::thread::sleep;
use std::time::Duration;

use sha1::Sha1;
use sha2::{Digest as _, Sha256};
use ureq::Body;
use ureq::http::Response;

use super::HubError;
use super::cache::Snapshot;
use super::client::{Client, header};
use super::listing::{Digest, RemoteFile};
use super::progress::{self, Progress};

/// Attempts without a new byte before we give up.
const MAX_TRIES: u32 = 3;
/// The wait before the second attempt; later ones double it.
const FIRST_WAIT: Duration = Duration::from_millis(500);

/// Brings `file` into the snapshot, unless it is there.
///
/// What has arrived of it lies beside its place as `HASH.incomplete`, where a later attempt finds it and
/// goes on. It gets its name once it has the size and the hash that the Hub lists.
pub(super) fn fetch(
    client: &Client,
    snapshot: &Snapshot,
    file: &RemoteFile,
    progress: &mut Progress,
) -> Result<(), HubError> {
    let (blob, lock) = snapshot.blob(&file.digest)?;
    progress.file(&file.name);
    let _lock = acquire(&lock, &file.name)?;
    let Some(size) = file.size else {
        return Err(client.fault(&file.name, "the server doesn't say how large it is"));
    };
    if fs::metadata(&blob).is_ok_and(|found| found.len() == size) {
        progress.add(size);
    } else {
        let part = blob.with_added_extension("incomplete");
        Download { client, file, size, part, progress }.run(&blob)?;
    }
    snapshot.link(&file.name, &file.digest)
}

/// Waits until no other process brings the same file.
fn acquire(path: &Path, name: &str) -> Result<File, HubError> {
    let lock = File::create(path).map_err(HubError::io(path))?;
    match lock.try_lock() {
        Ok(()) => return Ok(lock),
        Err(TryLockError::WouldBlock) => {
            progress::note(&format!("{name}: another process is downloading it; waiting"));
        }
        Err(TryLockError::Error(error)) => return Err(HubError::io(path)(error)),
    }
    lock.lock().map_err(HubError::io(path))?;
    Ok(lock)
}

/// A file that is on its way.
struct Download<'a> {
    client: &'a Client,
    file: &'a RemoteFile,
    size: u64,
    /// What has arrived.
    part: PathBuf,
    progress: &'a mut Progress,
}

impl Download<'_> {
    fn run(mut self, blob: &Path) -> Result<(), HubError> {
        let mut options = OpenOptions::new();
        let opened = options.create(true).truncate(false).read(true).write(true).open(&self.part);
        let mut part = opened.map_err(HubError::io(&self.part))?;
        let was_begun = self.length(&part)? > 0;
        self.complete(&mut part)?;
        if !self.is_intact(&mut part)? {
            // What an earlier attempt left may have been damaged since.
            part.set_len(0).map_err(HubError::io(&self.part))?;
            if was_begun {
                self.complete(&mut part)?;
            }
            if !was_begun || !self.is_intact(&mut part)? {
                fs::remove_file(&self.part).map_err(HubError::io(&self.part))?;
                return Err(
                    self.fault("its content hasn't the hash that the Hub lists; it was removed")
                );
            }
        }
        part.sync_all().map_err(HubError::io(&self.part))?;
        fs::rename(&self.part, blob).map_err(HubError::io(blob))
    }

    /// Asks again and again for what is missing, as long as something comes.
    fn complete(&mut self, part: &mut File) -> Result<(), HubError> {
        let (mut most, mut tries) = (self.length(part)?, 0);
        if most > self.size {
            part.set_len(0).map_err(HubError::io(&self.part))?;
            most = 0;
        }
        while self.length(part)? < self.size {
            let error = match self.append(part) {
                Ok(()) => self.fault("it ended early"),
                Err(error) if !is_passing(&error) => return Err(error),
                Err(error) => error,
            };
            let length = self.length(part)?;
            if length == self.size {
                break;
            }
            tries = if length > most { 1 } else { tries + 1 };
            most = most.max(length);
            if tries == MAX_TRIES {
                return Err(error);
            }
            sleep(FIRST_WAIT * (1 << (tries - 1)));
        }
        Ok(())
    }

    /// One request for the rest.
    fn append(&mut self, part: &mut File) -> Result<(), HubError> {
        let mut response = self.client.get(&self.file.url, self.length(part)?)?;
        let from = self.begin(&response, self.length(part)?)?;
        part.set_len(from)
            .and_then(|()| part.seek(io::SeekFrom::End(0)))
            .map_err(HubError::io(&self.part))?;
        self.progress.at(from);
        let mut left = self.size - from;
        let mut reader = response.body_mut().as_reader();
        let mut buffer = vec![0; 1 << 16];
        loop {
            let n_read = match reader.read(&mut buffer) {
                Ok(0) => return Ok(()),
                Ok(n_read) => n_read,
                Err(error) => return Err(self.fault(error)),
            };
            left = left.checked_sub(n_read as u64).ok_or_else(|| self.too_long(part))?;
            part.write_all(&buffer[..n_read]).map_err(HubError::io(&self.part))?;
            self.progress.add(n_read as u64);
        }
    }

    /// The byte that an answer begins with: servers may send all of it instead of the rest.
    fn begin(&self, response: &Response<Body>, asked: u64) -> Result<u64, HubError> {
        let range = header(response.headers(), "content-range");
        let first = range.and_then(|it| it.strip_prefix("bytes ")?.split('-').next()?.parse().ok());
        match response.status().as_u16() {
            200 => Ok(0),
            206 if first == Some(asked) => Ok(asked),
            206 => Err(self.fault("the server sent another part than the missing one")),
            // The files of a gated model can be seen by all and read by few.
            status @ (401 | 403) => Err(self.client.denied(status)),
            status => Err(self.fault(format_args!("the server answers HTTP {status}"))),
        }
    }

    /// A body that goes on behind the file's end isn't that file.
    fn too_long(&self, part: &File) -> HubError {
        // The error counts; where even this fails, the hash will tell.
        let _ = part.set_len(0);
        let RemoteFile { name, .. } = self.file;
        let size = self.size;
        self.client.unusable(format!("{name} is longer than the {size} bytes that the Hub lists"))
    }

    fn is_intact(&self, part: &mut File) -> Result<bool, HubError> {
        part.rewind().map_err(HubError::io(&self.part))?;
        let found = match &self.file.digest {
            Digest::Sha256(_) => hash(Sha256::new(), part),
            Digest::Git(_) => hash(Sha1::new().chain_update(format!("blob {}\0", self.size)), part),
            Digest::Opaque(_) => return Ok(true),
        };
        Ok(found.map_err(HubError::io(&self.part))? == self.file.digest.text())
    }

    fn fault(&self, reason: impl Display) -> HubError {
        self.client.fault(&self.file.name, reason)
    }

    fn length(&self, part: &File) -> Result<u64, HubError> {
        Ok(part.metadata().map_err(HubError::io(&self.part))?.len())
    }
}

/// The hash of what is left to read, in hexadecimal digits.
fn hash<H: sha2::Digest + Write>(mut hasher: H, reader: &mut File) -> io::Result<String> {
    io::copy(reader, &mut hasher)?;
    Ok(hasher.finalize().iter().map(|byte| format!("{byte:02x}")).collect())
}

/// Whether trying again may help.
fn is_passing(error: &HubError) -> bool {
    matches!(error, HubError::Unreachable { .. } | HubError::Transfer { .. })
}
