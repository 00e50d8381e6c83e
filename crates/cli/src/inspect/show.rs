//! Rows of tokens for people to read.
//!
//! Data aren't trusted: what would move the cursor, change colours or turn the direction of writing
//! around is written out.

use std::collections::HashSet;
use std::fmt::Write;

use rein_data::encoding::TokenRow;
use rein_data::tokenizer::Tokenizer;
use serde_json::{Value, json};

/// Of longer rows, the beginning and the end are shown.
const N_HEAD: usize = 200;
const N_TAIL: usize = 300;

/// How learned tokens stand out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Style {
    /// Green, on a terminal.
    Colour,
    /// Between brackets.
    Brackets,
}

/// A row to show.
#[derive(Debug)]
pub(super) struct Shown {
    place: String,
    /// Which of the example's completions it is, where there are two.
    name: String,
    row: TokenRow,
    pieces: Vec<Piece>,
    /// Where the row would be cut.
    limit: Option<usize>,
    n_hidden: usize,
}

/// Tokens side by side that are alike.
#[derive(Debug)]
struct Piece {
    /// The first token's number.
    at: usize,
    text: String,
    is_learned: bool,
}

impl Shown {
    /// Takes the row apart where what is learned changes, at special tokens and at `limit`.
    pub(super) fn new(
        place: String,
        name: &str,
        row: &TokenRow,
        tokenizer: &Tokenizer,
        limit: Option<usize>,
    ) -> Self {
        let texts: HashSet<String> = tokenizer.special_texts().into_iter().collect();
        let special = |id: u32| tokenizer.token(id).filter(|text| texts.contains(text));
        let n_tokens = row.tokens.len();
        let hidden = N_HEAD..n_tokens.saturating_sub(N_TAIL);
        let begins = |at: usize| {
            let is_border = at == 0 || at == hidden.start || at == hidden.end || Some(at) == limit;
            is_border
                || row.learned[at] != row.learned[at - 1]
                || special(row.tokens[at]).is_some()
                || special(row.tokens[at - 1]).is_some()
        };
        let shown = (0..n_tokens).filter(|at| !hidden.contains(at));
        let starts: Vec<usize> = shown.filter(|at| begins(*at)).collect();
        let piece = |(number, at): (usize, &usize)| {
            let next = starts.get(number + 1).copied().unwrap_or(n_tokens);
            let end = if *at < hidden.start { next.min(hidden.start) } else { next };
            let tokens = &row.tokens[*at..end];
            let text =
                special(tokens[0]).unwrap_or_else(|| told_apart(tokenizer.decode(tokens), &texts));
            Piece { at: *at, text, is_learned: row.learned[*at] }
        };
        let pieces = starts.iter().enumerate().map(piece).collect();
        let n_hidden = hidden.len();
        Self { place, name: name.to_owned(), row: row.clone(), pieces, limit, n_hidden }
    }

    pub(super) fn to_json(&self) -> Value {
        json!({
            "place": self.place, "completion": self.name,
            "input_ids": self.row.tokens, "learned": self.row.learned,
        })
    }

    /// The row with its learned tokens made visible, and a mark where it would be cut.
    pub(super) fn render(&self, style: Style) -> String {
        let (n_tokens, n_learned) = (self.row.tokens.len(), self.row.n_learned());
        let name = if self.name.is_empty() { String::new() } else { format!(", {}", self.name) };
        let mut text = format!("{}{name}: {n_tokens} tokens, {n_learned} learned\n", self.place);
        let mut body = String::new();
        let mut was_learned = false;
        for piece in &self.pieces {
            if was_learned != piece.is_learned {
                body.push_str(style.turn(piece.is_learned));
                was_learned = piece.is_learned;
            }
            if self.n_hidden > 0 && piece.at == N_HEAD + self.n_hidden {
                body.push_str(" … ");
            }
            if Some(piece.at) == self.limit {
                body.push_str(" ✂ ");
            }
            body.push_str(&escape(&piece.text));
        }
        if was_learned {
            body.push_str(style.turn(false));
        }
        let _ = writeln!(text, "  {}", body.trim_end_matches('\n').replace('\n', "\n  "));
        if self.n_hidden > 0 {
            let _ = writeln!(text, "  ({} tokens in the middle aren't shown)", self.n_hidden);
        }
        text
    }
}

/// Plain text that looks like a special token isn't one: a `\` stands before it.
fn told_apart(text: String, special: &HashSet<String>) -> String {
    let special = special.iter().filter(|it| !it.is_empty());
    special.fold(text, |text, it| text.replace(it.as_str(), &format!("\\{it}")))
}

impl Style {
    fn turn(self, on: bool) -> &'static str {
        match (self, on) {
            (Self::Colour, true) => "\x1b[1;32m",
            (Self::Colour, false) => "\x1b[0m",
            (Self::Brackets, true) => "⟦",
            (Self::Brackets, false) => "⟧",
        }
    }
}

/// A text that can do nothing to a terminal. A line break is told and made.
pub(super) fn escape(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    for letter in text.chars() {
        match letter {
            '\n' => escaped.push_str("\\n\n"),
            _ if letter.is_control() || is_invisible(letter) => {
                escaped.extend(letter.escape_default());
            }
            _ => escaped.push(letter),
        }
    }
    escaped
}

/// Letters that have no shape of their own and change that of others, or hide.
fn is_invisible(letter: char) -> bool {
    matches!(letter,
        '\u{ad}' | '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2060}'..='\u{206f}'
        | '\u{feff}' | '\u{fff9}'..='\u{fffb}' | '\u{e0000}'..='\u{e007f}')
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shown(tokens: Vec<u32>, learned: &[bool], limit: Option<usize>) -> String {
        let tokenizer = Tokenizer::train_bpe(["a"], 259).expect("trains");
        let row = TokenRow::new(tokens, learned.to_vec());
        Shown::new("line 1".into(), "", &row, &tokenizer, limit).render(Style::Brackets)
    }

    fn encode(text: &str) -> Vec<u32> {
        Tokenizer::train_bpe(["a"], 259).expect("trains").encode(text)
    }

    #[test]
    fn learned_tokens_and_the_limit_are_visible() {
        let tokens = [vec![1], encode("ab"), vec![2]].concat();
        let told = shown(tokens.clone(), &[false, false, true, true], None);
        assert_eq!(told, "line 1: 4 tokens, 2 learned\n  <|bos|>a⟦b<|eos|>⟧\n");
        let told = shown(tokens, &[false, false, true, true], Some(3));
        assert_eq!(told, "line 1: 4 tokens, 2 learned\n  <|bos|>a⟦b ✂ <|eos|>⟧\n");
        let typed = encode("<|eos|>");
        let mask = vec![false; typed.len()];
        assert_eq!(shown(typed, &mask, None), "line 1: 7 tokens, 0 learned\n  \\<|eos|>\n");
        let long = encode(&"x".repeat(600));
        let told = shown(long, &[false; 600], None);
        assert_eq!(told.matches('x').count(), 500);
        let end = format!("x … {}\n  (100 tokens in the middle aren't shown)\n", "x".repeat(300));
        assert!(told.ends_with(&end), "{told}");
    }

    #[test]
    fn nothing_reaches_the_terminal_that_moves_it() {
        assert_eq!(
            escape("a\x1b[2J\r\u{202e}\u{9b}é 猫\n"),
            "a\\u{1b}[2J\\r\\u{202e}\\u{9b}é 猫\\n\n"
        );
    }
}
