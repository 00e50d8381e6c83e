use std::ops::ControlFlow;

use crate::Generated;

/// Looks at rows from outside while they are generated, and has a say.
///
/// Models take tokens and never see a string; what depends on text (where it stops, what it must not
/// hold, who reads along) is told through this. Rows are numbered as their prompts are, from 0.
///
/// `()` lets everything pass.
pub trait Monitor {
    /// A row begins; again, where an attempt before was refused.
    fn begin(&mut self, _row: usize) {}

    /// A row got a token. `Break` ends it there, as an end token would.
    fn token(&mut self, _row: usize, _token: u32) -> ControlFlow<()> {
        ControlFlow::Continue(())
    }

    /// A row ended. Whether it may stand; if not, it is sampled again while there are attempts left.
    fn accept(&mut self, _row: usize, _generated: &Generated) -> bool {
        true
    }
}

impl Monitor for () {}
