use std::io::Write;

use flate2::Compression;
use flate2::write::GzEncoder;
use proptest::prelude::*;
use serde_json::json;

use super::*;

/// A file of this name in a folder of its own.
struct Sample {
    folder: tempfile::TempDir,
    name: &'static str,
}

impl Sample {
    fn new(name: &'static str, content: &[u8]) -> Self {
        let folder = tempfile::tempdir().expect("a temporary folder");
        std::fs::write(folder.path().join(name), content).expect("writes");
        Self { folder, name }
    }

    fn path(&self) -> PathBuf {
        self.folder.path().join(self.name)
    }

    /// Each row as JSON behind its place, or its error.
    fn read(&self) -> Vec<String> {
        let shown = |row: Result<Row, DataError>| match row {
            Ok(Row { place, columns }) => format!("{place} {}", Value::Object(columns)),
            Err(error) => self.shorten(&error),
        };
        match Rows::open(&self.path()) {
            Ok(rows) => rows.map(shown).collect(),
            Err(error) => vec![self.shorten(&error)],
        }
    }

    fn shorten(&self, error: &DataError) -> String {
        error.to_string().replace(&format!("{}/", self.folder.path().display()), "")
    }
}

fn read(name: &'static str, content: &str) -> Vec<String> {
    Sample::new(name, content.as_bytes()).read()
}

