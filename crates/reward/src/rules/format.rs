use rein_data::example::Completion;
use serde::{Deserialize, Serialize};

use super::tagged::is_name;
use super::{Fault, Refusal, Rule};
use crate::Verdict;

/// The parts that completions shall consist of.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct FormatConfig {
    /// Each must stand there once, as `<tag>…</tag>`, in this order.
    pub tags: Vec<String>,
    /// Each must begin a line, in this order: headings, say.
    pub sections: Vec<String>,
    /// Whether nothing but white space may stand outside of tags.
    pub alone: bool,
    /// Whether the score is the share of parts that are there, instead of 1 for all of them and 0
    /// otherwise.
    pub partial: bool,
}

/// Looks whether a text has its parts, in their order.
#[derive(Clone, Debug)]
pub struct Format(FormatConfig);

impl Default for FormatConfig {
    fn default() -> Self {
        Self { tags: Vec::new(), sections: Vec::new(), alone: true, partial: false }
    }
}

impl FormatConfig {
    /// The rule.
    ///
    /// # Errors
    /// No parts; names that no tag can have; a part that is named twice.
    pub fn build(&self) -> Result<Format, Refusal> {
        let Self { tags, sections, .. } = self;
        if tags.is_empty() && sections.is_empty() {
            return Err(Refusal::new(
                "tags",
                "is missing, and so is `sections`; give one at least",
            ));
        }
        if let Some(tag) = tags.iter().find(|tag| !is_name(tag)) {
            let reason = format!("holds {tag:?}, which is no name; leave out brackets");
            return Err(Refusal::new("tags", reason));
        }
        if sections.iter().any(|it| it.trim().is_empty()) {
            return Err(Refusal::new("sections", "holds an empty heading"));
        }
        for (key, names) in [("tags", tags), ("sections", sections)] {
            if (1..names.len()).any(|place| names[..place].contains(&names[place])) {
                return Err(Refusal::new(key, "names one part twice"));
            }
        }
        Ok(Format(self.clone()))
    }
}

/// Where the reading of a text stands, and what it found wrong.
struct Reading<'a> {
    text: &'a str,
    /// Behind the last part that was there.
    place: usize,
    /// What stands outside of tags.
    outside: String,
    wrong: Vec<String>,
}

impl Reading<'_> {
    fn tag(&mut self, tag: &str) -> bool {
        let (open, close) = (format!("<{tag}>"), format!("</{tag}>"));
        let counts = [&open, &close].map(|mark| self.text.matches(mark.as_str()).count());
        if counts != [1, 1] {
            let [n_open, n_close] = counts;
            let reason = match counts {
                [0, 0] => format!("no {open}"),
                [1, 0] => format!("{open} isn't closed"),
                _ => format!("{n_open} {open} and {n_close} {close}"),
            };
            self.wrong.push(reason);
            return false;
        }
        let rest = &self.text[self.place..];
        let inside = rest
            .split_once(&open)
            .and_then(|(before, behind)| Some((before, behind.split_once(&close)?.0)));
        let Some((before, inside)) = inside else {
            self.wrong.push(format!("{open} isn't where it should be"));
            return false;
        };
        self.outside.push_str(before);
        self.place += before.len() + open.len() + inside.len() + close.len();
        if inside.trim().is_empty() {
            self.wrong.push(format!("{open} is empty"));
            return false;
        }
        true
    }

    fn section(&mut self, heading: &str) -> bool {
        let mut place = self.place;
        for line in self.text[self.place..].split_inclusive('\n') {
            place += line.len();
            if line.trim_start().starts_with(heading) {
                self.place = place;
                return true;
            }
        }
        self.wrong.push(format!("no line with {heading:?} where it should be"));
        false
    }
}

