use std::path::PathBuf;

use anyhow::{Result, bail};
use clap::{Args, ValueEnum};
use rein_data::checkpoint::write_atomically;
use rein_data::example::Example;
use rein_data::jsonl;
use rein_data::rows::Rows;
use rein_data::schema::Schema;
use rein_feedback::cleaning::{Cleaning, LengthBias, Report};
use serde_json::{Map, Value, json};

use crate::speech::{note, print};

/// Rows that would teach nothing good are set aside.
#[derive(Clone, Debug, Args)]
#[command(after_help = "\
Nothing is changed but what is written: kept rows stand in `--output` as they were, and `--report` says of each
other one, by its number from 0, which rule set it aside and why. Personal data never stands in a report.

By default contradictions, personal data and cut responses that were rejected are kept and told; all else is set
aside. Longer responses are often preferred for their length: how much, is told before and after.

Examples:
  rein feedback clean hh.jsonl --output clean.jsonl --report report.json
  rein feedback clean hh.jsonl --output clean.jsonl --set-aside personal-data --off near-duplicate")]
pub(super) struct CleanArgs {
    /// The rows, in any format that training reads
    #[arg(value_name = "ROWS")]
    rows: PathBuf,
    /// The file of rows that are kept, JSON lines
    #[arg(long, value_name = "FILE")]
    output: PathBuf,
    /// The file that says what was found, JSON
    #[arg(long, value_name = "FILE")]
    report: Option<PathBuf>,
    /// Don't apply this rule. Can be given many times, as can the next two
    #[arg(long, value_name = "RULE", value_enum)]
    off: Vec<RuleName>,
    /// Keep what this rule finds, and tell it
    #[arg(long, value_name = "RULE", value_enum)]
    flag: Vec<RuleName>,
    /// Set aside what this rule finds
    #[arg(long, value_name = "RULE", value_enum)]
    set_aside: Vec<RuleName>,
    /// Rows are near duplicates from this similarity of their word 5-grams on
    #[arg(long, value_name = "SHARE", default_value_t = Cleaning::default().similarity)]
    similarity: f64,
    /// Another phrase by which a response says which model it is. Can be given many times
    #[arg(long, value_name = "TEXT")]
    phrase: Vec<String>,
}

/// A rule, by the setting that says what it does.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum RuleName {
    /// All responses are the same
    Identical,
    /// A response has no text
    Empty,
    /// The judgement was said before
    Duplicate,
    /// It was said before in almost the same words
    NearDuplicate,
    /// A response says which model wrote it
    Identity,
    /// A response is an error message
    ErrorText,
    /// The better response was cut
    Unfinished,
    /// The worse response was cut
    UnfinishedRejected,
    /// The same thing is judged differently
    Contradiction,
    /// A text holds personal data
    PersonalData,
}

impl CleanArgs {
    fn cleaning(&self) -> Result<Cleaning> {
        let mut settings = Map::new();
        let actions = [("off", &self.off), ("flag", &self.flag), ("set-aside", &self.set_aside)];
        for (action, rules) in actions {
            for rule in rules {
                let name = rule.to_possible_value().expect("none is skipped").get_name().to_owned();
                if settings.insert(name.replace('-', "_"), action.into()).is_some() {
                    bail!("rule `{name}` is given twice; say one thing of it");
                }
            }
        }
        settings.insert("similarity".into(), json!(self.similarity));
        settings.insert("phrases".into(), json!(self.phrase));
        let cleaning: Cleaning = serde_json::from_value(Value::Object(settings))?;
        cleaning.check()?;
        Ok(cleaning)
    }
}

/// Cleans a file, and says what was found.
pub(super) fn run(args: &CleanArgs) -> Result<()> {
    let cleaning = args.cleaning()?;
    let (lines, rows) = read(args)?;
    let report = cleaning.run(&rows);
    let kept: String = report.kept.iter().map(|row| jsonl::line(&lines[*row])).collect();
    write_atomically(&args.output, kept.as_bytes())?;
    if let Some(path) = &args.report {
        let mut found = serde_json::to_value(&report)?;
        // What is kept is what isn't set aside.
        found.as_object_mut().expect("a report is an object").remove("kept");
        let text = serde_json::to_string_pretty(&found)?;
        write_atomically(path, format!("{text}\n").as_bytes())?;
    }
    print(&told(&report));
    print(&format!("{}: {} rows\n", args.output.display(), report.n_kept));
    Ok(())
}

/// A row as it stands in a file.
type Line = Map<String, Value>;

/// The rows of the file, and what they say.
fn read(args: &CleanArgs) -> Result<(Vec<Line>, Vec<Example>)> {
    let (mut lines, mut examples) = (Vec::new(), Vec::new());
    let (mut schema, mut n_empty): (Option<Schema>, usize) = (None, 0);
    for row in Rows::open(&args.rows)? {
        let row = row?;
        let refuse = |reason: String| row.place.refuse(&args.rows, reason);
        let known = match schema {
            Some(known) => known,
            None => *schema.insert(Schema::recognise(&row.columns).map_err(refuse)?),
        };
        match known.example(row.columns.clone()).map_err(refuse)? {
            Some(example) => {
                examples.push(example);
                lines.push(row.columns);
            }
            None => n_empty += 1,
        }
    }
    if n_empty > 0 {
        note(&format!("{n_empty} rows say nothing by themselves and are left out"));
    }
    if lines.is_empty() {
        bail!("{}: holds no rows", args.rows.display());
    }
    Ok((lines, examples))
}

fn told(report: &Report) -> String {
    let mut text = format!("{} rows, {} kept\n", report.n_rows, report.n_kept);
    for (what, counts) in [("set aside", &report.n_set_aside), ("kept, but", &report.n_flagged)] {
        for (rule, n_rows) in counts {
            text += &format!("  {n_rows:>6} {what}: {rule}\n");
        }
    }
    let times = [("before", report.length_before), ("after", report.length_after)];
    for (when, bias) in times {
        if let Some(LengthBias { coefficient, standard_error, longer_wins, .. }) = bias {
            text += &format!(
                "  the longer response is preferred in {:.1} % of pairs {when}; log-odds {coefficient:.2} ± {standard_error:.2} a deviation of length\n",
                100.0 * longer_wins
            );
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use clap::Parser;
    use rein_feedback::cleaning::Action;

    use super::*;

    #[derive(Parser)]
    struct Line {
        #[command(flatten)]
        clean: CleanArgs,
    }

    fn cleaning(flags: &[&str]) -> Result<Cleaning> {
        let line = [&["rein", "rows.jsonl", "--output", "o"][..], flags].concat();
        Line::try_parse_from(line)?.clean.cleaning()
    }

    #[test]
    fn flags_become_rules() {
        for rule in RuleName::value_variants() {
            let name = rule.to_possible_value().expect("is named").get_name().to_owned();
            assert_ne!(cleaning(&["--off", &name]).expect("is a rule"), Cleaning::default());
        }
        let strict = cleaning(&["--set-aside", "personal-data", "--phrase", "I am Rein"]);
        let strict = strict.expect("are rules");
        assert_eq!(strict.personal_data, Action::SetAside);
        assert_eq!(strict.phrases, ["I am Rein"]);
        assert!(cleaning(&["--off", "empty", "--flag", "empty"]).is_err());
        assert!(cleaning(&["--similarity", "0.2"]).is_err());
    }
}
