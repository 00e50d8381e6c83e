use std::fs;
use std::path::PathBuf;
use std::sync::Arc;
use std::thread;
use std::time::Duration;

use rein_data::example::Completion;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::command::seconds;
use super::fault::shortened;
use super::reply::{ask_all, verdict};
use super::{Fault, Refusal, Rule};
use crate::Verdict;

/// An HTTP endpoint that judges completions.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct EndpointConfig {
    /// Where it is.
    pub url: String,
    /// A file with the token that says who asks, if the endpoint wants to know.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub token_file: Option<PathBuf>,
    /// Columns of the prompts that it is told.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub columns: Vec<String>,
    /// Seconds that each attempt may take.
    pub timeout_secs: f64,
    /// Attempts after the first one, where the endpoint can't be reached or is overloaded.
    pub retries: u32,
    /// Seconds before the second attempt; twice as many before each further one.
    pub backoff_secs: f64,
    /// Bytes that it may send.
    pub max_output_bytes: usize,
}

/// Asks an endpoint. All completions of a call are posted at once, as `{"completions": […]}` of objects with
/// `prompt`, `completion`, `finished` and `columns`. The answer is a list, or an object with a list of
/// `scores`, of a number for each, or of an object with a `score` and perhaps a `reason`.
pub struct Endpoint {
    config: EndpointConfig,
    token: Option<String>,
    client: Arc<dyn Post>,
}

/// Sends requests: this crate knows no network.
pub trait Post: Send + Sync {
    /// Sends one and waits for the answer. Redirects aren't followed.
    ///
    /// # Errors
    /// No answer, within the time and the bytes that the request allows.
    fn post(&self, request: &Posted<'_>) -> Result<Received, PostError>;
}

/// A request, whose body is JSON.
#[derive(Clone, Copy)]
pub struct Posted<'a> {
    /// Where to.
    pub url: &'a str,
    /// What an `Authorization: Bearer` says, if anything.
    pub token: Option<&'a str>,
    /// The body.
    pub body: &'a [u8],
    /// How long the whole may take.
    pub timeout: Duration,
    /// How many bytes of an answer are read.
    pub max_bytes: usize,
}

/// An answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Received {
    /// HTTP's status.
    pub status: u16,
    /// When to ask again, if the answer says.
    pub retry_after: Option<Duration>,
    /// The body.
    pub body: Vec<u8>,
}

/// Why there is no answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum PostError {
    /// It took too long.
    TimedOut,
    /// It has more bytes than allowed.
    TooLong,
    /// The endpoint can't be reached, or the connection broke.
    Unreachable(String),
}

/// No pause between two attempts is longer.
const LONGEST_PAUSE: Duration = Duration::from_secs(30);

impl Default for EndpointConfig {
    fn default() -> Self {
        Self {
            url: String::new(),
            token_file: None,
            columns: Vec::new(),
            timeout_secs: 60.0,
            retries: 3,
            backoff_secs: 0.5,
            max_output_bytes: 1 << 20,
        }
    }
}

impl EndpointConfig {
    /// The rule, which asks through `client`.
    ///
    /// # Errors
    /// An address that isn't HTTP's, no time, a token that can't be read or that everybody could.
    pub fn build(&self, client: Arc<dyn Post>) -> Result<Endpoint, Refusal> {
        let Some((scheme, rest)) =
            self.url.split_once("://").filter(|(it, _)| matches!(*it, "http" | "https"))
        else {
            return Err(Refusal::new("url", "must begin with http:// or https://"));
        };
        let is_here = ["localhost", "127.0.0.1", "[::1]"].iter().any(|it| rest.starts_with(it));
        if self.token_file.is_some() && scheme == "http" && !is_here {
            let reason = "must begin with https://, since `token_file` holds a secret";
            return Err(Refusal::new("url", reason));
        }
        seconds("timeout_secs", self.timeout_secs)?;
        seconds("backoff_secs", self.backoff_secs)?;
        if self.max_output_bytes == 0 {
            return Err(Refusal::new("max_output_bytes", "must be above 0"));
        }
        let read = |path: &PathBuf| {
            let refuse = |error| {
                Refusal::new("token_file", format!("can't be read: {}: {error}", path.display()))
            };
            fs::read_to_string(path).map(|it| it.trim().to_owned()).map_err(refuse)
        };
        let token = self.token_file.as_ref().map(read).transpose()?;
        Ok(Endpoint { config: self.clone(), token, client })
    }
}

