//! Reading the log.

use std::collections::BTreeMap;
use std::path::Path;

use rein_data::rows::{Format, Place, Row, Rows};
use serde_json::Value;

use super::events::Impression;
use crate::error::FeedbackError;

/// The version of the format that is read.
pub const VERSION: u64 = 1;

/// The impressions of a log, one after the other; memory doesn't grow with the file.
///
/// A line that can't be used is an error that names it, and those behind it still come. Lines have up
/// to 8 MiB, 64 levels of nesting and no key twice; the file may be gzipped.
#[derive(Debug)]
pub struct EventLog {
    rows: Rows,
}

impl EventLog {
    /// Opens a log.
    ///
    /// # Errors
    /// A file that can't be read.
    pub fn open(path: &Path) -> Result<Self, FeedbackError> {
        Ok(Self { rows: Rows::open_as(path, Format::JsonLines)? })
    }

    fn next_placed(&mut self) -> Option<Result<(Place, Impression), FeedbackError>> {
        let row = self.rows.next()?;
        Some(row.map_err(FeedbackError::from).and_then(|Row { place, columns }| {
            let refuse = |reason: String| place.refuse(self.rows.path(), reason);
            let impression = parse(Value::Object(columns)).map_err(refuse)?;
            Ok((place, impression))
        }))
    }
}

impl Iterator for EventLog {
    type Item = Result<Impression, FeedbackError>;

    fn next(&mut self) -> Option<Self::Item> {
        self.next_placed().map(|it| it.map(|(_, impression)| impression))
    }
}

/// All impressions of a log. None at all is no error.
///
/// # Errors
/// The first line that can't be used, also because it has the `request_id` of an earlier one.
pub fn read_log(path: &Path) -> Result<Vec<Impression>, FeedbackError> {
    let mut log = EventLog::open(path)?;
    let mut places: BTreeMap<String, Place> = BTreeMap::new();
    let mut impressions = Vec::new();
    while let Some(next) = log.next_placed() {
        let (place, impression) = next?;
        if let Some(earlier) = places.insert(impression.request_id.clone(), place) {
            let id = &impression.request_id;
            let reason = format!("the `request_id` `{id}` stands on {earlier} already; keep one");
            return Err(place.refuse(path, reason).into());
        }
        impressions.push(impression);
    }
    Ok(impressions)
}

/// The version comes first: a line of another version may have other keys.
pub(super) fn parse(line: Value) -> Result<Impression, String> {
    match &line["v"] {
        Value::Number(version) if version.as_u64() == Some(VERSION) => {}
        Value::Null => return Err("missing field `v`, the version of the format".into()),
        other => return Err(format!("version {other}; this program reads version {VERSION}")),
    }
    let impression: Impression = serde_json::from_value(line).map_err(|it| it.to_string())?;
    impression.checked()
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use proptest::prelude::*;

    use super::*;

    const GOOD: &str = r#"{"v":1,"ts_ms":1,"session":"s","user_hash":"u","request_id":"r1","prompt_id":"p","items":[{"response_id":"b","pos":2,"shown_ms":0},{"response_id":"a","pos":1,"shown_ms":9}],"events":[{"type":"thumb","response_id":"a","t_ms":5,"up":false}]}"#;

    fn file(content: &[u8]) -> tempfile::NamedTempFile {
        let mut file = tempfile::NamedTempFile::new().expect("a temporary file");
        file.write_all(content).expect("writes");
        file
    }

    /// Why the second line is refused, of which a part of the first was replaced.
    fn refusal(from: &str, to: &str) -> String {
        let bad = GOOD.replace("r1", "r2");
        assert!(bad.contains(from), "{from}");
        let bad = bad.replace(from, to);
        let file = file(format!("{GOOD}\n{bad}\n").as_bytes());
        let error = read_log(file.path()).expect_err("is refused");
        assert!(matches!(error, FeedbackError::Data(_)), "{error:?}");
        let place = format!("{}:2: ", file.path().display());
        error.to_string().strip_prefix(&place).expect("names file and line").to_owned()
    }

    #[test]
    fn items_come_from_the_top() {
        let log = read_log(file(GOOD.as_bytes()).path()).expect("reads");
        let items: Vec<&str> = log[0].items.iter().map(|it| it.response_id.as_str()).collect();
        assert_eq!(items, ["a", "b"]);
    }

    #[test]
    fn bad_lines_are_named_with_what_is_wrong() {
        let cases = [
            (r#""v":1"#, r#""v":2,"new":0"#, "version 2; this program reads version 1"),
            (r#""v":1,"#, "", "missing field `v`, the version of the format"),
            (r#""ts_ms":1"#, r#""ts_ms":1,"ip":"::1""#, "unknown field `ip`"),
            (r#""ts_ms":1"#, r#""ts_ms":1,"ts_ms":2"#, "the key `ts_ms` stands there twice"),
            (r#""session":"s""#, r#""session":"""#, "`session` has 1 to 256 bytes, not 0"),
            (r#""pos":2"#, r#""pos":1"#, "two items stand at `pos` 1"),
            (r#""pos":2"#, r#""pos":0"#, "`pos` counts from 1 at the top to 1000, not 0"),
            (r#""pos":2"#, r#""pos":-2"#, "invalid value: integer `-2`, expected u32"),
            (r#""response_id":"b""#, r#""response_id":"a""#, "the response `a` stands in the list"),
            (r#""a","t_ms""#, r#""c","t_ms""#, "an event concerns `c`, which isn't in `items`"),
            (r#","up":false"#, "", "missing field `up`"),
            (r#""up":false"#, r#""up":false,"why":"""#, "unknown field `why`"),
            (r#""type":"thumb""#, r#""type":"like""#, "unknown variant `like`"),
            (
                r#""type":"thumb","response_id":"a","t_ms":5,"up":false"#,
                r#""type":"edit","response_id":"a","t_ms":5"#,
                "an edit has either `text` or `edited_id`",
            ),
            (r#""events""#, r#""policy_propensity":0,"events""#, "`policy_propensity` is a prob"),
            ("r2", "r1", "the `request_id` `r1` stands on line 1 already; keep one"),
            ("}]}", "}]", "not JSON"),
        ];
        for (from, to, reason) in cases {
            let refusal = refusal(from, to);
            assert!(refusal.starts_with(reason), "{refusal}");
        }
    }

    #[test]
    fn long_lines_and_lists_are_refused() {
        let long = refusal(r#""s""#, &format!("\"{}\"", "s".repeat(9 << 20)));
        assert!(long.starts_with("longer than 8 MiB"), "{long}");
        let item = |pos| format!(r#"{{"response_id":"i{pos}","pos":{pos},"shown_ms":0}},"#);
        let items: String = (3..=65).map(item).collect();
        let many = refusal(r#""items":["#, &format!(r#""items":[{items}"#));
        assert_eq!(many, "`items` holds 1 to 64 responses, not 65");
    }

    proptest! {
        #[test]
        fn no_bytes_make_it_panic(content in prop::collection::vec(any::<u8>(), 0..200)) {
            let _ = read_log(file(&content).path());
        }

        #[test]
        fn no_damage_makes_it_panic(at in 0..GOOD.len(), with in "[\\x20-\\x7e]{0,8}", n_lost in 0..9usize) {
            let end = (at + n_lost).min(GOOD.len());
            let content = [&GOOD[..at], &with, &GOOD[end..]].concat();
            if let Ok(log) = read_log(file(content.as_bytes()).path()) {
                prop_assert!(log.len() <= 1);
                prop_assert!(log.iter().all(|it| it.clone().checked() == Ok(it.clone())));
            }
        }
    }
}
