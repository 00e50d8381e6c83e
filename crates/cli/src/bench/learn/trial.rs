//! An algorithm with a seed: a run in a folder of its own.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::Instant;

use anyhow::{Context as _, Result, bail};
use burn::module::AutodiffModule;
use rein_data::DataError;
use rein_data::checkpoint::write_atomically;
use rein_data::log::{Record, read_metrics};
use rein_data::run_dir::RunDir;
use rein_data::seed::Seed;
use rein_data::stage::{Cadence, Train};
use rein_model::backend::LmAutodiffBackend;
use rein_model::{CausalLm, ScalarModel};
use rein_ppo::config::PpoConfig;
use rein_ppo::preference::labels::Label;
use rein_ppo::preference::pairs::encode_preferences;
use rein_ppo::preference::{Dpo, DpoConfig, Judgement};
use rein_ppo::train::{Ppo, Prompts};
use rein_ppo::{ActorCritic, PpoError};
use serde::Serialize;
use toml::{Table, Value};

use super::args::LearnArgs;
use super::examine::{Examined, Examiner, FOUND, Findings};
use super::method::Method;
use super::progress::drive_quietly;
use super::start::Start;
use super::task::Task;
use crate::config::Config;
use crate::speech::note;
use crate::world::Parts;

/// A point of a curve.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub(super) struct Point {
    pub(super) algorithm: &'static str,
    pub(super) task: Task,
    pub(super) seed: u64,
    pub(super) step: usize,
    /// Completions that were learned from, those of pairs counted at each visit.
    pub(super) samples: usize,
    pub(super) reward: f64,
    pub(super) success: f64,
    pub(super) kl: f64,
}

/// What came of a run.
#[derive(Debug)]
pub(super) struct Trial {
    pub(super) method: Method,
    pub(super) points: Vec<Point>,
    /// Of the last policy.
    pub(super) findings: Findings,
    /// How TRPO kept to its region.
    pub(super) region: Option<Region>,
}

/// How steps kept to a trust region.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Region {
    pub(super) n_steps: usize,
    pub(super) n_accepted: usize,
    /// The largest divergence that was allowed, in nats a token.
    pub(super) max_kl: f64,
    /// The largest that came.
    pub(super) largest_kl: f64,
    /// The least that a step added to the surrogate.
    pub(super) smallest_gain: f64,
}

/// The runs of a task.
pub(super) struct Trials<'a, B: LmAutodiffBackend> {
    task: Task,
    args: &'a LearnArgs,
    start: Start,
    examiner: Examiner<B::InnerBackend>,
    /// What the policy is worth that all begin with.
    pub(super) before: Findings,
    device: B::Device,
}

impl<'a, B: LmAutodiffBackend> Trials<'a, B> {
    pub(super) fn new(task: Task, args: &'a LearnArgs, device: &B::Device) -> Result<Self> {
        let (folder, may_make) = args.start(task);
        let start = match may_make {
            true => Start::load_or_make::<B>(task, &folder, device)?,
            false => Start::load(&folder)?,
        };
        let examiner = Examiner::new(task, &start, device)?;
        let before = examiner.examine_start()?;
        let Findings { reward, success, .. } = before;
        let name = task.name();
        note(&format!("{name}: fine-tuned, reward {reward:.3}, success {success:.3}"));
        Ok(Self { task, args, start, examiner, before, device: device.clone() })
    }

    /// Runs an algorithm with a seed, unless that was done before.
    pub(super) fn run(&self, method: Method, seed: u64) -> Result<Trial> {
        let began = Instant::now();
        let (task, name) = (self.task.name(), method.name());
        let config = method.config(self.task, &self.args.set)?;
        let folder = self.args.out.join(task).join(format!("{name}-{seed}"));
        let (run, stage) = (open(&folder, &section(method, &config)?)?, stage_name(method));
        let checkpoint = match run.finished(stage)? {
            Some(finished) => run.checkpoints(stage).path(finished.step),
            None => {
                let stream = Seed::new(seed).child(name);
                self.train(method, &run, &config, stream)
                    .with_context(|| format!("{task}, {name}"))?
            }
        };
        let findings = Findings::load(&checkpoint)?;
        let Findings { reward, success, kl, .. } = findings;
        let seconds = began.elapsed().as_secs_f64();
        note(&format!(
            "{task}: {name}, seed {seed}: reward {reward:.3}, success {success:.3}, KL {kl:.2} ({seconds:.1} s)"
        ));
        let records = read_metrics(&run.file("metrics.jsonl"))?;
        let points = self.points(method, seed, n_samples(method, &config), &records);
        Ok(Trial { method, points, findings, region: region(&config, &records) })
    }

    fn train(&self, method: Method, run: &RunDir, config: &Config, seed: Seed) -> Result<PathBuf> {
        match method {
            Method::OnPolicy(_) => {
                let stage = self.on_policy(&config.rl, seed)?;
                let policy = |stage: &Ppo<B>| stage.result();
                self.drive(method, run, stage, policy, config.rl.steps, &config.rl.checkpoints)
            }
            Method::Offline(_) => {
                let Start { pairs, tokenizer, .. } = &self.start;
                let max_tokens = config.dpo.max_tokens;
                let encoded = encode_preferences(pairs, tokenizer, max_tokens);
                if config.dpo.loss_type.is_of_pairs() {
                    self.learn_from(encoded.judgements, method, run, &config.dpo, seed)
                } else {
                    let labels = encoded.into_rated().judgements;
                    let labels = Label::mismatched(labels, max_tokens, seed);
                    self.learn_from(labels, method, run, &config.dpo, seed)
                }
            }
        }
    }

