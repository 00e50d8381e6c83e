//! Models of the Hugging Face Hub: fetched once, whole, and only what is of use.

#![cfg(unix)]
#![allow(dead_code, reason = "each test program uses a part of what they share")]

mod desk;
mod models;
#[path = "../program/mod.rs"]
mod program;
mod refusals;
mod server;
mod transfers;
