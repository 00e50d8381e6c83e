//! What each command does, and how failures end.

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::{Context, Result, bail};
use rein_data::DataError;
use rein_data::checkpoint::write_atomically;
use rein_data::log::RunLog;
use rein_data::run_dir::RunDir;
use rein_data::stage::Interrupt;
use rein_data::workers::Workers;
use rein_feedback::FeedbackError;
use rein_model::ModelError;
use rein_model::backend::LmAutodiffBackend;
use rein_ppo::PpoError;
use rein_reward::RewardError;

use crate::args::{Command, HubArgs, JudgeArgs, Named, RunArgs, StageArgs, TrainArgs};
use crate::config::{self, Config, Stage};
use crate::device::{BackendName, Work, run_on};
use crate::hub::HubError;
use crate::inference::{Chat, Generate, Logprobs, Score, score_by_rules};
use crate::inspect::{self, Survey};
use crate::pace::Measure;
use crate::parity::Parity;
use crate::personal::Align;
use crate::pipeline::{Ended, Evaluation, History, Past, People, Session};
use crate::plan::Plan;
use crate::red_team::RedTeam;
use crate::reward::{Attack, Evaluate, RewardCommand};
use crate::run_config::{holds_run, load_config, run_root, saved_config};
use crate::setup::Setup;
use crate::speech::{note, print};
use crate::watch::watcher;
use crate::{bench, export, memory, report, reward, table};

/// The run failed, rather than its input.
const FAILED: u8 = 1;
/// The input can't be used: a config, a file, a model.
const BAD_INPUT: u8 = 2;
/// Interrupted; the run can be resumed. What shells give for a program that Ctrl-C ended.
pub(crate) const INTERRUPTED: u8 = 130;

/// Does what the command line asks for, with `n_here` of the workers on this machine.
pub(crate) fn run(command: &Command, workers: &Workers, n_here: usize) -> Result<ExitCode> {
    let work = |run: &RunArgs, stage| work(run, stage, workers, n_here);
    match command {
        Command::Train(args) => {
            let run = run_of(args)?;
            if args.dry_run { plan(&run) } else { work(&run, None) }
        }
        Command::Sft(args) | Command::Dpo(args) | Command::Evaluate(args) => {
            work(&args.run, command.stage())
        }
        Command::Feedback(args) => match args.stage() {
            Some(StageArgs { run }) => work(&run, Some(Stage::Feedback)),
            None => {
                args.run()?;
                Ok(ExitCode::SUCCESS)
            }
        },
        Command::Reward(args) => {
            on_reward_model(&args.command(), |run| work(run, Some(Stage::Reward)))
        }
        Command::Rl(args) => {
            let named = args.algorithm.map(|Named(algorithm)| algorithm.name());
            let named = named.map(|name| format!("rl.algorithm=\"{name}\""));
            let set = args.run.set.iter().cloned().chain(named).collect();
            work(&RunArgs { set, ..args.run.clone() }, command.stage())
        }
        Command::Personal(args) => run_on(backend_of(args.backend), Align::new(args)?),
        Command::RedTeam(args) => run_on(backend_of(args.backend), RedTeam::new(args)?),
        Command::Generate(args) => run_rows(args.rows.backend, Generate::new(args)?),
        Command::Chat(args) => run_on(backend_of(args.backend), Chat::new(args)?),
        Command::Logprobs(JudgeArgs { rows }) => run_rows(rows.backend, Logprobs::new(rows)?),
        Command::Score(args) => match args.rows() {
            Some(rows) => run_rows(rows.backend, Score::new(&rows, args.person.as_deref())?),
            None => {
                score_by_rules(args)?;
                Ok(ExitCode::SUCCESS)
            }
        },
        Command::Export(args) => {
            export::run(args)?;
            Ok(ExitCode::SUCCESS)
        }
        Command::Inspect(args) => {
            let survey = Survey::new(args)?;
            print(&inspect::print(&survey, args.json));
            Ok(if survey.is_good() { ExitCode::SUCCESS } else { ExitCode::from(BAD_INPUT) })
        }
        Command::Config => {
            print(config::DEFAULT);
            Ok(ExitCode::SUCCESS)
        }
        Command::Parity(args) => {
            let work = Parity::new(&args.folder, &args.out, args.steps)?;
            run_on(backend_of(args.backend), work)?;
            Ok(ExitCode::SUCCESS)
        }
        Command::Bench(command) => bench::run(command),
    }
}

