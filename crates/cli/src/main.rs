//! `rein`: aligns a language model with one command.
//!
//! The program reads arguments and configs ([`args`], [`config`]), finds models ([`hub`]), checks that everything fits
//! together before anything is written ([`setup`]), picks a backend ([`device`]) and runs the stages
//! ([`pipeline`]) while somebody watches ([`watch`]). It ends with a table and a report.

#![recursion_limit = "256"]

mod args;
mod bench;
mod chat_template;
mod commands;
mod config;
mod device;
mod export;
mod files;
mod hub;
mod inference;
mod inspect;
mod memory;
mod pace;
mod parity;
mod pipeline;
mod plan;
mod report;
mod setup;
mod table;
mod watch;
mod world;

use std::process::ExitCode;

use clap::Parser;

/// Keeps pages that were freed: a step's tensors are as large as those of the step before.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    let cli = args::Cli::parse();
    match commands::run(&cli.command) {
        Ok(code) => code,
        Err(error) => commands::report(&error),
    }
}
