//! Whether a few answers tell what a person likes, in the help-desk world with people who want opposite things.
//!
//! A model is fine-tuned as in a default run, many people compare replies, and reward models learn from them on
//! three trunks: the fine-tuned model's own features, those of a reward model that learned from all people at once,
//! and those of one that learned with everybody's tastes. New people then give some answers, and are asked about
//! other pairs, of prompts that nothing trained on; what they really prefer there is known.

mod people;

use std::path::PathBuf;

use anyhow::{Context as _, Result};
use clap::Args;
use rein_data::checkpoint::write_atomically;
use rein_data::helpdesk::Helpdesk;
use rein_data::helpdesk::tastes::{Population, Taste};
use rein_data::jsonl;
use rein_data::log::RunLog;
use rein_data::run_dir::RunDir;
use rein_data::seed::Seed;
use rein_data::stage::Train;
use rein_model::backend::{LmAutodiffBackend, LmBackend};
use rein_model::checkpoint::MODEL;
use rein_model::{ScalarModel, load_causal_lm, load_scalar_model};
use rein_reward::RewardError;
use rein_reward::encoding::{Judgements, Pair};
use rein_reward::meta::{
    Annotated, Difference, JointTraining, Method, Personal, PersonalConfig, differences,
    from_scratch,
};
use rein_reward::train::RewardTraining;
use serde::Serialize;

use self::people::{said, truth};
use super::learn::{Quiet, drive_quietly};
use crate::args::HubArgs;
use crate::config::{self, Stage};
use crate::device::{BackendName, Work};
use crate::pipeline::Session;
use crate::setup::Setup;
use crate::speech::{note, print};

/// Answers after which new people are looked at.
const COUNTS: [usize; 6] = [0, 2, 4, 8, 16, 32];
const BATCH_ROWS: usize = 64;
/// Accuracy after 8 answers, and by how much it must exceed what they give without other people's help.
const ENOUGH: f64 = 0.85;
const BEYOND_SCRATCH: f64 = 0.15;
/// What people who are alike may lose by being asked.
const MOST_LOST: f64 = 0.01;

#[derive(Debug, Args)]
pub(crate) struct MetaArgs {
    /// People to learn from
    #[arg(long, value_name = "N", default_value_t = 80)]
    people: usize,
    /// Answers of each
    #[arg(long, value_name = "N", default_value_t = 60)]
    answers: usize,
    /// People to measure with
    #[arg(long, value_name = "N", default_value_t = 60)]
    new_people: usize,
    /// Which people: opposite (in tone, and in endings), advised (in tone, and in answers) or alike; all of them if
    /// left out, may be repeated
    #[arg(long = "population", value_name = "NAME")]
    populations: Vec<String>,
    /// Whose features: fine-tuned, pooled or joint; all of them if left out, may be repeated
    #[arg(long = "trunk", value_name = "NAME")]
    trunks: Vec<String>,
    /// All random numbers but those of the run follow from it
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// Change a setting of the default run, as in `--set reward.epochs=2`; can be given many times
    #[arg(long, value_name = "KEY=VALUE")]
    set: Vec<String>,
    /// Where all of it is written; stages that are done there aren't repeated
    #[arg(long, value_name = "DIR", default_value = "runs/meta")]
    out: PathBuf,
    /// Where to compute
    #[arg(long, value_enum)]
    pub(crate) backend: Option<BackendName>,
}

const POPULATIONS: [(Population, &str); 3] = [
    (Population::Opposite, "opposite"),
    (Population::Advised, "advised"),
    (Population::Alike, "alike"),
];

/// Learns of people and says how well new ones are known; true if the figures are as good as they must be.
#[derive(Debug)]
pub(super) struct Meta<'a> {
    pub(super) args: &'a MetaArgs,
}

/// How often a head is right about new people, on average.
#[derive(Clone, Debug, Serialize)]
struct Line {
    population: &'static str,
    trunk: &'static str,
    head: &'static str,
    /// By [`COUNTS`].
    accuracy: Vec<f64>,
}

impl Work for Meta<'_> {
    type Output = bool;

    fn run<B: LmAutodiffBackend>(self, device: B::Device) -> Result<bool> {
        let start = Start::<B>::load_or_make(self.args, device)?;
        let mut lines = Vec::new();
        let asked = &self.args.populations;
        let is_asked =
            |(_, name): &(Population, &str)| asked.is_empty() || asked.iter().any(|it| it == name);
        for (population, name) in POPULATIONS.into_iter().filter(is_asked) {
            lines.extend(start.measure(population, name)?);
        }
        let figures: String = lines.iter().map(jsonl::line).collect();
        write_atomically(&self.args.out.join("accuracy.jsonl"), figures.as_bytes())?;
        let (text, is_good) = verdict(&lines);
        print(&(table(&lines) + &text));
        Ok(is_good)
    }
}

/// The fine-tuned model, and all that stages need.
struct Start<'a, B: LmAutodiffBackend> {
    args: &'a MetaArgs,
    setup: Setup,
    run: RunDir,
    model: PathBuf,
    seed: Seed,
    device: B::Device,
}

