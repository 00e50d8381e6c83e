//! Decoding on CPUs: plain arithmetic on packed weights, without tensors and without a tape.
//!
//! [`Engine`] holds a model's weights in the order in which a few rows are multiplied with them, and
//! [`Rollout`] keeps its rows going: one that ended makes room for the next prompt at once. A prompt
//! whose beginning stands in the cache of another row is copied from there. [`Engine::logprobs`] and
//! [`Engine::scores`] pass whole rows through the same weights, for models that are only asked.
//!
//! Nothing that a row computes depends on the rows beside it or on the number of threads: each number
//! is summed in an order of its own. Threads take rows of their own where there are enough of them or
//! the weights are small, and share the columns of each product otherwise, so that large weights are
//! read once.

mod cache;
mod forward;
mod grid;
mod rollout;
mod scorer;
mod weights;

pub(crate) use rollout::Rollout;
pub(crate) use weights::Engine;
