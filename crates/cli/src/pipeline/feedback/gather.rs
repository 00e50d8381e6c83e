//! Sampling pairs, choosing some, and judging them.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use rein_data::batches::RowOrder;
use rein_data::example::Completion;
use rein_data::helpdesk::people::Person;
use rein_data::helpdesk::tastes::{Population, Taste};
use rein_data::jsonl;
use rein_data::log::{Metrics, RunLog};
use rein_data::seed::Seed;
use rein_data::stage::{Evaluation, Train};
use rein_data::workers::Workers;
use rein_feedback::simulate::{Annotator, judge};
use rein_feedback::{FeedbackError, NewTask, Response, Split, Store, preferences};
use rein_model::backend::LmAutodiffBackend;
use rein_model::{CausalLm, Sampler, Sampling, load_causal_lm};
use rein_ppo::rollout::{Ends, sample_until};

use super::choosing::chosen;
use super::{PROJECT, Session};
use crate::config::{Answers, FeedbackConfig, Query, Stage};
use crate::setup::Setup;
use crate::world::Question;

/// Sampled pairs of which some will be asked, in a checkpoint's folder.
const CANDIDATES: &str = "candidates.jsonl";

/// Sampling and judging in progress. Doing a step again changes nothing: samples follow from the
/// seed, and the store knows what it has.
pub(super) struct Gather<B: LmAutodiffBackend> {
    model: CausalLm<B::InnerBackend>,
    source: String,
    /// Only the first worker writes.
    store: Option<Store>,
    workers: Workers,
    /// Nobody, where real people are waited for.
    crowd: Vec<Box<dyn Annotator>>,
    /// Which prompts, of the training and of the held-out ones.
    order: [RowOrder; 2],
    /// What the names of the round's tasks begin with.
    prefix: String,
    /// How some of many pairs are chosen; none where all are asked.
    choice: Option<Choosing>,
    candidates: Vec<NewTask>,
    setup: Setup,
    seed: Seed,
    device: B::Device,
}

/// So many times as many pairs are sampled as asked.
struct Choosing {
    query: Query,
    times: usize,
}

/// What a step does.
enum Step {
    /// Samples pairs; judges them, unless some are chosen later.
    Sample(Split, usize),
    /// Chooses among all that were sampled.
    Choose,
}

impl<B: LmAutodiffBackend> Gather<B> {
    pub(super) fn new(session: &Session<B>) -> Result<Self> {
        let folder = session.current_policy()?;
        let config = &session.setup.config.feedback;
        let seed = session.seed(Stage::Feedback);
        let prompts = &session.setup.world.prompts;
        let is_later = session.past.is_later();
        let rounds = session.setup.config.rounds.as_ref().filter(|_| is_later);
        // Whoever is asked, the same people in all rounds.
        let people = Seed::new(session.setup.config.seed).child(Stage::Feedback.name());
        let crowd = match session.answers_by() {
            Answers::Simulated => crowd(
                session.setup.config.data.population(),
                config.annotators,
                people.child("people"),
            ),
            Answers::People => Vec::new(),
        };
        Ok(Self {
            model: load_causal_lm(&folder, &session.device)?,
            source: folder.display().to_string(),
            store: session.workers.leads().then(|| session.store()).transpose()?,
            workers: session.workers.clone(),
            crowd,
            order: [&prompts.train, &prompts.heldout]
                .map(|it| RowOrder::new(it.len(), seed.child("prompts"))),
            prefix: session.past.name().map_or_else(String::new, |it| format!("{it}/")),
            choice: rounds.map(|it| Choosing { query: it.query, times: it.candidates }),
            candidates: Vec::new(),
            setup: session.setup.clone(),
            seed,
            device: session.device.clone(),
        })
    }

    fn config(&self) -> &FeedbackConfig {
        &self.setup.config.feedback
    }

    /// Pairs that are sampled of the training prompts and of the held-out ones.
    fn totals(&self) -> [usize; 2] {
        let FeedbackConfig { pairs, heldout_pairs, .. } = *self.config();
        [pairs * self.choice.as_ref().map_or(1, |it| it.times), heldout_pairs]
    }