/// The backend that is named, or the build's own.
fn backend_of(named: Option<BackendName>) -> BackendName {
    named.unwrap_or_else(BackendName::default_of_build)
}

/// Trains a reward model, or does something with one that is there.
fn on_reward_model(
    command: &RewardCommand,
    train: impl FnOnce(&RunArgs) -> Result<ExitCode>,
) -> Result<ExitCode> {
    match command {
        RewardCommand::Train(args) => return train(&args.run),
        RewardCommand::Evaluate(args) => return run_rows(args.backend, Evaluate::new(args)?),
        RewardCommand::Adapt(args) => reward::adapt(args)?,
        RewardCommand::Attack(args) => {
            let backend = backend_of(args.backend);
            print(&run_on(backend, Attack::new(args)?)?);
        }
    }
    Ok(ExitCode::SUCCESS)
}

fn run_rows(backend: Option<BackendName>, work: impl Work<Output = ()>) -> Result<ExitCode> {
    run_on(backend_of(backend), work)?;
    Ok(ExitCode::SUCCESS)
}

/// The run that is begun or resumed.
fn run_of(args: &TrainArgs) -> Result<RunArgs> {
    let run = match &args.resume {
        Some(run) => RunArgs { run: Some(run.clone()), ..args.run.clone() },
        None => args.run.clone(),
    };
    if args.resume.is_some() && !holds_run(run.run.as_deref()) {
        bail!("{}: holds no run to resume (no config.toml)", run.run.unwrap_or_default().display());
    }
    Ok(run)
}

/// Runs all stages of the config, or one.
fn work(
    args: &RunArgs,
    stage: Option<Stage>,
    workers: &Workers,
    n_here: usize,
) -> Result<ExitCode> {
    let backend = backend_of(args.backend);
    // The others find what the first worker has made.
    let prepared = workers.leads().then(|| -> Result<(PathBuf, Setup)> {
        let root = run_root(args);
        let setup = Setup::for_run(load_config(args, stage)?, &root, &args.hub)?;
        let stages = stages_of(&setup.config, stage);
        setup.check_workers(&stages, workers.count())?;
        check_memory(&Plan::new(&setup, &stages), backend, n_here)?;
        Ok((root, setup))
    });
    let prepared = prepared.transpose()?;
    run_on(backend, Stages { args, prepared, stage, workers })
}

fn stages_of(config: &Config, stage: Option<Stage>) -> Vec<Stage> {
    stage.map_or_else(|| config.stages.clone(), |stage| vec![stage])
}

/// Prints what a run would do, without doing it.
fn plan(args: &RunArgs) -> Result<ExitCode> {
    let setup = Setup::new(load_config(args, None)?, &args.hub)?;
    let plan = Plan::new(&setup, &setup.config.stages);
    let backend = backend_of(args.backend);
    check_memory(&plan, backend, 1)?;
    let pace = run_on(backend, Measure { setup: &setup })?;
    let config = toml::to_string(&setup.config).context("the resolved config")?;
    setup.notes.iter().for_each(|note| print(&format!("# {note}\n")));
    print(&plan.render(&config, pace));
    Ok(ExitCode::SUCCESS)
}

/// How much a GPU has, only its driver knows; main memory, which `n_here` processes share, can be looked at.
fn check_memory(plan: &Plan, backend: BackendName, n_here: usize) -> Result<()> {
    let available = if backend.is_cpu() { memory::available() } else { None };
    available.map_or(Ok(()), |available| plan.check(available / n_here as u64))
}

