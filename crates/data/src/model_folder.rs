//! Files of a model's folder, which somebody else wrote.
//!
//! A name in such a folder may turn out to be a pipe that never ends, a directory, or a link to any
//! file of the machine. What is opened here is a regular file of the folder and nothing else.

use std::fs::{self, File};
use std::io::Read;
use std::path::{Path, PathBuf};

use crate::DataError;

/// Opens the file `name` of `folder` for reading.
///
/// # Errors
/// What is no regular file, or is a link that leads out of the folder. Links into the `blobs` of the
/// Hub's cache are followed: `snapshots/<revision>` holds nothing else.
pub fn open(folder: &Path, name: &str) -> Result<File, DataError> {
    let path = folder.join(name);
    let target = path.canonicalize().map_err(DataError::io(&path))?;
    let root = folder.canonicalize().map_err(DataError::io(folder))?;
    if !target.starts_with(reach(&root)) {
        return Err(DataError::file(
            path,
            "is a link to a place outside the folder; put the file itself there",
        ));
    }
    // Looked at before it is opened: to open a pipe would wait for its writer.
    if !fs::metadata(&target).map_err(DataError::io(&path))?.is_file() {
        return Err(DataError::file(path, "is not a regular file"));
    }
    File::open(&target).map_err(DataError::io(path))
}

/// Reads the file `name` of `folder`, which has at most `max_bytes`.
pub fn read(folder: &Path, name: &str, max_bytes: u64) -> Result<Vec<u8>, DataError> {
    let path = folder.join(name);
    let file = open(folder, name)?;
    let n_bytes = file.metadata().map_err(DataError::io(&path))?.len();
    if n_bytes > max_bytes {
        let reason = format!("{n_bytes} bytes; at most {max_bytes} are read");
        return Err(DataError::file(path, reason));
    }
    let mut bytes = Vec::with_capacity(n_bytes as usize);
    // The file may have grown since.
    file.take(max_bytes).read_to_end(&mut bytes).map_err(DataError::io(path))?;
    Ok(bytes)
}

/// Reads the file `name` of `folder` if there is one.
pub fn read_optional(
    folder: &Path,
    name: &str,
    max_bytes: u64,
) -> Result<Option<Vec<u8>>, DataError> {
    folder.join(name).exists().then(|| read(folder, name, max_bytes)).transpose()
}

/// Where links in a folder may lead to: the folder or, in the Hub's cache, the repository.
fn reach(root: &Path) -> PathBuf {
    let revisions = root.parent().filter(|it| it.file_name().is_some_and(|it| it == "snapshots"));
    match revisions.and_then(Path::parent) {
        Some(repository) if repository.join("blobs").is_dir() => repository.to_owned(),
        _ => root.to_owned(),
    }
}

#[cfg(all(test, unix))]
mod tests {
    use std::os::unix::fs::symlink;

    use super::*;

    fn refusal(folder: &Path, name: &str) -> String {
        let error = open(folder, name).expect_err("is refused").to_string();
        error.replace(&format!("{}/", folder.display()), "")
    }

    #[test]
    fn only_files_of_the_folder_are_opened() {
        let place = tempfile::tempdir().expect("a temporary folder");
        let folder = place.path().join("model");
        fs::create_dir_all(folder.join("directory")).expect("creates");
        fs::write(place.path().join("secret"), "s").expect("writes");
        fs::write(folder.join("file"), "f").expect("writes");
        symlink("../secret", folder.join("out")).expect("links");
        symlink("file", folder.join("in")).expect("links");
        symlink("/dev/zero", folder.join("device")).expect("links");
        let outside = "is a link to a place outside the folder; put the file itself there";
        assert_eq!(refusal(&folder, "out"), format!("out: {outside}"));
        assert_eq!(refusal(&folder, "device"), format!("device: {outside}"));
        assert_eq!(refusal(&folder, "directory"), "directory: is not a regular file");
        assert_eq!(read(&folder, "in", 1).expect("reads"), b"f");
        let error = read(&folder, "in", 0).expect_err("is refused").to_string();
        assert!(error.ends_with("in: 1 bytes; at most 0 are read"), "{error}");
        assert_eq!(read_optional(&folder, "nowhere", 1).expect("reads"), None);
    }

    #[test]
    fn the_cache_of_the_hub_is_made_of_links() {
        let place = tempfile::tempdir().expect("a temporary folder");
        let (blobs, snapshot) = (place.path().join("blobs"), place.path().join("snapshots/main"));
        fs::create_dir_all(&blobs).expect("creates");
        fs::create_dir_all(&snapshot).expect("creates");
        fs::write(blobs.join("0123"), "{}").expect("writes");
        symlink("../../blobs/0123", snapshot.join("config.json")).expect("links");
        symlink("../../../../etc/passwd", snapshot.join("tokenizer.json")).expect("links");
        assert_eq!(read(&snapshot, "config.json", 9).expect("reads"), b"{}");
        assert!(open(&snapshot, "tokenizer.json").is_err());
    }
}
