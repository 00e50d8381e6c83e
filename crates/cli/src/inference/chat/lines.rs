use std::io::{BufRead, IsTerminal, Read, Stdin, stdin, stdout};

use anyhow::{Context, Result, bail};
use rustyline::DefaultEditor;
use rustyline::error::ReadlineError;

/// Begins and ends a message of several lines.
const BLOCK: &str = "\"\"\"";
/// Longer lines are refused.
const MAX_LINE_BYTES: u64 = 1 << 20;

/// Where messages come from.
pub(super) enum Lines {
    /// A person at a terminal, with a line editor.
    Terminal(Box<DefaultEditor>),
    /// A file or another program; a line is a message.
    Pipe(Stdin),
}

/// What came.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Line {
    /// A message or a command.
    Text(String),
    /// Ctrl-C, with nothing being said.
    Interrupt,
    /// Nothing more will come.
    End,
}

impl Lines {
    pub(super) fn open() -> Result<Self> {
        if !stdin().is_terminal() || !stdout().is_terminal() {
            return Ok(Self::Pipe(stdin()));
        }
        Ok(Self::Terminal(Box::new(DefaultEditor::new().context("the terminal")?)))
    }

    pub(super) fn is_terminal(&self) -> bool {
        matches!(self, Self::Terminal(_))
    }

    /// The next message, which may be a block of lines between two `"""`.
    pub(super) fn next(&mut self) -> Result<Line> {
        let first = match self.read("> ")? {
            Line::Text(first) => first,
            other => return Ok(other),
        };
        let message = match first.trim_start().strip_prefix(BLOCK) {
            None => Line::Text(first),
            Some(begun) => self.block(begun)?,
        };
        if let (Self::Terminal(editor), Line::Text(message)) = (self, &message) {
            editor.add_history_entry(message.as_str())?;
        }
        Ok(message)
    }

    fn block(&mut self, begun: &str) -> Result<Line> {
        let mut block = begun.to_owned();
        loop {
            if let Some(whole) = block.trim_end().strip_suffix(BLOCK) {
                return Ok(Line::Text(whole.trim_matches('\n').to_owned()));
            }
            match self.read("… ")? {
                Line::Text(line) => block = format!("{block}\n{line}"),
                Line::End => return Ok(Line::Text(block.trim_matches('\n').to_owned())),
                Line::Interrupt => return Ok(Line::Interrupt),
            }
        }
    }

    fn read(&mut self, prompt: &str) -> Result<Line> {
        match self {
            Self::Pipe(input) => read_line(&mut input.lock()),
            Self::Terminal(editor) => match editor.readline(prompt) {
                Ok(line) => Ok(Line::Text(line)),
                Err(ReadlineError::Eof) => Ok(Line::End),
                Err(ReadlineError::Interrupted) => Ok(Line::Interrupt),
                Err(error) => Err(error).context("the terminal"),
            },
        }
    }
}

fn read_line(input: &mut dyn BufRead) -> Result<Line> {
    let mut line = Vec::new();
    let n_bytes = input.take(MAX_LINE_BYTES + 1).read_until(b'\n', &mut line);
    let n_bytes = n_bytes.context("standard input")? as u64;
    if n_bytes > MAX_LINE_BYTES {
        bail!("standard input: a line is longer than 1 MiB");
    }
    if n_bytes == 0 {
        return Ok(Line::End);
    }
    let line = String::from_utf8(line).context("standard input: a line is not UTF-8")?;
    Ok(Line::Text(line.trim_end_matches(['\n', '\r']).to_owned()))
}
