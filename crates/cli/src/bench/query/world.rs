//! The pairs that people can be asked about, what they say, and the reward model that learns from it.

use std::path::{Path, PathBuf};

use anyhow::{Result, bail};
use rand::RngExt;
use rein_data::example::{Completion, Preference};
use rein_data::helpdesk::people::{Person, Seen};
use rein_data::run_dir::RunDir;
use rein_data::seed::Seed;
use rein_data::tokenizer::Tokenizer;
use rein_feedback::simulate::gold_reward;
use rein_feedback::{Split, Store, Task};
use rein_model::backend::LmAutodiffBackend;
use rein_model::checkpoint::MODEL;
use rein_model::{ScalarModel, load_causal_lm, load_scalar_model};
use rein_reward::encoding::{Judgements, Pair, encode_preferences};
use rein_reward::meta::{Difference, differences};
use rein_reward::train::{RewardConfig, RewardTraining};

use super::choose::Query;
use super::{ENOUGH, Point, QueryArgs};
use crate::bench::learn::{at_the_end, drive_quietly};
use crate::config;
use crate::config::{ModelSource, Stage};
use crate::feedback::{STORE, completion};
use crate::inference::tokenizer_of;
use crate::pipeline::PROJECT;

const BATCH_ROWS: usize = 64;
const PEOPLE: usize = 12;
/// Labels asked at a time.
const BATCH: usize = 256;

/// A pair as both people and models read it.
#[derive(Clone)]
pub(super) struct Candidate {
    /// The truth of both replies.
    gold: [f32; 2],
    pub(super) replies: [Completion; 2],
    /// The first reply stands as chosen.
    pair: Pair,
}

/// Pairs to ask about, and pairs to measure with, of which the first reply is truly better.
pub(super) struct World<B: LmAutodiffBackend> {
    pub(super) pool: Vec<Candidate>,
    pub(super) heldout: Vec<Candidate>,
    /// The model whose replies they are.
    base: PathBuf,
    /// Where reward models are written.
    run: RunDir,
    config: RewardConfig,
    device: B::Device,
}

impl<B: LmAutodiffBackend> World<B> {
    /// What a run sampled.
    pub(super) fn load(run: &Path, out: &Path, device: B::Device) -> Result<Self> {
        let base = asked_model(run)?;
        let tokenizer = tokenizer_of(&base)?;
        let store = Store::read(&run.join(STORE))?;
        let candidates = |split| -> Result<Vec<Candidate>> {
            let tasks = store.tasks(PROJECT, split)?;
            Ok(tasks.into_iter().map(|task| candidate(task, &tokenizer)).collect())
        };
        let (pool, heldout) = (candidates(Split::Train)?, candidates(Split::Heldout)?);
        if pool.is_empty() || heldout.is_empty() {
            bail!("{}: run its stage `feedback` first", run.display());
        }
        let mut config = config::load(None, &[])?.reward;
        (config.checkpoints.evaluate_every, config.checkpoints.use_best) = (0, false);
        let run = if out.join("checkpoints").exists() {
            RunDir::open(out)?
        } else {
            RunDir::create(out)?
        };
        Ok(Self { pool, heldout: far(heldout), base, run, config, device })
    }

    /// The accuracy after each batch, until it is enough.
    pub(super) fn ask(&self, query: Query, seed: u64, args: &QueryArgs) -> Result<Vec<Point>> {
        let root = Seed::new(seed).child("query");
        let crowd = crowd(root, args);
        let mut left: Vec<usize> = (0..self.pool.len()).collect();
        let mut said: Vec<Pair> = Vec::new();
        let (mut points, batch) = (Vec::new(), args.batch.unwrap_or(BATCH));
        let mut model: Option<ScalarModel<B::InnerBackend>> = None;
        while said.len() < args.most && left.len() >= batch {
            let batch_seed = root.child(query.name()).index(said.len() as u64);
            let mut places = self.choose(query, &left, &said, model.as_ref(), batch, batch_seed);
            places.sort_unstable_by(|a, b| b.cmp(a));
            for place in places {
                let number = left.swap_remove(place);
                said.push(self.pool[number].judged(&crowd, root.child("say").index(number as u64)));
            }
            let name = format!("{}-{seed}-{}", query.name(), said.len());
            let trained = self.train(&name, &said, root.child("train"))?;
            let accuracy = self.accuracy(&trained);
            points.push(Point { query: query.name(), seed, labels: said.len(), accuracy });
            model = Some(trained);
            if accuracy >= ENOUGH {
                break;
            }
        }
        Ok(points)
    }

    /// The places, among those left, of what is asked next.
    fn choose(
        &self,
        query: Query,
        left: &[usize],
        said: &[Pair],
        model: Option<&ScalarModel<B::InnerBackend>>,
        count: usize,
        seed: Seed,
    ) -> Vec<usize> {
        let features = |pairs: &[Pair]| match model {
            Some(model) if query != Query::Random => {
                differences(model, pairs, BATCH_ROWS, &self.device)
            }
            _ => Vec::new(),
        };
        let pairs: Vec<Pair> = left.iter().map(|it| self.pool[*it].pair.clone()).collect();
        let (said, mut pairs) = (features(said), features(&pairs));
        // Without features only their number counts.
        pairs.resize(left.len(), Difference::new());
        query.choose(&pairs, &said, count, seed)
    }

