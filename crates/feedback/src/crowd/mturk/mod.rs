//! Amazon Mechanical Turk, by its requester website: one row of a table becomes one task (HIT), workers' answers
//! (assignments) come back as another table, and the same table with `Approve` or `Reject` filled in pays for them.
//!
//! [`batches`] writes the tables and the page to answer on, [`Import`] reads what came back into a store, and [`Review`]
//! says who should be paid by how they did on golden tasks.
//!
//! Cells hold HTML, so that what a model wrote can't be more than text on the page, a formula in a spreadsheet or a line
//! break in a table. The names of the columns are those of AWS's documentation ("Retrieving results") and of results
//! that others published.

mod cells;
mod hits;
mod import;
mod layout;
mod results;
mod review;

pub use hits::{Batch, batches};
pub use import::Import;
pub use results::{Assignment, AssignmentStatus, Results};
pub use review::{Review, Reviewed};

/// Who answered on MTurk goes by this and their worker's number.
pub const WORKER: &str = "mturk:";
