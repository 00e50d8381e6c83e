//! Text that appears token by token.

use std::sync::Arc;

use crate::tokenizer::Tokenizer;

/// Decodes tokens as they come. What it gives, taken together, is what [`Tokenizer::decode`] gives for
/// all of them: a character is given when its last byte is there, and the space between two words when
/// both are. (Only where a tokenizer writes single bytes as tokens and a character stands beside bytes
/// that never become one, decoding all together spoils that character, too, and here it stays.)
#[derive(Clone, Debug)]
pub struct TextStream {
    tokenizer: Tokenizer,
    /// The newest tokens, and before them some that have been given: how a token is written can depend
    /// on the one before it.
    window: Vec<u32>,
    /// How many tokens of the window were given when others came.
    n_context: usize,
    /// What was given of the window's text.
    given: String,
}

impl TextStream {
    /// No tokens yet.
    pub fn new(tokenizer: &Tokenizer) -> Self {
        let (window, given) = (Vec::new(), String::new());
        Self { tokenizer: tokenizer.clone(), window, n_context: 0, given }
    }

    /// The text that is certain with this token.
    pub fn push(&mut self, token: u32) -> String {
        self.window.push(token);
        let text = self.decode();
        // Bytes that aren't a character yet are decoded as replacement characters.
        let certain = text.trim_end_matches(char::REPLACEMENT_CHARACTER);
        let new = certain.strip_prefix(self.given.as_str()).unwrap_or_default().to_owned();
        self.given.push_str(&new);
        if certain.len() == text.len() && !new.is_empty() {
            self.slide();
        }
        new
    }

    /// What is left when no more tokens come: bytes that never became a character.
    pub fn finish(&mut self) -> String {
        let text = self.decode();
        let rest = text.strip_prefix(self.given.as_str()).unwrap_or_default().to_owned();
        self.given = text;
        rest
    }

    /// The window's text. It begins with what was given; where it doesn't, because bytes spoilt it, what
    /// was given is left as it is.
    fn decode(&mut self) -> String {
        let text = self.tokenizer.decode(&self.window);
        if text.starts_with(&self.given) {
            return text;
        }
        self.window.drain(..self.n_context);
        (self.n_context, self.given) = (0, String::new());
        self.tokenizer.decode(&self.window)
    }

    /// Forgets the tokens that served as context, so that a long text costs no more than a short one.
    fn slide(&mut self) {
        let newest = &self.window[self.n_context..];
        let text = self.tokenizer.decode(newest);
        // Without text of their own (special tokens, a lone space) they are no context.
        if !text.is_empty() {
            self.window = newest.to_vec();
            self.given = text;
        }
        self.n_context = self.window.len();
    }
}

/// A completion's text as it comes, up to the first of some stop strings.
///
/// As in vLLM the text ends before the stop string, wherever tokens begin and end; the tokens stay as
/// they were generated, to the one that completed it.
#[derive(Clone, Debug)]
pub struct StoppingText {
    stream: TextStream,
    stops: Arc<[String]>,
    /// So many tokens are passed over before a stop string is looked for.
    n_exempt: usize,
    text: String,
    /// Where looking for stop strings begins.
    exempt_until: usize,
    /// How much of the text was given.
    n_given: usize,
    is_stopped: bool,
}

impl StoppingText {
    /// No tokens yet. Stop strings are not looked for in the text of the first `n_exempt` tokens; an
    /// empty one is none.
    pub fn new(tokenizer: &Tokenizer, stops: Arc<[String]>, n_exempt: usize) -> Self {
        Self {
            stream: TextStream::new(tokenizer),
            stops,
            n_exempt,
            text: String::new(),
            exempt_until: 0,
            n_given: 0,
            is_stopped: false,
        }
    }

    /// The text that can be shown with this token: what could be the beginning of a stop string is held
    /// back until it is known.
    pub fn push(&mut self, token: u32) -> &str {
        let piece = self.stream.push(token);
        if self.n_exempt > 0 {
            self.n_exempt -= 1;
            self.text.push_str(&piece);
            self.exempt_until = self.text.len();
        } else {
            self.take(&piece);
        }
        let n_held = if self.is_stopped { 0 } else { self.n_held() };
        self.give(self.text.len() - n_held)
    }

