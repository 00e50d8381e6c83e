//! The labelling server over real sockets, with a real store.

mod durability;
mod load;
mod protocol;
mod running;
mod security;