impl Rule for Format {
    fn judge(&self, completion: &Completion) -> Result<Verdict, Fault> {
        let FormatConfig { tags, sections, alone, partial } = &self.0;
        let text = completion.text.as_str();
        let mut reading = Reading { text, place: 0, outside: String::new(), wrong: Vec::new() };
        let mut n_there = tags.iter().filter(|tag| reading.tag(tag)).count();
        if *alone && !tags.is_empty() && reading.wrong.is_empty() {
            reading.outside.push_str(&text[reading.place..]);
            if !reading.outside.trim().is_empty() && sections.is_empty() {
                reading.wrong.push("text stands outside of the tags".into());
            }
        }
        reading.place = 0;
        n_there += sections.iter().filter(|it| reading.section(it)).count();
        if reading.wrong.is_empty() {
            return Ok(Verdict::new(1.0, "all parts in their order"));
        }
        let share = n_there as f64 / (tags.len() + sections.len()) as f64;
        Ok(Verdict::new(if *partial { share } else { 0.0 }, reading.wrong.join("; ")))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn judge(config: &FormatConfig, text: &str) -> (f32, String) {
        let completion = Completion { text: text.into(), ..Completion::default() };
        let verdict = config.build().expect("is a rule").judge(&completion).expect("judges");
        (verdict.score, verdict.reason)
    }

    fn thinking() -> FormatConfig {
        FormatConfig { tags: vec!["think".into(), "answer".into()], ..FormatConfig::default() }
    }

    #[test]
    fn tags_stand_once_in_their_order_and_alone() {
        let config = thinking();
        let good = "<think>2 < 3</think>\n<answer>2</answer>\n";
        assert_eq!(judge(&config, good), (1.0, "all parts in their order".into()));
        for (text, reason) in [
            ("<think>a</think>", "no <answer>"),
            ("<think>a</think><answer>b", "<answer> isn't closed"),
            ("<answer>b</answer><think>a</think>", "<answer> isn't where it should be"),
            ("<think>a</think><think>a</think><answer>b</answer>", "2 <think> and 2 </think>"),
            ("<think> </think><answer>b</answer>", "<think> is empty"),
            ("So: <think>a</think><answer>b</answer>", "text stands outside of the tags"),
            ("<think>a</think><answer>b</answer> Bye", "text stands outside of the tags"),
            ("</answer><think>a</think><answer>", "<answer> isn't where it should be"),
            ("", "no <think>; no <answer>"),
        ] {
            assert_eq!(judge(&config, text), (0.0, reason.into()), "{text}");
        }
        let open = FormatConfig { alone: false, ..config.clone() };
        assert_eq!(judge(&open, "So: <think>a</think> then <answer>b</answer> Bye").0, 1.0);
        let partial = FormatConfig { partial: true, ..config };
        assert_eq!(judge(&partial, "<think>a</think>").0, 0.5);
    }

    #[test]
    fn headings_begin_lines_in_their_order() {
        let sections = vec!["# Steps".into(), "# Result".into()];
        let config = FormatConfig { sections, ..FormatConfig::default() };
        assert_eq!(judge(&config, "# Steps\n1. a\n# Result\nb").0, 1.0);
        let (score, reason) = judge(&config, "# Result\nb\n# Steps\nnot a # Result");
        let want = "no line with \"# Result\" where it should be";
        assert_eq!((score, &*reason), (0.0, want));
    }

    #[test]
    fn what_is_no_format_is_refused() {
        let refusal = |config: FormatConfig| config.build().expect_err("is refused").to_string();
        assert!(refusal(FormatConfig::default()).starts_with("`tags` is missing"));
        let tags = |names: &[&str]| FormatConfig {
            tags: names.iter().map(|it| (*it).into()).collect(),
            ..FormatConfig::default()
        };
        let want = "`tags` holds \"<a>\", which is no name; leave out brackets";
        assert_eq!(refusal(tags(&["<a>"])), want);
        assert_eq!(refusal(tags(&["a", "b", "a"])), "`tags` names one part twice");
    }
}
