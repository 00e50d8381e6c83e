//! How far people agree beyond chance.
//!
//! All are 1 where everybody agrees and 0 where they agree as often as chance has it, and can be negative. They
//! aren't defined where there is nothing to disagree about, as when all say the same: then they are `None`.

mod kappa;
mod krippendorff;
mod percent;

pub use kappa::{Weights, cohen, fleiss};
pub use krippendorff::{Level, krippendorff};
pub use percent::percent;
