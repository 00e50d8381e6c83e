use std::path::PathBuf;

use clap::{Args, value_parser};

use super::method::Method;
use super::task::Task;
use crate::device::BackendName;

#[derive(Debug, Args)]
pub(crate) struct LearnArgs {
    /// What is learned; all of them if left out, may be repeated
    #[arg(long = "task", value_name = "TASK", value_enum)]
    tasks: Vec<Task>,
    /// Names of algorithms, separated by commas: those of `rein rl`, and dpo, robust, ipo, hinge, exo_pair,
    /// nca_pair, sppo_hard, apo_zero, apo_down, cpo, simpo, orpo, kto; all of them if left out
    #[arg(long, value_name = "NAMES", value_delimiter = ',')]
    algorithms: Vec<Method>,
    /// Run each with the seeds 1 to N
    #[arg(long, value_name = "N", default_value_t = 5, value_parser = value_parser!(u64).range(1..))]
    seeds: u64,
    /// Run each with this seed alone
    #[arg(long, value_name = "N", conflicts_with = "seeds")]
    seed: Option<u64>,
    /// Change a setting of whatever is run, as in `--set rl.steps=20` or `--set dpo.beta=0.2`; can be given
    /// many times
    #[arg(long, value_name = "KEY=VALUE")]
    pub(super) set: Vec<String>,
    /// Where all of it is written; runs that lie there already aren't repeated
    #[arg(long, value_name = "DIR", default_value = "runs/learn")]
    pub(super) out: PathBuf,
    /// Begin with the model, problems and pairs in this folder, which `--export` writes, and judge nothing
    #[arg(long, value_name = "DIR")]
    from: Option<PathBuf>,
    /// Write what the runs of a task begin with into this folder, and run nothing: `model/`,
    /// `prompts.jsonl`, `heldout.jsonl` and `pairs.jsonl`
    #[arg(long, value_name = "DIR", conflicts_with_all = ["algorithms", "seeds", "seed", "set", "out", "from"])]
    pub(super) export: Option<PathBuf>,
    /// Where to compute
    #[arg(long, value_enum)]
    pub(crate) backend: Option<BackendName>,
}

impl LearnArgs {
    /// What is learned. A folder holds what one task begins with: sums, if nobody says.
    pub(super) fn tasks(&self) -> Vec<Task> {
        let is_one = self.from.is_some() || self.export.is_some();
        match &self.tasks[..] {
            [] if is_one => vec![Task::Arithmetic],
            [] => Task::ALL.to_vec(),
            named if is_one => named[..1].to_vec(),
            named => named.to_vec(),
        }
    }

    pub(super) fn methods(&self) -> Vec<Method> {
        if self.algorithms.is_empty() { Method::all() } else { self.algorithms.clone() }
    }

    pub(super) fn seeds(&self) -> Vec<u64> {
        self.seed.map_or_else(|| (1..=self.seeds).collect(), |seed| vec![seed])
    }

    /// Where a task's beginning lies, and whether it may be made there.
    pub(super) fn start(&self, task: Task) -> (PathBuf, bool) {
        match &self.from {
            Some(folder) => (folder.clone(), false),
            None => (self.out.join(task.name()).join("start"), true),
        }
    }

    /// Whether there is something to judge: the runs are made for a comparison elsewhere otherwise.
    pub(super) fn judges(&self) -> bool {
        self.from.is_none()
    }
}
