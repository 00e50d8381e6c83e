//! The default world: a small help-desk language in which the truth is known.
//!
//! Customers ask about an appliance with a problem; replies open kindly or rudely, speak of the
//! right or the wrong appliance, give the remedy or another one or none, and end properly or
//! ramble. [`Helpdesk::demonstration`] draws the mixture of all of these that the base model learns
//! to imitate, and an [`Expert`] tilts it towards what is good; [`gold::judge`] is the true reward, which no learner
//! ever sees; [`people`] are the simulated annotators who know it with noise and a taste of their own, and those of
//! [`tastes`] disagree about it.
//!
//! The world is made so that counting words isn't enough: kind and rude openings share their
//! words and differ in order, a remedy is right only for its prompt, and a farewell is right only
//! at the end.

mod experts;
mod grammar;

pub mod gold;
pub mod people;
pub mod tastes;
pub mod weakness;

pub use experts::Expert;
pub use grammar::{CLOSING, Helpdesk, Ticket};
