//! Models of the Hugging Face Hub, by name: `owner/name`, `owner/name@revision`.
//!
//! A name becomes a folder of the cache that all Hugging Face tools share. [`listing`] asks what the
//! repository holds, [`mod@download`] brings the files that Rein can use, and [`cache`] keeps them. Names of
//! repositories, addresses and places in the cache are hf-hub's. The transfer is not: the crate's own
//! writes wherever a server's `etag` points, checks neither sizes nor hashes and waits forever.

mod cache;
mod client;
mod download;
mod error;
mod listing;
mod name;
mod progress;
mod settings;

use std::path::{Path, PathBuf};

use hf_hub::Cache;

use crate::args::HubArgs;
use cache::Snapshot;
use client::Client;
use download::fetch;
use listing::Listing;
use name::Name;
use progress::Progress;
use settings::Settings;

pub(crate) use error::HubError;

/// A model that lies on this machine.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Located {
    /// Where it lies.
    pub(crate) folder: PathBuf,
    /// What finds exactly this model again: its folder, or `owner/name@commit`.
    pub(crate) name: PathBuf,
}

/// The folder of `model`: the folder of that name if there is one, else the model of the Hub, which is
/// brought into the cache first.
///
/// What is neither a folder nor a name that the Hub allows is returned as it is: whoever reads it
/// knows best what is missing.
///
/// # Errors
/// [`HubError`] where the Hub lacks the model, keeps it back or can't be reached, and where the model has
/// no weights that Rein reads.
pub(crate) fn resolve(model: &Path, args: &HubArgs) -> Result<PathBuf, HubError> {
    Ok(locate(model, args)?.folder)
}

/// As [`resolve`], with a name that finds the same model when its branch has moved on.
pub(crate) fn locate(model: &Path, args: &HubArgs) -> Result<Located, HubError> {
    let name = if model.exists() { None } else { Name::parse(model) };
    let Some(name) = name else {
        return match &args.revision {
            Some(revision) => {
                Err(HubError::NoHubModel { model: model.to_owned(), revision: revision.clone() })
            }
            None => Ok(Located { folder: model.to_owned(), name: model.to_owned() }),
        };
    };
    let name = name.with_revision(args.revision.as_deref())?;
    let settings = Settings::from_environment(args.offline)?;
    let (commit, folder) = find(&name, &settings)?;
    Ok(Located { folder, name: name.at(&commit).into() })
}

/// The commit and its folder in the cache.
fn find(name: &Name, settings: &Settings) -> Result<(String, PathBuf), HubError> {
    let cache = Cache::new(settings.cache.clone());
    let cached = Snapshot::cached(&cache, name);
    // A commit never changes: where all of it lies here, nobody needs to be asked.
    let is_settled = name.is_commit() && cached.as_ref().is_ok_and(Snapshot::has_tokenizer);
    if settings.offline || is_settled {
        return cached.map(Snapshot::into_parts);
    }
    match download(name, settings, &cache) {
        Err(error @ HubError::Unreachable { .. }) => {
            let snapshot = cached.map_err(|_| error)?;
            let endpoint = &settings.endpoint;
            progress::note(&format!(
                "{name}: {endpoint} can't be reached; the cached copy is used"
            ));
            Ok(snapshot.into_parts())
        }
        other => other.map(Snapshot::into_parts),
    }
}

/// Brings what the cache lacks of a revision.
fn download(name: &Name, settings: &Settings, cache: &Cache) -> Result<Snapshot, HubError> {
    let client = Client::new(name, settings);
    let listing = Listing::ask(&client)?;
    let snapshot = Snapshot::new(cache, name, listing.commit());
    let texts = listing.texts()?;
    let mut progress = Progress::new(texts.iter().filter_map(|file| file.size).sum());
    for file in &texts {
        fetch(&client, &snapshot, file, &mut progress)?;
    }
    let weights = listing.weights(snapshot.folder())?;
    progress.expect(weights.iter().filter_map(|file| file.size).sum());
    for file in &weights {
        fetch(&client, &snapshot, file, &mut progress)?;
    }
    snapshot.remember(name)?;
    Ok(snapshot)
}
