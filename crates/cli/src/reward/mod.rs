//! `rein reward`: reward models, from training to what can be said against them.

use clap::{Args, Subcommand};

use crate::args::{RunArgs, StageArgs};

const EXAMPLES: &str = "\
Examples:
  rein reward --config run.toml --model owner/name
  rein reward train --run runs/mine --set reward.epochs=2";

/// A bare `rein reward` trains.
#[derive(Debug, Args)]
#[command(args_conflicts_with_subcommands = true, after_help = EXAMPLES)]
pub(crate) struct RewardArgs {
    #[command(subcommand)]
    command: Option<RewardCommand>,
    #[command(flatten)]
    run: RunArgs,
}

/// What can be done with a reward model.
#[derive(Clone, Debug, Subcommand)]
pub(crate) enum RewardCommand {
    /// Train a reward model on judgements, as a bare `rein reward` does
    Train(StageArgs),
}

impl RewardArgs {
    /// What is asked for.
    pub(crate) fn command(&self) -> RewardCommand {
        let train = || RewardCommand::Train(StageArgs { run: self.run.clone() });
        self.command.clone().unwrap_or_else(train)
    }
}
