//! Names of repositories: which texts are one, and what they may hold.

use std::fmt;
use std::path::{Path, PathBuf};

use hf_hub::{Repo, RepoType};

use super::HubError;

/// What a revision is where none is named.
const MAIN: &str = "main";
/// The longest part of a name, and the longest revision.
const MAX_BYTES: usize = 96;

/// A repository and a revision of it: a branch, a tag or a commit.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Name {
    repo: String,
    revision: Option<String>,
}

impl Name {
    /// Reads `owner/name` or `owner/name@revision`; `None` for anything the Hub would not allow.
    ///
    /// Parts are made of letters, digits, `-`, `_` and `.`, and neither begin nor end with `-` or `.`, nor
    /// hold `--` or `..`. A path such as `./owner/name` is none.
    pub(super) fn parse(text: &Path) -> Option<Self> {
        let text = text.to_str()?;
        let (repo, revision) = match text.split_once('@') {
            Some((repo, revision)) => (repo, Some(revision)),
            None => (text, None),
        };
        let (owner, name) = repo.split_once('/')?;
        let is_repo = is_part(owner) && is_part(name) && !name.ends_with(".git");
        let is_whole = is_repo && revision.is_none_or(is_revision);
        is_whole.then(|| Self { repo: repo.to_owned(), revision: revision.map(str::to_owned) })
    }

    /// The same repository at a revision named apart from it.
    pub(super) fn with_revision(self, revision: Option<&str>) -> Result<Self, HubError> {
        let Some(revision) = revision else { return Ok(self) };
        let refuse = |reason| HubError::Revision { revision: revision.to_owned(), reason };
        if self.revision.is_some() {
            return Err(refuse("the model's name holds another revision behind its `@`"));
        }
        if !is_revision(revision) {
            return Err(refuse("it is no branch, tag or commit"));
        }
        Ok(Self { revision: Some(revision.to_owned()), ..self })
    }

    /// `owner/name`
    pub(super) fn repo(&self) -> &str {
        &self.repo
    }

    pub(super) fn revision(&self) -> &str {
        self.revision.as_deref().unwrap_or(MAIN)
    }

    /// Whether the revision is one that can't change.
    pub(super) fn is_commit(&self) -> bool {
        is_commit(self.revision())
    }

    /// The name of one commit of the repository.
    pub(super) fn at(&self, commit: &str) -> String {
        format!("{}@{commit}", self.repo)
    }

    /// The repository as hf-hub knows it.
    pub(super) fn to_repo(&self) -> Repo {
        Repo::with_revision(self.repo.clone(), RepoType::Model, self.revision().to_owned())
    }
}

impl fmt::Display for Name {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.revision {
            Some(revision) => write!(f, "{}@{revision}", self.repo),
            None => f.write_str(&self.repo),
        }
    }
}

/// Whether a text is a commit's hash.
pub(super) fn is_commit(text: &str) -> bool {
    text.len() == 40 && is_hex(text)
}

/// Whether a text is made of lower-case hexadecimal digits, as hashes are.
pub(super) fn is_hex(text: &str) -> bool {
    text.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'))
}

fn is_part(part: &str) -> bool {
    let is_inside = |edge: char| !matches!(edge, '-' | '.');
    (1..=MAX_BYTES).contains(&part.len())
        && part.chars().all(is_plain)
        && part.starts_with(is_inside)
        && part.ends_with(is_inside)
        && !part.contains("--")
        && !part.contains("..")
}

/// Branches and tags may stand in folders, as in `refs/pr/1`; none of these is hidden or leads up.
fn is_revision(revision: &str) -> bool {
    let is_step = |step: &str| {
        !step.is_empty()
            && step.chars().all(is_plain)
            && !step.starts_with('.')
            && !step.contains("..")
    };
    revision.len() <= MAX_BYTES && revision.split('/').all(is_step)
}

fn is_plain(character: char) -> bool {
    character.is_ascii_alphanumeric() || matches!(character, '-' | '_' | '.')
}

/// Whether a file's name can lie in no other folder than the one it is put in.
pub(super) fn is_file_name(name: &str) -> bool {
    (1..=255).contains(&name.len())
        && name.chars().all(is_plain)
        && !name.starts_with('.')
        && PathBuf::from(name).components().count() == 1
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(text: &str) -> Option<String> {
        Name::parse(Path::new(text)).map(|name| format!("{} at {}", name.repo(), name.revision()))
    }

    #[test]
    fn names_are_those_that_the_hub_allows() {
        assert_eq!(
            parse("openai-community/gpt2").as_deref(),
            Some("openai-community/gpt2 at main")
        );
        assert_eq!(parse("Qwen/Qwen3-0.6B@v1.0").as_deref(), Some("Qwen/Qwen3-0.6B at v1.0"));
        assert_eq!(parse("a/b@refs/pr/1").as_deref(), Some("a/b at refs/pr/1"));
        let paths =
            ["gpt2", "./a/b", "../a", "a/..", "/a/b", "a/b/c", "a/b/", "a//b", "~/b", "a\\b/c"];
        let odd =
            ["a/b.git", "-a/b", "a/b-", "a/.b", "a/b--c", "a/b..c", "a b/c", "a/\u{e9}", "a/b\n"];
        let revisions =
            ["a/b@", "a/b@../x", "a/b@/x", "a/b@x/", "a/b@x//y", "a/b@.x", "a/b@x y", "a/b@x@y"];
        for text in paths.iter().chain(&odd).chain(&revisions) {
            assert_eq!(parse(text), None, "{text}");
        }
        assert_eq!(parse(&format!("a/{}", "b".repeat(97))), None);
    }

    #[test]
    fn a_revision_is_named_once() {
        let name = |text: &str| Name::parse(Path::new(text)).expect("is a name");
        let at = |text, revision| name(text).with_revision(Some(revision)).map(|it| it.to_string());
        assert_eq!(at("a/b", "dev").expect("is a revision"), "a/b@dev");
        assert!(at("a/b", "../dev").is_err());
        assert!(at("a/b@main", "dev").is_err());
        assert!(name(&format!("a/b@{}", "0f".repeat(20))).is_commit());
        assert!(!name("a/b").is_commit());
    }

    #[test]
    fn files_stay_in_their_folder() {
        assert!(is_file_name("model-00001-of-00002.safetensors"));
        for name in ["", ".", "..", "../x", "/x", "a/b", "a\\b", "C:x", ".x", "a\0b"] {
            assert!(!is_file_name(name), "{name}");
        }
    }
}
