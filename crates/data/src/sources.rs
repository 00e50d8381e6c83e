//! Data sets in the dialects people have them in.

use std::path::Path;

use serde::Deserialize;

use crate::DataError;
use crate::example::{Labeled, Preference};
use crate::jsonl;
use crate::rows::refuse;
use crate::schema::split_dialogues;

/// Human preference pairs as dialogues (Anthropic HH-RLHF): `chosen` and `rejected` hold the same
/// `\n\nHuman: … \n\nAssistant: …` turns and differ in the last reply.
pub fn read_dialogue_pairs(path: &Path) -> Result<Vec<Preference>, DataError> {
    #[derive(Deserialize)]
    struct Row {
        chosen: String,
        rejected: String,
    }
    let rows = jsonl::read::<Row>(path)?;
    let pairs: Vec<_> = rows.iter().filter_map(|row| split(&row.chosen, &row.rejected)).collect();
    if pairs.is_empty() {
        return Err(DataError::file(
            path,
            "no row holds two dialogues that end in different replies",
        ));
    }
    Ok(pairs)
}

fn split(chosen: &str, rejected: &str) -> Option<Preference> {
    let (prompt, [chosen, rejected]) = split_dialogues(chosen, rejected)?;
    Some(Preference {
        prompt: prompt.to_owned(),
        chosen: chosen.to_owned(),
        rejected: rejected.to_owned(),
        margin: None,
        chosen_finished: true,
        rejected_finished: true,
    })
}

/// Labelled texts as a table with a header line; `delimiter` is a tab or a comma. Labels are `0`
/// and `1` (or `false` and `true`).
pub fn read_labeled_table(
    path: &Path,
    delimiter: u8,
    text_column: &str,
    label_column: &str,
) -> Result<Vec<Labeled>, DataError> {
    // A tab-separated file of plain sentences has quotation marks that quote nothing.
    let mut reader = csv::ReaderBuilder::new()
        .delimiter(delimiter)
        .quoting(delimiter == b',')
        .from_reader(jsonl::open(path)?);
    let header = reader.headers().map_err(|error| refuse(path, 1, &error))?.clone();
    let column = |name: &str| {
        header.iter().position(|column| column == name).ok_or_else(|| {
            let known = header.iter().collect::<Vec<_>>().join("`, `");
            DataError::line(path, 1, format!("no column `{name}`; there are `{known}`"))
        })
    };
    let (text, label) = (column(text_column)?, column(label_column)?);
    let mut rows = Vec::new();
    for record in reader.into_records() {
        let record = record.map_err(|error| refuse(path, 0, &error))?;
        let line = record.position().map_or(0, csv::Position::line) as usize;
        rows.push(Labeled {
            prompt: String::new(),
            completion: record[text].trim_end().to_owned(),
            label: parse_label(&record[label]).ok_or_else(|| {
                let found = &record[label];
                DataError::line(path, line, format!("label `{found}` is neither 0 nor 1"))
            })?,
        });
    }
    if rows.is_empty() { Err(DataError::file(path, "holds no rows")) } else { Ok(rows) }
}

fn parse_label(text: &str) -> Option<bool> {
    match text.trim() {
        "0" | "false" => Some(false),
        "1" | "true" => Some(true),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    #[test]
    fn dialogues_split_at_the_last_common_turn() {
        let chosen = "\n\nHuman: hi\n\nAssistant: yes?\n\nHuman: bye\n\nAssistant: good bye";
        let rejected = "\n\nHuman: hi\n\nAssistant: yes?\n\nHuman: bye\n\nAssistant: go away";
        let pair = split(chosen, rejected).expect("splits");
        assert_eq!(pair.prompt, "\n\nHuman: hi\n\nAssistant: yes?\n\nHuman: bye\n\nAssistant:");
        assert_eq!([pair.chosen, pair.rejected], [" good bye", " go away"]);
        assert_eq!(split(chosen, chosen), None);
        assert_eq!(split("no turns", "here"), None);
    }

    #[test]
    fn tables_keep_quotation_marks_and_name_the_bad_line() {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let path = folder.path().join("t.tsv");
        fs::write(&path, "sentence\tlabel\na \" quote \t1\nbad\t2\n").expect("writes");
        let error = read_labeled_table(&path, b'\t', "sentence", "label").expect_err("is refused");
        assert!(error.to_string().ends_with("t.tsv:3: label `2` is neither 0 nor 1"), "{error}");
        fs::write(&path, "sentence\tlabel\na \" quote \t1\n").expect("writes");
        let rows = read_labeled_table(&path, b'\t', "sentence", "label").expect("reads");
        assert_eq!((rows[0].completion.as_str(), rows[0].label), ("a \" quote", true));
        let error = read_labeled_table(&path, b'\t', "text", "label").expect_err("is refused");
        assert!(error.to_string().ends_with("no column `text`; there are `sentence`, `label`"));
    }
}