    pub(super) fn n_steps(&self) -> usize {
        let n_samplings: usize =
            self.totals().iter().map(|it| it.div_ceil(self.config().batch_pairs)).sum();
        n_samplings + usize::from(self.choice.is_some())
    }

    /// Training pairs come first, then the choice among them, then held-out pairs.
    fn step_of(&self, step: usize) -> Step {
        let n_train_steps = self.totals()[0].div_ceil(self.config().batch_pairs);
        match step.checked_sub(n_train_steps) {
            None => Step::Sample(Split::Train, step),
            Some(0) if self.choice.is_some() => Step::Choose,
            Some(step) => Step::Sample(Split::Heldout, step - usize::from(self.choice.is_some())),
        }
    }

    fn questions(&mut self, split: Split, step: usize) -> Vec<Question> {
        let batch_pairs = self.config().batch_pairs;
        let (side, prompts) = match split {
            Split::Train => (0, &self.setup.world.prompts.train),
            Split::Heldout => (1, &self.setup.world.prompts.heldout),
        };
        let n_left = self.totals()[side] - step * batch_pairs;
        let rows = self.order[side].batch(step, batch_pairs);
        rows.into_iter().take(n_left).map(|row| prompts[row].clone()).collect()
    }

    fn response(&self, it: Completion) -> Response {
        Response { text: it.text, finished: it.finished, source: self.source.clone() }
    }

    /// Two replies to each prompt. Each worker samples its share of them.
    fn sample_pairs(&self, questions: &[Question], seed: Seed) -> Result<Vec<[Completion; 2]>> {
        let ppo = &self.setup.config.rl;
        let tokenizer = &self.setup.tokenizer;
        let Ends { tokens: ends, texts } = self.setup.ends();
        let sampling = Sampling {
            batch_rows: 2 * ppo.micro_batch_rows,
            ends,
            ..ppo.sampling(ppo.at(0).temperature, tokenizer.special().eos)
        };
        let twice: Vec<Question> =
            questions.iter().flat_map(|it| [it.clone(), it.clone()]).collect();
        let mine = self.workers.share(&twice);
        let mine = mine.iter().map(|it| self.setup.prompt(it)).collect::<Result<_>>()?;
        let seeds = self.workers.row_seeds(seed);
        let sampler = Sampler::new(&self.model, &sampling, &self.device)?;
        let sampled = sample_until(&sampler, mine, tokenizer, &texts, seeds)?;
        let completions = sampled.into_iter().map(|it| it.completion).collect();
        let completions = self.workers.merge::<Completion>(completions)?;
        let pairs = completions.chunks_exact(2);
        Ok(pairs.map(|pair| [pair[0].clone(), pair[1].clone()]).collect())
    }

    /// Pairs of replies that differ, named by the step, and what is told of all that were sampled.
    fn sample(
        &mut self,
        split: Split,
        of_split: usize,
        step: usize,
    ) -> Result<(Vec<NewTask>, Metrics)> {
        let questions = self.questions(split, of_split);
        let sampled =
            self.sample_pairs(&questions, self.seed.child("samples").index(step as u64))?;
        let n_sampled = sampled.len();
        let lengths: Vec<f64> = sampled.iter().flatten().map(|it| it.tokens.len() as f64).collect();
        let pairs: Vec<NewTask> = sampled
            .into_iter()
            .zip(&questions)
            .enumerate()
            // Nobody can prefer one of two equal replies.
            .filter(|(_, ([first, second], _))| first.text != second.text)
            .map(|(number, (pair, question))| NewTask {
                external_id: format!("{}{step}/{number}", self.prefix),
                prompt: question.content(),
                split,
                responses: pair.map(|it| self.response(it)).into(),
                overlap: self.config().overlap,
                priority: 0.0,
                gold: None,
            })
            .collect();
        let n_equal = n_sampled - pairs.len();
        let told = [
            ("equal_pairs", n_equal as f64),
            ("completions", lengths.len() as f64),
            ("completions/mean_length", lengths.iter().sum::<f64>() / lengths.len() as f64),
        ];
        Ok((pairs, told.into()))
    }