    fn on_policy(&self, config: &PpoConfig, seed: Seed) -> Result<Ppo<B>> {
        let policy = self.start.model::<B>(&self.device)?;
        let value = match config.has_value_model() {
            true => {
                let backbone = self.start.model::<B>(&self.device)?;
                let value =
                    ScalarModel::from_causal_lm(backbone, seed.child("value"), &self.device)?;
                Some(value.expecting_nothing(&self.device))
            }
            false => None,
        };
        let Parts { train, heldout } = self.start.problems.map(|it| it.prompt.clone());
        let stage = Ppo::new(
            config.clone(),
            ActorCritic { policy, value },
            self.task.reward(&self.start.problems, seed),
            self.start.tokenizer.clone(),
            Prompts::of_texts(&train, &heldout, &self.start.tokenizer),
            seed,
            &self.device,
        )?;
        Ok(stage)
    }

    fn learn_from<J: Judgement>(
        &self,
        judgements: Vec<J>,
        method: Method,
        run: &RunDir,
        config: &DpoConfig,
        seed: Seed,
    ) -> Result<PathBuf> {
        let start = self.start.model::<B>(&self.device)?;
        let tokenizer = Some(self.start.tokenizer.clone());
        let judgements = [judgements, Vec::new()];
        let stage =
            Dpo::<B, J>::new(config.clone(), start, tokenizer, judgements, seed, &self.device)?;
        let (policy, n_steps) = (|stage: &Dpo<B, J>| stage.policy().valid(), stage.n_steps());
        self.drive(method, run, stage, policy, n_steps, &config.checkpoints)
    }

    fn drive<S: Train<Error = PpoError>>(
        &self,
        method: Method,
        run: &RunDir,
        inner: S,
        policy: fn(&S) -> CausalLm<B::InnerBackend>,
        n_steps: usize,
        cadence: &Cadence,
    ) -> Result<PathBuf> {
        let (examiner, every) = (&self.examiner, cadence.evaluate_every);
        let mut stage =
            Examined::<S, B> { stage: inner, policy, examiner, every, n_steps, found: None };
        let cadence = Cadence { evaluate_every: 0, ..cadence.clone() };
        drive_quietly(run, stage_name(method), &mut stage, n_steps, &cadence)
    }

    /// The curve of a run, from the policy that all begin with.
    fn points(
        &self,
        method: Method,
        seed: u64,
        n_samples: usize,
        records: &[Record],
    ) -> Vec<Point> {
        let point = |step: usize, [reward, success, kl]: [f64; 3]| Point {
            algorithm: method.name(),
            task: self.task,
            seed,
            step,
            samples: step * n_samples,
            reward,
            success,
            kl,
        };
        let Findings { reward, success, kl, .. } = self.before;
        let found = records.iter().filter_map(|record| {
            let [reward, success, kl] = FOUND.map(|name| record.get(name));
            Some(point(record.step, [reward?, success?, kl?]))
        });
        std::iter::once(point(0, [reward, success, kl])).chain(found).collect()
    }
}

/// The name of the stage that does it.
fn stage_name(method: Method) -> &'static str {
    if method.is_on_policy() { "rl" } else { "dpo" }
}

/// Completions that a step learns from.
fn n_samples(method: Method, config: &Config) -> usize {
    match method {
        Method::OnPolicy(_) => config.rl.rows_per_step(),
        Method::Offline(loss) if loss.is_of_pairs() => 2 * config.dpo.batch_rows,
        Method::Offline(_) => config.dpo.batch_rows,
    }
}

/// What a run depends on, as its folder keeps it.
fn section(method: Method, config: &Config) -> Result<String> {
    let name = stage_name(method);
    let settings = match method {
        Method::OnPolicy(_) => Value::try_from(&config.rl)?,
        Method::Offline(_) => Value::try_from(&config.dpo)?,
    };
    Ok(toml::to_string(&Table::from_iter([(name.to_owned(), settings)]))?)
}

/// The folder of a run with these settings. One that holds a run with others is refused.
fn open(folder: &Path, settings: &str) -> Result<RunDir> {
    let path = folder.join("config.toml");
    if !path.exists() {
        let run = RunDir::create(folder)?;
        write_atomically(&path, settings.as_bytes())?;
        return Ok(run);
    }
    let saved = fs::read_to_string(&path).map_err(|source| DataError::Io { path, source })?;
    if saved != settings {
        let folder = folder.display();
        bail!("{folder}: holds a run with other settings; remove it, or name another --out");
    }
    Ok(RunDir::open(folder)?)
}

fn region(config: &Config, records: &[Record]) -> Option<Region> {
    let max_kl = config.rl.trpo.as_ref()?.max_kl;
    let of = |name: &'static str| records.iter().filter_map(move |it| it.get(name));
    let n_accepted = of("trpo/accepted").filter(|it| *it == 1.0).count();
    Some(Region {
        n_steps: of("trpo/accepted").count(),
        n_accepted,
        max_kl,
        largest_kl: of("trpo/kl").fold(0.0, f64::max),
        smallest_gain: of("trpo/surrogate_gain").fold(f64::INFINITY, f64::min),
    })
}
