//! The texts behind the names in a log.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use rein_data::example::Content;
use rein_data::jsonl;
use serde::Deserialize;

use crate::error::FeedbackError;

/// The texts of prompts, which may be conversations, and responses by their ids.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Texts {
    prompts: BTreeMap<String, Content>,
    responses: BTreeMap<String, String>,
    /// Responses that were cut.
    cut: BTreeSet<String>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Line {
    prompt_id: String,
    prompt: Content,
    response_id: String,
    response: String,
    #[serde(default = "yes")]
    finished: bool,
}

pub(super) fn yes() -> bool {
    true
}

impl Texts {
    /// Reads JSON lines with `prompt_id`, `prompt`, `response_id` and `response`, one response a line; `finished` is false of
    /// one that was cut.
    ///
    /// # Errors
    /// A line that can't be read, or that gives an id another text than a line before it.
    pub fn read(path: &Path) -> Result<Self, FeedbackError> {
        let mut texts = Self::default();
        jsonl::read_with(path, |Line { prompt_id, prompt, response_id, response, finished }| {
            if !finished {
                texts.add_cut(&response_id);
            }
            texts.add(&prompt_id, prompt, &response_id, response).map_err(|error| error.to_string())
        })?;
        Ok(texts)
    }

    /// Adds a response and what it answers.
    ///
    /// # Errors
    /// An id that has another text already.
    pub fn add(
        &mut self,
        prompt_id: &str,
        prompt: impl Into<Content>,
        response_id: &str,
        response: impl Into<String>,
    ) -> Result<(), FeedbackError> {
        insert(&mut self.prompts, "prompt", prompt_id, prompt.into())?;
        insert(&mut self.responses, "response", response_id, response.into())
    }

    /// Says that a response was cut at the length limit.
    pub fn add_cut(&mut self, response_id: &str) {
        self.cut.insert(response_id.to_owned());
    }

    /// Whether a response ended by itself, as far as is known.
    pub fn finished(&self, response_id: &str) -> bool {
        !self.cut.contains(response_id)
    }

    /// A prompt.
    pub fn prompt(&self, id: &str) -> Option<&Content> {
        self.prompts.get(id)
    }

    /// The text of a response.
    pub fn response(&self, id: &str) -> Option<&str> {
        self.responses.get(id).map(String::as_str)
    }
}

fn insert<T: PartialEq>(
    texts: &mut BTreeMap<String, T>,
    kind: &str,
    id: &str,
    text: T,
) -> Result<(), FeedbackError> {
    match texts.get(id) {
        Some(known) if *known != text => Err(FeedbackError::Invalid(format!(
            "the {kind} `{id}` has another text already; give each text an id of its own"
        ))),
        Some(_) => Ok(()),
        None => {
            texts.insert(id.to_owned(), text);
            Ok(())
        }
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    #[test]
    fn an_id_has_one_text_and_errors_name_the_line() {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let path = folder.path().join("texts.jsonl");
        let line = |response| {
            format!(r#"{{"prompt_id":"p","prompt":"P","response_id":"a","response":"{response}"}}"#)
        };
        let cut =
            r#"{"prompt_id":"p","prompt":"P","response_id":"c","response":"C","finished":false}"#;
        fs::write(&path, format!("{}\n{cut}\n", line("A"))).expect("writes");
        let texts = Texts::read(&path).expect("reads");
        assert_eq!(["a", "c"].map(|it| texts.finished(it)), [true, false]);
        fs::write(&path, format!("{}\n{}\n", line("A"), line("A"))).expect("writes");
        let texts = Texts::read(&path).expect("reads");
        assert_eq!((texts.prompt("p"), texts.response("a")), (Some(&"P".into()), Some("A")));
        assert_eq!((texts.prompt("a"), texts.response("b")), (None, None));

        fs::write(&path, format!("{}\n{}\n", line("A"), line("B"))).expect("writes");
        let error = Texts::read(&path).expect_err("is refused").to_string();
        let reason = "the response `a` has another text already; give each text an id of its own";
        assert_eq!(error, format!("{}:2: {reason}", path.display()));
    }
}
