//! A file that is read anywhere, by any number of threads.

use std::fs::File;
use std::io;

#[cfg(unix)]
#[derive(Debug)]
pub(super) struct Positioned(File);

#[cfg(unix)]
impl Positioned {
    pub(super) fn new(file: File) -> Self {
        Self(file)
    }

    pub(super) fn read_exact_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<()> {
        std::os::unix::fs::FileExt::read_exact_at(&self.0, buffer, offset)
    }
}

#[cfg(not(unix))]
pub(super) use seeking::Seeking as Positioned;

/// Where the system has no such reads: one reader at a time.
#[cfg(any(test, not(unix)))]
mod seeking {
    use std::fs::File;
    use std::io::{self, Read, Seek, SeekFrom};
    use std::sync::{Mutex, PoisonError};

    #[derive(Debug)]
    pub(crate) struct Seeking(Mutex<File>);

    impl Seeking {
        pub(crate) fn new(file: File) -> Self {
            Self(Mutex::new(file))
        }

        pub(crate) fn read_exact_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<()> {
            let mut file = self.0.lock().unwrap_or_else(PoisonError::into_inner);
            file.seek(SeekFrom::Start(offset))?;
            file.read_exact(buffer)
        }
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::seeking::Seeking;
    use super::*;

    #[test]
    fn seeking_reads_what_positioned_reads_do() {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let path = folder.path().join("digits");
        fs::write(&path, "0123456789").expect("writes");
        let open = || File::open(&path).expect("opens");
        let (positioned, seeking) = (Positioned::new(open()), Seeking::new(open()));
        for (offset, n_bytes) in [(7, 3), (0, 10), (4, 1), (9, 2), (20, 1)] {
            let [mut a, mut b] = [vec![0; n_bytes], vec![0; n_bytes]];
            let results = [
                positioned.read_exact_at(&mut a, offset).map_err(|error| error.kind()),
                seeking.read_exact_at(&mut b, offset).map_err(|error| error.kind()),
            ];
            assert_eq!(results[0], results[1]);
            let fits = offset as usize + n_bytes <= 10;
            assert_eq!(results[0], if fits { Ok(()) } else { Err(io::ErrorKind::UnexpectedEof) });
            assert!(!fits || a == b);
        }
    }
}
