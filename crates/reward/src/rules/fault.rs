use std::time::Duration;

use thiserror::Error;

/// Why a rule can't judge a completion.
#[derive(Clone, Debug, PartialEq, Error)]
#[non_exhaustive]
pub enum Fault {
    /// Its code panicked.
    #[error("it panicked: {0}")]
    Panicked(String),
    /// It, or whom it asked, took too long.
    #[error("no answer within {}", seconds(*.0))]
    TimedOut(Duration),
    /// Its score isn't a number that can be learned from.
    #[error("its score is {0}; scores must be finite")]
    NotFinite(f64),
    /// It gave another number of scores than it was asked for.
    #[error("{found} scores came for {wanted} completions")]
    Count {
        /// How many scores came.
        found: usize,
        /// How many completions it was asked about.
        wanted: usize,
    },
    /// The prompt's row lacks a column that the rule reads.
    #[error("the prompt's row has no column `{0}`; name another with `column`")]
    NoColumn(String),
    /// What stands in the column can't be compared with.
    #[error("the column `{column}` holds {found}, which is no {wanted}")]
    Column {
        /// The column.
        column: String,
        /// What it holds.
        found: String,
        /// What it should hold.
        wanted: &'static str,
    },
    /// The completion has no tokens, since it was read as a text.
    #[error("completions are read as texts here, without tokens; count `words` or `characters`")]
    NoTokens,
    /// A program can't be started.
    #[error("`{program}` can't be started: {reason}")]
    NoStart {
        /// The program.
        program: String,
        /// Why not.
        reason: String,
    },
    /// A program failed.
    #[error("the program ended with {status}{}", told(.stderr))]
    Exit {
        /// How it ended.
        status: String,
        /// The end of what it wrote to standard error.
        stderr: String,
    },
    /// An endpoint can't be reached or refuses.
    #[error("{0}")]
    Unreachable(String),
    /// Who was asked wrote more than it may.
    #[error("the answer has more than {0} bytes; raise `max_output_bytes`")]
    TooLong(usize),
    /// What came isn't what was asked for.
    #[error("{0}")]
    Garbage(String),
}

fn seconds(time: Duration) -> String {
    format!("{} s", time.as_secs_f64())
}

fn told(stderr: &str) -> String {
    if stderr.is_empty() { String::new() } else { format!("; it said: {stderr}") }
}

/// A text that fits into an error: one line, and no more than 80 characters of it.
pub(super) fn shortened(text: &str) -> String {
    const MOST: usize = 80;
    let text: String = text
        .trim()
        .chars()
        .map(|it| if it.is_control() { ' ' } else { it })
        .take(MOST + 1)
        .collect();
    match text.char_indices().nth(MOST) {
        Some((end, _)) => format!("{}…", &text[..end]),
        None => text,
    }
}
