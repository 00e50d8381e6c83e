//! Label Studio: tasks as its JSON and a labelling interface as its XML, and its export of annotations, as JSON or JSON-MIN.
//!
//! Texts stand in `<Text>` tags, where they are text and nothing else. The shape of tasks and annotations is that of Label
//! Studio's guides "Import" and "Export annotations"; its SDK (2.1) takes the interfaces and tasks that are written here.

mod config;
mod export;
mod import;

pub use export::{Export, export};
pub use import::Import;

/// Who answered on Label Studio goes by this and their number there.
pub const ANNOTATOR: &str = "labelstudio:";
