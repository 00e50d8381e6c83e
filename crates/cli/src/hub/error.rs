use std::io;
use std::path::{Path, PathBuf};

use thiserror::Error;

/// Why a model of the Hub can't be had.
#[derive(Debug, Error)]
pub(crate) enum HubError {
    /// A revision for something that isn't of the Hub.
    #[error(
        "`--revision {revision}` needs a model of the Hub, but {} is {}", model.display(),
        if model.exists() { "a folder" } else { "no name that the Hub allows (owner/name)" }
    )]
    NoHubModel { model: PathBuf, revision: String },
    /// A revision that can't be one.
    #[error("`--revision {revision}`: {reason}")]
    Revision { revision: String, reason: &'static str },
    /// `HF_ENDPOINT` isn't an address.
    #[error("HF_ENDPOINT is `{endpoint}`; it must begin with https:// or http://")]
    Endpoint { endpoint: String },
    /// Nowhere to put the cache.
    #[error("no home folder is known for the Hub's cache; set HF_HOME to a folder")]
    NoHome,
    /// No such repository, as far as we may know.
    #[error(
        "{repo}: no folder of that name here and no such model at {endpoint}; check the name (a private \
         model needs a token in HF_TOKEN)"
    )]
    NotFound { repo: String, endpoint: String },
    /// The repository has no such branch, tag or commit.
    #[error(
        "{repo}: has no revision `{revision}`; name a branch, a tag or a commit of {endpoint}/{repo}"
    )]
    NoRevision { repo: String, revision: String, endpoint: String },
    /// Gated or private.
    #[error(
        "{repo}: access is refused (HTTP {status}): the model is gated or private; accept its licence at \
         {endpoint}/{repo} and set HF_TOKEN to a token that may read it{}",
        if *has_token { " (the one that was sent may not)" } else { "" }
    )]
    Denied { repo: String, status: u16, endpoint: String, has_token: bool },
    /// Nothing that Rein may read.
    #[error(
        "{repo}: holds no safetensors, only {holds}; Rein reads no pickled weights: name a repository with \
         model.safetensors"
    )]
    NoSafetensors { repo: String, holds: String },
    /// A repository that isn't as the Hub makes them.
    #[error("{repo}: {reason}")]
    Unusable { repo: String, reason: String },
    /// The cache lacks it, and nobody may be asked.
    #[error(
        "{name}: {missing} is not in the cache {}; run once without --offline and HF_HUB_OFFLINE",
        cache.display()
    )]
    NotCached { name: String, missing: String, cache: PathBuf },
    /// No answer.
    #[error(
        "{name}: no folder of that name here, and {url} can't be reached ({reason}); check the network and \
         HF_ENDPOINT, or name a folder"
    )]
    Unreachable { name: String, url: String, reason: String },
    /// An answer, but not the file.
    #[error("{repo}: {file}: {reason}; run the command again to go on")]
    Transfer { repo: String, file: String, reason: String },
    /// The disk.
    #[error("{}: {source}{}", path.display(), disk_hint(source))]
    Io { path: PathBuf, source: io::Error },
}

impl HubError {
    pub(super) fn io(path: &Path) -> impl FnOnce(io::Error) -> Self {
        let path = path.to_owned();
        move |source| Self::Io { path, source }
    }

    /// Whether the attempt failed, rather than what was asked for.
    pub(crate) fn is_failure(&self) -> bool {
        matches!(self, Self::Unreachable { .. } | Self::Transfer { .. } | Self::Io { .. })
    }
}

fn disk_hint(source: &io::Error) -> &'static str {
    match source.kind() {
        io::ErrorKind::StorageFull => {
            "; free some space or set HF_HOME to a larger disk, and run it again"
        }
        io::ErrorKind::PermissionDenied => "; set HF_HOME to a folder that you may write to",
        _ => "",
    }
}
