//! A program that is asked once, within bounds.

use std::io::{Read, Write};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};
use std::thread;
use std::time::{Duration, Instant};

use super::Fault;
use super::fault::shortened;

/// How long between two looks whether a program has ended.
const PAUSE: Duration = Duration::from_millis(2);
/// How long what a program said last is waited for, once it has failed.
const LAST_WORDS: Duration = Duration::from_millis(200);
/// Bytes of what it said last that are kept.
const MAX_STDERR: usize = 4 << 10;

/// What a program may take.
#[derive(Clone, Copy, Debug)]
pub(super) struct Bounds {
    pub(super) time: Duration,
    pub(super) n_bytes: usize,
}

/// Starts a program, without a shell, gives it `input` and returns what it writes. A program that takes too
/// long or writes too much is ended, together with those that it has started.
pub(super) fn ask(line: &[String], input: Vec<u8>, bounds: Bounds) -> Result<Vec<u8>, Fault> {
    let deadline = Instant::now() + bounds.time;
    let mut running = Running(start(line)?);
    let child = &mut running.0;
    let (mut to, from) = (child.stdin.take(), child.stdout.take());
    // Who ends without having read everything may have read enough.
    thread::spawn(move || to.as_mut().map(|to| to.write_all(&input)));
    let limit = bounds.n_bytes as u64 + 1;
    let output = aside(from, move |from| {
        let mut output = Vec::new();
        from.take(limit).read_to_end(&mut output).map(|_| output)
    });
    let complaints = aside(child.stderr.take(), |from| Ok(last_bytes(from)));
    let late = || Fault::TimedOut(bounds.time);
    let output = match output.recv_timeout(deadline.saturating_duration_since(Instant::now())) {
        Ok(output) => output.map_err(|error| Fault::Garbage(error.to_string()))?,
        Err(RecvTimeoutError::Timeout | RecvTimeoutError::Disconnected) => return Err(late()),
    };
    if output.len() > bounds.n_bytes {
        return Err(Fault::TooLong(bounds.n_bytes));
    }
    let status = running.end_by(deadline).ok_or_else(late)?;
    if status.success() {
        return Ok(output);
    }
    let stderr = complaints.recv_timeout(LAST_WORDS).ok().and_then(Result::ok).unwrap_or_default();
    let stderr = String::from_utf8_lossy(&stderr);
    let last = stderr.lines().rfind(|line| !line.trim().is_empty()).unwrap_or_default();
    Err(Fault::Exit { status: status.to_string(), stderr: shortened(last) })
}

fn start(line: &[String]) -> Result<Child, Fault> {
    let (program, args) = line.split_first().expect("a rule's command names a program");
    let mut command = Command::new(program);
    command.args(args).stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    // A group of its own can be ended as a whole, and Ctrl-C at the terminal is the run's affair.
    #[cfg(unix)]
    std::os::unix::process::CommandExt::process_group(&mut command, 0);
    command.spawn().map_err(|error| {
        let (program, reason) = (program.clone(), error.to_string());
        Fault::NoStart { program, reason }
    })
}

/// Reads in a thread of its own, which nobody has to wait for.
fn aside<R: Read + Send + 'static>(
    from: Option<R>,
    read: impl FnOnce(R) -> std::io::Result<Vec<u8>> + Send + 'static,
) -> Receiver<std::io::Result<Vec<u8>>> {
    let (sender, receiver) = channel();
    if let Some(from) = from {
        thread::spawn(move || sender.send(read(from)));
    }
    receiver
}

fn last_bytes(mut from: impl Read) -> Vec<u8> {
    let (mut kept, mut piece) = (Vec::new(), [0; 4 << 10]);
    while let Ok(count @ 1..) = from.read(&mut piece) {
        kept.extend_from_slice(&piece[..count]);
        let n_over = kept.len().saturating_sub(MAX_STDERR);
        kept.drain(..n_over);
    }
    kept
}

/// A program that doesn't outlive the question.
struct Running(Child);

impl Running {
    fn end_by(&mut self, deadline: Instant) -> Option<ExitStatus> {
        loop {
            if let Ok(Some(status)) = self.0.try_wait() {
                return Some(status);
            }
            if Instant::now() > deadline {
                return None;
            }
            thread::sleep(PAUSE);
        }
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        if matches!(self.0.try_wait(), Ok(Some(_))) {
            return;
        }
        #[cfg(unix)]
        if let Some(group) =
            i32::try_from(self.0.id()).ok().and_then(rustix::process::Pid::from_raw)
        {
            let _ = rustix::process::kill_process_group(group, rustix::process::Signal::KILL);
        }
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}