    /// What is left when no more tokens come.
    pub fn finish(&mut self) -> &str {
        let rest = self.stream.finish();
        self.take(&rest);
        self.give(self.text.len())
    }

    /// The text so far, without the stop string.
    pub fn text(&self) -> &str {
        &self.text
    }

    /// Whether a stop string has come. No tokens shall be pushed after it.
    pub fn is_stopped(&self) -> bool {
        self.is_stopped
    }

    fn take(&mut self, piece: &str) {
        if self.is_stopped {
            return;
        }
        let n_before = self.text.len();
        self.text.push_str(piece);
        let at = self.stops.iter().filter(|stop| !stop.is_empty()).filter_map(|stop| {
            // It may have begun in the text before.
            let from = n_before.saturating_sub(stop.len() - 1).max(self.exempt_until);
            let from = self.text.floor_char_boundary(from).max(self.exempt_until);
            self.text[from..].find(stop.as_str()).map(|at| from + at)
        });
        if let Some(at) = at.min() {
            self.text.truncate(at);
            self.is_stopped = true;
        }
    }

    /// The length of the longest end of the text that a stop string begins with.
    fn n_held(&self) -> usize {
        let open = &self.text[self.exempt_until..];
        let begins = |stop: &String| {
            let lengths = (1..stop.len().min(open.len() + 1)).rev();
            let mut lengths = lengths.filter(|length| stop.is_char_boundary(*length));
            lengths.find(|length| open.ends_with(&stop[..*length])).unwrap_or(0)
        };
        self.stops.iter().map(begins).max().unwrap_or(0)
    }

