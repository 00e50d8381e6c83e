//! A survey as text and as JSON.

use std::fmt::Write;
use std::io::{IsTerminal, stdout};

use serde_json::{Value, json};

use super::Survey;
use super::lengths::Lengths;
use super::show::{Shown, Style, escape};

/// A survey for people, or for machines.
pub(crate) fn print(survey: &Survey, as_json: bool) -> String {
    if as_json { format!("{}\n", survey.to_json()) } else { survey.render(style()) }
}

/// Colours where a terminal shows them and nobody has asked for none (<https://no-color.org>).
fn style() -> Style {
    let is_unwanted = std::env::var_os("NO_COLOR").is_some_and(|it| !it.is_empty());
    let is_dumb = std::env::var_os("TERM").is_some_and(|it| it == "dumb");
    if stdout().is_terminal() && !is_unwanted && !is_dumb { Style::Colour } else { Style::Brackets }
}

impl Survey {
    fn render(&self, style: Style) -> String {
        let mut text = self.head();
        for shown in &self.shown {
            let _ = write!(text, "\n{}", shown.render(style));
        }
        text.push_str(&self.table());
        text.push_str(&self.fate());
        text.push_str(&self.complaints());
        text
    }

    fn head(&self) -> String {
        let kind = if self.is_conversational { "conversations" } else { "texts" };
        let columns: Vec<String> = self.columns.iter().map(|it| escape(it)).collect();
        format!(
            "{}: {}, schema {} of {kind}; columns {}\n",
            self.path.display(),
            self.format,
            self.schema,
            columns.join(", ")
        )
    }

    fn table(&self) -> String {
        let heads = ["min", "50 %", "90 %", "99 %", "max"];
        let mut text = format!("\n{:<12}", "tokens");
        heads.iter().for_each(|head| text.push_str(&format!("{head:>8}")));
        text.push('\n');
        let parts =
            [("prompt", &self.prompts), ("completion", &self.completions), ("row", &self.rows)];
        for (name, lengths) in parts.into_iter().filter(|(_, lengths)| lengths.n_rows() > 0) {
            let _ = write!(text, "{name:<12}");
            lengths.quantiles().iter().for_each(|it| text.push_str(&format!("{it:>8}")));
            text.push('\n');
        }
        text
    }

    /// How many rows there are, and what the limit does to them.
    fn fate(&self) -> String {
        let (n_rows, n_tokens) = (self.rows.n_rows(), self.rows.n_tokens());
        let mut text = format!(
            "\n{} examples, {n_rows} rows of {n_tokens} tokens; {:.1} % of them are learned\n",
            self.n_examples,
            percent(self.n_learned, n_tokens)
        );
        if self.n_skipped > 0 {
            let _ = writeln!(text, "{} pairs of equal completions are passed over", self.n_skipped);
        }
        let findings = self.screening.findings();
        for note in findings.notes() {
            let _ = writeln!(text, "{note}");
        }
        let [n_good, n_bad] = findings.n_labels;
        if n_good + n_bad > 0 {
            let _ = writeln!(text, "{n_good} completions are labelled good and {n_bad} bad");
        }
        if let Some([low, high]) = findings.scores {
            let _ = writeln!(text, "scores go from {low} to {high}");
        }
        let tally = &self.tally;
        if let Some(limit) = self.max_tokens {
            let _ = writeln!(
                text,
                "cut at {limit} tokens: {} of {n_rows} rows lose their end, {} have nothing left to \
                 learn and are dropped; {:.1} % of all tokens are lost",
                tally.n_truncated,
                tally.n_dropped,
                percent(tally.n_lost, n_tokens)
            );
        } else if tally.n_dropped > 0 {
            let _ = writeln!(text, "{} rows have nothing to learn", tally.n_dropped);
        }
        text
    }

    fn complaints(&self) -> String {
        if self.n_problems == 0 {
            return String::new();
        }
        let (n_bad, n_all) = (self.n_problems, self.n_examples);
        let mut text = format!("\n{n_bad} of {n_all} examples can't be used:\n");
        self.problems.iter().for_each(|it| text.push_str(&format!("  {}\n", escape(it))));
        let n_more = self.n_problems - self.problems.len();
        if n_more > 0 {
            let _ = writeln!(text, "  and {n_more} more");
        }
        text
    }

    fn to_json(&self) -> Value {
        let lengths = |lengths: &Lengths| match lengths.n_rows() {
            0 => Value::Null,
            _ => lengths.to_json(),
        };
        let findings = self.screening.findings();
        let judgements = if findings.n_judgements > 0 { json!(findings) } else { Value::Null };
        json!({
            "path": self.path.display().to_string(),
            "format": self.format,
            "schema": self.schema,
            "conversational": self.is_conversational,
            "columns": self.columns,
            "examples": self.n_examples,
            "equal_pairs": self.n_skipped,
            "judgements": judgements,
            "prompt": lengths(&self.prompts),
            "completion": lengths(&self.completions),
            "row": lengths(&self.rows),
            "learned_tokens": self.n_learned,
            "max_tokens": self.max_tokens,
            "cut": self.tally,
            "problems": { "count": self.n_problems, "first": self.problems },
            "shown": self.shown.iter().map(Shown::to_json).collect::<Vec<_>>(),
        })
    }
}

fn percent(part: u64, whole: u64) -> f64 {
    if whole == 0 { 0.0 } else { 100.0 * part as f64 / whole as f64 }
}
