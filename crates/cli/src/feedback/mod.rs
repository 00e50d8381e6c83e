//! `rein feedback`: people's judgements, from the question to rows that models learn from.

mod check;
mod clean;
mod crowd;
mod export;
mod implicit;
mod import;
mod live;
mod people;
mod places;
mod prioritise;
mod serve;
mod status;
mod taught;

use anyhow::Result;
use clap::{Args, Subcommand};

use crate::args::{RunArgs, StageArgs};

pub(crate) use self::places::{POLICIES, STORE, newest};
pub(crate) use self::prioritise::completion;

use self::check::CheckArgs;
use self::clean::CleanArgs;
use self::crowd::argilla::{self, ArgillaArgs};
use self::crowd::label_studio::{self, LabelStudioArgs};
use self::crowd::mturk::{self, MturkArgs};
use self::export::ExportArgs;
use self::implicit::ImplicitArgs;
use self::import::ImportArgs;
use self::people::PeopleArgs;
use self::prioritise::PrioritiseArgs;
use self::serve::ServeArgs;
use self::status::StatusArgs;

const EXAMPLES: &str = "\
Examples:
  # Let simulated people of the help desk judge what a run's fine-tuned model says
  rein feedback --run runs/mine
  # Judge it yourself, in a browser, and go on with what you said
  rein feedback serve --run runs/mine
  rein feedback status --run runs/mine
  rein train --feedback runs/mine/feedback.sqlite
  # Talk with a model, and say which of two answers is better where it isn't sure
  rein feedback serve --store talk.sqlite --model DIR --reward-model RM --ask-disagreement 0.3";

/// A bare `rein feedback` is the stage of a run.
#[derive(Debug, Args)]
#[command(args_conflicts_with_subcommands = true, after_help = EXAMPLES)]
pub(crate) struct FeedbackArgs {
    #[command(subcommand)]
    command: Option<FeedbackCommand>,
    #[command(flatten)]
    run: RunArgs,
}

/// What can be done with people's judgements.
#[derive(Debug, Subcommand)]
enum FeedbackCommand {
    /// Let people judge in a browser
    Serve(Box<ServeArgs>),
    /// Say who may judge, and give them links
    People(PeopleArgs),
    /// Say how far the projects of a store are
    Status(StatusArgs),
    /// Let those pairs be asked first whose answers tell a reward ensemble most
    Prioritise(PrioritiseArgs),
    /// Look for answers that shouldn't count, and for people who don't care
    Check(CheckArgs),
    /// Set aside rows that would teach nothing good, and say why
    Clean(CleanArgs),
    /// Make weighted pairs of what people did: clicks, copies, thumbs, edits
    Implicit(ImplicitArgs),
    /// Write what people said as rows that models learn from
    Export(ExportArgs),
    /// Read judgements from a file of rows
    Import(ImportArgs),
    /// Let workers of Mechanical Turk answer
    Mturk(MturkArgs),
    /// Let a team answer on Label Studio
    LabelStudio(LabelStudioArgs),
    /// Let a team answer on Argilla
    Argilla(ArgillaArgs),
}

impl FeedbackArgs {
    /// The run whose stage a bare `rein feedback` is.
    pub(crate) fn stage(&self) -> Option<StageArgs> {
        self.command.is_none().then(|| StageArgs { run: self.run.clone() })
    }

    /// Does what a command below asks for.
    pub(crate) fn run(&self) -> Result<()> {
        match &self.command {
            Some(FeedbackCommand::Serve(args)) => serve::run(args),
            Some(FeedbackCommand::People(args)) => people::run(args),
            Some(FeedbackCommand::Status(args)) => status::run(args),
            Some(FeedbackCommand::Prioritise(args)) => prioritise::run(args),
            Some(FeedbackCommand::Check(args)) => check::run(args),
            Some(FeedbackCommand::Clean(args)) => clean::run(args),
            Some(FeedbackCommand::Export(args)) => export::run(args),
            Some(FeedbackCommand::Implicit(args)) => implicit::run(args),
            Some(FeedbackCommand::Import(args)) => import::run(args),
            Some(FeedbackCommand::Mturk(args)) => mturk::run(args),
            Some(FeedbackCommand::LabelStudio(args)) => label_studio::run(args),
            Some(FeedbackCommand::Argilla(args)) => argilla::run(args),
            None => unreachable!("the stage is run elsewhere"),
        }
    }
}
