//! The labelling server over real sockets, with a real store.

mod durability;
mod live;
mod load;
mod protocol;
mod running;
mod scripted;
mod security;
