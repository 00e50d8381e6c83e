//! What people think of a model's responses.
//!
//! A [`Store`] keeps prompts, responses, tasks, annotators and annotations in SQLite; what it has
//! acknowledged survives a crash. [`simulate`] lets simulated people of the help-desk world answer
//! tasks, through the same records that real people's answers take. [`preferences`] turns answers
//! into rows that a reward model is trained on. [`implicit`] reads what people did instead of what they
//! said: clicks, copies, edits.
//!
//! People err and differ: [`aggregate`] makes one label of many votes, [`ability`] scores of comparisons, and
//! [`consensus`] one order of many; [`agreement`] says how far people agree, [`gates`] whose answers shouldn't count, [`win_rate`] and [`elo`] who wins.
//! [`cleaning`] sets rows aside that nobody should learn from, and says why.
//! [`crowd`] asks people elsewhere: on Mechanical Turk, Label Studio and Argilla. [`rows`] reads judgements from files.
//!
//! This crate knows neither tensors nor rewards.

pub mod ability;
pub mod aggregate;
pub mod agreement;
pub mod cleaning;
pub mod consensus;
pub mod crowd;
pub mod elo;
pub mod gates;
pub mod implicit;
pub mod rows;
pub mod serve;
pub mod simulate;
pub mod win_rate;

mod error;
mod judged;
mod optimize;
mod preferences;
mod records;
mod store;

pub use error::{FeedbackError, Refusal};
pub use judged::{ANNOTATOR, judged, said};
pub use optimize::Climb;
pub use preferences::{Answered, majority, preferences};
pub use records::{
    Annotation, Answer, Aspect, Choice, Judgement, Kind, MAX_SUCCESS, MAX_TEXT, NewTask, Response,
    Settings, Shown, Split, Status, Task,
};
pub use store::{
    Annotator, Asked, Change, Progress, Project, Receipt, Reported, Role, Ruling, Said, Store,
    Stored, Subject, Submission, Verdict, Writer,
};
