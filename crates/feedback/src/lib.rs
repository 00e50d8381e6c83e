//! What people think of a model's responses.
//!
//! A [`Store`] keeps prompts, responses, tasks, annotators and annotations in SQLite; what it has
//! acknowledged survives a crash. [`simulate`] lets simulated people of the help-desk world answer
//! tasks, through the same records that real people's answers take. [`preferences`] turns answers
//! into rows that a reward model is trained on.
//!
//! This crate knows neither tensors nor rewards.

pub mod simulate;

mod error;
mod preferences;
mod records;
mod store;

pub use error::FeedbackError;
pub use preferences::{Answered, majority, preferences};
pub use records::{Annotation, Choice, Judgement, NewPair, Response, Split, Task};
pub use store::Store;
