use std::path::PathBuf;

use clap::{Args, value_parser};

use crate::device::BackendName;

#[derive(Debug, Args)]
pub(crate) struct OveroptimizeArgs {
    /// Run all of it with so many seeds
    #[arg(long, value_name = "N", default_value_t = 5, value_parser = value_parser!(u64).range(1..=1000))]
    seeds: u64,
    /// The first of them; the others follow
    #[arg(long, value_name = "SEED", default_value_t = 1, value_parser = value_parser!(u64).range(..=u64::from(u32::MAX)))]
    first_seed: u64,
    /// How many deviations below the mean the lower bound lies
    #[arg(long, value_name = "K", default_value_t = 2.0)]
    pub(super) deviations: f32,
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
        (self.first_seed..self.first_seed + self.seeds).collect()
    }
}
