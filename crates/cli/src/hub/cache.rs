//! The cache that Hugging Face tools share: files by their hash, and a folder of links for each commit.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use hf_hub::{Cache, CacheRepo};

use super::HubError;
use super::listing::{ADAPTER, ADAPTER_CONFIG, CONFIG, Digest, INDEX, SINGLE, TOKENIZER, shards};
use super::name::Name;

/// One commit of a repository in the cache.
pub(super) struct Snapshot {
    repo: CacheRepo,
    /// Where processes agree on who downloads what.
    locks: PathBuf,
    commit: String,
    folder: PathBuf,
}

impl Snapshot {
    pub(super) fn new(cache: &Cache, name: &Name, commit: &str) -> Self {
        let repo = cache.repo(name.to_repo());
        let locks = cache.path().join(".locks").join(name.to_repo().folder_name());
        let folder = repo.pointer_path(commit);
        Self { repo, locks, commit: commit.to_owned(), folder }
    }

    /// What the cache has of a revision, if that is a whole model or adapter.
    pub(super) fn cached(cache: &Cache, name: &Name) -> Result<Self, HubError> {
        let repo = cache.repo(name.to_repo());
        let found = [CONFIG, ADAPTER_CONFIG].iter().find_map(|file| repo.get(file));
        let commit = if name.is_commit() {
            Some(name.revision().to_owned())
        } else {
            let folder = found.as_deref().and_then(Path::parent).and_then(Path::file_name);
            folder.map(|it| it.to_string_lossy().into_owned())
        };
        let missing = |missing: String| {
            let (name, cache) = (name.to_string(), cache.path().clone());
            HubError::NotCached { name, missing, cache }
        };
        let snapshot = commit.map(|commit| Self::new(cache, name, &commit));
        let snapshot = snapshot.ok_or_else(|| missing("the model".into()))?;
        snapshot.missing_file().map_or(Ok(()), |file| Err(missing(file)))?;
        Ok(snapshot)
    }

    /// A file without which there is no model.
    fn missing_file(&self) -> Option<String> {
        let has = |name: &str| self.folder.join(name).exists();
        if !has(CONFIG) && !has(ADAPTER_CONFIG) {
            return Some(CONFIG.into());
        }
        if has(SINGLE) || has(ADAPTER) {
            return None;
        }
        let Ok(shards) = shards(&self.folder.join(INDEX)) else { return Some(SINGLE.into()) };
        shards.into_iter().find(|shard| !has(shard))
    }

    /// Whether a tokenizer lies beside the model: other tools fetch one without the other.
    pub(super) fn has_tokenizer(&self) -> bool {
        self.folder.join(TOKENIZER).exists()
    }

    pub(super) fn folder(&self) -> &Path {
        &self.folder
    }

    /// The commit and its folder.
    pub(super) fn into_parts(self) -> (String, PathBuf) {
        (self.commit, self.folder)
    }

    /// Where content with this hash lies, and the lock of whoever brings it; their folders are made.
    pub(super) fn blob(&self, digest: &Digest) -> Result<(PathBuf, PathBuf), HubError> {
        let blob = self.repo.blob_path(digest.text());
        let lock = self.locks.join(format!("{}.lock", digest.text()));
        for path in [&blob, &lock] {
            let folder = path.parent().unwrap_or(path);
            fs::create_dir_all(folder).map_err(HubError::io(folder))?;
        }
        Ok((blob, lock))
    }

    /// Lets the commit's file `name` be this content.
    pub(super) fn link(&self, name: &str, digest: &Digest) -> Result<(), HubError> {
        let path = self.folder.join(name);
        let folder = path.parent().unwrap_or(&self.folder);
        fs::create_dir_all(folder).map_err(HubError::io(folder))?;
        if path.exists() {
            return Ok(());
        }
        // A link whose content was deleted is there and doesn't exist.
        let _ = fs::remove_file(&path);
        let depth = Path::new(name).components().count();
        match link(&self.repo.blob_path(digest.text()), &path, depth) {
            // Somebody else was faster.
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => Ok(()),
            other => other.map_err(HubError::io(&path)),
        }
    }

    /// Notes which commit a branch or tag stands for, once all of it is here.
    pub(super) fn remember(&self, name: &Name) -> Result<(), HubError> {
        if name.is_commit() {
            return Ok(());
        }
        self.repo.create_ref(&self.commit).map_err(HubError::io(&self.folder))
    }
}

/// A relative link, so that the cache can be moved. `path` lies `depth` levels below the commit's folder's parent.
#[cfg(unix)]
fn link(blob: &Path, path: &Path, depth: usize) -> io::Result<()> {
    let name = blob.file_name().unwrap_or_default();
    let up = "../".repeat(depth + 1);
    std::os::unix::fs::symlink(Path::new(&up).join("blobs").join(name), path)
}

/// A second name for the content: symbolic links need a privilege elsewhere.
#[cfg(not(unix))]
fn link(blob: &Path, path: &Path, _: usize) -> io::Result<()> {
    fs::hard_link(blob, path).or_else(|_| fs::copy(blob, path).map(|_| ()))
}
