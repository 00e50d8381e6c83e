use std::path::PathBuf;

use clap::{Args, value_parser};

use crate::device::BackendName;

#[derive(Debug, Args)]
pub(crate) struct OveroptimizeArgs {
    /// Run all of it with the seeds 1 to N
    #[arg(long, value_name = "N", default_value_t = 5, value_parser = value_parser!(u64).range(1..))]
    seeds: u64,
    /// Change a setting of whatever is run, as in `--set feedback.pairs=1024` or `--set rl.steps=400`; can be given
    /// many times
    #[arg(long, value_name = "KEY=VALUE")]
    pub(super) set: Vec<String>,
    /// Where all of it is written; runs that lie there already aren't repeated
    #[arg(long, value_name = "DIR", default_value = "runs/overoptimize")]
    pub(super) out: PathBuf,
    /// Where to compute
    #[arg(long, value_enum)]
    pub(crate) backend: Option<BackendName>,
}

impl OveroptimizeArgs {
    pub(super) fn seeds(&self) -> Vec<u64> {
        (1..=self.seeds).collect()
    }
}
