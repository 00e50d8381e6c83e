//! `rein reward`: reward models, from training to what can be said against them.

mod adapt;
mod attack;
mod bias;
mod evaluate;
mod judged;
mod outline;
mod print;

use clap::{Args, Subcommand};

use crate::args::{RunArgs, StageArgs};

pub(crate) use self::adapt::{AdaptArgs, run as adapt};
pub(crate) use self::attack::{Attack, AttackArgs};
pub(crate) use self::evaluate::{Evaluate, EvaluateArgs};
pub(crate) use self::outline::check as check_judgements;
pub(crate) use self::print::lines;

const EXAMPLES: &str = "\
Examples:
  rein reward --config run.toml --model owner/name
  rein reward train --run runs/mine --set reward.epochs=2
  rein reward evaluate --reward-model DIR --data rewardbench.parquet --output report.json
  rein reward evaluate --reward-model DIR --data pairs.jsonl --swaps";

/// A bare `rein reward` trains.
#[derive(Debug, Args)]
#[command(args_conflicts_with_subcommands = true, after_help = EXAMPLES)]
pub(crate) struct RewardArgs {
    #[command(subcommand)]
    command: Option<RewardCommand>,
    #[command(flatten)]
    run: RunArgs,
}

const EVALUATE_HELP: &str = "\
The data set holds judgements, in any format of docs/data.md: pairs (`prompt`, `chosen`,
`rejected`), labels (`completion`, `label`), rankings (`prompt`, `completions`, `ranks`), scores
(`completion`, `score`), or RewardBench 2's lists of `chosen` and `rejected`. A column `subset` or
`category` names categories, of which each gets an accuracy of its own.

It tells the accuracy with 95 % Wilson intervals; how well probabilities hold, which are
sigmoid(score difference), and the temperature that they want; accuracy by the size of the
difference and by which side is longer; how much people and the model prefer the longer side.

With `--swaps`, it tells what other names, genders and groups in the texts change: of a reward
model, in deviations of the reference policy's rewards; of a policy (`--model`), in nats of the
log-probability of a completion.

Examples:
  rein reward evaluate --reward-model DIR --data pairs.jsonl
  rein reward evaluate --reward-model owner/name --data bench.parquet --output report.json
  rein reward evaluate --model DIR --data pairs.jsonl --swaps";

/// What can be done with a reward model.
#[derive(Clone, Debug, Subcommand)]
pub(crate) enum RewardCommand {
    /// Train a reward model on judgements, as a bare `rein reward` does
    ///
    /// Judgements are those of `data.preferences`, or what `rein feedback` gathered. With
    /// `[reward.demonstrations]` in the config nobody is asked: the reward model learns that
    /// demonstrations are better than what the language model says by itself.
    Train(StageArgs),
    /// Say how far a reward model can be trusted: accuracy by category, calibration, length, bias
    #[command(after_help = EVALUATE_HELP)]
    Evaluate(EvaluateArgs),
    /// Learn what one person likes from a few of their answers, in milliseconds
    Adapt(AdaptArgs),
    /// Try to fool a reward model with exchanged tokens, and say how often that works
    ///
    /// The attacker sees the model's gradients. It exchanges tokens of the rejected reply of each pair that the
    /// model judges rightly, one by one, until the reply scores higher than the preferred one: HotFlip. A reply
    /// may not get better in truth, where the truth is known. The attack success rate is the share of these pairs
    /// that are judged wrongly then.
    Attack(AttackArgs),
}

impl RewardArgs {
    /// What is asked for.
    pub(crate) fn command(&self) -> RewardCommand {
        let train = || RewardCommand::Train(StageArgs { run: self.run.clone() });
        self.command.clone().unwrap_or_else(train)
    }
}