/// A run's stages, on whichever backend.
struct Stages<'a> {
    args: &'a RunArgs,
    /// The run's folder and what it begins with; none where another worker has prepared them.
    prepared: Option<(PathBuf, Setup)>,
    stage: Option<Stage>,
    workers: &'a Workers,
}

impl Work for Stages<'_> {
    type Output = ExitCode;

    fn run<B: LmAutodiffBackend>(self, device: B::Device) -> Result<ExitCode> {
        let Stages { args, prepared, stage, workers } = self;
        if let Some((_, setup)) = &prepared {
            setup.check_precision::<B>(&device)?;
        }
        let root = prepared.as_ref().filter(|_| workers.count() > 1).map(|(root, _)| root);
        let interrupt = catch_interrupts(root.map(|root| advice(root)))?;
        let (setup, run, mut log) = match prepared {
            Some((root, setup)) => {
                let run = open_run(&root, &setup)?;
                workers.from_first(|| Ok::<_, DataError>(root.clone()))?;
                // A launcher's pipe may look like a terminal.
                let is_plain = args.plain || workers.count() > 1;
                let log = RunLog::open(&run, watcher(is_plain, &interrupt))?;
                (setup, run, log)
            }
            None => {
                let (setup, run) = join_run(args, stage, workers)?;
                (setup, run, RunLog::silent())
            }
        };
        setup.notes.iter().for_each(|note| log.note(note));
        let stages = stages_of(&setup.config, stage);
        let workers = workers.clone();
        let repeats = stage.is_none() && setup.config.repeats();
        let rounds = setup.config.rounds.clone().filter(|_| repeats);
        let past = Past::default();
        let mut session = Session::<B> { setup, run, log, interrupt, workers, device, past };
        let (is_plain, asked) =
            (args.plain || session.workers.count() > 1, session.interrupt.clone());
        let open = |run: &RunDir| Ok(RunLog::open(run, watcher(is_plain, &asked))?);
        let ended = match &rounds {
            Some(rounds) => session.run_rounds(rounds, &open),
            None if stage == Some(Stage::Evaluate) => session.evaluate_again(),
            None => session.run(&stages),
        };
        let personal = session.setup.config.personal.clone().filter(|_| stage.is_none());
        let ended = match (ended, &personal) {
            // Who is alone has what the run has.
            (Ok(Ended::Finished), Some(_)) if session.heard_one_alone()? => Ok(Ended::Finished),
            (Ok(Ended::Finished), Some(config)) => session.align(config, &open),
            (ended, _) => ended,
        };
        let Session { run, log, workers, .. } = session;
        // The dashboard gives the terminal back before anything is printed.
        drop(log);
        let ended = ended?;
        if workers.leads() { conclude(&run, &stages, ended) } else { Ok(ExitCode::SUCCESS) }
    }
}

/// Says what came of a run and where it lies.
fn conclude(run: &RunDir, stages: &[Stage], ended: Ended) -> Result<ExitCode> {
    let root = run.root().display();
    if ended == Ended::Interrupted {
        print(&format!(
            "interrupted; nothing is lost. Go on with: {} train --resume {root}\n",
            launcher()
        ));
        return Ok(ExitCode::from(INTERRUPTED));
    }
    if stages.contains(&Stage::Evaluate) {
        let history = History::load(run.root())?;
        // A later round has measured all policies before it, too.
        let last = history.rounds.last().map(|it| run.root().join(&it.folder));
        let measured = last.map(|it| RunDir::join(&it));
        let evaluation = Evaluation::load(measured.as_ref().unwrap_or(run))?;
        let report = report::write(run, &evaluation, &history)?;
        print(&table::render(&evaluation));
        if let Some(people) = &evaluation.people {
            print(&table::people(people, &launcher(), run.root()));
        }
        print(&table::rounds(&history));
        print(&table::personal(&People::load(run.root())?));
        if let Some(best) = history.best() {
            print(&format!("policy: {}\n", run.root().join(&best.policy).display()));
        }
        print(&format!("report: {}\n", report.display()));
    }
    print(&format!("run:    {root}\n"));
    Ok(ExitCode::SUCCESS)
}

