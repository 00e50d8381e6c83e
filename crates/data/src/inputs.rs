//! Rows to run a model on: tokens, texts or conversations.

use std::path::Path;

use serde::Deserialize;

use crate::DataError;
use crate::jsonl;
use crate::tokenizer::Tokenizer;

/// Whether a row's completion is whole.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ending {
    /// More may follow.
    Open,
    /// The end of sequence follows, as it does where completions are learned and judged.
    Closed,
}

/// A line of the file; other columns are passed over.
#[derive(Deserialize)]
struct Row {
    input_ids: Option<Vec<u32>>,
    prompt: Option<String>,
    completion: Option<String>,
}

/// Reads JSON lines with `input_ids`, or with `prompt` and, where there is one, `completion`, as rows
/// of tokens.
///
/// # Errors
/// A line without either or with both, with text where there is no tokenizer, or without any token.
pub fn read_inputs(
    path: &Path,
    tokenizer: Option<&Tokenizer>,
    ending: Ending,
) -> Result<Vec<Vec<u32>>, DataError> {
    jsonl::read_with(path, |row| {
        let tokens = encode(row, tokenizer, ending)?;
        if tokens.is_empty() { Err("the row has no tokens".into()) } else { Ok(tokens) }
    })
}

fn encode(
    row: Row,
    tokenizer: Option<&Tokenizer>,
    ending: Ending,
) -> Result<Vec<u32>, &'static str> {
    let prompt = match row {
        Row { input_ids: Some(tokens), prompt: None, completion: None } => return Ok(tokens),
        Row { input_ids: None, prompt: Some(ref prompt), .. } => prompt,
        _ => return Err("a row has either `input_ids`, or `prompt` and perhaps `completion`"),
    };
    let tokenizer = tokenizer
        .ok_or("text needs a tokenizer, and the model's folder holds none; give `input_ids`")?;
    let mut tokens = tokenizer.encode_prompt(prompt);
    if let Some(completion) = &row.completion {
        tokens.extend(match ending {
            Ending::Open => tokenizer.encode(completion),
            Ending::Closed => tokenizer.encode_completion(completion),
        });
    }
    Ok(tokens)
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    fn read(lines: &str, tokenizer: Option<&Tokenizer>) -> Result<Vec<Vec<u32>>, String> {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let path = folder.path().join("rows.jsonl");
        fs::write(&path, lines).expect("writes");
        let rows = read_inputs(&path, tokenizer, Ending::Closed);
        rows.map_err(|error| {
            error.to_string().replace(&format!("{}/", folder.path().display()), "")
        })
    }

    #[test]
    fn tokens_and_texts_become_rows() {
        let tokenizer = Tokenizer::train_bpe(["a"], 259).expect("trains");
        let lines = "{\"input_ids\":[5,6],\"extra\":1}\n{\"prompt\":\"\",\"completion\":\"\"}\n{\"prompt\":\"\"}\n";
        // bos is 1 and eos 2.
        assert_eq!(read(lines, Some(&tokenizer)), Ok(vec![vec![5, 6], vec![1, 2], vec![1]]));
    }

    #[test]
    fn errors_name_the_line() {
        let needs = "rows.jsonl:1: text needs a tokenizer, and the model's folder holds none; give `input_ids`";
        assert_eq!(read("{\"prompt\":\"a\"}", None), Err(needs.into()));
        let both = "{\"input_ids\":[1]}\n\n{\"input_ids\":[1],\"prompt\":\"a\"}";
        let either =
            "rows.jsonl:3: a row has either `input_ids`, or `prompt` and perhaps `completion`";
        assert_eq!(read(both, None), Err(either.into()));
        assert_eq!(
            read("{\"input_ids\":[]}", None),
            Err("rows.jsonl:1: the row has no tokens".into())
        );
        assert!(
            read("{\"input_ids\":[-1]}", None)
                .is_err_and(|error| error.starts_with("rows.jsonl:1: "))
        );
    }
}