    /// Asks about these pairs; simulated people answer at once. Tells how many there are.
    fn ask(&mut self, split: Split, pairs: &[NewTask]) -> Result<usize> {
        let Some(store) = &mut self.store else { return Ok(0) };
        store.add_tasks(PROJECT, pairs)?;
        let names: std::collections::HashSet<&str> =
            pairs.iter().map(|it| it.external_id.as_str()).collect();
        let mut tasks = store.tasks(PROJECT, split)?;
        tasks.retain(|task| names.contains(task.external_id.as_str()));
        if !self.crowd.is_empty() {
            judge(store, &tasks, &self.crowd, self.seed.child("judgements"))?;
        }
        Ok(tasks.len())
    }

    /// Asks about those candidates that tell most; by what was said before this round, so that choosing again after a kill
    /// chooses the same.
    fn choose(&mut self) -> Result<usize> {
        let (Some(store), Some(choice)) = (&self.store, &self.choice) else { return Ok(0) };
        let mut said = preferences(store, PROJECT, Split::Train)?;
        said.retain(|it| !it.task.external_id.starts_with(&self.prefix));
        let seed = self.seed.child("choice");
        let (candidates, count) = (self.candidates.clone(), self.config().pairs);
        let asked = chosen(choice.query, &said, candidates, count, seed);
        let n_asked = self.ask(Split::Train, &asked)?;
        self.order(&asked)?;
        Ok(n_asked)
    }

    /// Lets people be asked about these pairs in their order.
    fn order(&mut self, asked: &[NewTask]) -> Result<()> {
        let Some(store) = &mut self.store else { return Ok(()) };
        Ok(store.change(|change| {
            let id = |task: &NewTask| change.task_id(PROJECT, &task.external_id);
            let places = asked.iter().rev().zip(1..);
            let order = places.map(|(task, place)| Ok((id(task)?, f64::from(place))));
            change.set_information(&order.collect::<Result<Vec<_>, FeedbackError>>()?)
        })?)
    }
}

/// Simulated people, who know the truth, blurred, or want different things.
fn crowd(population: Option<Population>, count: usize, seed: Seed) -> Vec<Box<dyn Annotator>> {
    let boxed = |it: Taste| Box::new(it) as Box<dyn Annotator>;
    match population {
        Some(population) => Taste::crowd(population, count, seed).into_iter().map(boxed).collect(),
        None => {
            let crowd = Person::crowd(count, seed).into_iter();
            crowd.map(|it| Box::new(it) as Box<dyn Annotator>).collect()
        }
    }
}

impl<B: LmAutodiffBackend> Train for Gather<B> {
    type Error = anyhow::Error;

    fn step(&mut self, step: usize, _: &mut RunLog) -> Result<Metrics> {
        let (split, of_split) = match self.step_of(step) {
            Step::Sample(split, of_split) => (split, of_split),
            Step::Choose => return Ok([("pairs", self.choose()? as f64)].into()),
        };
        let (pairs, told) = self.sample(split, of_split, step)?;
        let n_pairs = match split {
            Split::Train if self.choice.is_some() => {
                let n_pairs = pairs.len();
                self.candidates.extend(pairs);
                n_pairs
            }
            _ => self.ask(split, &pairs)?,
        };
        let mut metrics = Metrics::from([("pairs", n_pairs as f64)]);
        metrics.0.extend(told.0);
        Ok(metrics)
    }

    fn evaluate(&mut self) -> Result<Option<Evaluation>> {
        Ok(None)
    }

    fn save(&self, folder: &Path) -> Result<()> {
        if self.choice.is_some() {
            let path = folder.join(CANDIDATES);
            let lines: String = self.candidates.iter().map(jsonl::line).collect();
            fs::write(&path, lines).with_context(|| path.display().to_string())?;
        }
        Ok(())
    }

    fn restore(&mut self, folder: &Path) -> Result<()> {
        let path: PathBuf = folder.join(CANDIDATES);
        if self.choice.is_some() {
            self.candidates = jsonl::read(&path)?;
        }
        Ok(())
    }
}
