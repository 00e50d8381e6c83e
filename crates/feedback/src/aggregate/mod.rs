//! Many people's labels become one, with how sure it is and how good each person is.
//!
//! [`Votes`] are the labels, [`majority`] counts them, and four models weigh them by what they find out about
//! those who gave them:
//!
//! - [`DawidSkene`]: each worker has a confusion matrix; the default where workers label a few dozen tasks;
//! - [`OneCoin`]: each worker has one number, how often they are right; for little data;
//! - [`Glad`]: workers differ in skill and tasks in difficulty;
//! - [`Mace`]: workers either know the label or fall back on a habit, which finds who always answers alike.
//!
//! Sums run over sorted votes: the order in which votes come never changes a bit of what is returned.

mod aggregation;
mod dawid_skene;
mod em;
mod glad;
mod mace;
mod majority;
mod one_coin;
pub(crate) mod votes;

pub use aggregation::Aggregation;
pub use dawid_skene::{DawidSkene, DawidSkeneFit};
pub use em::{Consensus, Stop};
pub use glad::{Glad, GladFit};
pub use mace::{Mace, MaceFit, MaceWorker};
pub use majority::majority;
pub use one_coin::{OneCoin, OneCoinFit};
pub use votes::{Keys, Vote, Votes};
