use std::path::Path;

use anyhow::{Result, bail};
use rein_data::batches::RowOrder;
use rein_data::example::Completion;
use rein_data::helpdesk::people::Person;
use rein_data::log::{Metrics, RunLog};
use rein_data::seed::Seed;
use rein_data::stage::{Cadence, Evaluation, Outcome, Train, drive};
use rein_data::workers::Workers;
use rein_feedback::simulate::{agreement, judge};
use rein_feedback::{NewTask, Response, Split, Store, preferences};
use rein_model::backend::LmAutodiffBackend;
use rein_model::{CausalLm, Sampler, Sampling, load_causal_lm};
use rein_ppo::rollout::{Prompt, sample};

use super::Session;
use crate::config::{FeedbackConfig, Stage};
use crate::setup::Setup;

/// The project of a run in its store.
pub(crate) const PROJECT: &str = "replies";

impl<B: LmAutodiffBackend> Session<B> {
    /// The store of what people said in this run.
    pub(super) fn store(&self) -> Result<Store> {
        Ok(Store::open(&self.run.file("feedback.sqlite"))?)
    }

    /// Lets simulated people compare pairs of the fine-tuned model's own replies.
    pub(super) fn feedback(&mut self) -> Result<Outcome> {
        if !self.setup.world.has_gold() {
            bail!(
                "only the help-desk world has simulated people; these data bring their judgements"
            );
        }
        let folder = self.sft_model()?;
        let config = self.setup.config.feedback.clone();
        let seed = self.seed(Stage::Feedback);
        let prompts = &self.setup.world.prompts;
        let mut stage = Gather::<B> {
            model: load_causal_lm(&folder, &self.device)?,
            source: folder.display().to_string(),
            store: self.workers.leads().then(|| self.store()).transpose()?,
            workers: self.workers.clone(),
            crowd: Person::crowd(config.annotators, seed.child("people")),
            order: [&prompts.train, &prompts.heldout]
                .map(|it| RowOrder::new(it.len(), seed.child("prompts"))),
            setup: self.setup.clone(),
            seed,
            device: self.device.clone(),
        };
        let n_steps = stage.n_steps();
        // What people said lies in the store; a checkpoint only counts the steps.
        let cadence =
            Cadence { evaluate_every: 0, save_every: 1, keep_last: 1, ..Cadence::default() };
        let outcome =
            drive(&mut self.context(), Stage::Feedback.name(), &mut stage, n_steps, &cadence)?;
        if outcome != Outcome::Interrupted
            && let Some(store) = &stage.store
        {
            let answers = preferences(store, PROJECT, Split::Train)?;
            self.log.note(format!(
                "feedback: {} judgements by {} people, who agree with gold on {:.1} % of pairs",
                answers.len(),
                config.annotators,
                100.0 * agreement(&answers)
            ));
        }
        Ok(outcome)
    }
}

/// Sampling and judging in progress. Doing a step again changes nothing: samples follow from the
/// seed, and the store knows what it has.
struct Gather<B: LmAutodiffBackend> {
    model: CausalLm<B::InnerBackend>,
    source: String,
    /// Only the first worker writes.
    store: Option<Store>,
    workers: Workers,
    crowd: Vec<Person>,
    /// Which prompts, of the training and of the held-out ones.
    order: [RowOrder; 2],
    setup: Setup,
    seed: Seed,
    device: B::Device,
}

impl<B: LmAutodiffBackend> Gather<B> {
    fn config(&self) -> &FeedbackConfig {
        &self.setup.config.feedback
    }

    fn n_steps(&self) -> usize {
        let FeedbackConfig { pairs, heldout_pairs, batch_pairs, .. } = *self.config();
        pairs.div_ceil(batch_pairs) + heldout_pairs.div_ceil(batch_pairs)
    }

