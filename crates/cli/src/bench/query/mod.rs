//! How many labels a reward model of the help desk needs, by which pairs people are asked about.
//!
//! A run samples pairs of replies, of the model that it has fine-tuned or was given. Of these, batches are chosen at random,
//! where the reward is least certain (BALD), or where an answer tells most of the whole (D-optimal), a tenth always at random;
//! one simulated person judges each. After each batch a reward model is trained anew on all labels so far, from that model on,
//! and asked which replies of held-out prompts are truly better. The reward model is one of weighted words and pairs of
//! words, which takes minutes, or a whole model, which takes hours.

mod choose;
mod readable;
mod world;

use std::path::PathBuf;

use anyhow::{Result, bail};
use clap::{Args, ValueEnum};
use rein_data::checkpoint::write_atomically;
use rein_data::jsonl;
use rein_model::backend::LmAutodiffBackend;
use serde::Serialize;

use self::choose::Query;
use self::readable::Readable;
use self::world::World;
use crate::device::{BackendName, Work};
use crate::speech::{note, print};

/// Accuracy that is wanted, on pairs whose truths differ by more than the median difference.
const ENOUGH: f64 = 0.90;
/// Labels of random choice that an active one may need, as a share.
const SHARE: f64 = 0.5;

#[derive(Debug, Args)]
pub(crate) struct QueryArgs {
    /// A run of the help desk whose stage `feedback` is done, after `sft` or by a model it was given
    #[arg(long, value_name = "RUN")]
    run: PathBuf,
    /// Repeat all of it with so many seeds
    #[arg(long, value_name = "N", default_value_t = 8)]
    seeds: u64,
    /// What learns from the answers
    #[arg(long, value_enum, default_value = "features")]
    reward: Learner,
    /// Labels asked at a time; 16 of features, 256 of models if left out
    #[arg(long, value_name = "N")]
    batch: Option<usize>,
    /// Labels after which it is given up
    #[arg(long, value_name = "N", default_value_t = 8192)]
    most: usize,
    /// How noisy people are: 1 as in a default run, where they are wrong about a fifth of the pairs; 0 never wrong
    #[arg(long, value_name = "X", default_value_t = 1.0)]
    noise: f32,
    /// How batches are chosen; all ways if left out, may be repeated
    #[arg(long = "query", value_enum)]
    queries: Vec<Query>,
    /// Where all of it is written; models that lie there already aren't trained again
    #[arg(long, value_name = "DIR", default_value = "runs/query")]
    out: PathBuf,
    /// Where to compute
    #[arg(long, value_enum)]
    pub(crate) backend: Option<BackendName>,
}

/// What learns from the answers.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Learner {
    /// Weights of features that people can read
    Features,
    /// A reward model, from the model that was asked about on
    Model,
}

impl Learner {
    /// The ways to choose of which it knows.
    fn queries(self) -> &'static [Query] {
        match self {
            Self::Features => &[Query::Random, Query::Bald],
            Self::Model => &Query::ALL,
        }
    }
}

/// Accuracy after so many labels.
#[derive(Clone, Copy, Debug, Serialize)]
struct Point {
    query: &'static str,
    seed: u64,
    labels: usize,
    accuracy: f64,
}

/// Asks and says how many labels it took; true if active queries need few enough.
#[derive(Debug)]
pub(super) struct Queries<'a> {
    pub(super) args: &'a QueryArgs,
}

impl Work for Queries<'_> {
    type Output = bool;

    fn run<B: LmAutodiffBackend>(self, device: B::Device) -> Result<bool> {
        let args = self.args;
        let world = World::<B>::load(&args.run, &args.out, device)?;
        let readable = (args.reward == Learner::Features).then(|| Readable::of(&world));
        let queries: Vec<Query> = args
            .reward
            .queries()
            .iter()
            .copied()
            .filter(|it| args.queries.is_empty() || args.queries.contains(it))
            .collect();
        if let Some(unknown) = args.queries.iter().find(|it| !queries.contains(it)) {
            bail!("--query {}: only `--reward model` is asked like that", unknown.name());
        }
        let mut points = Vec::new();
        let mut needed = vec![Vec::new(); queries.len()];
        for seed in 1..=args.seeds {
            for (query, needed) in queries.iter().zip(&mut needed) {
                let curve = match &readable {
                    Some(readable) => readable.ask(*query, seed, args),
                    None => world.ask(*query, seed, args)?,
                };
                let last = curve.last().expect("there is a batch");
                let is_enough = last.accuracy >= ENOUGH;
                let told = if is_enough { "enough" } else { "given up" };
                let (name, labels, accuracy) = (query.name(), last.labels, last.accuracy);
                note(&format!("{name}, seed {seed}: {labels} labels, {accuracy:.3}: {told}"));
                needed.push(labels);
                points.extend(curve);
                let lines: String = points.iter().map(jsonl::line).collect();
                write_atomically(&args.out.join("curves.jsonl"), lines.as_bytes())?;
            }
        }
        let (text, is_good) = verdict(&queries, &needed);
        print(&text);
        Ok(is_good)
    }
}

/// The medians beside each other, and whether one of the active ones is small enough.
fn verdict(queries: &[Query], needed: &[Vec<usize>]) -> (String, bool) {
    let medians: Vec<f64> = needed.iter().map(|it| median(it)).collect();
    let of = |query: Query| queries.iter().position(|it| *it == query).map(|it| medians[it]);
    let random = of(Query::Random);
    let mut text = format!("labels to an accuracy of {ENOUGH} (median, and each seed)\n");
    for ((query, median), each) in queries.iter().zip(&medians).zip(needed) {
        let share = random.map_or(String::new(), |it| format!(" ({:.2} of random)", median / it));
        text += &format!("{:<10} {median:>7.1}{share}: {each:?}\n", query.name());
    }
    let active = [Query::Bald, Query::DOptimal].into_iter().filter_map(of);
    let best = active.fold(f64::INFINITY, f64::min);
    (text, random.is_none_or(|random| best <= SHARE * random))
}

fn median(values: &[usize]) -> f64 {
    let mut sorted = values.to_vec();
    sorted.sort_unstable();
    let middle = sorted.len() / 2;
    if sorted.len() % 2 == 1 {
        sorted[middle] as f64
    } else {
        (sorted[middle - 1] + sorted[middle]) as f64 / 2.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_active_query_is_good_where_its_median_is_half_of_chance() {
        let queries = [Query::Random, Query::DOptimal];
        let told = |active: &[usize]| verdict(&queries, &[vec![800, 1000, 900], active.to_vec()]);
        assert!(told(&[400, 450, 900]).1);
        assert!(!told(&[500, 451, 400]).1);
        assert!(told(&[400, 450, 900]).0.contains("(0.50 of random)"));
    }
}
