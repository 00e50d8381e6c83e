//! Text and disk: everything of an alignment run that needs no tensor.
//!
//! Rows of data sets ([`example`]) come from files ([`rows`], [`schema`], [`mix`]) or from the
//! built-in worlds ([`helpdesk`], [`arithmetic`]), judgements among them are looked through ([`screening`]),
//! become tokens ([`tokenizer`], [`encoder`],
//! [`encoding`]), are kept in memory or in a file ([`store`]), perhaps share sequences ([`packing`]) and
//! are visited in a seeded order ([`sequences`], [`batches`]). A stage that trains something runs in one
//! loop ([`stage`]) that logs ([`log`]), saves ([`checkpoint`]) and resumes in the folder of its run
//! ([`run_dir`]), alone or with other processes ([`workers`]). How much the texts that a model writes
//! repeat themselves is counted ([`diversity`]). All randomness comes from one tree of
//! streams ([`seed`]).
//!
//! This crate knows neither Burn nor any algorithm, compiles in seconds and is tested without a
//! device.

pub mod arithmetic;
pub mod batches;
mod bounds;
pub mod chat;
pub mod checkpoint;
pub mod diversity;
pub mod encoder;
pub mod encoding;
mod error;
pub mod example;
pub mod helpdesk;
pub mod inputs;
pub mod jsonl;
pub mod log;
pub mod mix;
pub mod model_folder;
pub mod packing;
pub mod rows;
pub mod run_dir;
pub mod schema;
pub mod screening;
pub mod seed;
pub mod sequences;
pub mod sources;
pub mod stage;
mod stopwatch;
pub mod store;
pub mod template;
mod tensorboard;
pub mod text_rules;
pub mod text_stream;
pub mod tokenizer;
pub mod workers;

pub use error::DataError;
