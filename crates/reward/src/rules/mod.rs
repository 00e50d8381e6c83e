//! Rewards that follow from rules: no model judges, and nothing is learned.

mod exact_match;

pub use exact_match::ExactMatch;
