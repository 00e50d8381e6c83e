//! `rein`: aligns a language model with one command.
//!
//! The program reads arguments and configs ([`args`], [`config`]), finds models ([`hub`]), checks that everything fits
//! together before anything is written ([`setup`]), picks a backend ([`device`]) and runs the stages
//! ([`pipeline`]), perhaps in several processes ([`workers`]), while somebody watches ([`watch`]). It ends with
//! a table and a report.

#![recursion_limit = "256"]

mod annotated;
mod args;
mod bench;
mod chat_template;
mod commands;
mod config;
mod device;
mod export;
mod feedback;
mod files;
mod http;
mod hub;
mod inference;
mod inspect;
mod memory;
mod pace;
mod parity;
mod personal;
mod pipeline;
mod plan;
mod red_team;
mod report;
mod reward;
mod run_config;
mod setup;
mod speech;
mod suite;
mod table;
mod watch;
mod workers;
mod world;

use std::process::ExitCode;

use clap::Parser;
use rayon::ThreadPoolBuilder;

/// Bytes of a thread's stack: as much as a program's first thread has.
const STACK: usize = 8 << 20;

fn main() -> ExitCode {
    memory::keep_pages();
    let cli = args::Cli::parse();
    let team = match workers::Team::join(&cli.command) {
        Ok(team) => team,
        Err(error) => return ExitCode::from(commands::report(&error)),
    };
    // A thread of the pool hands work to the others at once; one from outside would wait for them.
    // It can't fail: nothing has made a pool before.
    let pool = ThreadPoolBuilder::new().stack_size(STACK).num_threads(team.n_threads);
    let _ = pool.build_global();
    let (workers, n_here) = (&team.workers, team.n_here);
    let ended = rayon::scope(|_| commands::run(&cli.command, workers, n_here));
    team.part(ended)
}
