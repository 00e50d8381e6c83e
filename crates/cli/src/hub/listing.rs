//! What a repository holds, and what of it Rein has a use for.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

use rein_reward::BESIDE_MODEL;
use rein_reward::ensemble::{MAX_HEADS, MEMBERS};
use serde::Deserialize;
use serde_json::{Map, Value};

use super::HubError;
use super::client::{Client, header};
use super::name::{is_commit, is_file_name, is_hex};

pub(super) const CONFIG: &str = "config.json";
pub(super) const TOKENIZER: &str = "tokenizer.json";
pub(super) const SINGLE: &str = "model.safetensors";
pub(super) const INDEX: &str = "model.safetensors.index.json";
pub(super) const ADAPTER_CONFIG: &str = "adapter_config.json";
pub(super) const ADAPTER: &str = "adapter_model.safetensors";
/// Everything but weights: what Rein reads, and what it hands on untouched when it saves a model.
const TEXTS: [&str; 12] = [
    CONFIG,
    "generation_config.json",
    TOKENIZER,
    "tokenizer_config.json",
    "special_tokens_map.json",
    "added_tokens.json",
    "vocab.json",
    "merges.txt",
    "tokenizer.model",
    "chat_template.jinja",
    ADAPTER_CONFIG,
    INDEX,
];
/// No file but weights is larger.
const MAX_TEXT_BYTES: u64 = 64 << 20;
/// No answer and no index is larger.
const MAX_JSON_BYTES: u64 = 16 << 20;

/// The files of one commit.
pub(super) struct Listing<'a> {
    client: &'a Client,
    answer: Answer,
}

/// What the Hub says of a revision, with `blobs=true`.
#[derive(Deserialize)]
struct Answer {
    sha: String,
    siblings: Vec<Sibling>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Sibling {
    rfilename: String,
    size: Option<u64>,
    blob_id: Option<String>,
    lfs: Option<Lfs>,
}

/// A large file, which lies outside of git.
#[derive(Deserialize)]
struct Lfs {
    sha256: String,
    size: u64,
}

/// A file to fetch.
#[derive(Clone, Debug)]
pub(super) struct RemoteFile {
    pub(super) name: String,
    pub(super) url: String,
    /// Bytes.
    pub(super) size: Option<u64>,
    pub(super) digest: Digest,
}

/// What identifies a file's content; its name in the cache.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Digest {
    /// SHA-256 of the content: large files.
    Sha256(String),
    /// SHA-1 of git's header and the content: small files.
    Git(String),
    /// A name that some other server gave it; nothing can be checked against it.
    Opaque(String),
}

impl Digest {
    /// Reads what a server calls a file's content.
    fn parse(etag: &str) -> Option<Self> {
        let etag = etag.trim_start_matches("W/").trim_matches('"');
        match etag.len() {
            64 if is_hex(etag) => Some(Self::Sha256(etag.to_owned())),
            40 if is_hex(etag) => Some(Self::Git(etag.to_owned())),
            _ => is_file_name(etag).then(|| Self::Opaque(etag.to_owned())),
        }
    }

    pub(super) fn text(&self) -> &str {
        let (Self::Sha256(text) | Self::Git(text) | Self::Opaque(text)) = self;
        text
    }
}

impl<'a> Listing<'a> {
    /// Asks the Hub.
    pub(super) fn ask(client: &'a Client) -> Result<Self, HubError> {
        let url = format!("{}/api/{}?blobs=true", client.endpoint, client.name.to_repo().api_url());
        let mut response = client.get(&url, 0)?;
        if let Some(refusal) = client.refusal(&response) {
            return Err(refusal);
        }
        let body = response.body_mut().with_config().limit(MAX_JSON_BYTES);
        let answer: Answer = body.read_json().map_err(|error| {
            client.unreachable(&url, format_args!("its answer is no list of files: {error}"))
        })?;
        let listing = Self { client, answer };
        if !is_commit(&listing.answer.sha) {
            return Err(listing.unusable(format!(
                "the commit `{}` is no commit's hash",
                listing.answer.sha.escape_debug()
            )));
        }
        Ok(listing)
    }

    pub(super) fn commit(&self) -> &str {
        &self.answer.sha
    }

    /// Everything but weights. Refused if there are no weights to go with it.
    pub(super) fn texts(&self) -> Result<Vec<RemoteFile>, HubError> {
        if ![SINGLE, INDEX, ADAPTER].iter().any(|name| self.find(name).is_some()) {
            return Err(self.no_safetensors());
        }
        let names = TEXTS.iter().chain(&BESIDE_MODEL).map(|name| (*name).to_owned());
        let of_members = self.members().into_iter();
        let of_members =
            of_members.flat_map(|member| [CONFIG, INDEX].map(|name| format!("{member}/{name}")));
        let names: Vec<String> = names.chain(of_members).collect();
        let found = names.iter().filter_map(|name| self.find(name));
        let files = found.map(|sibling| self.file(sibling)).collect::<Result<Vec<_>, _>>()?;
        match files.iter().find(|file| file.size.is_none_or(|size| size > MAX_TEXT_BYTES)) {
            None => Ok(files),
            Some(file) => {
                let (name, most) = (&file.name, MAX_TEXT_BYTES >> 20);
                Err(self.unusable(format!(
                    "{name} is larger than {most} MiB; it can't be what it says"
                )))
            }
        }
    }

    /// The weights: one file, or the shards that the index names, which lies in `folder` by now; and an
    /// adapter's, if there is one.
    pub(super) fn weights(&self, folder: &Path) -> Result<Vec<RemoteFile>, HubError> {
        let mut names = self.weights_in("", folder)?;
        for member in self.members() {
            names.extend(self.weights_in(&format!("{member}/"), folder)?);
        }
        names.extend(self.find(ADAPTER).is_some().then(|| ADAPTER.to_owned()));
        let files = names.iter().map(|name| match self.find(name) {
            Some(sibling) => self.file(sibling),
            None => Err(self.unusable(format!("{INDEX} names {name}, which isn't there"))),
        });
        files.collect()
    }

