//! What memory the machine has, what this process has taken, and who keeps it.

use std::fs;

use libmimalloc_sys::{mi_option_set, mi_option_t};
use sysinfo::System;

#[cfg(unix)]
mod shelf;

/// Keeps pages that were freed: a step's tensors are as large as those of the step before.
#[cfg(unix)]
#[global_allocator]
static ALLOCATOR: shelf::Allocator = shelf::Allocator::new();
/// The same, where memory isn't mapped as Unix does.
#[cfg(not(unix))]
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// Never gives pages back to the system: it would fill them with zeros for the next step, which costs
/// as much as what is then computed in them.
#[expect(unsafe_code, reason = "the allocator's options are set through C")]
pub(crate) fn keep_pages() {
    /// `mi_option_purge_delay`, which the bindings leave out.
    const PURGE_DELAY: mi_option_t = 15;
    // SAFETY: called first thing in `main`, while there is one thread.
    unsafe { mi_option_set(PURGE_DELAY, -1) };
}

/// Bytes of main memory that a new program could use; `None` where it can't be known.
pub(crate) fn available() -> Option<u64> {
    let mut system = System::new();
    system.refresh_memory();
    let bytes = match system.cgroup_limits() {
        Some(limits) => limits.free_memory.min(system.available_memory()),
        None => system.available_memory(),
    };
    (bytes > 0).then_some(bytes)
}

/// The most bytes that this process ever had in memory; `None` where it can't be known.
pub(crate) fn peak_resident() -> Option<u64> {
    status("VmHWM:")
}

/// The bytes that this process has in memory now; `None` where it can't be known.
pub(crate) fn resident() -> Option<u64> {
    status("VmRSS:")
}

/// Bytes, as the system tells of this process.
fn status(key: &str) -> Option<u64> {
    let status = fs::read_to_string("/proc/self/status").ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix(key))?;
    let kib: u64 = line.trim().strip_suffix(" kB")?.parse().ok()?;
    Some(kib * 1024)
}
