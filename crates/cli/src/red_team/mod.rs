//! `rein red-team`: an attacker learns which prompts a model answers badly, the model learns from them, and a fresh
//! attacker measures what that was worth.

mod args;
mod campaign;
mod harden;
mod judge;
mod place;
mod report;

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::{Result, bail};
use rein_data::checkpoint::write_atomically;
use rein_data::jsonl;
use rein_data::log::RunLog;
use rein_data::seed::Seed;
use rein_data::stage::Interrupt;
use rein_model::backend::LmAutodiffBackend;
use rein_model::require_weights;
use rein_reward::{LearnedReward, Reward};
use serde::{Deserialize, Serialize};

use crate::args::HubArgs;
use crate::commands::{INTERRUPTED, catch_interrupts};
use crate::config::{self, Config, Stage};
use crate::device::Work;
use crate::feedback::{POLICIES, newest};
use crate::hub;
use crate::speech::print;
use crate::watch::watcher;
use crate::world::{Parts, World};

pub(crate) use self::args::RedTeamArgs;
pub(crate) use self::campaign::{Campaign, Effort, Found, sampling};
pub(crate) use self::harden::{Hardening, mixed};
pub(crate) use self::judge::Judge;
pub(crate) use self::place::Place;
pub(crate) use self::report::Measured;

const ATTACKS: &str = "attacks.jsonl";
const REPORT: &str = "report.json";
/// What a fresh attacker's seed is away from the first one's.
const FRESH: u64 = 1_000_003;

/// A red team that can begin.
pub(crate) struct RedTeam<'a> {
    args: &'a RedTeamArgs,
    target: PathBuf,
    attacker: Option<PathBuf>,
    judge: Judge,
    /// The reward of teaching, if there is one.
    reward: Option<PathBuf>,
    config: Config,
    prompts: Vec<String>,
}

/// All that was measured, for `report.json`.
#[derive(Serialize)]
struct Report<'a> {
    target: &'a Path,
    first: &'a Found,
    #[serde(skip_serializing_if = "Option::is_none")]
    hardened: Option<&'a Path>,
    #[serde(skip_serializing_if = "Option::is_none")]
    fresh: Option<&'a Found>,
}

impl<'a> RedTeam<'a> {
    pub(crate) fn new(args: &'a RedTeamArgs) -> Result<Self> {
        let config = match &args.run {
            Some(run) => config::change(&config::load_saved(&run.join("config.toml"))?, &args.set)?,
            None => config::load(None, &args.set)?,
        };
        let hub = HubArgs { revision: None, ..args.hub.clone() };
        let target = match (&args.model, &args.run) {
            (Some(model), _) => hub::resolve(model, &args.hub)?,
            (None, run) => newest(run.as_deref().expect("clap wants one of them"), &POLICIES)?,
        };
        require_weights(&target)?;
        let model = |it: &Option<PathBuf>| it.as_ref().map(|it| hub::resolve(it, &hub)).transpose();
        let attacker = model(&args.attacker)?;
        let judge = match (&args.violation, model(&args.judge_model)?) {
            (_, Some(model)) => Judge::Below { model, score: args.below },
            (violation, None) => Judge::Pattern(violation.clone().expect("clap wants one of them")),
        };
        if let Judge::Pattern(pattern) = &judge {
            judge::rule(pattern)?;
        }
        let of_run = || args.run.as_deref().and_then(|run| newest(run, &[Stage::Reward]).ok());
        let reward = model(&args.reward_model)?.or_else(of_run);
        let prompts = prompts(args, &config)?;
        Ok(Self { args, target, attacker, judge, reward, config, prompts })
    }

    fn campaign(&self, target: &Path, seed: u64) -> Result<Campaign> {
        let args = self.args;
        let effort = Effort {
            imitate_epochs: args.imitate_epochs,
            steps: args.steps,
            samples: args.samples,
            kl: args.kl,
            similarity: args.similarity,
            max_prompt_tokens: args.max_prompt_tokens,
            count: args.count,
        };
        let attacker = self.attacker.clone().unwrap_or_else(|| target.to_owned());
        let (judge, prompts) = (self.judge.clone(), self.prompts.clone());
        let models = [target.to_owned(), attacker];
        Campaign::new(models, judge, effort, &self.config, prompts, seed)
    }

    /// A folder for stages whose settings these are.
    fn place(&self, root: &Path, settings: &impl Serialize, asked: &Interrupt) -> Result<Place> {
        let watcher = watcher(self.args.plain, asked);
        Place::open(root, settings, |run| Ok(RunLog::open(run, watcher)?), asked.clone())
    }

