use std::fs::{self, File};
use std::io::{BufWriter, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};

use crate::DataError;
use crate::checkpoint::publish;
use crate::encoding::TokenRow;

use super::TokenStore;
use super::format::{self, Header};
use super::index::{Index, RowSize};

/// Writes rows to a file, one after the other; only their sizes stay in memory.
///
/// The file appears under its name when all is written and synced. A writer that is dropped before
/// [`finish`](Self::finish) leaves nothing.
#[derive(Debug)]
pub struct TokenStoreWriter {
    path: PathBuf,
    out: BufWriter<File>,
    scratch: Scratch,
    index: Index,
}

/// The file as it is being written. It has another name in the end, and is removed otherwise.
#[derive(Debug)]
struct Scratch(PathBuf);

impl Drop for Scratch {
    fn drop(&mut self) {
        let _ = fs::remove_file(&self.0);
    }
}

impl TokenStoreWriter {
    /// Begins a file. One that has this name already stays until the new one is whole.
    ///
    /// # Errors
    /// A folder that can't be written to, or a folder of this name.
    pub fn create(path: impl AsRef<Path>) -> Result<Self, DataError> {
        let path = path.as_ref().to_path_buf();
        if path.is_dir() {
            return Err(DataError::file(&path, "is a folder; name a file to write rows to"));
        }
        let scratch = path.with_extension(format!("tmp-{}", std::process::id()));
        let file = File::create(&scratch).map_err(DataError::io(&scratch))?;
        let (mut out, scratch) = (BufWriter::new(file), Scratch(scratch));
        // Takes the header's place, which is known last.
        out.write_all(&[0; Header::BYTES]).map_err(DataError::io(&scratch.0))?;
        Ok(Self { path, out, scratch, index: Index::default() })
    }

    /// Adds a row.
    ///
    /// # Errors
    /// A row without tokens or with more than 2^24 of them, one whose first token is learned, an id
    /// of 2^31 or more, or a full disk.
    pub fn push(&mut self, row: &TokenRow) -> Result<(), DataError> {
        let number = self.index.len() + 1;
        let refuse = |reason: String| DataError::Invalid(format!("row {number}: {reason}"));
        let size = RowSize::of(row).map_err(refuse)?;
        if row.learned[0] {
            return Err(refuse("nothing predicts the first token, so it can't be learned".into()));
        }
        self.out.write_all(&format::encode(row)).map_err(DataError::io(&self.scratch.0))?;
        self.index.push(size);
        Ok(())
    }

    /// Writes the rest, makes the file appear and opens it.
    pub fn finish(mut self) -> Result<TokenStore, DataError> {
        let checksum = self.write_sizes().map_err(DataError::io(&self.scratch.0))?;
        let (n_rows, n_tokens) = (self.index.len() as u64, self.index.n_tokens());
        let header = Header { n_rows, n_tokens, checksum };
        let n_written = self.write_header(header).map_err(DataError::io(&self.scratch.0))?;
        if Some(n_written) != header.n_bytes() {
            let reason = "a row was written in part only; write the rows again";
            return Err(DataError::file(&self.scratch.0, reason));
        }
        publish(&self.scratch.0, &self.path)?;
        TokenStore::open(&self.path)
    }

    /// Returns the sizes' checksum.
    fn write_sizes(&mut self) -> std::io::Result<u32> {
        let mut checksum = 0;
        for size in self.index.sizes() {
            let bytes = size.to_bytes();
            checksum = crc32c::crc32c_append(checksum, &bytes);
            self.out.write_all(&bytes)?;
        }
        Ok(checksum)
    }

    /// Returns the file's length.
    fn write_header(&mut self, header: Header) -> std::io::Result<u64> {
        let n_written = self.out.stream_position()?;
        self.out.seek(SeekFrom::Start(0))?;
        self.out.write_all(&header.to_bytes())?;
        self.out.flush()?;
        self.out.get_ref().sync_all()?;
        Ok(n_written)
    }
}
