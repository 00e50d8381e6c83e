//! Marks that travel through a template inside its text and are taken out again.

use serde_json::Value;
use sha2::{Digest, Sha256};

use super::Rendered;

/// Marks that the input can't hold: it would have to hold its own hash. They are made of digits, so
/// that neither JSON nor a change of case changes them.
pub(super) struct Marks {
    pub(super) begin: String,
    pub(super) end: String,
    plain: String,
}

impl Marks {
    pub(super) fn new(input: &str) -> Self {
        let mark = |side: u8| {
            let hash = Sha256::new().chain_update([side]).chain_update(input).finalize();
            let digits: String = hash[..16].iter().map(|byte| format!("{byte:03}")).collect();
            format!("\u{e000}{digits}\u{e000}")
        };
        Self { begin: mark(0), end: mark(1), plain: mark(2) }
    }

    /// Puts a mark into each text of a message that looks like a special token.
    pub(super) fn guard(&self, value: &mut Value, special_texts: &[String]) {
        match value {
            Value::String(text) => {
                let mut places: Vec<usize> = special_texts
                    .iter()
                    .filter_map(|special| Some((special, special.chars().next()?.len_utf8())))
                    .flat_map(|(special, first)| {
                        text.match_indices(special.as_str()).map(move |(at, _)| at + first)
                    })
                    .collect();
                places.sort_unstable();
                places.dedup();
                places.into_iter().rev().for_each(|place| text.insert_str(place, &self.plain));
            }
            Value::Array(items) => items.iter_mut().for_each(|it| self.guard(it, special_texts)),
            Value::Object(map) => map.values_mut().for_each(|it| self.guard(it, special_texts)),
            _ => {}
        }
    }

    /// Takes the marks out and says where they stood.
    pub(super) fn take_out(&self, marked: &str) -> Rendered {
        let mut rendered = Rendered {
            text: String::with_capacity(marked.len()),
            generated: Vec::new(),
            plain: Vec::new(),
        };
        let mut begun = None;
        let mut rest = marked;
        while let Some(at) = rest.find('\u{e000}') {
            let (before, mark) = rest.split_at(at);
            rendered.text.push_str(before);
            let here = rendered.text.len();
            let known = [&self.begin, &self.end, &self.plain].into_iter();
            let Some(found) = known.into_iter().find(|it| mark.starts_with(it.as_str())) else {
                // The letter stood in a message.
                let letter = '\u{e000}'.len_utf8();
                rendered.text.push_str(&mark[..letter]);
                rest = &mark[letter..];
                continue;
            };
            if *found == self.begin {
                begun = Some(here);
            } else if *found == self.plain {
                rendered.plain.push(here);
            } else if let Some(start) = begun.take() {
                rendered.generated.push(start..here);
            }
            rest = &mark[found.len()..];
        }
        rendered.text.push_str(rest);
        rendered
    }
}
