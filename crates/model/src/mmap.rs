//! The one place that maps files into memory.

#![expect(unsafe_code, reason = "mapping a file is unsafe; see `map`")]

use std::fs::File;
use std::path::Path;

use memmap2::Mmap;

use crate::ModelError;

/// Maps a file that is only read.
pub(crate) fn map(path: &Path) -> Result<Mmap, ModelError> {
    let io = |error: std::io::Error| ModelError::checkpoint(path, error.to_string());
    let file = File::open(path).map_err(io)?;
    // SAFETY: the map is read-only. Should another process change the file meanwhile, the numbers
    // are wrong as they would be after any other change; truncation ends the process with a signal,
    // which no memory of ours survives.
    unsafe { Mmap::map(&file) }.map_err(io)
}