    fn train(&self, name: &str, said: &[Pair], seed: Seed) -> Result<ScalarModel<B::InnerBackend>> {
        let base = load_causal_lm::<B>(&self.base, &self.device)?;
        let model = ScalarModel::from_causal_lm(base, seed.child("head"), &self.device)?;
        let judgements = [Judgements::Pairs(said.to_vec()), Judgements::Pairs(Vec::new())];
        let config = self.config.clone();
        let mut stage = RewardTraining::new(config, model, None, judgements, seed, &self.device)?;
        let n_steps = stage.n_steps();
        let folder = drive_quietly(&self.run, name, &mut stage, n_steps, &at_the_end())?;
        Ok(load_scalar_model(&folder.join(MODEL), &self.device)?)
    }

    fn accuracy(&self, model: &ScalarModel<B::InnerBackend>) -> f64 {
        let head: Vec<f64> = model.head().into_iter().map(f64::from).collect();
        let heldout: Vec<Pair> = self.heldout.iter().map(|it| it.pair.clone()).collect();
        let gaps = differences(model, &heldout, BATCH_ROWS, &self.device);
        let gap = |x: &Difference| x.iter().zip(&head).map(|(x, w)| x * w).sum::<f64>();
        let right = gaps.iter().filter(|x| gap(x) > 0.0).count();
        right as f64 / gaps.len() as f64
    }
}

impl Candidate {
    /// Whether one of the crowd prefers the first: always the same person, and the same thing, whoever asks when.
    pub(super) fn is_first_preferred(&self, crowd: &[Person], seed: Seed) -> bool {
        let mut rng = seed.rng();
        let person = &crowd[rng.random_range(0..crowd.len())];
        let [first, second] =
            [0, 1].map(|it| Seen { gold: self.gold[it], text: &self.replies[it].text });
        person.prefers_first(first, second, &mut rng)
    }

    fn judged(&self, crowd: &[Person], seed: Seed) -> Pair {
        let pair = self.pair.clone();
        if self.is_first_preferred(crowd, seed) { pair } else { turned(pair) }
    }

    fn turned(self) -> Self {
        let [first, second] = self.replies;
        let gold = [self.gold[1], self.gold[0]];
        Self { gold, replies: [second, first], pair: turned(self.pair) }
    }
}

/// The model whose replies a run asked about: what it has fine-tuned, or what it began with.
fn asked_model(run: &Path) -> Result<PathBuf> {
    let folder = RunDir::join(run);
    if let Some(finished) = folder.finished(Stage::Sft.name())? {
        return Ok(folder.checkpoints(Stage::Sft.name()).path(finished.step).join(MODEL));
    }
    match config::load_saved(&run.join("config.toml"))?.model {
        ModelSource::Pretrained { path } => Ok(path),
        ModelSource::New { .. } => bail!("{}: run its stage `sft` first", run.display()),
    }
}

/// Those who are asked, as noisy as is wanted.
pub(super) fn crowd(root: Seed, args: &QueryArgs) -> Vec<Person> {
    let mut crowd = Person::crowd(PEOPLE, root.child("people"));
    for person in &mut crowd {
        person.noise = (person.noise * args.noise).max(1e-3);
    }
    crowd
}

fn turned(pair: Pair) -> Pair {
    Pair { chosen: pair.rejected, rejected: pair.chosen, ..pair }
}

fn candidate(task: Task, tokenizer: &Tokenizer) -> Candidate {
    let [first, second] = [0, 1].map(|place| task.responses[place].clone());
    let compared = Preference {
        prompt: task.prompt.to_text(),
        chosen: first.text,
        rejected: second.text,
        margin: None,
        chosen_finished: first.finished,
        rejected_finished: second.finished,
    };
    let encoded = encode_preferences(&[compared], tokenizer, usize::MAX);
    let pair = encoded.judgements.into_pairs().expect("a pair was encoded").remove(0);
    Candidate {
        gold: [0, 1].map(|place| gold_reward(&task, &task.responses[place])),
        replies: [0, 1].map(|place| completion(&task, place)),
        pair,
    }
}

/// Those whose truths differ by more than the median difference, the better reply first.
fn far(mut all: Vec<Candidate>) -> Vec<Candidate> {
    let gap = |it: &Candidate| (it.gold[0] - it.gold[1]).abs();
    all.retain(|it| gap(it) > 0.0);
    all.sort_by(|a, b| gap(a).total_cmp(&gap(b)));
    let median = all.get(all.len() / 2).map_or(0.0, gap);
    let far = all.into_iter().filter(|it| gap(it) > median);
    far.map(|it| if it.gold[0] > it.gold[1] { it } else { it.turned() }).collect()
}
