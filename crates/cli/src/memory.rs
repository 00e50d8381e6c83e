//! What the machine has and what this process has taken.

use std::fs;

use sysinfo::System;

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
    let status = fs::read_to_string("/proc/self/status").ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"))?;
    let kib: u64 = line.trim().strip_suffix(" kB")?.parse().ok()?;
    Some(kib * 1024)
}
