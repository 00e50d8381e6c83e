//! The processes of a run: this one alone, or as many as `mpirun` has started.
//!
//! Everything that knows MPI lies in `mpi`; the rest of the program and the libraries see [`Workers`].

#[cfg(feature = "mpi")]
mod mpi;

use std::env;
use std::process::ExitCode;

use anyhow::{Result, bail};
use rein_data::workers::Workers;

use crate::args::Command;
use crate::commands::report;

/// This process among those that work on a run.
pub(crate) struct Team {
    pub(crate) workers: Workers,
    /// How many of them share this machine.
    pub(crate) n_here: usize,
    /// Threads for this one; 0 leaves it to rayon.
    pub(crate) n_threads: usize,
    #[cfg(feature = "mpi")]
    session: Option<mpi::Session>,
}

impl Team {
    /// Joins the others, if there are any.
    ///
    /// # Errors
    /// Several processes were started of a build, or for a command, that works alone.
    pub(crate) fn join(command: &Command) -> Result<Self> {
        let count = n_started();
        if count == 1 {
            return Ok(Self::alone());
        }
        if !command.can_share() {
            bail!(
                "{count} processes were started for a command that works alone; leave out mpirun"
            );
        }
        Self::of_several(count)
    }

    fn alone() -> Self {
        Self {
            workers: Workers::default(),
            n_here: 1,
            n_threads: 0,
            #[cfg(feature = "mpi")]
            session: None,
        }
    }

    #[cfg(feature = "mpi")]
    fn of_several(_: usize) -> Result<Self> {
        let session = mpi::Session::begin()?;
        let is_told = env::var_os("RAYON_NUM_THREADS").is_some();
        let n_threads = if is_told { 0 } else { session.n_threads() };
        Ok(Self {
            workers: Workers::new(session.link()),
            n_here: session.n_here(),
            n_threads,
            session: Some(session),
        })
    }

    #[cfg(not(feature = "mpi"))]
    fn of_several(count: usize) -> Result<Self> {
        bail!(
            "{count} processes were started, but this build works in one: they would write over each \
             other's run; build with `--features mpi`, or use `cargo xtask train --workers {count}`"
        )
    }

    /// Parts from the others. A failure ends them, too: they would wait for this one forever.
    pub(crate) fn part(self, ended: Result<ExitCode>) -> ExitCode {
        #[cfg(feature = "mpi")]
        if let Some(session) = self.session {
            return session.end(ended);
        }
        ended.unwrap_or_else(|error| ExitCode::from(report(&error)))
    }
}

/// How many processes a launcher started: Open MPI's, MPICH's and Intel's, or Slurm's.
fn n_started() -> usize {
    let number = |name| env::var(name).ok()?.parse::<usize>().ok();
    // A batch script has the number of tasks, too, and is yet one process.
    let is_task = ["PMI_RANK", "PMIX_RANK"].iter().any(|name| env::var_os(name).is_some());
    let of_slurm = number("SLURM_NTASKS").filter(|_| is_task);
    number("OMPI_COMM_WORLD_SIZE").or_else(|| number("PMI_SIZE")).or(of_slurm).unwrap_or(1)
}