    /// The prompts of a step, and which split they belong to. Training pairs come first.
    fn prompts(&mut self, step: usize) -> (Split, Vec<String>) {
        let FeedbackConfig { pairs, heldout_pairs, batch_pairs, .. } = *self.config();
        let n_train_steps = pairs.div_ceil(batch_pairs);
        let (split, step, total) = match step.checked_sub(n_train_steps) {
            None => (Split::Train, step, pairs),
            Some(step) => (Split::Heldout, step, heldout_pairs),
        };
        let (side, prompts) = match split {
            Split::Train => (0, &self.setup.world.prompts.train),
            Split::Heldout => (1, &self.setup.world.prompts.heldout),
        };
        let rows = self.order[side].batch(step, batch_pairs);
        let n_left = total - step * batch_pairs;
        (split, rows.into_iter().take(n_left).map(|row| prompts[row].text.clone()).collect())
    }

    fn response(&self, it: Completion) -> Response {
        Response { text: it.text, finished: it.finished, source: self.source.clone() }
    }

    /// Two replies to each prompt. Each worker samples its share of them.
    fn sample_pairs(&self, prompts: &[String], seed: Seed) -> Result<Vec<[Completion; 2]>> {
        let ppo = &self.setup.config.rl;
        let tokenizer = &self.setup.tokenizer;
        let sampling = Sampling {
            batch_rows: 2 * ppo.micro_batch_rows,
            ..ppo.sampling(ppo.at(0).temperature, tokenizer.special().eos)
        };
        let twice: Vec<String> = prompts.iter().flat_map(|it| [it.clone(), it.clone()]).collect();
        let mine = self.workers.share(&twice).into_iter();
        let mine = mine.map(|it| Prompt::encode(it, tokenizer)).collect();
        let seeds = self.workers.row_seeds(seed);
        let sampler = Sampler::new(&self.model, &sampling, &self.device)?;
        let sampled = sample(&sampler, mine, tokenizer, seeds)?;
        let completions = sampled.into_iter().map(|it| it.completion).collect();
        let completions = self.workers.merge::<Completion>(completions)?;
        let pairs = completions.chunks_exact(2);
        Ok(pairs.map(|pair| [pair[0].clone(), pair[1].clone()]).collect())
    }
}

impl<B: LmAutodiffBackend> Train for Gather<B> {
    type Error = anyhow::Error;

    fn step(&mut self, step: usize, _: &mut RunLog) -> Result<Metrics> {
        let (split, prompts) = self.prompts(step);
        let sampled = self.sample_pairs(&prompts, self.seed.child("samples").index(step as u64))?;
        let n_sampled = sampled.len();
        let pairs: Vec<NewTask> = sampled
            .into_iter()
            .enumerate()
            // Nobody can prefer one of two equal replies.
            .filter(|(_, [first, second])| first.text != second.text)
            .map(|(number, pair)| NewTask {
                external_id: format!("{step}/{number}"),
                prompt: pair[0].prompt.clone(),
                split,
                responses: pair.map(|it| self.response(it)).into(),
                overlap: self.config().overlap,
                priority: 0.0,
                gold: None,
            })
            .collect();
        let n_equal = (n_sampled - pairs.len()) as f64;
        let Some(store) = &mut self.store else { return Ok(Metrics::default()) };
        store.add_tasks(PROJECT, &pairs)?;
        let mut tasks = store.tasks(PROJECT, split)?;
        let begin = format!("{step}/");
        tasks.retain(|task| task.external_id.starts_with(&begin));
        judge(store, &tasks, &self.crowd, self.seed.child("judgements"))?;
        Ok([("pairs", tasks.len() as f64), ("equal_pairs", n_equal)].into())
    }

    fn evaluate(&mut self) -> Result<Option<Evaluation>> {
        Ok(None)
    }

    fn save(&self, _: &Path) -> Result<()> {
        Ok(())
    }

    fn restore(&mut self, _: &Path) -> Result<()> {
        Ok(())
    }
}
