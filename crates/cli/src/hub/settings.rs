//! Where the Hub is, where its cache lies and who asks: what all Hugging Face tools read from the
//! environment.

use std::ffi::OsString;
use std::fs;
use std::path::{Path, PathBuf};

use super::HubError;

const ENDPOINT: &str = "https://huggingface.co";

/// What the environment says about the Hub. It can't be printed: it holds a secret.
#[derive(Clone)]
pub(super) struct Settings {
    /// `HF_ENDPOINT`, without a slash at its end.
    pub(super) endpoint: String,
    /// `HF_HUB_CACHE`, or `hub` in `HF_HOME`, or the usual place below the home folder.
    pub(super) cache: PathBuf,
    /// `HF_TOKEN`, or what the file holds that `hf auth login` writes.
    pub(super) token: Option<String>,
    /// `HF_HUB_OFFLINE`, or the flag: only the cache is used.
    pub(super) offline: bool,
}

impl Settings {
    pub(super) fn from_environment(offline: bool) -> Result<Self, HubError> {
        let home = std::env::home_dir();
        Self::from_variables(offline, home.as_deref(), |name| std::env::var_os(name))
    }

    fn from_variables(
        offline: bool,
        home: Option<&Path>,
        variable: impl Fn(&str) -> Option<OsString>,
    ) -> Result<Self, HubError> {
        let path = |name| variable(name).filter(|it| !it.is_empty()).map(PathBuf::from);
        let text = |name| path(name).and_then(|it| it.to_str().map(|it| it.trim().to_owned()));
        let below_home = || {
            let cache = path("XDG_CACHE_HOME").or_else(|| Some(home?.join(".cache")));
            cache.map(|cache| cache.join("huggingface"))
        };
        let hf_home = path("HF_HOME").or_else(below_home).ok_or(HubError::NoHome)?;
        let endpoint = text("HF_ENDPOINT").unwrap_or_else(|| ENDPOINT.to_owned());
        if !["http://", "https://"].iter().any(|scheme| endpoint.starts_with(scheme)) {
            return Err(HubError::Endpoint { endpoint });
        }
        let token_file = path("HF_TOKEN_PATH").unwrap_or_else(|| hf_home.join("token"));
        let token = text("HF_TOKEN").or_else(|| fs::read_to_string(token_file).ok());
        let is_set = |name| text(name).is_some_and(|value| is_true(&value));
        Ok(Self {
            endpoint: endpoint.trim_end_matches('/').to_owned(),
            cache: path("HF_HUB_CACHE").unwrap_or_else(|| hf_home.join("hub")),
            token: token.map(|it| it.trim().to_owned()).filter(|it| !it.is_empty()),
            offline: offline || is_set("HF_HUB_OFFLINE") || is_set("TRANSFORMERS_OFFLINE"),
        })
    }
}

/// What the Hub's own library takes for yes.
fn is_true(value: &str) -> bool {
    ["1", "on", "yes", "true"].contains(&value.to_lowercase().as_str())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn settings(variables: &[(&str, &str)]) -> Result<Settings, HubError> {
        let find = |name: &str| {
            let found = variables.iter().find(|(it, _)| *it == name);
            found.map(|(_, value)| OsString::from(value))
        };
        Settings::from_variables(false, Some(Path::new("/people/ann")), find)
    }

    #[test]
    fn the_defaults_are_those_of_other_tools() {
        let Settings { endpoint, cache, token, offline } = settings(&[]).expect("are usable");
        assert_eq!(endpoint, "https://huggingface.co");
        assert_eq!(cache, Path::new("/people/ann/.cache/huggingface/hub"));
        assert_eq!((token, offline), (None, false));
        let cache = |variables: &[_]| settings(variables).expect("are usable").cache;
        assert_eq!(cache(&[("XDG_CACHE_HOME", "/x")]), Path::new("/x/huggingface/hub"));
        assert_eq!(cache(&[("XDG_CACHE_HOME", "/x"), ("HF_HOME", "/y")]), Path::new("/y/hub"));
        assert_eq!(cache(&[("HF_HOME", "/y"), ("HF_HUB_CACHE", "/z")]), Path::new("/z"));
    }

    #[test]
    fn the_environment_says_who_asks_whom() {
        let variables = [("HF_ENDPOINT", "http://127.0.0.1:80/"), ("HF_TOKEN", " secret\n")];
        let found = settings(&variables).expect("are usable");
        assert_eq!(found.endpoint, "http://127.0.0.1:80");
        assert_eq!(found.token.as_deref(), Some("secret"));
        for (value, offline) in [("1", true), ("True", true), ("0", false), ("", false)] {
            let found = settings(&[("HF_HUB_OFFLINE", value)]).expect("are usable");
            assert_eq!(found.offline, offline, "{value}");
        }
        assert!(settings(&[("HF_ENDPOINT", "ftp://x")]).is_err());
    }

    #[test]
    fn a_token_lies_in_a_file_too() {
        let folder = tempfile::tempdir().expect("a temporary folder");
        fs::write(folder.path().join("token"), "secret\n").expect("writes");
        let home = folder.path().to_str().expect("a path is UTF-8");
        let found = settings(&[("HF_HOME", home)]).expect("are usable");
        assert_eq!(found.token.as_deref(), Some("secret"));
    }
}
