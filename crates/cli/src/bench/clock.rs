//! How long things take.

use std::time::Instant;

use anyhow::Result;

/// The sorted times of `iterations` runs, after one that doesn't count.
pub(super) fn time(iterations: usize, mut run: impl FnMut() -> Result<()>) -> Result<Vec<f64>> {
    run()?;
    let mut seconds = Vec::new();
    for _ in 0..iterations.max(1) {
        let start = Instant::now();
        run()?;
        seconds.push(start.elapsed().as_secs_f64());
    }
    seconds.sort_by(f64::total_cmp);
    Ok(seconds)
}