/// The run in this folder, or a new one with the resolved config in it.
pub(crate) fn open_run(root: &Path, setup: &Setup) -> Result<RunDir> {
    if holds_run(Some(root)) {
        return Ok(RunDir::open(root)?);
    }
    let run = RunDir::create(root)?;
    setup.rows_folder.move_to(root)?;
    let saved = toml::to_string(&setup.config).context("the resolved config")?;
    write_atomically(&run.file("config.toml"), saved.as_bytes())?;
    Ok(run)
}

/// The run that the first worker has opened, and what it begins with.
fn join_run(args: &RunArgs, stage: Option<Stage>, workers: &Workers) -> Result<(Setup, RunDir)> {
    let root: PathBuf =
        workers.from_first(|| -> Result<PathBuf> { unreachable!("the first has told it") })?;
    let config = saved_config(&root, args, stage)?;
    let hub = HubArgs { revision: None, ..args.hub.clone() };
    Ok((Setup::for_run(config, &root, &hub)?, RunDir::join(&root)))
}

/// What people type to get here: `rein`, or what `cargo xtask` says of itself.
pub(crate) fn launcher() -> String {
    std::env::var("REIN_LAUNCHER").unwrap_or_else(|_| "rein".into())
}

/// The first Ctrl-C asks to stop after the current step, the second one stops at once.
/// A launcher asks, too, when it has lost a worker, and waits for a moment only: `advice` is given at once.
pub(crate) fn catch_interrupts(advice: Option<String>) -> Result<Interrupt> {
    let interrupt = Interrupt::default();
    let asked = interrupt.clone();
    ctrlc::set_handler(move || {
        if asked.is_set() {
            std::process::exit(i32::from(INTERRUPTED));
        }
        asked.set();
        if let Some(advice) = &advice {
            note(advice);
        }
    })?;
    Ok(interrupt)
}

/// How to go on after several workers had to stop.
fn advice(root: &Path) -> String {
    let root = root.display();
    format!(
        "stopping after this step; if that fails, or a worker was lost, go on with: {} train --resume {root}",
        launcher()
    )
}

/// Tells of a failure in one line and gives the program's exit code.
pub(crate) fn report(error: &anyhow::Error) -> u8 {
    note(&format!("error: {}", one_line(error)));
    if is_failure(error) { FAILED } else { BAD_INPUT }
}

/// A failure and its causes, but for those that their effect has told already.
fn one_line(error: &anyhow::Error) -> String {
    let mut line = String::new();
    for cause in error.chain().map(ToString::to_string) {
        if !line.contains(&cause) {
            let colon = if line.is_empty() { "" } else { ": " };
            line = format!("{line}{colon}{cause}");
        }
    }
    line
}

/// Whether the run failed, rather than its input.
fn is_failure(error: &anyhow::Error) -> bool {
    error.chain().any(|cause| {
        cause.downcast_ref::<DataError>().is_some_and(DataError::is_failure)
            || cause.downcast_ref::<HubError>().is_some_and(HubError::is_failure)
            || cause.downcast_ref::<FeedbackError>().is_some_and(FeedbackError::is_disk_full)
            || matches!(cause.downcast_ref(), Some(ModelError::NotFinite { .. }))
            || matches!(cause.downcast_ref(), Some(RewardError::Rule { .. }))
            || matches!(
                cause.downcast_ref(),
                Some(
                    PpoError::BadScore { .. }
                        | PpoError::Reward(RewardError::Rule { .. })
                        | PpoError::Diverged { .. }
                        | PpoError::RatioNotOne { .. }
                )
            )
    })
}
