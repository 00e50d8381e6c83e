//! What each command does, and how failures end.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::{Context, Result, bail};
use rein_data::DataError;
use rein_data::checkpoint::write_atomically;
use rein_data::log::RunLog;
use rein_data::run_dir::RunDir;
use rein_data::stage::Interrupt;
use rein_model::ModelError;
use rein_model::backend::LmAutodiffBackend;
use rein_ppo::PpoError;

use crate::args::{Command, RunArgs};
use crate::config::{self, Config, Stage};
use crate::device::{BackendName, Work, run_on};
use crate::pipeline::{Ended, Evaluation, Session};
use crate::setup::Setup;
use crate::table;
use crate::watch::watcher;

/// The input can't be used: a config, a file, a model.
const BAD_INPUT: u8 = 2;
/// Interrupted; the run can be resumed. What shells give for a program that Ctrl-C ended.
const INTERRUPTED: u8 = 130;

/// Does what the command line asks for.
pub(crate) fn run(command: &Command) -> Result<ExitCode> {
    match command {
        Command::Train(args) => {
            let run = match &args.resume {
                Some(run) => RunArgs { run: Some(run.clone()), ..args.run.clone() },
                None => args.run.clone(),
            };
            if args.resume.is_some() && !holds_run(run.run.as_deref()) {
                bail!("{}: holds no run to resume", run.run.unwrap_or_default().display());
            }
            work(&run, None)
        }
        Command::Sft(args)
        | Command::Feedback(args)
        | Command::Reward(args)
        | Command::Evaluate(args) => work(&args.run, command.stage()),
        Command::Rl(args) => work(&args.run, command.stage()),
        Command::Config => {
            print(config::DEFAULT);
            Ok(ExitCode::SUCCESS)
        }
        Command::Parity(_) => bail!("not yet"),
    }
}

/// Runs all stages of the config, or one.
fn work(args: &RunArgs, stage: Option<Stage>) -> Result<ExitCode> {
    let config = load_config(args)?;
    let stages = stage.map_or_else(|| config.stages.clone(), |stage| vec![stage]);
    let setup = Setup::new(config)?;
    let backend = args.backend.unwrap_or_else(BackendName::default_of_build);
    run_on(backend, Stages { args, setup, stages })
}

/// A run's stages, on whichever backend.
struct Stages<'a> {
    args: &'a RunArgs,
    setup: Setup,
    stages: Vec<Stage>,
}

impl Work for Stages<'_> {
    type Output = ExitCode;

    fn run<B: LmAutodiffBackend>(self, device: B::Device) -> Result<ExitCode> {
        let Stages { args, setup, stages } = self;
        let run = open_run(args, &setup.config)?;
        let interrupt = catch_interrupts()?;
        let mut log = RunLog::open(&run, watcher(args.plain, &interrupt))?;
        setup.notes.iter().for_each(|note| log.note(note));
        let mut session = Session::<B> { setup, run, log, interrupt, device };
        let ended = session.run(&stages)?;
        let Session { run, log, .. } = session;
        // The dashboard gives the terminal back before anything is printed.
        drop(log);
        let root = run.root().display().to_string();
        if ended == Ended::Interrupted {
            print(&format!("interrupted; go on with: rein train --resume {root}\n"));
            return Ok(ExitCode::from(INTERRUPTED));
        }
        if stages.contains(&Stage::Evaluate) {
            let evaluation = Evaluation::load(&run)?;
            print(&table::render(&evaluation));
        }
        print(&format!("run:    {root}\n"));
        Ok(ExitCode::SUCCESS)
    }
}

/// The config of the run that is continued, or of the new one.
fn load_config(args: &RunArgs) -> Result<Config> {
    if let Some(run) = args.run.as_deref().filter(|run| holds_run(Some(run))) {
        if args.config.is_some() || !args.set.is_empty() {
            bail!(
                "{}: holds a run with a config of its own; leave out --config and --set, or name \
                 another --run",
                run.display()
            );
        }
        return config::load_saved(&run.join("config.toml"));
    }
    let mut sets = args.set.clone();
    if let Some(model) = &args.model {
        sets.push(format!(
            "model={{ kind = \"pretrained\", path = {:?} }}",
            model.display().to_string()
        ));
    }
    config::load(args.config.as_deref(), &sets)
}

fn holds_run(run: Option<&Path>) -> bool {
    run.is_some_and(|run| run.join("config.toml").exists())
}

/// The folder of the run that is continued, or a new one with the resolved config in it.
fn open_run(args: &RunArgs, config: &Config) -> Result<RunDir> {
    if let Some(run) = args.run.as_deref().filter(|run| holds_run(Some(run))) {
        return Ok(RunDir::open(run)?);
    }
    let name = args
        .config
        .as_deref()
        .and_then(Path::file_stem)
        .map_or("helpdesk".into(), |stem| stem.to_string_lossy());
    let root =
        args.run.clone().unwrap_or_else(|| RunDir::free_name(&PathBuf::from("runs").join(&*name)));
    let run = RunDir::create(&root)?;
    let saved = toml::to_string(config).context("the resolved config")?;
    write_atomically(&run.file("config.toml"), saved.as_bytes())?;
    Ok(run)
}

/// The first Ctrl-C asks to stop after the current step, the second one stops at once.
fn catch_interrupts() -> Result<Interrupt> {
    let interrupt = Interrupt::default();
    let asked = interrupt.clone();
    ctrlc::set_handler(move || {
        if asked.is_set() {
            std::process::exit(i32::from(INTERRUPTED));
        }
        asked.set();
    })?;
    Ok(interrupt)
}

/// Tells of a failure in one line.
#[expect(clippy::print_stderr, reason = "this is where the program talks")]
pub(crate) fn report(error: &anyhow::Error) -> ExitCode {
    eprintln!("error: {error:#}");
    let is_failure = error.chain().any(|cause| {
        cause.downcast_ref::<DataError>().is_some_and(DataError::is_disk_full)
            || matches!(cause.downcast_ref(), Some(ModelError::NotFinite { .. }))
            || matches!(
                cause.downcast_ref(),
                Some(PpoError::BadScore { .. } | PpoError::RatioNotOne { .. })
            )
    });
    if is_failure { ExitCode::FAILURE } else { ExitCode::from(BAD_INPUT) }
}

#[expect(clippy::print_stdout, reason = "this is where the program talks")]
pub(crate) fn print(text: &str) {
    print!("{text}");
}