    fn attack<B: LmAutodiffBackend>(
        &self,
        target: &Path,
        root: &Path,
        seed: u64,
        asked: &Interrupt,
        device: &B::Device,
    ) -> Result<Option<Found>> {
        let campaign = self.campaign(target, seed)?;
        let mut place = self.place(root, &campaign, asked)?;
        let found = campaign.run::<B>(&mut place, device)?;
        if let Some(found) = &found {
            let lines: String = found.attacks.iter().map(jsonl::line).collect();
            write_atomically(&place.file(ATTACKS), lines.as_bytes())?;
        }
        Ok(found)
    }

    fn harden<B: LmAutodiffBackend>(
        &self,
        found: &Found,
        asked: &Interrupt,
        device: &B::Device,
    ) -> Result<Option<PathBuf>> {
        let rl = Hardening::config(&self.config.rl, self.args.harden_steps);
        let hardening = Hardening {
            target: self.target.clone(),
            penalty: self.args.penalty,
            seed: self.args.seed,
            prompts: self.prompts.clone(),
            attacks: found.attacks.iter().map(|it| it.prompt.clone()).collect(),
            rl,
        };
        let reward = self.reward.as_ref().map(|folder| -> Result<Box<dyn Reward>> {
            let rows = hardening.rl.micro_batch_rows;
            Ok(Box::new(LearnedReward::<B::InnerBackend>::load(folder, rows, device)?))
        });
        let violation = self.judge.build::<B::InnerBackend>(device)?;
        let mut place = self.place(&self.args.out.join("hardened"), &hardening, asked)?;
        hardening.run::<B>(reward.transpose()?, violation, &mut place, device)
    }

    fn write(&self, report: &Report<'_>) -> Result<()> {
        let text = serde_json::to_vec_pretty(report)?;
        Ok(write_atomically(&self.args.out.join(REPORT), &text)?)
    }

    fn told(&self, found: &Found) -> String {
        let mut text = found.users.render("prompts such as users'");
        text += &found.attacker.render("prompts of the attacker");
        for attack in found.attacks.iter().take(self.args.examples) {
            text += &format!("  {:?}\n    → {:?}\n", attack.prompt, attack.reply);
        }
        text
    }

    fn run_all<B: LmAutodiffBackend>(
        &self,
        asked: &Interrupt,
        device: &B::Device,
    ) -> Result<Option<()>> {
        let (args, target) = (self.args, &*self.target);
        let Some(first) = self.attack::<B>(target, &args.out, args.seed, asked, device)? else {
            return Ok(None);
        };
        self.write(&Report { target, first: &first, hardened: None, fresh: None })?;
        print(&format!("attack success rate\n{}", self.told(&first)));
        print(&format!("attacks: {}\n", args.out.join(ATTACKS).display()));
        if !args.harden {
            return Ok(Some(()));
        }
        if first.attacks.is_empty() {
            bail!("no attack succeeded, so there is nothing to learn; raise --steps or --count");
        }
        let Some(hardened) = self.harden::<B>(&first, asked, device)? else { return Ok(None) };
        let (root, seed) = (args.out.join("fresh"), args.seed.wrapping_add(FRESH));
        let Some(fresh) = self.attack::<B>(&hardened, &root, seed, asked, device)? else {
            return Ok(None);
        };
        let (hardened, fresh) = (Some(&*hardened), Some(&fresh));
        self.write(&Report { target, first: &first, hardened, fresh })?;
        let told = fresh.map(|it| self.told(it)).unwrap_or_default();
        print(&format!("attack success rate of a fresh attacker, after hardening\n{told}"));
        print(&format!("hardened: {}\n", hardened.unwrap_or(target).display()));
        Ok(Some(()))
    }
}

/// Users' prompts: of a file, or of the run's data.
fn prompts(args: &RedTeamArgs, config: &Config) -> Result<Vec<String>> {
    #[derive(Deserialize)]
    struct Row {
        prompt: String,
    }
    if let Some(path) = &args.prompts {
        let rows: Vec<Row> = jsonl::read(path)?;
        return Ok(rows.into_iter().map(|it| it.prompt).collect());
    }
    let Some(run) = &args.run else {
        bail!("`--prompts FILE` names users' prompts, which the attacker imitates at first");
    };
    let seed = Seed::new(config.seed).child("data");
    let world = World::load(&config.data, Parts::default(), seed)?;
    if world.has_chats() {
        bail!(
            "{}: its prompts are conversations; name single ones by `--prompts FILE`",
            run.display()
        );
    }
    Ok(world.prompts.train.into_iter().map(|it| it.text).collect())
}

impl Work for RedTeam<'_> {
    type Output = ExitCode;

    fn run<B: LmAutodiffBackend>(self, device: B::Device) -> Result<ExitCode> {
        let asked = catch_interrupts(None)?;
        if self.run_all::<B>(&asked, &device)?.is_some() {
            return Ok(ExitCode::SUCCESS);
        }
        print("interrupted; nothing is lost. Go on with the same command\n");
        Ok(ExitCode::from(INTERRUPTED))
    }
}