    /// The weights in a folder of the repository, whose name ends in a slash if it has one.
    fn weights_in(&self, prefix: &str, folder: &Path) -> Result<BTreeSet<String>, HubError> {
        let [single, index] = [SINGLE, INDEX].map(|name| format!("{prefix}{name}"));
        if self.find(&single).is_some() {
            return Ok(BTreeSet::from([single]));
        }
        if self.find(&index).is_none() {
            return Ok(BTreeSet::new());
        }
        let names = shards(&folder.join(index)).map_err(|reason| self.unusable(reason))?;
        Ok(names.into_iter().map(|name| format!("{prefix}{name}")).collect())
    }

    /// The folders of an ensemble's further models.
    fn members(&self) -> Vec<String> {
        let names = (2..=MAX_HEADS).map(|number| format!("{MEMBERS}/{number}"));
        names.take_while(|name| self.find(&format!("{name}/{CONFIG}")).is_some()).collect()
    }

    fn find(&self, name: &str) -> Option<&Sibling> {
        self.answer.siblings.iter().find(|it| it.rfilename == name)
    }

    /// What is known of a file; the Hub is asked again where its list doesn't say.
    fn file(&self, sibling: &Sibling) -> Result<RemoteFile, HubError> {
        let name = sibling.rfilename.clone();
        let (endpoint, repo) = (&self.client.endpoint, self.client.name.repo());
        let url = format!("{endpoint}/{repo}/resolve/{}/{name}", self.commit());
        let (etag, size) = match (&sibling.lfs, &sibling.blob_id) {
            (Some(lfs), _) => (lfs.sha256.clone(), Some(lfs.size)),
            (None, Some(id)) if sibling.size.is_some() => (id.clone(), sibling.size),
            _ => self.ask_for(&url)?,
        };
        let digest = Digest::parse(&etag).ok_or_else(|| {
            self.unusable(format!("{name}: its hash `{}` can't be one", etag.escape_debug()))
        })?;
        Ok(RemoteFile { name, url, size, digest })
    }

    /// A file's hash and size, from the headers that the Hub sends with it.
    fn ask_for(&self, url: &str) -> Result<(String, Option<u64>), HubError> {
        let response = self.client.head(url)?;
        let is_redirect = response.status().is_redirection();
        let refusal = self.client.refusal(&response).filter(|_| !is_redirect);
        if let Some(refusal) = refusal {
            return Err(refusal);
        }
        let find = |names: [&str; 2]| {
            let headers = response.headers();
            names.into_iter().find_map(|name| header(headers, name)).map(str::to_owned)
        };
        let etag = find(["x-linked-etag", "etag"]).unwrap_or_default();
        let size = find(["x-linked-size", "content-length"]).and_then(|it| it.parse().ok());
        Ok((etag, size))
    }

    fn unusable(&self, reason: String) -> HubError {
        self.client.unusable(reason)
    }

    /// Says what there is instead.
    fn no_safetensors(&self) -> HubError {
        const SHOWN: usize = 6;
        let names: Vec<String> =
            self.answer.siblings.iter().map(|it| it.rfilename.escape_debug().to_string()).collect();
        let mut holds = names.iter().take(SHOWN).map(String::as_str).collect::<Vec<_>>().join(", ");
        match names.len() {
            0 => holds = "nothing".into(),
            n if n > SHOWN => holds = format!("{holds} and {} more files", n - SHOWN),
            _ => {}
        }
        HubError::NoSafetensors { repo: self.client.name.repo().to_owned(), holds }
    }
}

/// The shards that an index names, each a file beside it.
pub(super) fn shards(index: &Path) -> Result<BTreeSet<String>, String> {
    let size = fs::metadata(index).map_err(|error| format!("{INDEX}: {error}"))?.len();
    if size > MAX_JSON_BYTES {
        return Err(format!("{INDEX} has {size} bytes; at most {MAX_JSON_BYTES} are read"));
    }
    let text = fs::read(index).map_err(|error| format!("{INDEX}: {error}"))?;
    let read: Map<String, Value> =
        serde_json::from_slice(&text).map_err(|error| format!("{INDEX}: {error}"))?;
    let map = read.get("weight_map").and_then(Value::as_object);
    let names = map.into_iter().flat_map(Map::values).map(|name| name.as_str().unwrap_or_default());
    let names: BTreeSet<String> = names.map(str::to_owned).collect();
    let is_shard = |name: &str| is_file_name(name) && name.ends_with(".safetensors");
    match names.iter().find(|name| !is_shard(name)) {
        Some(name) => Err(format!("{INDEX} names `{}`, which is no shard", name.escape_debug())),
        None if names.is_empty() => Err(format!("{INDEX} names no shards")),
        None => Ok(names),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hashes_are_told_by_their_length() {
        let [sha256, git] = [64, 40].map(|n| "0a".repeat(n / 2));
        assert_eq!(Digest::parse(&format!("\"{sha256}\"")), Some(Digest::Sha256(sha256)));
        assert_eq!(Digest::parse(&format!("W/\"{git}\"")), Some(Digest::Git(git)));
        assert_eq!(Digest::parse("\"v1-2\""), Some(Digest::Opaque("v1-2".into())));
        for etag in ["", "\"\"", "../../x", "/x", "a/b", "..", "a\\b"] {
            assert_eq!(Digest::parse(etag), None, "{etag}");
        }
    }
}
