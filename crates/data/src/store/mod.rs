//! Encoded rows, in memory or in a file that needn't fit there.
//!
//! A file of rows is written once by a [`TokenStoreWriter`] and read row by row, in any order. Its
//! sizes are kept in memory, so that lengths cost nothing; every row carries a checksum.

mod format;
mod index;
mod positioned;
mod writer;

use std::fs::File;
use std::io::{self, BufReader, Read, Seek, SeekFrom};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::DataError;
use crate::encoding::TokenRow;

pub use writer::TokenStoreWriter;

use format::Header;
use index::{Index, RowSize};
use positioned::Positioned;

/// Encoded rows by number. Clones share the rows.
#[derive(Clone, Debug)]
pub struct TokenStore(Arc<Rows>);

#[derive(Debug)]
enum Rows {
    Memory(Vec<TokenRow>),
    File(RowFile),
}

#[derive(Debug)]
struct RowFile {
    path: PathBuf,
    file: Positioned,
    index: Index,
}

impl TokenStore {
    /// Rows that are there already.
    pub fn in_memory(rows: Vec<TokenRow>) -> Self {
        Self(Arc::new(Rows::Memory(rows)))
    }

    /// Rows of a file that a [`TokenStoreWriter`] wrote. Takes about 8 bytes of memory a row.
    ///
    /// # Errors
    /// A file that isn't one, was cut, or whose header or sizes are damaged.
    pub fn open(path: impl AsRef<Path>) -> Result<Self, DataError> {
        let path = path.as_ref().to_path_buf();
        let file = File::open(&path).map_err(DataError::io(&path))?;
        let index = read_index(&file).map_err(|error| match error {
            Unreadable::Io(source) => DataError::io(&path)(source),
            Unreadable::Damaged(what) => damaged(&path, &what),
        })?;
        Ok(Self(Arc::new(Rows::File(RowFile { path, file: Positioned::new(file), index }))))
    }

    /// How many rows there are.
    pub fn len(&self) -> usize {
        match &*self.0 {
            Rows::Memory(rows) => rows.len(),
            Rows::File(RowFile { index, .. }) => index.len(),
        }
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The tokens of a row, counted without reading it.
    pub fn n_tokens(&self, row: usize) -> usize {
        match &*self.0 {
            Rows::Memory(rows) => rows[row].tokens.len(),
            Rows::File(RowFile { index, .. }) => index.size(row).n_tokens(),
        }
    }

    /// The learned tokens of a row, counted without reading it.
    pub fn n_learned(&self, row: usize) -> usize {
        match &*self.0 {
            Rows::Memory(rows) => rows[row].n_learned(),
            Rows::File(RowFile { index, .. }) => index.size(row).n_learned(),
        }
    }

    /// A row, read and checked. Panics beyond [`len`](Self::len), as a slice does.
    ///
    /// # Errors
    /// A file that was damaged or cut since it was opened: the row is named.
    pub fn row(&self, row: usize) -> Result<TokenRow, DataError> {
        match &*self.0 {
            Rows::Memory(rows) => Ok(rows[row].clone()),
            Rows::File(file) => file.row(row),
        }
    }
}

impl RowFile {
    fn row(&self, row: usize) -> Result<TokenRow, DataError> {
        let size = self.index.size(row);
        let mut bytes = vec![0; format::row_bytes(size)];
        let place = format::place(&self.index, row);
        self.file.read_exact_at(&mut bytes, place).map_err(|error| match error.kind() {
            io::ErrorKind::UnexpectedEof => {
                damaged(&self.path, &format!("it ends before row {} does", row + 1))
            }
            _ => DataError::io(&self.path)(error),
        })?;
        format::decode(&bytes, size)
            .map_err(|what| damaged(&self.path, &format!("row {} {what}", row + 1)))
    }
}

fn damaged(path: &Path, what: &str) -> DataError {
    DataError::file(path, format!("{what}; delete the file and encode the rows again"))
}

enum Unreadable {
    Io(io::Error),
    Damaged(String),
}

impl From<io::Error> for Unreadable {
    fn from(error: io::Error) -> Self {
        Self::Io(error)
    }
}

/// Believes no count before the length of the file and a checksum confirm it.
fn read_index(file: &File) -> Result<Index, Unreadable> {
    let n_bytes = file.metadata()?.len();
    let mut reader = BufReader::new(file);
    let mut header = [0; Header::BYTES];
    if n_bytes < header.len() as u64 {
        return Err(Unreadable::Damaged(format!("{n_bytes} bytes aren't encoded rows")));
    }
    reader.read_exact(&mut header)?;
    let header = Header::from_bytes(&header).map_err(Unreadable::Damaged)?;
    let Some(sizes_at) = header.sizes_at().filter(|_| header.n_bytes() == Some(n_bytes)) else {
        let Header { n_rows, n_tokens, .. } = header;
        return Err(Unreadable::Damaged(format!(
            "{n_bytes} bytes can't be the {n_rows} rows of {n_tokens} tokens that it announces"
        )));
    };
    reader.seek(SeekFrom::Start(sizes_at))?;
    read_sizes(reader, header)
}

fn read_sizes(mut reader: impl Read, header: Header) -> Result<Index, Unreadable> {
    let mut index = Index::default();
    let mut checksum = 0;
    for row in 1..=header.n_rows {
        let mut bytes = [0; RowSize::BYTES];
        reader.read_exact(&mut bytes)?;
        checksum = crc32c::crc32c_append(checksum, &bytes);
        let size = RowSize::from_bytes(bytes);
        index.push(size.map_err(|what| Unreadable::Damaged(format!("row {row}: {what}")))?);
    }
    if checksum != header.checksum || index.n_tokens() != header.n_tokens {
        return Err(Unreadable::Damaged("the sizes of its rows are damaged".into()));
    }
    Ok(index)
}

#[cfg(test)]
mod tests;