impl Endpoint {
    fn ask(&self, questions: &[Value]) -> Result<Vec<Result<Verdict, Fault>>, Fault> {
        let body = json!({ "completions": questions }).to_string();
        let answer = self.persist(body.as_bytes())?;
        let refuse = || {
            let text = shortened(&String::from_utf8_lossy(&answer));
            Fault::Garbage(format!("{text:?} holds no scores; a list of them was asked for"))
        };
        let value: Value = serde_json::from_slice(&answer).map_err(|_| refuse())?;
        let scores = value.get("scores").unwrap_or(&value).as_array().ok_or_else(refuse)?;
        Ok(scores.iter().map(verdict).collect())
    }

    /// Asks until there is an answer, or it is clear that none will come.
    fn persist(&self, body: &[u8]) -> Result<Vec<u8>, Fault> {
        let EndpointConfig { url, timeout_secs, retries, backoff_secs, max_output_bytes, .. } =
            &self.config;
        let timeout = Duration::from_secs_f64(*timeout_secs);
        let (token, max_bytes) = (self.token.as_deref(), *max_output_bytes);
        let request = Posted { url, token, body, timeout, max_bytes };
        let mut pause = Duration::from_secs_f64(*backoff_secs);
        let mut attempt = 0;
        loop {
            attempt += 1;
            let (fault, wait) = match self.client.post(&request) {
                Ok(Received { status: 200..300, body, .. }) => return Ok(body),
                Ok(received) => {
                    let told = shortened(&String::from_utf8_lossy(&received.body));
                    let colon = if told.is_empty() { "" } else { ": " };
                    let fault = format!("{url} answers HTTP {}{colon}{told}", received.status);
                    if !matches!(received.status, 408 | 425 | 429 | 500 | 502..=504) {
                        return Err(Fault::Unreachable(fault));
                    }
                    (Fault::Unreachable(fault), received.retry_after)
                }
                Err(PostError::TooLong) => return Err(Fault::TooLong(max_bytes)),
                Err(PostError::TimedOut) => (Fault::TimedOut(timeout), None),
                Err(PostError::Unreachable(reason)) => {
                    (Fault::Unreachable(format!("{url} can't be reached: {reason}")), None)
                }
            };
            if attempt > *retries {
                return Err(fault);
            }
            thread::sleep(wait.unwrap_or(pause).min(LONGEST_PAUSE));
            pause = pause.saturating_mul(2);
        }
    }
}

impl Rule for Endpoint {
    fn judge(&self, completion: &Completion) -> Result<Verdict, Fault> {
        self.judge_all(std::slice::from_ref(completion)).remove(0)
    }

    fn judge_all(&self, completions: &[Completion]) -> Vec<Result<Verdict, Fault>> {
        ask_all(completions, &self.config.columns, |questions| self.ask(questions))
    }
}

impl std::fmt::Debug for Endpoint {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_tuple("Endpoint").field(&self.config).finish()
    }
}

