//! A JSON array of rows, read element by element.

use std::io::BufRead;
use std::path::{Path, PathBuf};

use super::{MAX_ROW_BYTES, Place, Row, json};
use crate::{DataError, jsonl};

/// The elements of the one array of objects in a file.
pub(super) struct Elements {
    path: PathBuf,
    reader: Box<dyn BufRead>,
    at: At,
    /// The member that holds the rows, where they stand inside an object.
    member: Option<String>,
    n_rows: usize,
}

/// Where the reader stands.
#[derive(Clone, Copy, PartialEq, Eq)]
enum At {
    Begin,
    /// Between the members of the object around the rows.
    Members {
        is_first: bool,
    },
    /// Between rows.
    Rows {
        is_first: bool,
    },
    End,
}

/// Why nothing more can be read.
enum Fault {
    Io(std::io::Error),
    Json(String),
}

impl From<std::io::Error> for Fault {
    fn from(error: std::io::Error) -> Self {
        Self::Io(error)
    }
}

impl From<&str> for Fault {
    fn from(reason: &str) -> Self {
        Self::Json(reason.to_owned())
    }
}

impl Elements {
    pub(super) fn open(path: &Path) -> Result<Self, DataError> {
        let reader = jsonl::open(path)?;
        Ok(Self { path: path.to_owned(), reader, at: At::Begin, member: None, n_rows: 0 })
    }

    /// The bytes of the next row.
    fn advance(&mut self) -> Result<Option<Vec<u8>>, Fault> {
        loop {
            match self.at {
                At::Begin => self.begin()?,
                At::Members { is_first } => self.next_member(is_first)?,
                At::Rows { is_first } => {
                    if let Some(row) = self.next_row(is_first)? {
                        return Ok(Some(row));
                    }
                }
                At::End => {
                    return match self.peek()? {
                        None => Ok(None),
                        Some(_) => Err("something follows its end; one object on each line is \
                                        called `.jsonl`"
                            .into()),
                    };
                }
            }
        }
    }

    fn begin(&mut self) -> Result<(), Fault> {
        self.at = match self.peek()? {
            Some(b'[') => At::Rows { is_first: true },
            Some(b'{') => At::Members { is_first: true },
            _ => return Err("neither a list of rows nor an object that holds one".into()),
        };
        self.reader.consume(1);
        Ok(())
    }

    fn next_member(&mut self, is_first: bool) -> Result<(), Fault> {
        if self.ends_with(b'}', is_first)? {
            if self.member.is_none() {
                return Err("an object, but none of its members is a list of rows".into());
            }
            self.at = At::End;
            return Ok(());
        }
        let key = self.value()?;
        let key: String = serde_json::from_slice(&key)
            .map_err(|error| Fault::Json(format!("not JSON: {error}")))?;
        self.expect(b':')?;
        self.at = At::Members { is_first: false };
        if self.peek()? != Some(b'[') {
            return self.skip_value();
        }
        self.reader.consume(1);
        if self.peek()? != Some(b'{') {
            // A list of something else: it ends with the bracket that closes the one just read.
            return self.scan(1, |_| Ok(()));
        }
        if let Some(other) = &self.member {
            let reason = format!("two lists of rows, `{other}` and `{key}`; keep one of them");
            return Err(Fault::Json(reason));
        }
        self.member = Some(key);
        self.at = At::Rows { is_first: true };
        Ok(())
    }

    fn next_row(&mut self, is_first: bool) -> Result<Option<Vec<u8>>, Fault> {
        if self.ends_with(b']', is_first)? {
            let is_inside = self.member.is_some();
            self.at = if is_inside { At::Members { is_first: false } } else { At::End };
            return Ok(None);
        }
        if matches!(self.peek()?, None | Some(b']' | b'}' | b',')) {
            return Err("a comma without a row behind it".into());
        }
        self.at = At::Rows { is_first: false };
        self.n_rows += 1;
        self.value().map(Some)
    }

    /// Whether a list or an object ends here; if not, a comma stands before all but its first item.
    fn ends_with(&mut self, end: u8, is_first: bool) -> Result<bool, Fault> {
        if self.peek()? == Some(end) {
            self.reader.consume(1);
            return Ok(true);
        }
        if !is_first {
            self.expect(b',')?;
        }
        Ok(false)
    }

