//! Numbers as people read them.

/// `12.3 M`
pub(super) fn count(number: usize) -> String {
    match number {
        0..1_000 => number.to_string(),
        1_000..1_000_000 => format!("{:.1} k", number as f64 / 1e3),
        1_000_000..1_000_000_000 => format!("{:.1} M", number as f64 / 1e6),
        _ => format!("{:.1} G", number as f64 / 1e9),
    }
}

/// `12.3 MiB`
pub(super) fn bytes(number: u64) -> String {
    match number {
        0 => "-".into(),
        1..=0xF_FFFF => format!("{:.0} KiB", number as f64 / f64::from(1 << 10)),
        0x10_0000..=0x3FFF_FFFF => format!("{:.1} MiB", number as f64 / f64::from(1 << 20)),
        _ => format!("{:.1} GiB", number as f64 / f64::from(1 << 30)),
    }
}

/// `1:02:03` or `2:03`
pub(super) fn clock(seconds: f64) -> String {
    let seconds = seconds.round() as u64;
    let (hours, minutes) = (seconds / 3600, seconds / 60 % 60);
    if hours > 0 {
        format!("{hours}:{minutes:02}:{:02}", seconds % 60)
    } else {
        format!("{minutes}:{:02}", seconds % 60)
    }
}
