//! `rein personal`: rewards and policies for single people, of a run that is there.

use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::{Result, bail};
use clap::Args;
use rein_data::log::RunLog;
use rein_data::run_dir::RunDir;
use rein_model::backend::LmAutodiffBackend;

use crate::args::HubArgs;
use crate::commands::{INTERRUPTED, catch_interrupts};
use crate::config::{self, PeopleConfig, PersonalPolicy, PersonalStart};
use crate::device::{BackendName, Work};
use crate::pipeline::{Ended, People, Session};
use crate::run_config::holds_run;
use crate::setup::Setup;
use crate::speech::print;
use crate::table;
use crate::watch::watcher;

const EXAMPLES: &str = "\
Examples:
  # People judge a run's replies in a browser; then each gets the best of 16 replies by their own reward
  rein feedback serve --run runs/mine
  rein personal --run runs/mine --annotator ann
  rein generate --model POLICY --input rows.jsonl --samples 16 --reward-model RM --person runs/mine/people/ann/rerank/person.json --best 1
  # Or a policy of their own
  rein personal --run runs/mine --annotator ann --policy lora --steps 60
  # The built-in help desk, with two groups who like opposite things
  rein train --set data.population=divided --set feedback.annotators=80 --set reward.personal.joint=true --set personal.policy=lora

The folder `people` of the run holds for each person, by `--policy`, `person.json`, which `--person` takes, `report.json` and, of
`lora`, the policy. The same command goes on where it was stopped; who has said more since then, or is asked for
with other settings, begins anew.";

/// Whose, and what for.
#[derive(Clone, Debug, Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct PersonalArgs {
    /// The run, whose reward model was trained with `reward.personal`
    #[arg(long, value_name = "RUN")]
    run: PathBuf,
    /// A person who judged replies of the run, by the name in its store; may be repeated. Everybody who did if left out
    #[arg(long = "annotator", value_name = "NAME")]
    annotators: Vec<String>,
    /// What a person's reward is used for: `rerank` if neither this nor the config says
    #[arg(long, value_enum)]
    policy: Option<PersonalPolicy>,
    /// What it begins with: the fine-tuned model, the run's policy, or the one of whose replies the person's reward finds the
    /// best better. `sft` if neither this nor the config says
    #[arg(long, value_enum)]
    start: Option<PersonalStart>,
    /// Replies to pick from
    #[arg(long, value_name = "N")]
    samples: Option<usize>,
    /// Of `lora`: steps of reinforcement learning; as many as the run's if left out
    #[arg(long, value_name = "N")]
    steps: Option<usize>,
    /// Of `lora`: its learning rate
    #[arg(long, value_name = "RATE")]
    learning_rate: Option<f64>,
    /// Use only models that lie here or in the Hub's cache
    #[arg(long)]
    offline: bool,
    /// Where to compute; the build's first backend if left out
    #[arg(long, value_enum)]
    pub(crate) backend: Option<BackendName>,
    /// Plain lines instead of the dashboard
    #[arg(long)]
    plain: bool,
}

/// People of a run, who can begin.
pub(crate) struct Align {
    run: PathBuf,
    setup: Setup,
    config: PeopleConfig,
    is_plain: bool,
}

impl Align {
    pub(crate) fn new(args: &PersonalArgs) -> Result<Self> {
        let run = args.run.clone();
        if !holds_run(Some(&run)) {
            bail!("{}: holds no run (no config.toml)", run.display());
        }
        let saved = config::load_saved(&run.join("config.toml"))?;
        let mut config = saved.personal.clone().unwrap_or_default();
        if !args.annotators.is_empty() {
            config.annotators.clone_from(&args.annotators);
        }
        config.policy = args.policy.unwrap_or(config.policy);
        config.start = args.start.unwrap_or(config.start);
        config.samples = args.samples.unwrap_or(config.samples);
        config.steps = args.steps.or(config.steps);
        config.learning_rate = args.learning_rate.or(config.learning_rate);
        let checked = config::Config { personal: Some(config.clone()), ..saved };
        let checked = config::change(&checked, &[])?;
        let hub = HubArgs { revision: None, offline: args.offline };
        let setup = Setup::for_run(checked, &run, &hub)?;
        Ok(Self { run, setup, config, is_plain: args.plain })
    }
}

impl Work for Align {
    type Output = ExitCode;

    fn run<B: LmAutodiffBackend>(self, device: B::Device) -> Result<ExitCode> {
        let Self { run, setup, config, is_plain } = self;
        setup.check_precision::<B>(&device)?;
        let asked = catch_interrupts(None)?;
        let run = RunDir::open(&run)?;
        let open = |run: &RunDir| Ok(RunLog::open(run, watcher(is_plain, &asked))?);
        let log = open(&run)?;
        let mut session = Session::<B>::alone(setup, run, log, &device);
        session.interrupt = asked.clone();
        let ended = session.align(&config, &open);
        let Session { run, log, .. } = session;
        // The dashboard gives the terminal back before anything is printed.
        drop(log);
        if ended? == Ended::Interrupted {
            print("interrupted; nothing is lost. Go on with the same command\n");
            return Ok(ExitCode::from(INTERRUPTED));
        }
        print(&table::personal(&People::load(run.root())?));
        print(&format!("people: {}\n", run.root().join("people").display()));
        Ok(ExitCode::SUCCESS)
    }
}
