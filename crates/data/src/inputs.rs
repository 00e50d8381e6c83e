//! Rows to run a model on: tokens, texts or conversations.

use std::path::Path;

use serde::Deserialize;
use serde_json::Value;

use crate::DataError;
use crate::chat::{encode_chat, encode_opening};
use crate::jsonl;
use crate::template::ChatTemplate;
use crate::tokenizer::Tokenizer;

/// What a row is read for, which decides how it ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Purpose {
    /// A model goes on from its end: a conversation ends with the beginning of a reply, or inside the
    /// assistant's last message, which is continued.
    Continue,
    /// A model reads it as it stands.
    Read,
    /// A model judges it as a whole: a completion's text is followed by the end of sequence, as where
    /// completions are learned.
    Judge,
}

/// How rows are read.
#[derive(Clone, Copy, Debug)]
pub struct Reading<'a> {
    /// Encodes text; without one, rows hold tokens.
    pub tokenizer: Option<&'a Tokenizer>,
    /// Renders conversations.
    pub template: Option<&'a ChatTemplate>,
    /// What for.
    pub purpose: Purpose,
}

/// A row that was read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Input {
    /// The line it stood on, counted from 1.
    pub line: usize,
    /// Its tokens, one at least.
    pub tokens: Vec<u32>,
}

/// A line of the file; other columns are passed over.
#[derive(Deserialize)]
struct Row {
    input_ids: Option<Vec<u32>>,
    prompt: Option<Content>,
    completion: Option<Content>,
    messages: Option<Vec<Value>>,
    tools: Option<Value>,
}

#[derive(Deserialize)]
#[serde(untagged, expecting = "expected a text or a list of messages")]
enum Content {
    Text(String),
    Messages(Vec<Value>),
}

const SHAPES: &str = "a row has either `input_ids`, or `prompt` and perhaps `completion` (both texts or \
                      both lists of messages), or `messages`";

/// Reads JSON lines as rows of tokens. A line holds `input_ids`; or `prompt` and, where there is one,
/// `completion`; or a conversation, as `messages` or as lists of messages in `prompt` and `completion`,
/// perhaps with `tools`.
///
/// # Errors
/// A line of another shape, with text where there is no tokenizer, with messages where there is no
/// template or that the template refuses, or without any token.
pub fn read_inputs(path: &Path, reading: Reading<'_>) -> Result<Vec<Input>, DataError> {
    jsonl::read_numbered(path, |line, row| {
        let tokens = reading.encode(row)?;
        if tokens.is_empty() {
            Err("the row has no tokens".into())
        } else {
            Ok(Input { line, tokens })
        }
    })
}

