//! Crowds elsewhere: tasks go out as a platform's files, and answers come back as such.
//!
//! [`mturk`] is a market of workers; [`label_studio`] and [`argilla`] are servers that teams label on. On each, a task says
//! who it is, by its name and a hash of its texts, and in which order its responses stand, so that an answer that comes
//! back is one to that very task; answers that came before are passed over.

pub mod argilla;
pub mod label_studio;
pub mod mturk;

mod form;
mod given;
mod import;
mod sent;

pub use import::{Imported, SetAside};
