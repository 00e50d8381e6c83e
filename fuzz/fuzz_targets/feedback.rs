//! What people did and said elsewhere: any bytes are answers to tasks of a store, or errors; and texts that are cleaned.
//!
//! The first byte says which kind of file the others are.

#![no_main]

use std::fs;
use std::path::Path;
use std::sync::LazyLock;

use libfuzzer_sys::fuzz_target;
use rein_data::schema::Examples;
use rein_feedback::cleaning::Cleaning;
use rein_feedback::crowd::{argilla, label_studio, mturk};
use rein_feedback::implicit::{HarvestConfig, Texts, acts, harvest, read_log};
use rein_feedback::rows::Import;
use rein_feedback::{NewTask, Reported, Response, Split, Store};
use tempfile::TempDir;

static FOLDER: LazyLock<TempDir> =
    LazyLock::new(|| tempfile::tempdir().expect("a temporary folder"));

fuzz_target!(|input: &[u8]| {
    let Some((kind, bytes)) = input.split_first() else { return };
    let file = FOLDER.path().join("file");
    fs::write(&file, bytes).expect("writes");
    match kind % 7 {
        0 => drop(read_log(&file)),
        1 => drop(Texts::read(&file)),
        2 => drop(mturk::Import::default().run(&mut store(), "p", &file)),
        3 => drop(label_studio::Import.run(&mut store(), "p", &file)),
        4 => drop(argilla::Import.run(&mut store(), "p", &file)),
        5 => rows(&file),
        _ => events(bytes),
    }
});

fn rows(file: &Path) {
    let import = Import { annotator: "a".into(), heldout: 0.5 };
    let _ = import.run(&mut store(), "rows", file, |_| ());
    if let Ok(rows) = Examples::open(file, None) {
        let rows: Vec<_> = rows.filter_map(Result::ok).map(|row| row.example).collect();
        let report = Cleaning::default().run(&rows);
        assert_eq!(report.n_kept + report.set_aside.len(), rows.len());
        let _ = report.merged(&rows);
    }
}

fn events(bytes: &[u8]) {
    let lines = bytes.split(|it| *it == b'\n').filter_map(|it| serde_json::from_slice(it).ok());
    let annotator = Some("a".to_owned());
    let reported: Vec<_> =
        lines.map(|event| Reported { annotator: annotator.clone(), event }).collect();
    let Ok(acts) = acts(&reported, Texts::default()) else { return };
    let _ = harvest(&acts.impressions, &acts.texts, &HarvestConfig::default());
}

/// A store with the seeds' task, in memory.
fn store() -> Store {
    let mut store = Store::open(Path::new(":memory:")).expect("opens");
    let response =
        |text: &str| Response { text: text.into(), finished: true, source: String::new() };
    let task = NewTask {
        external_id: "t".into(),
        prompt: "p".into(),
        split: Split::Train,
        responses: vec![response("a"), response("b")],
        overlap: 1,
        priority: 0.0,
        gold: None,
    };
    store.add_tasks("p", &[task]).expect("adds");
    store
}
