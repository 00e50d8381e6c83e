use std::collections::BTreeMap;

/// What differences of values mean.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Level {
    /// Values are names: `δ² = [a ≠ b]`.
    Nominal,
    /// Values have an order: `δ` is the number of answers between two values, with half of those on them.
    Ordinal,
    /// Values have distances: `δ = a − b`.
    Interval,
    /// Values have a zero: `δ = (a − b) / (a + b)`.
    Ratio,
}

/// Krippendorff's `α = 1 − D_o / D_e` (Krippendorff, 2011, "Computing Krippendorff's Alpha-Reliability"): the mean
/// `δ²` of pairs of answers to the same unit against that of pairs of any answers.
///
/// `units` hold each unit's answers, in any order and as many as there are; units with one answer don't count.
///
/// None where no two answers differ, where no unit has two answers, and where values aren't finite or, on the ratio
/// level, negative. Takes time quadratic in the number of different values on the ratio level.
pub fn krippendorff(units: &[Vec<f64>], level: Level) -> Option<f64> {
    let is_allowed = |it: &f64| it.is_finite() && (level != Level::Ratio || *it >= 0.0);
    if !units.iter().flatten().all(is_allowed) {
        return None;
    }
    let pairable: Vec<&Vec<f64>> = units.iter().filter(|unit| unit.len() > 1).collect();
    let scale = Scale::of(pairable.iter().copied().flatten(), level);
    let within = |unit: &&Vec<f64>| {
        let counts = scale.counts(unit.iter());
        differences(&counts, level) / (unit.len() - 1) as f64
    };
    let all = scale.counts(pairable.iter().copied().flatten());
    let n: f64 = all.iter().map(|(_, count)| count).sum();
    let observed: f64 = pairable.iter().map(within).sum();
    let expected = differences(&all, level) / (n - 1.0);
    (expected > 0.0).then(|| 1.0 - observed / expected)
}

/// Where values lie such that their `δ` is known from there.
struct Scale {
    place: BTreeMap<u64, f64>,
}

impl Scale {
    fn of<'a>(values: impl Iterator<Item = &'a f64>, level: Level) -> Self {
        let mut counts: BTreeMap<u64, f64> = BTreeMap::new();
        values.for_each(|value| *counts.entry(key(*value)).or_insert(0.0) += 1.0);
        let n: f64 = counts.values().sum();
        // Alpha has no unit, and squares in another one could overflow.
        let largest = counts.keys().map(|key| value(*key).abs()).fold(f64::MIN_POSITIVE, f64::max);
        let mean =
            counts.iter().map(|(key, count)| value(*key) / largest * (count / n)).sum::<f64>();
        let mut below = 0.0;
        let place = counts.into_iter().map(|(key, count)| {
            below += count;
            let place = match level {
                Level::Ordinal => below - 0.5 * count - 0.5 * n,
                // Squares of what is far from 0 would lose digits.
                Level::Interval => value(key) / largest - mean,
                Level::Nominal | Level::Ratio => value(key) / largest,
            };
            (key, place)
        });
        Self { place: place.collect() }
    }

    /// Places and how many values lie there.
    fn counts<'a>(&self, values: impl Iterator<Item = &'a f64>) -> Vec<(f64, f64)> {
        let mut counts: BTreeMap<u64, f64> = BTreeMap::new();
        values.for_each(|value| *counts.entry(key(*value)).or_insert(0.0) += 1.0);
        counts.into_iter().map(|(key, count)| (self.place[&key], count)).collect()
    }
}

/// `Σ n_a n_b δ²(a, b)` over ordered pairs of places.
fn differences(counts: &[(f64, f64)], level: Level) -> f64 {
    let sum = |of: fn(f64, f64) -> f64| counts.iter().map(|(place, n)| of(*place, *n)).sum::<f64>();
    let n = sum(|_, n| n);
    match level {
        Level::Nominal => n * n - sum(|_, n| n * n),
        Level::Ordinal | Level::Interval => {
            let first = sum(|place, n| n * place);
            (2.0 * (n * sum(|place, n| n * place * place) - first * first)).max(0.0)
        }
        Level::Ratio => ratios(counts),
    }
}

fn ratios(counts: &[(f64, f64)]) -> f64 {
    let pairs =
        counts.iter().enumerate().flat_map(|(at, a)| counts[..at].iter().map(move |b| (a, b)));
    pairs.map(|((a, n_a), (b, n_b))| 2.0 * n_a * n_b * ((a - b) / (a + b)).powi(2)).sum()
}

/// A number's bits, flipped such that they have its order; −0 is 0.
fn key(value: f64) -> u64 {
    let bits = (value + 0.0).to_bits();
    if bits >> 63 == 1 { !bits } else { bits | 1 << 63 }
}

fn value(key: u64) -> f64 {
    f64::from_bits(if key >> 63 == 1 { key & !(1 << 63) } else { !key })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_have_the_order_of_numbers() {
        let numbers = [-1e300, -2.0, -1e-300, 0.0, 1e-300, 2.0, 1e300];
        assert!(numbers.windows(2).all(|pair| key(pair[0]) < key(pair[1])));
        assert!(numbers.iter().all(|it| value(key(*it)) == *it));
        assert_eq!(key(-0.0), key(0.0));
    }

    #[test]
    fn units_of_measurement_say_nothing() {
        let alpha = |scale: f64, level| {
            let units = [[1.0, 1.0], [2.0, 3.0], [4.0, 4.0], [1.0, 4.0]];
            let units = units.map(|unit| unit.map(|it| it * scale).to_vec());
            krippendorff(&units, level).expect("values differ")
        };
        for level in [Level::Nominal, Level::Ordinal, Level::Interval, Level::Ratio] {
            for scale in [1e-300, 1e-3, 4e307] {
                assert!((alpha(scale, level) - alpha(1.0, level)).abs() < 1e-12, "{level:?}");
            }
        }
    }

    #[test]
    fn nothing_to_disagree_about_has_no_alpha() {
        for level in [Level::Nominal, Level::Ordinal, Level::Interval, Level::Ratio] {
            assert_eq!(krippendorff(&[], level), None);
            assert_eq!(krippendorff(&[vec![1.0], vec![2.0]], level), None);
            assert_eq!(krippendorff(&[vec![3.0, 3.0], vec![3.0, 3.0]], level), None);
            assert_eq!(krippendorff(&[vec![1.0, f64::NAN]], level), None);
        }
        assert_eq!(krippendorff(&[vec![-1.0, 1.0]], Level::Ratio), None);
    }
}