impl<'a, B: LmAutodiffBackend> Start<'a, B> {
    /// What lies in the folder; the model is fine-tuned if it isn't there.
    fn load_or_make(args: &'a MetaArgs, device: B::Device) -> Result<Self> {
        let root = args.out.join("run");
        let setup = Setup::for_run(config::load(None, &args.set)?, &root, &HubArgs::default())?;
        let run = if root.exists() { RunDir::open(&root)? } else { RunDir::create(&root)? };
        let log = RunLog::open(&run, Box::new(Quiet))?;
        note("fine-tuning");
        let mut session = Session::<B>::alone(setup, run, log, &device);
        session.run(&[Stage::Sft])?;
        let Session { setup, run, .. } = session;
        let finished = run.finished(Stage::Sft.name())?.context("the stage is done")?;
        let model = run.checkpoints(Stage::Sft.name()).path(finished.step).join(MODEL);
        Ok(Self { args, setup, run, model, seed: Seed::new(args.seed), device })
    }

    fn measure(&self, population: Population, name: &'static str) -> Result<Vec<Line>> {
        let seed = self.seed.child(name);
        let world = Helpdesk::new();
        let crowd = Taste::crowd(population, self.args.people, seed.child("people"));
        let tokenizer = &self.setup.tokenizer;
        let answers = |(number, person): (usize, &Taste)| {
            let seed = seed.child("answers").index(number as u64);
            said(person, &world.train, self.args.answers, seed, tokenizer)
        };
        let people: Vec<Vec<Pair>> = crowd.iter().enumerate().map(answers).collect();
        let newcomers = Taste::crowd(population, self.args.new_people, seed.child("new people"));
        let ask = |(number, person): (usize, &Taste)| {
            let seed = seed.child("questions").index(number as u64);
            let most = COUNTS[COUNTS.len() - 1];
            let seen = said(person, &world.train, most, seed.child("seen"), tokenizer);
            [seen, truth(person, &world.heldout, 200, seed.child("asked"), tokenizer)]
        };
        let newcomers: Vec<[Vec<Pair>; 2]> = newcomers.iter().enumerate().map(ask).collect();
        let mut lines = Vec::new();
        let asked = &self.args.trunks;
        let is_asked = |trunk: &&str| asked.is_empty() || asked.iter().any(|it| it == trunk);
        for trunk in ["fine-tuned", "pooled", "joint"].into_iter().filter(is_asked) {
            note(&format!("{name} people: the {trunk} trunk"));
            let model = self.trunk(trunk, name, &people, seed)?;
            lines.extend(self.look(name, trunk, &model, [&people, &newcomers.concat()]));
        }
        Ok(lines)
    }

    /// A reward model whose features are looked at.
    fn trunk(
        &self,
        trunk: &str,
        name: &str,
        people: &[Vec<Pair>],
        seed: Seed,
    ) -> Result<ScalarModel<B::InnerBackend>> {
        let base = load_causal_lm::<B>(&self.model, &self.device)?;
        let model = ScalarModel::from_causal_lm(base, seed.child("head"), &self.device)?;
        let mut config = self.setup.config.reward.clone();
        (config.checkpoints.evaluate_every, config.checkpoints.use_best) = (0, false);
        let all = people.concat();
        match trunk {
            "pooled" => {
                let judgements = [Judgements::Pairs(all), Judgements::Pairs(Vec::new())];
                let stage =
                    RewardTraining::new(config, model, None, judgements, seed, &self.device)?;
                let n_steps = stage.n_steps();
                self.drive(&format!("{name}-pooled"), stage, n_steps)
            }
            "joint" => {
                config.personal = Some(PersonalConfig { joint: true, ..PersonalConfig::default() });
                let rows = people.iter().enumerate().flat_map(|(person, pairs)| {
                    pairs.iter().map(move |pair| Annotated { person, pair: pair.clone() })
                });
                let stage =
                    JointTraining::new(config, model, None, rows.collect(), seed, &self.device)?;
                let n_steps = stage.n_steps();
                self.drive(&format!("{name}-joint"), stage, n_steps)
            }
            _ => {
                let model = rein_model::ScalarModel::from_causal_lm(
                    load_causal_lm(&self.model, &self.device)?,
                    seed,
                    &self.device,
                )?;
                let rows = differences(&model, &all, BATCH_ROWS, &self.device);
                let scale = deviation(&rows);
                let head = from_scratch(&divided(&rows, scale), 1.0);
                let head = head.into_iter().map(|it| (it / scale) as f32).collect();
                Ok(model.with_head(head, &self.device))
            }
        }
    }

    fn drive<T: Train<Error = RewardError>>(
        &self,
        name: &str,
        mut stage: T,
        n_steps: usize,
    ) -> Result<ScalarModel<B::InnerBackend>> {
        let cadence = super::learn::at_the_end();
        let folder = drive_quietly(&self.run, name, &mut stage, n_steps, &cadence)?;
        Ok(load_scalar_model(&folder.join(MODEL), &self.device)?)
    }