impl std::fmt::Debug for Posted<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Posted({}, {} bytes)", self.url, self.body.len())
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Mutex;

    use super::*;

    /// Gives these answers, one after the other, and keeps what it was asked.
    #[derive(Default)]
    struct Script {
        answers: Mutex<Vec<Result<Received, PostError>>>,
        asked: Mutex<Vec<String>>,
    }

    impl Post for Script {
        fn post(&self, request: &Posted<'_>) -> Result<Received, PostError> {
            let body = String::from_utf8_lossy(request.body).into_owned();
            self.asked.lock().expect("nobody panicked").push(body);
            self.answers.lock().expect("nobody panicked").remove(0)
        }
    }

    fn received(status: u16, body: &str) -> Result<Received, PostError> {
        Ok(Received { status, retry_after: None, body: body.into() })
    }

    /// The verdicts on two completions, and how often the endpoint was asked.
    fn ask(answers: Vec<Result<Received, PostError>>) -> (Vec<Result<Verdict, Fault>>, usize) {
        let script = Arc::new(Script { answers: Mutex::new(answers), asked: Mutex::default() });
        let config = EndpointConfig {
            url: "http://localhost:1/score".into(),
            retries: 2,
            backoff_secs: 1e-3,
            ..EndpointConfig::default()
        };
        let rule = config.build(script.clone()).expect("is a rule");
        let completion = |text: &str| Completion { text: text.into(), ..Completion::default() };
        let judged = rule.judge_all(&["a", "b"].map(completion));
        let asked = script.asked.lock().expect("nobody panicked").clone();
        assert!(asked.iter().all(|it| it.contains(r#""completion":"b""#)), "{asked:?}");
        (judged, asked.len())
    }

    #[test]
    fn answers_are_lists_of_scores() {
        for body in [
            "[1, {\"score\": 0.5, \"reason\": \"so so\"}]",
            r#"{"scores": [1, {"score": 0.5, "reason": "so so"}]}"#,
        ] {
            let (judged, n_asked) = ask(vec![received(200, body)]);
            assert_eq!(
                (judged, n_asked),
                (vec![Ok(1.0.into()), Ok(Verdict::new(0.5, "so so"))], 1)
            );
        }
        let (judged, _) = ask(vec![received(200, "[1, null]")]);
        assert!(judged[0].is_ok() && matches!(judged[1], Err(Fault::Garbage(_))));
    }

    #[test]
    fn who_is_overloaded_is_asked_again() {
        let broken = || Err(PostError::Unreachable("reset".into()));
        let (judged, n_asked) = ask(vec![received(503, ""), broken(), received(200, "[1, 2]")]);
        assert!(judged.iter().all(Result::is_ok) && n_asked == 3);
        let late = || Err(PostError::TimedOut);
        let (judged, n_asked) = ask(vec![late(), late(), late()]);
        assert_eq!(
            (judged[1].clone(), n_asked),
            (Err(Fault::TimedOut(Duration::from_secs(60))), 3)
        );
    }

    #[test]
    fn who_refuses_is_not_asked_again() {
        let told = |answer| {
            let (judged, n_asked) = ask(vec![answer]);
            assert_eq!(n_asked, 1);
            judged[0].clone().expect_err("is a fault").to_string()
        };
        let refused = "http://localhost:1/score answers HTTP 403: who are you?";
        assert_eq!(told(received(403, "who are you?")), refused);
        assert_eq!(told(received(302, "")), "http://localhost:1/score answers HTTP 302");
        assert_eq!(told(received(200, "[1]")), "1 scores came for 2 completions");
        assert!(told(received(200, "<html>")).starts_with("\"<html>\" holds no scores"));
        assert!(told(Err(PostError::TooLong)).contains("raise `max_output_bytes`"));
    }

    #[test]
    fn addresses_are_looked_at() {
        let nobody = || Arc::new(Script::default());
        let refusal =
            |config: &EndpointConfig| config.build(nobody()).expect_err("is refused").to_string();
        let config = |url: &str| EndpointConfig { url: url.into(), ..EndpointConfig::default() };
        assert_eq!(refusal(&config("file:///x")), "`url` must begin with http:// or https://");
        let told =
            EndpointConfig { token_file: Some("no/token".into()), ..config("http://10.0.0.1/") };
        assert!(refusal(&told).starts_with("`url` must begin with https://"));
        let gone = EndpointConfig { url: "https://judge/".into(), ..told };
        assert!(refusal(&gone).starts_with("`token_file` can't be read: no/token: "));
        assert!(
            refusal(&EndpointConfig { timeout_secs: 0.0, ..config("http://a/") })
                .contains("`timeout_secs`")
        );
    }
}