    fn expect(&mut self, byte: u8) -> Result<(), Fault> {
        if self.peek()? != Some(byte) {
            return Err(Fault::Json(format!("not JSON: expected `{}`", char::from(byte))));
        }
        self.reader.consume(1);
        Ok(())
    }

    /// The next byte that isn't white space (or the mark that some texts begin with).
    fn peek(&mut self) -> Result<Option<u8>, Fault> {
        loop {
            let chunk = self.reader.fill_buf()?;
            let n_blank = chunk.iter().take_while(|byte| is_blank(**byte)).count();
            if n_blank < chunk.len() {
                let byte = chunk[n_blank];
                self.reader.consume(n_blank);
                return Ok(Some(byte));
            }
            if chunk.is_empty() {
                return Ok(None);
            }
            self.reader.consume(n_blank);
        }
    }

    /// The bytes of the value that begins here.
    fn value(&mut self) -> Result<Vec<u8>, Fault> {
        let mut value = Vec::new();
        self.peek()?;
        self.scan(0, |bytes| {
            if (value.len() + bytes.len()) as u64 > MAX_ROW_BYTES {
                return Err("longer than 8 MiB".into());
            }
            value.extend_from_slice(bytes);
            Ok(())
        })?;
        Ok(value)
    }

    fn skip_value(&mut self) -> Result<(), Fault> {
        self.scan(0, |_| Ok(()))
    }

    /// Passes over one value, `depth` levels inside of it, by its brackets and quotation marks.
    fn scan(
        &mut self,
        depth: usize,
        mut keep: impl FnMut(&[u8]) -> Result<(), Fault>,
    ) -> Result<(), Fault> {
        let mut scanner = Scanner { depth, in_text: false, escaped: false, begun: depth > 0 };
        loop {
            let chunk = self.reader.fill_buf()?;
            if chunk.is_empty() {
                return Err("ends in the middle of a row or list".into());
            }
            let end = scanner.end(chunk);
            let n_bytes = end.unwrap_or(chunk.len());
            keep(&chunk[..n_bytes])?;
            self.reader.consume(n_bytes);
            if end.is_some() {
                return Ok(());
            }
        }
    }
}

impl Iterator for Elements {
    type Item = Result<Row, DataError>;

    fn next(&mut self) -> Option<Self::Item> {
        let bytes = match self.advance() {
            Ok(bytes) => bytes?,
            Err(fault) => {
                (self.at, self.reader) = (At::End, Box::new(std::io::empty()));
                let place = Place::Row(self.n_rows);
                return Some(Err(match fault {
                    Fault::Io(error) => DataError::io(&self.path)(error),
                    Fault::Json(reason) if self.n_rows == 0 => DataError::file(&self.path, reason),
                    Fault::Json(reason) => place.refuse(&self.path, reason),
                }));
            }
        };
        let place = Place::Row(self.n_rows);
        let columns = json::object(&bytes).map_err(|reason| place.refuse(&self.path, reason));
        Some(columns.map(|columns| Row { place, columns }))
    }
}

fn is_blank(byte: u8) -> bool {
    matches!(byte, b' ' | b'\t' | b'\n' | b'\r' | 0xef | 0xbb | 0xbf)
}

/// Finds where a value ends.
struct Scanner {
    depth: usize,
    in_text: bool,
    escaped: bool,
    begun: bool,
}

impl Scanner {
    /// How many of these bytes belong to the value, if it ends among them.
    fn end(&mut self, bytes: &[u8]) -> Option<usize> {
        for (at, byte) in bytes.iter().enumerate() {
            let outside = self.depth == 0 && !self.in_text;
            if outside && self.begun && matches!(byte, b',' | b']' | b'}' | b':' | b' ' | b'\n') {
                return Some(at);
            }
            self.begun = true;
            if self.in_text {
                self.in_text = self.escaped || *byte != b'"';
                self.escaped = !self.escaped && *byte == b'\\';
                if !self.in_text && self.depth == 0 {
                    return Some(at + 1);
                }
                continue;
            }
            match byte {
                b'"' => self.in_text = true,
                b'{' | b'[' => self.depth += 1,
                b'}' | b']' => {
                    self.depth = self.depth.saturating_sub(1);
                    if self.depth == 0 {
                        return Some(at + 1);
                    }
                }
                _ => {}
            }
        }
        None
    }
}