    /// How well new people are known by the features of this model. `newcomers` are what each has said and what
    /// each is asked, in turn.
    fn look<I: LmBackend<Device = B::Device>>(
        &self,
        population: &'static str,
        trunk: &'static str,
        model: &ScalarModel<I>,
        [people, newcomers]: [&[Vec<Pair>]; 2],
    ) -> Vec<Line> {
        let of = |pairs: &Vec<Pair>| differences(model, pairs, BATCH_ROWS, &self.device);
        let people: Vec<Vec<Difference>> = people.iter().map(of).collect();
        let newcomers: Vec<Vec<Difference>> = newcomers.iter().map(of).collect();
        let scale = deviation(&people.concat());
        let fit = |method| {
            let config = PersonalConfig { method, ..PersonalConfig::default() };
            let seed = self.seed.child("fit");
            Personal::fit(&people, &model.head(), &[], &config, seed).expect("people answered")
        };
        let pooled: Vec<f64> = model.head().into_iter().map(f64::from).collect();
        let line = |head, adapt: &dyn Fn(&[Difference]) -> Vec<f64>| {
            let accuracy = COUNTS.map(|count| mean_accuracy(&newcomers, count, adapt)).to_vec();
            Line { population, trunk, head, accuracy }
        };
        let mut lines = vec![line("pooled", &|_| pooled.clone())];
        lines.push(line("scratch", &|answers| from_scratch(&divided(answers, scale), 1.0)));
        for method in [Method::Basis, Method::Reptile, Method::Fomaml] {
            let personal = fit(method);
            lines.push(line(method.name(), &|said| personal.head(&personal.adapt(said))));
        }
        lines
    }
}

/// How often the heads that people's first answers give are right; 0.5 where there is none.
fn mean_accuracy(
    newcomers: &[Vec<Difference>],
    count: usize,
    adapt: &dyn Fn(&[Difference]) -> Vec<f64>,
) -> f64 {
    let accuracy = |[said, asked]: &[Vec<Difference>; 2]| {
        let head = adapt(&said[..count]);
        if head.is_empty() {
            return 0.5;
        }
        let score = |x: &Difference| x.iter().zip(&head).map(|(x, w)| x * w).sum::<f64>();
        let right = asked.iter().filter(|x| score(x) > 0.0).count();
        right as f64 / asked.len() as f64
    };
    let people = newcomers.as_chunks::<2>().0;
    people.iter().map(accuracy).sum::<f64>() / people.len() as f64
}

fn deviation(rows: &[Difference]) -> f64 {
    let squares: f64 = rows.iter().flatten().map(|x| x * x).sum();
    (squares / rows.iter().map(Vec::len).sum::<usize>() as f64).sqrt()
}

fn divided(rows: &[Difference], scale: f64) -> Vec<Difference> {
    rows.iter().map(|row| row.iter().map(|x| x / scale).collect()).collect()
}

fn table(lines: &[Line]) -> String {
    let mut text = format!("{:<10} {:<11} {:<8}", "people", "trunk", "head");
    COUNTS.iter().for_each(|count| text += &format!(" {:>6}", format!("k={count}")));
    for Line { population, trunk, head, accuracy } in lines {
        text += &format!("\n{population:<10} {trunk:<11} {head:<8}");
        accuracy.iter().for_each(|it| text += &format!(" {it:>6.3}"));
    }
    text + "\n"
}

/// What is asked of the figures, and whether they hold to it.
fn verdict(lines: &[Line]) -> (String, bool) {
    let at = |population: &str, trunk: &str, head: &str, count: usize| {
        let is_it =
            |it: &&Line| it.population == population && it.trunk == trunk && it.head == head;
        let place = COUNTS.iter().position(|it| *it == count).expect("is looked at");
        lines.iter().find(is_it).map_or(f64::NAN, |it| it.accuracy[place])
    };
    let basis = at("opposite", "joint", "basis", 8);
    let scratch = at("opposite", "fine-tuned", "scratch", 8);
    let lost = at("alike", "joint", "pooled", 8) - at("alike", "joint", "basis", 8);
    let checks = [
        (
            format!("opposite people after 8 answers: {basis:.3}, at least {ENOUGH}"),
            basis >= ENOUGH,
        ),
        (
            format!("beyond 8 answers alone: {:.3}, at least {BEYOND_SCRATCH}", basis - scratch),
            basis - scratch >= BEYOND_SCRATCH,
        ),
        (format!("people who are alike lose {lost:.3}, at most {MOST_LOST}"), lost <= MOST_LOST),
    ];
    // What wasn't looked at can't be judged.
    let checks: Vec<(String, bool)> =
        checks.into_iter().filter(|(text, _)| !text.contains("NaN")).collect();
    let line =
        |(text, good): &(String, bool)| format!("{} {text}\n", if *good { "ok  " } else { "FAIL" });
    (checks.iter().map(line).collect(), checks.iter().all(|(_, good)| *good))
}
