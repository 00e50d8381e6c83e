//! Argilla (2.x): a data set on disk, as its SDK's `Dataset.to_disk` and `from_disk` write and read it: `settings.json` under
//! `.argilla`, and `records.json`.
//!
//! Texts are fields without Markdown. The shapes are those of the SDK's (2.8) `Settings.to_json` and `Record.to_dict`, which
//! read what is written here.

mod export;
mod import;
mod settings;

pub use export::{Export, export};
pub use import::Import;

/// Who answered on Argilla goes by this and their number there.
pub const USER: &str = "argilla:";

/// The question about places.
const RANK: &str = "rank";
/// The question about reasons.
const REASONS: &str = "reasons";
