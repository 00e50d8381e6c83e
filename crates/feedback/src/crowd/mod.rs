//! Crowds elsewhere: tasks go out as a platform's files, and answers come back as such.

pub mod mturk;