impl Reading<'_> {
    fn encode(&self, row: Row) -> Result<Vec<u32>, String> {
        use Content::{Messages, Text};
        let tools = row.tools.as_ref();
        match (row.input_ids, row.messages, row.prompt, row.completion) {
            (Some(tokens), None, None, None) => Ok(tokens),
            (None, Some(messages), None, None) => self.conversation(&messages, tools),
            (None, None, Some(Text(prompt)), None) => self.texts(&prompt, None),
            (None, None, Some(Text(prompt)), Some(Text(completion))) => {
                self.texts(&prompt, Some(&completion))
            }
            (None, None, Some(Messages(prompt)), None) => self.conversation(&prompt, tools),
            (None, None, Some(Messages(prompt)), Some(Messages(completion))) => {
                self.conversation(&[prompt, completion].concat(), tools)
            }
            _ => Err(SHAPES.into()),
        }
    }

    fn texts(&self, prompt: &str, completion: Option<&str>) -> Result<Vec<u32>, String> {
        let tokenizer = self.tokenizer()?;
        let mut tokens = tokenizer.encode_prompt(prompt);
        if let Some(completion) = completion {
            tokens.extend(match self.purpose {
                Purpose::Continue | Purpose::Read => tokenizer.encode(completion),
                Purpose::Judge => tokenizer.encode_completion(completion),
            });
        }
        Ok(tokens)
    }

    fn conversation(&self, messages: &[Value], tools: Option<&Value>) -> Result<Vec<u32>, String> {
        let tokenizer = self.tokenizer()?;
        let template = self.template.ok_or(
            "messages need a chat template, and the model's folder holds none; name one with \
             `--chat-template`: chatml, llama3, zephyr or a file",
        )?;
        if messages.is_empty() {
            return Err("the list of messages is empty".into());
        }
        let tokens = match self.purpose {
            Purpose::Continue => encode_opening(messages, tools, template, tokenizer),
            Purpose::Read | Purpose::Judge => {
                let row = encode_chat(messages, tools, false, template, tokenizer);
                row.map(|row| row.tokens)
            }
        };
        tokens.map_err(|error| error.to_string())
    }

    fn tokenizer(&self) -> Result<&Tokenizer, String> {
        let missing = "text needs a tokenizer, and the model's folder holds none; give `input_ids`";
        self.tokenizer.ok_or(missing.into())
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;
    use crate::template::CHATML;

    fn trained() -> Tokenizer {
        Tokenizer::train_bpe(["a"], 259).expect("trains")
    }

    fn read(
        lines: &str,
        tokenizer: Option<&Tokenizer>,
        template: Option<&ChatTemplate>,
        purpose: Purpose,
    ) -> Result<Vec<Input>, String> {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let path = folder.path().join("rows.jsonl");
        fs::write(&path, lines).expect("writes");
        read_inputs(&path, Reading { tokenizer, template, purpose }).map_err(|error| {
            error.to_string().replace(&format!("{}/", folder.path().display()), "")
        })
    }

    #[test]
    fn tokens_and_texts_become_rows() {
        let lines = "{\"input_ids\":[5,6],\"extra\":1}\n\n{\"prompt\":\"\",\"completion\":\"\"}\n{\"prompt\":\"\"}\n";
        let input = |line, tokens| Input { line, tokens };
        // bos is 1 and eos 2.
        let judged = vec![input(1, vec![5, 6]), input(3, vec![1, 2]), input(4, vec![1])];
        assert_eq!(read(lines, Some(&trained()), None, Purpose::Judge), Ok(judged));
        let as_it_is = vec![input(1, vec![5, 6]), input(3, vec![1]), input(4, vec![1])];
        assert_eq!(read(lines, Some(&trained()), None, Purpose::Read), Ok(as_it_is));
    }

    #[test]
    fn conversations_are_rendered_for_their_purpose() {
        let tokenizer = trained();
        let template = tokenizer.template(CHATML).expect("is safe");
        let text = |row: &str, purpose| {
            let rows = read(row, Some(&tokenizer), Some(&template), purpose).expect("reads");
            tokenizer.decode(&rows[0].tokens)
        };
        let asked = r#"{"messages":[{"role":"user","content":"Hi"}]}"#;
        let turn = "<|im_start|>user\nHi<|im_end|>\n";
        assert_eq!(text(asked, Purpose::Continue), format!("{turn}<|im_start|>assistant\n"));
        assert_eq!(text(asked, Purpose::Read), turn);
        let answered = r#"{"prompt":[{"role":"user","content":"Hi"}],"completion":[{"role":"assistant","content":"Yo. Yo"}]}"#;
        let begun = format!("{turn}<|im_start|>assistant\nYo. Yo");
        assert_eq!(text(answered, Purpose::Continue), begun, "the reply is continued");
        assert_eq!(text(answered, Purpose::Judge), format!("{begun}<|im_end|>\n"));
    }

    #[test]
    fn errors_name_the_line() {
        let tokenizer = trained();
        let refusal = |row: &str, tokenizer| {
            read(row, tokenizer, None, Purpose::Continue).expect_err("is refused")
        };
        for (row, tokenizer, want) in [
            (
                "{\"prompt\":\"a\"}",
                None,
                "rows.jsonl:1: text needs a tokenizer, and the model's folder holds none; give `input_ids`",
            ),
            (
                "{\"input_ids\":[1]}\n\n{\"input_ids\":[1],\"prompt\":\"a\"}",
                None,
                "rows.jsonl:3: a row has either `input_ids`, or `prompt` and perhaps `completion` (both texts or both lists of messages), or `messages`",
            ),
            ("{\"input_ids\":[]}", None, "rows.jsonl:1: the row has no tokens"),
            (
                "{\"messages\":[{\"role\":\"user\",\"content\":\"Hi\"}]}",
                Some(&tokenizer),
                "rows.jsonl:1: messages need a chat template, and the model's folder holds none; name one with `--chat-template`: chatml, llama3, zephyr or a file",
            ),
            (
                "{\"prompt\":3}",
                Some(&tokenizer),
                "rows.jsonl:1: expected a text or a list of messages (column 12)",
            ),
        ] {
            assert_eq!(refusal(row, tokenizer), want);
        }
        assert!(refusal("{\"input_ids\":[-1]}", None).starts_with("rows.jsonl:1: "));
        assert!(refusal("{\"prompt\":\"a\",\"completion\":[]}", Some(&tokenizer)).contains(SHAPES));
    }
}
