//! How long things take.

use std::time::Instant;

use anyhow::Result;

/// Seconds that a timed run should take: what takes less is repeated.
const LONG_ENOUGH: f64 = 5e-3;

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

/// The sorted times of each way to do the same, which take turns so that both meet the machine in the
/// same mood. Short runs are repeated, and `wait` ends each, since devices answer before they are done.
pub(super) fn in_turn(
    iterations: usize,
    mut ways: [&mut dyn FnMut(); 2],
    wait: impl Fn() -> Result<()>,
) -> Result<[Vec<f64>; 2]> {
    let seconds = |way: &mut dyn FnMut(), repeats: usize| {
        let start = Instant::now();
        (0..repeats).for_each(|_| way());
        wait()?;
        Ok::<_, anyhow::Error>(start.elapsed().as_secs_f64() / repeats as f64)
    };
    let mut repeats = [1; 2];
    for (repeats, way) in repeats.iter_mut().zip(&mut ways) {
        seconds(way, 1)?;
        *repeats = (LONG_ENOUGH / seconds(way, 1)?).ceil().clamp(1.0, 10_000.0) as usize;
    }
    let mut times = [Vec::new(), Vec::new()];
    for _ in 0..iterations.max(1) {
        for ((times, way), repeats) in times.iter_mut().zip(&mut ways).zip(repeats) {
            times.push(seconds(way, repeats)?);
        }
    }
    times.iter_mut().for_each(|times| times.sort_by(f64::total_cmp));
    Ok(times)
}

#[cfg(test)]
mod tests {
    use std::cell::RefCell;

    use super::*;

    #[test]
    fn ways_take_turns_after_a_warm_up() {
        let order = RefCell::new(String::new());
        let slow = |name| {
            std::thread::sleep(std::time::Duration::from_millis(6));
            order.borrow_mut().push(name);
        };
        let times = in_turn(3, [&mut || slow('a'), &mut || slow('b')], || Ok(()));
        assert_eq!(*order.borrow(), "aabbababab");
        for times in times.expect("nothing fails") {
            assert!(times.len() == 3 && times.is_sorted() && times[0] > 0.005);
        }
    }
}