    fn give(&mut self, until: usize) -> &str {
        let from = self.n_given.min(until);
        self.n_given = self.n_given.max(until);
        &self.text[from..until]
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use proptest::prelude::*;
    use serde_json::json;

    use super::*;

    fn bytes() -> Tokenizer {
        Tokenizer::train_bpe(["the cat sat on the mat", "naïve 猫"], 290).expect("trains")
    }

    /// Words with a space before them and single bytes, as SentencePiece has them: the first space of a
    /// text is not written.
    fn words() -> Tokenizer {
        let special = json!({"id": 0, "content": "</s>", "special": true, "single_word": false,
            "lstrip": false, "rstrip": false, "normalized": false});
        let pieces = ["</s>", "▁the", "▁cat", "s", "▁", "<0xE7>", "<0x8C>", "<0xAB>"];
        let vocab: serde_json::Map<_, _> =
            pieces.iter().zip(0..).map(|(piece, id)| (piece.to_string(), json!(id))).collect();
        let file = json!({
            "version": "1.0", "added_tokens": [special],
            "normalizer": null, "pre_tokenizer": null, "post_processor": null,
            "decoder": {"type": "Sequence", "decoders": [
                {"type": "Replace", "pattern": {"String": "▁"}, "content": " "},
                {"type": "ByteFallback"}, {"type": "Fuse"},
                {"type": "Strip", "content": " ", "start": 1, "stop": 0},
            ]},
            "model": {"type": "WordLevel", "vocab": vocab, "unk_token": "s"},
        });
        let folder = tempfile::tempdir().expect("a temporary folder");
        fs::write(folder.path().join("tokenizer.json"), file.to_string()).expect("writes");
        let config = json!({"eos_token": "</s>"}).to_string();
        fs::write(folder.path().join("tokenizer_config.json"), config).expect("writes");
        Tokenizer::load(folder.path()).expect("loads")
    }

    fn pieces(tokenizer: &Tokenizer, tokens: &[u32]) -> Vec<String> {
        let mut stream = TextStream::new(tokenizer);
        let mut pieces: Vec<String> = tokens.iter().map(|token| stream.push(*token)).collect();
        pieces.push(stream.finish());
        pieces
    }

    #[test]
    fn characters_come_when_they_are_whole() {
        // The last word is a character of three bytes, the first of which never gets its others.
        let tokens = [1, 4, 2, 5, 6, 7, 0, 3, 5];
        let want = ["the", " ", " cat", "", "", "猫", "", "s", "", "\u{fffd}"];
        assert_eq!(pieces(&words(), &tokens), want);
        let tokenizer = bytes();
        let tokens: Vec<u32> = "é".bytes().flat_map(|_| tokenizer.encode("é")).collect();
        assert_eq!(pieces(&tokenizer, &tokens).concat(), "éé");
    }

    /// What is given while tokens come, and after them, and whether a stop string ended them.
    fn stopped(text: &str, stops: &[&str], n_exempt: usize) -> (String, usize) {
        let tokenizer = Tokenizer::train_bpe(["x"], 259).expect("trains");
        let stops = stops.iter().map(|stop| (*stop).to_owned()).collect();
        let mut stopping = StoppingText::new(&tokenizer, stops, n_exempt);
        let mut given = String::new();
        let mut n_tokens = 0;
        for token in tokenizer.encode(text) {
            given.push_str(stopping.push(token));
            n_tokens += 1;
            if stopping.is_stopped() {
                break;
            }
        }
        given.push_str(stopping.finish());
        assert_eq!(given, stopping.text(), "what is given is the text");
        (given, n_tokens)
    }

    /// Each byte is a token, so that every stop string spans several.
    #[test]
    fn a_text_ends_before_the_first_stop_string() {
        for (text, stops, n_exempt, want, n_tokens) in [
            ("one two", &["two"][..], 0, "one ", 7),
            ("one two", &["wo", "two"], 0, "one ", 7),
            ("one two", &["o t", "n"], 0, "o", 2),
            ("aab", &["ab"], 0, "a", 3),
            ("ababac", &["abac"], 0, "ab", 6),
            ("a猫b猫", &["b猫"], 0, "a猫", 8),
            ("end", &["ends"], 0, "end", 3),
            ("no", &[""], 0, "no", 2),
            ("\n\nyes\nno", &["\n"], 2, "\n\nyes", 6),
            ("xyxy", &["xy"], 1, "xy", 4),
        ] {
            assert_eq!(stopped(text, stops, n_exempt), (want.to_owned(), n_tokens), "{text:?}");
        }
    }

    proptest! {
        #[test]
        fn pieces_add_up_to_the_text(tokens in prop::collection::vec(0_u32..290, 0..40)) {
            let tokenizer = bytes();
            prop_assert_eq!(pieces(&tokenizer, &tokens).concat(), tokenizer.decode(&tokens));
        }

        #[test]
        fn pieces_add_up_where_spaces_depend_on_neighbours(picks in prop::collection::vec(0_usize..6, 0..30)) {
            let groups: [&[u32]; 6] = [&[0], &[1], &[2], &[3], &[4], &[5, 6, 7]];
            let tokens: Vec<u32> = picks.iter().flat_map(|pick| groups[*pick]).copied().collect();
            let tokenizer = words();
            prop_assert_eq!(pieces(&tokenizer, &tokens).concat(), tokenizer.decode(&tokens));
        }

        #[test]
        fn bytes_that_make_no_sense_spoil_nothing_behind_them(bytes in prop::collection::vec(5_u32..8, 0..12)) {
            let tokens = [&[2][..], &bytes, &[1, 2]].concat();
            let text = pieces(&words(), &tokens).concat();
            prop_assert!(text.starts_with("cat") && text.ends_with(" the cat"), "{:?}", text);
        }

        #[test]
        fn the_text_is_what_stands_before_the_first_match(text in "[ab猫]{0,12}", stop in "[ab猫]{1,3}") {
            let want = text.find(&stop).map_or(&text[..], |at| &text[..at]);
            prop_assert_eq!(stopped(&text, &[&stop], 0).0, want);
        }
    }
}
