//! Requests to the Hub, and what its refusals mean.

use std::fmt::Display;
use std::time::Duration;

use ureq::config::RedirectAuthHeaders;
use ureq::http::{HeaderMap, Response};
use ureq::{Agent, Body};

use super::HubError;
use super::name::Name;
use super::settings::Settings;

/// A server that says nothing for this long has gone.
const PATIENCE: Duration = Duration::from_secs(30);
const MAX_REDIRECTS: u32 = 5;

/// Asks the Hub about one repository.
pub(super) struct Client {
    pub(super) name: Name,
    agent: Agent,
    /// Doesn't follow redirects.
    still: Agent,
    pub(super) endpoint: String,
    token: Option<String>,
}

impl Client {
    pub(super) fn new(name: &Name, settings: &Settings) -> Self {
        let Settings { endpoint, token, .. } = settings.clone();
        let [agent, still] = [MAX_REDIRECTS, 0].map(|max_redirects| {
            let config = Agent::config_builder()
                // Nobody may lead us from a safe connection to an open one.
                .https_only(endpoint.starts_with("https://"))
                .http_status_as_error(false)
                .max_redirects(max_redirects)
                // A file's other host has no business with the token.
                .redirect_auth_headers(RedirectAuthHeaders::SameHost)
                .accept_encoding("identity")
                .user_agent(concat!("rein/", env!("CARGO_PKG_VERSION")))
                .timeout_resolve(Some(PATIENCE))
                .timeout_connect(Some(PATIENCE))
                .timeout_per_read(Some(PATIENCE));
            config.build().new_agent()
        });
        Self { name: name.clone(), agent, still, endpoint, token }
    }

    /// Asks for `url`, from a byte of it on.
    pub(super) fn get(&self, url: &str, from: u64) -> Result<Response<Body>, HubError> {
        let mut request = self.agent.get(url);
        if let Some(token) = &self.token {
            request = request.header("authorization", format!("Bearer {token}"));
        }
        if from > 0 {
            request = request.header("range", format!("bytes={from}-"));
        }
        request.call().map_err(|error| self.unreachable(url, error))
    }

    /// What the Hub itself says about `url`, rather than the host it leads to: redirects are followed
    /// only within the Hub.
    pub(super) fn head(&self, url: &str) -> Result<Response<Body>, HubError> {
        let mut url = url.to_owned();
        for _ in 0..MAX_REDIRECTS {
            let mut request = self.still.head(&url);
            if let Some(token) = &self.token {
                request = request.header("authorization", format!("Bearer {token}"));
            }
            let response = request.call().map_err(|error| self.unreachable(&url, error))?;
            match header(response.headers(), "location") {
                Some(path) if path.starts_with('/') && !path.starts_with("//") => {
                    url = format!("{}{path}", self.endpoint);
                }
                _ => return Ok(response),
            }
        }
        Err(self.unreachable(&url, "it leads round in circles"))
    }

    /// Why there is no answer that could be used.
    pub(super) fn unreachable(&self, url: &str, reason: impl Display) -> HubError {
        let (name, url) = (self.name.to_string(), url.to_owned());
        HubError::Unreachable { name, url, reason: reason.to_string() }
    }

    /// Why a file didn't come.
    pub(super) fn fault(&self, file: &str, reason: impl Display) -> HubError {
        let (repo, file) = (self.name.repo().to_owned(), file.to_owned());
        HubError::Transfer { repo, file, reason: reason.to_string() }
    }

    /// Why the repository is no model.
    pub(super) fn unusable(&self, reason: String) -> HubError {
        HubError::Unusable { repo: self.name.repo().to_owned(), reason }
    }

    /// What a 401 or 403 means.
    pub(super) fn denied(&self, status: u16) -> HubError {
        let (repo, endpoint) = (self.name.repo().to_owned(), self.endpoint.clone());
        HubError::Denied { repo, status, endpoint, has_token: self.token.is_some() }
    }

    /// Why the Hub doesn't give what was asked of the repository; `None` if it does.
    pub(super) fn refusal(&self, response: &Response<Body>) -> Option<HubError> {
        let (repo, endpoint) = (self.name.repo().to_owned(), self.endpoint.clone());
        let status = response.status().as_u16();
        let code = header(response.headers(), "x-error-code").unwrap_or_default();
        Some(match (status, code) {
            (200..300, _) => return None,
            (_, "RevisionNotFound") => {
                let revision = self.name.revision().to_owned();
                HubError::NoRevision { repo, revision, endpoint }
            }
            // Those who may not know get "401, no such repository" for a repository that isn't there.
            (404, _) | (401, "RepoNotFound") => HubError::NotFound { repo, endpoint },
            (401 | 403, _) => self.denied(status),
            _ => self.unreachable(&endpoint, format_args!("HTTP {status}")),
        })
    }
}

/// A header's value, if it is text.
pub(super) fn header<'a>(headers: &'a HeaderMap, name: &str) -> Option<&'a str> {
    headers.get(name)?.to_str().ok()
}
