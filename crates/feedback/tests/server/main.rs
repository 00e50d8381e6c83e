//! The labelling server over real sockets, with a real store.

#![allow(clippy::print_stdout, reason = "a test tells its figures, a server where it listens")]

mod attacks;
mod chat;
mod contract;
mod described;
mod durability;
mod lessons;
mod live;
mod load;
mod openapi;
mod programs;
mod protocol;
mod running;
mod scripted;
mod security;
