//! Where the program talks. Results go to standard output, all else to standard error; whoever reads may go away in the
//! middle (`rein … | head`), which is no reason to stop a run or a server.

use std::io::{Write, stderr, stdout};

/// A result, as it stands.
pub(crate) fn print(text: &str) {
    say(stdout(), text);
}

/// A line about what happens.
pub(crate) fn note(text: &str) {
    say(stderr(), &format!("{text}\n"));
}

fn say(mut stream: impl Write, text: &str) {
    // Nobody can be told that nobody listens.
    let _ = stream.write_all(text.as_bytes()).and_then(|()| stream.flush());
}
