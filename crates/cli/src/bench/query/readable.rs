//! A reward of readable features that learns from the answers, and knows how sure it is.

use rein_data::seed::{Seed, shuffle};
use rein_model::backend::LmAutodiffBackend;
use rein_reward::inverse::comparisons::{Posterior, RIDGE, ReadablePairs, Said};
use rein_reward::inverse::features::FeaturesConfig;

use super::choose::{Query, RANDOM_SHARE};
use super::world::{Candidate, World, crowd};
use super::{ENOUGH, Point, QueryArgs};

/// Labels asked at a time.
const BATCH: usize = 16;

/// The pairs of the world, those that can be asked first.
pub(super) struct Readable<'a> {
    pool: &'a [Candidate],
    pairs: ReadablePairs,
}

impl<'a> Readable<'a> {
    pub(super) fn of<B: LmAutodiffBackend>(world: &'a World<B>) -> Self {
        let all = world.pool.iter().chain(&world.heldout);
        let all: Vec<_> = all.map(|it| it.replies.clone()).collect();
        Self { pool: &world.pool, pairs: ReadablePairs::of(&all, &FeaturesConfig::default()) }
    }

    /// The accuracy after each batch, until it is enough.
    pub(super) fn ask(&self, query: Query, seed: u64, args: &QueryArgs) -> Vec<Point> {
        let root = Seed::new(seed).child("query");
        let crowd = crowd(root, args);
        let batch = args.batch.unwrap_or(BATCH);
        // Until something is known, all ask the same.
        let mut left: Vec<usize> = (0..self.pool.len()).collect();
        shuffle(&mut left, &mut root.child("first").rng());
        let (mut said, mut points): (Vec<Said>, Vec<Point>) = (Vec::new(), Vec::new());
        let mut chosen: Vec<usize> = left.iter().copied().take(batch).collect();
        loop {
            left.retain(|it| !chosen.contains(it));
            said.extend(chosen.iter().map(|pair| {
                let says = root.child("say").index(*pair as u64);
                let is_first = self.pool[*pair].is_first_preferred(&crowd, says);
                Said { pair: *pair, first: f64::from(u8::from(is_first)) }
            }));
            let known = Posterior::of(&self.pairs, &said, RIDGE);
            let (labels, accuracy) = (said.len(), self.accuracy(&known));
            points.push(Point { query: query.name(), seed, labels, accuracy });
            if accuracy >= ENOUGH || labels >= args.most || left.len() < batch {
                return points;
            }
            let next = root.child(query.name()).index(labels as u64);
            chosen = match query {
                Query::Random => left.iter().copied().take(batch).collect(),
                _ => known.ask_focused(&left, batch, RANDOM_SHARE, next),
            };
        }
    }

    /// On the held-out pairs, of which the first reply is truly better.
    fn accuracy(&self, known: &Posterior<'_>) -> f64 {
        let heldout = self.pool.len()..self.pairs.len();
        let n_heldout = heldout.len();
        heldout.filter(|pair| known.gap(*pair) > 0.0).count() as f64 / n_heldout as f64
    }
}