const ROWS: [&str; 2] = [r#"{"a":"é, \"x\"","b":[{"c":null}]}"#, r#"{"a":"]}","b":1.5}"#];

#[test]
fn each_format_is_recognised_and_read() {
    let [one, two] = ROWS;
    let lines = [format!("line 1 {one}"), format!("line 3 {two}")];
    let rows = [format!("row 1 {one}"), format!("row 2 {two}")];
    for name in ["r.jsonl", "r.json", "r.ndjson", "r"] {
        assert_eq!(read(name, &format!("{one}\r\n\n{two}")), lines, "{name}");
        assert_eq!(read(name, &format!("\u{feff}{one}\n \n{two}\n")), lines, "{name}");
    }
    assert_eq!(read("r.jsonl", one), lines[..1]);
    for name in ["r.json", "r"] {
        assert_eq!(read(name, &format!(" [{one}\n,{two} ]\n")), rows, "{name}");
    }
    let object = format!(
        "{{\"v\": {{\"n\": [1, [2]]}}, \"s\": \"[\", \"l\": [[1], 2], \"e\": [ ], \"data\": [{one},{two}], \"k\": 3 }}"
    );
    assert_eq!(read("r.json", &object), rows);
    let table = "a,b\n\"x, \"\"y\"\"\",1\n,\"two\nlines\"\nü,2\n";
    let cells = [
        r#"line 2 {"a":"x, \"y\"","b":"1"}"#,
        r#"line 3 {"a":"","b":"two\nlines"}"#,
        r#"line 5 {"a":"ü","b":"2"}"#,
    ];
    assert_eq!(read("r.csv", table), cells);
    assert_eq!(read("r.tsv", "a\tb\n\"x\ty\"\n"), [r#"line 2 {"a":"\"x","b":"y\""}"#]);
}

#[test]
fn gzip_is_recognised_by_content() {
    for (name, content) in [("r.jsonl", ROWS.join("\n")), ("r.csv.gz", "a,b\n1,2\n".to_owned())] {
        let mut gzip = GzEncoder::new(Vec::new(), Compression::fast());
        gzip.write_all(content.as_bytes()).expect("compresses");
        let packed = gzip.finish().expect("compresses");
        let plain = if name == "r.jsonl" { name } else { "r.csv" };
        assert_eq!(Sample::new(name, &packed).read(), read(plain, &content));
        let cut = Sample::new(name, &packed[..packed.len() / 2]).read();
        assert!(cut.last().is_some_and(|it| it.starts_with(name)), "{cut:?}");
    }
}

#[test]
fn errors_name_the_place_and_later_rows_still_come() {
    let [one, two] = ROWS;
    let nested = format!("{{\"a\":{}1{}}}", "[".repeat(64), "]".repeat(64));
    let long = format!("{{\"a\":\"{}\"}}", "x".repeat(8 << 20));
    let many = format!("{{\"a\":[{}0]}}", "0,".repeat(1 << 20));
    let bad = [
        ("[1]", "a row is an object by column, not a list"),
        (r#"{"a":1,"b":{"c":1,"c":2}}"#, "the key `c` stands there twice (column 21)"),
        (r#"{"a":1,"a":2}"#, "the key `a` stands there twice (column 10)"),
        (&nested, "nested deeper than 64 levels (column 69)"),
        (&many, "more than 1048576 values in one row (column 2097154)"),
    ];
    for (row, reason) in bad {
        assert_eq!(
            read("r.jsonl", &format!("{one}\n{row}\n{two}")),
            [format!("line 1 {one}"), format!("r.jsonl:2: {reason}"), format!("line 3 {two}")]
        );
        assert_eq!(
            read("r.json", &format!("[{one},{row},{two}]")),
            [format!("row 1 {one}"), format!("r.json, row 2: {reason}"), format!("row 3 {two}")]
        );
    }
    let told = read("r.jsonl", &format!("{one}\n{long}\n{two}"));
    assert_eq!(told[1], "r.jsonl:2: longer than 8 MiB; is it JSON lines?");
    assert_eq!(told[2], format!("line 3 {two}"));
    assert_eq!(read("r.json", &format!("[{one},{long}]"))[1], "r.json, row 2: longer than 8 MiB");
    let not_text = Sample::new("r.jsonl", b"{}\n{\"a\":\"\xff\"}\n{}").read();
    assert_eq!(not_text[1], "r.jsonl:2: not UTF-8: invalid utf-8 sequence of 1 bytes from index 6");
    assert_eq!(not_text.len(), 3);
}

#[test]
fn what_is_wrong_with_a_json_file_is_told() {
    for (content, reason) in [
        ("[{},]", "r.json, row 1: a comma without a row behind it"),
        ("[{} {}]", "r.json, row 1: not JSON: expected `,`"),
        ("[{}", "r.json, row 1: not JSON: expected `,`"),
        ("[{\"a\":", "r.json, row 1: ends in the middle of a row or list"),
        (
            "[{}] {}",
            "r.json, row 1: something follows its end; one object on each line is called `.jsonl`",
        ),
        ("{\"a\": 1}", "r.json: an object, but none of its members is a list of rows"),
        (
            "{\"a\": [{}], \"b\": [{}]}",
            "r.json, row 1: two lists of rows, `a` and `b`; keep one of them",
        ),
        ("hello", "r.json: neither a list of rows nor an object that holds one"),
        ("", "r.json: neither a list of rows nor an object that holds one"),
    ] {
        let told = read("r.json", content);
        assert_eq!(told.last().map(String::as_str), Some(reason), "{content}");
    }
    assert_eq!(
        read("r.txt", "hello"),
        ["r.txt: neither its name nor what it holds says which format it has; known are `jsonl`, \
             `json`, `csv`, `tsv`, `parquet`"]
    );
}

#[test]
fn tables_tell_what_is_wrong() {
    let told = read("r.csv", "a,b\n1\n2,3\n");
    assert_eq!(told, ["r.csv:2: 1 values for 2 columns", r#"line 3 {"a":"2","b":"3"}"#]);
    assert_eq!(read("r.csv", "a,a\n1,2\n"), ["r.csv:1: two columns are called `a`"]);
    assert_eq!(read("r.csv", ""), ["r.csv: holds no rows, not even the names of columns"]);
    let told = Sample::new("r.csv", b"a,b\n1,\xff\n2,3\n").read();
    assert!(told[0].starts_with("r.csv:2: not UTF-8: "), "{}", told[0]);
    assert_eq!(told.len(), 2);
    let open = format!("a,b\n1,2\n\"{}", "x,\n".repeat(4 << 20));
    let told = read("r.csv", &open);
    assert_eq!(told[1], "r.csv:3: a row longer than 8 MiB; is a quotation mark left open?");
    assert_eq!(told.len(), 2);
}

/// `tests/rows/rows.parquet` was written by pyarrow with dictionaries, several pages and row groups.
#[test]
fn parquet_keeps_nested_lists_of_structs() {
    for name in ["snappy", "zstd", "gzip", "plain"] {
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(format!("tests/rows/{name}.parquet"));
        let rows = Rows::open(&path).expect("opens");
        assert_eq!(rows.format(), Format::Parquet);
        let rows: Vec<Row> = rows.collect::<Result<_, _>>().expect("reads");
        assert_eq!(rows.len(), 5, "{name}");
        assert_eq!(rows[4].place, Place::Row(5));
        assert_eq!(
            Value::Object(rows[1].columns.clone()),
            json!({
                "messages": [
                    {"role": "user", "content": "1 + 1?"},
                    {"role": "assistant", "content": "zwei – 2"},
                ],
                "prompt": "p1", "margin": 0.5, "label": false, "ids": [1, 2],
                "source": null, "day": 19724,
            })
        );
        assert_eq!(rows[2].columns["messages"], json!([]));
        assert_eq!(rows[3].columns["messages"], Value::Null);
    }
}

#[test]
fn damaged_parquet_is_refused() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/rows/snappy.parquet");
    let whole = std::fs::read(path).expect("reads");
    for length in [4, 11, 100, whole.len() - 1] {
        let told = Sample::new("r.parquet", &whole[..length]).read();
        assert!(told[0].starts_with("r.parquet: "), "{told:?}");
    }
    for place in (4..whole.len()).step_by(7) {
        let mut damaged = whole.clone();
        damaged[place] ^= 0x55;
        let told = Sample::new("r.parquet", &damaged).read();
        assert!(told.len() <= 1000, "{place}: {}", told.len());
    }
}

proptest! {
    #[test]
    fn no_bytes_make_it_panic(
        content in prop::collection::vec(any::<u8>(), 0..300),
        name in prop::sample::select(vec!["r.json", "r.jsonl", "r.csv", "r.tsv", "r"]),
    ) {
        Sample::new(name, &content).read();
    }

    #[test]
    fn no_json_like_text_makes_it_panic(
        content in "[\\[\\]{}\",:\\\\a1 \n]{0,80}",
        name in prop::sample::select(vec!["r.json", "r.jsonl", "r.csv", "r"]),
    ) {
        Sample::new(name, content.as_bytes()).read();
    }

    /// Whatever stands in its rows, an array is cut where it should be.
    #[test]
    fn arrays_give_the_rows_that_lines_give(
        texts in prop::collection::vec(any::<(String, String, i64)>(), 1..8),
    ) {
        let rows: Vec<Value> =
            texts.into_iter().map(|(key, text, n)| json!({ key: [text, { "n": n }] })).collect();
        let array = Sample::new("r.json", Value::Array(rows.clone()).to_string().as_bytes());
        let pretty = format!("{{\"rows\": {:#}}}", Value::Array(rows.clone()));
        for sample in [array, Sample::new("r.json", pretty.as_bytes())] {
            let read = Rows::open(&sample.path()).expect("opens").map(|row| row.expect("reads").columns);
            prop_assert_eq!(&read.map(Value::Object).collect::<Vec<_>>(), &rows);
        }
    }
}
