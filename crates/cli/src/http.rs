//! Asks the endpoints of rewards.

use std::sync::Arc;
use std::time::Duration;

use rein_reward::rules::{Post, PostError, Posted, Received};
use ureq::{Agent, Error};

/// Posts over HTTP, directly: neither through a proxy nor along redirects.
pub(crate) struct HttpClient(Agent);

impl HttpClient {
    /// A client for rewards.
    pub(crate) fn shared() -> Arc<dyn Post> {
        let config = Agent::config_builder()
            .http_status_as_error(false)
            .max_redirects(0)
            .proxy(None)
            .user_agent(concat!("rein/", env!("CARGO_PKG_VERSION")));
        Arc::new(Self(config.build().new_agent()))
    }
}

impl Post for HttpClient {
    fn post(&self, request: &Posted<'_>) -> Result<Received, PostError> {
        let fault = |error: Error| fault(&error);
        let post = self.0.post(request.url).header("content-type", "application/json");
        let post = match request.token {
            Some(token) => post.header("authorization", format!("Bearer {token}")),
            None => post,
        };
        let post = post.config().timeout_global(Some(request.timeout)).build();
        let mut response = post.send(request.body).map_err(fault)?;
        let status = response.status().as_u16();
        let wait = response.headers().get("retry-after");
        let secs = wait.and_then(|it| it.to_str().ok()?.trim().parse().ok());
        let body = response.body_mut().with_config().limit(request.max_bytes as u64);
        let body = body.read_to_vec().map_err(fault)?;
        Ok(Received { status, retry_after: secs.map(Duration::from_secs), body })
    }
}

fn fault(error: &Error) -> PostError {
    match error {
        Error::Timeout(_) => PostError::TimedOut,
        Error::BodyExceedsLimit(_) => PostError::TooLong,
        other => PostError::Unreachable(other.to_string()),
    }
}
