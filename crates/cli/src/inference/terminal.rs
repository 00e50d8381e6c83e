//! What a model says, made fit for a terminal.

use std::borrow::Cow;

/// Text whose control characters are shown as what they are, so that a model can't move the cursor,
/// change the title, hide or reverse what stands on the screen. Lines and tabs stay.
pub(super) fn harmless(text: &str) -> Cow<'_, str> {
    escaped(text, |it| it.escape_unicode().to_string())
}

/// The same for a line of JSON, which stays the JSON that it is.
pub(super) fn harmless_json(line: &str) -> Cow<'_, str> {
    escaped(line, |it| format!("\\u{:04x}", u32::from(it)))
}

fn escaped(text: &str, escape: impl Fn(char) -> String) -> Cow<'_, str> {
    if !text.contains(is_obeyed) {
        return Cow::Borrowed(text);
    }
    let mut harmless = String::with_capacity(text.len() + 8);
    for it in text.chars() {
        if is_obeyed(it) { harmless.push_str(&escape(it)) } else { harmless.push(it) }
    }
    Cow::Owned(harmless)
}

/// Control characters, and those that change the direction of text.
fn is_obeyed(it: char) -> bool {
    (it.is_control() && !matches!(it, '\n' | '\t'))
        || matches!(it, '\u{200e}' | '\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_terminal_would_obey_is_shown() {
        assert_eq!(harmless("a\n\tb é 猫"), "a\n\tb é 猫");
        assert_eq!(harmless("\u{1b}[2J\r\u{9b}H\u{7f}"), "\\u{1b}[2J\\u{d}\\u{9b}H\\u{7f}");
        assert_eq!(harmless("x\u{202e}y"), "x\\u{202e}y");
    }

    #[test]
    fn json_stays_what_it_was() {
        let text = "\u{9b}31m \u{202e}\u{7f} \u{1b}";
        let line = serde_json::to_string(text).expect("is JSON") + "\n";
        let shown = harmless_json(&line);
        assert!(!shown.contains(is_obeyed) && shown.ends_with('\n'), "{shown}");
        assert_eq!(serde_json::from_str::<String>(&shown).expect("is JSON"), text);
    }
}
