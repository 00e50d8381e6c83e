//! Texts in cells that MTurk reads, pages show and spreadsheets open.

use std::borrow::Cow;

use html_escape::decode_html_entities;

/// A text as a cell of HTML on one line. MTurk refuses characters of four bytes and fills in what stands in `${}`; a
/// spreadsheet takes what begins with `=`, `+`, `-` or `@` for a formula.
pub(super) fn encode(text: &str) -> String {
    let mut cell = String::with_capacity(text.len() + text.len() / 8);
    for (place, character) in text.chars().enumerate() {
        let has_meaning = matches!(character, '&' | '<' | '>' | '"' | '\'' | '$');
        let breaks = matches!(character, '\n' | '\r' | '\t') || character > '\u{ffff}';
        if has_meaning || breaks || (place == 0 && begins_formula(character)) {
            cell.push_str(&entity(character));
        } else {
            cell.push(character);
        }
    }
    cell
}

/// The text that a cell holds. Entities are decoded once: a text that holds one itself comes back as it was.
pub(super) fn decode(cell: &str) -> Cow<'_, str> {
    decode_html_entities(cell)
}

/// A cell that somebody else wrote, which no spreadsheet takes for a formula. It decodes to the same text.
pub(super) fn guard(cell: &str) -> Cow<'_, str> {
    match cell.chars().next() {
        Some(first) if begins_formula(first) || matches!(first, '\t' | '\r' | '\n') => {
            Cow::Owned(entity(first) + &cell[first.len_utf8()..])
        }
        _ => Cow::Borrowed(cell),
    }
}

fn begins_formula(first: char) -> bool {
    matches!(first, '=' | '+' | '-' | '@')
}

fn entity(character: char) -> String {
    format!("&#{};", u32::from(character))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn cells_are_harmless_text() {
        assert_eq!(encode("=1+1, ok"), "&#61;1+1, ok");
        assert_eq!(encode("<b>&amp;</b>"), "&#60;b&#62;&#38;amp;&#60;/b&#62;");
        assert_eq!(encode("a\r\nb ${x} 😀 好"), "a&#13;&#10;b &#36;{x} &#128512; 好");
        assert_eq!(decode("Tom&#44; &quot;J&#34; &amp;lt; &#x4f60;"), "Tom, \"J\" &lt; 你");
    }

    #[test]
    fn what_others_wrote_is_guarded_and_says_the_same() {
        assert_eq!(guard("@SUM(A1)"), "&#64;SUM(A1)");
        assert_eq!(decode(&guard("\t=1")), "\t=1");
        assert!(matches!(guard("a = b"), Cow::Borrowed(_)));
    }

    proptest! {
        #[test]
        fn every_text_survives(text in "(?s).*") {
            let cell = encode(&text);
            let is_harmless =
                |it: char| it <= '\u{ffff}' && !matches!(it, '<' | '"' | '$' | '\n' | '\r' | '\t');
            prop_assert!(cell.chars().all(is_harmless), "{}", cell);
            prop_assert_eq!(decode(&cell).into_owned(), text.clone());
            prop_assert_eq!(decode(&guard(&cell)).into_owned(), text);
        }
    }
}
