//! What a packed head says of tokens, without ever holding all its scores.

use super::packed::{PANEL, Packed, Rows, Sink, Threads};
use super::vocabulary::{Running, see};

/// Entries whose scores exist at a time.
const CHUNK: usize = 16 * PANEL;

/// `log softmax(h W / temperature)` at the targets, in nats, `[tokens]`.
///
/// # Shapes
/// - `hidden`: `[tokens, width]`
/// - `targets`: `[tokens]`
pub fn logprobs(
    hidden: Rows<'_>,
    head: &Packed,
    targets: &[usize],
    temperature: f32,
    threads: Threads,
) -> Vec<f32> {
    let mut running = vec![Running::default(); targets.len()];
    let mut scores = vec![0.0; targets.len() * CHUNK.min(head.n_out())];
    for first in (0..head.n_out()).step_by(CHUNK) {
        let count = CHUNK.min(head.n_out() - first);
        let scores = &mut scores[..targets.len() * count];
        let sink = Sink { data: scores, stride: count, adds: false };
        head.multiply_some(first..first + count, hidden, sink, threads);
        scores.iter_mut().for_each(|score| *score /= temperature);
        see(&mut running, scores, (first, count), targets);
    }
    running.iter().map(Running::logprob).collect()
}
