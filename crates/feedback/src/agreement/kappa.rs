use std::collections::BTreeMap;

use crate::error::FeedbackError;

/// What disagreements of two people cost.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Weights {
    /// All alike.
    None,
    /// By how many grades they differ.
    Linear,
    /// By the square of that.
    Quadratic,
}

impl Weights {
    fn cost(self, a: i64, b: i64) -> f64 {
        match self {
            Self::None => f64::from(a != b),
            Self::Linear => a.abs_diff(b) as f64,
            Self::Quadratic => (a.abs_diff(b) as f64).powi(2),
        }
    }
}

/// Cohen's `κ = 1 − Σ w_ij o_ij / Σ w_ij e_ij` (Cohen, 1960 and 1968) of two people's grades of the same things: the
/// mean cost `w` of what they said against that of their grades paired at random. Grades are numbers: 1 and 5 are 4
/// apart whether or not anybody gave a 3.
///
/// None without grades, and where random pairs cost nothing. Takes time quadratic in the number of different grades.
pub fn cohen(grades: &[(i64, i64)], weights: Weights) -> Option<f64> {
    let n = grades.len() as f64;
    let cost: f64 = grades.iter().map(|(a, b)| weights.cost(*a, *b)).sum();
    let [of_a, of_b] = [counts(grades.iter().map(|it| it.0)), counts(grades.iter().map(|it| it.1))];
    let pairs = of_a.iter().flat_map(|a| of_b.iter().map(move |b| (a, b)));
    let by_chance: f64 =
        pairs.map(|((a, n_a), (b, n_b))| weights.cost(*a, *b) * n_a * n_b / n).sum();
    (by_chance > 0.0).then(|| 1.0 - cost / by_chance)
}

fn counts(grades: impl Iterator<Item = i64>) -> BTreeMap<i64, f64> {
    let mut counts = BTreeMap::new();
    grades.for_each(|grade| *counts.entry(grade).or_insert(0.0) += 1.0);
    counts
}

/// Fleiss' `κ = (P̄ − P̄_e) / (1 − P̄_e)` (Fleiss, 1971). `counts[i][j]` is how many people put thing `i` into class
/// `j`; with `n` people for each of `N` things,
///
/// `P̄ = mean_i (Σ_j n_ij² − n) / (n (n − 1))`, `P̄_e = Σ_j p_j²`, `p_j = Σ_i n_ij / (N n)`
///
/// None without things, with fewer than two people, and where one class has all.
///
/// # Errors
/// Where things don't all have as many people; Krippendorff's α is for those.
pub fn fleiss(counts: &[Vec<u64>]) -> Result<Option<f64>, FeedbackError> {
    let sum = |row: &[u64]| row.iter().map(|it| *it as f64).sum::<f64>();
    let n = counts.first().map_or(0.0, |row| sum(row));
    if let Some(row) = counts.iter().position(|row| sum(row) != n) {
        let (number, found) = (row + 1, sum(&counts[row]));
        let what = format!(
            "row {number}: {found} people judged it, and {n} the first; \
             Krippendorff's alpha takes different numbers"
        );
        return Err(FeedbackError::Invalid(what));
    }
    let n_classes = counts.iter().map(Vec::len).max().unwrap_or(0);
    let all = counts.len() as f64 * n;
    let share = |class| {
        counts.iter().filter_map(|row| row.get(class)).map(|it| *it as f64).sum::<f64>() / all
    };
    let by_chance: f64 = (0..n_classes).map(|class| share(class).powi(2)).sum();
    let agree = |row: &Vec<u64>| row.iter().map(|it| (*it as f64).powi(2)).sum::<f64>() - n;
    let observed = counts.iter().map(agree).sum::<f64>() / (all * (n - 1.0));
    Ok((n > 1.0 && by_chance < 1.0).then(|| (observed - by_chance) / (1.0 - by_chance)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn people_who_always_say_the_same_have_no_kappa() {
        assert_eq!(cohen(&[(1, 1), (1, 1)], Weights::Linear), None);
        assert_eq!(cohen(&[], Weights::None), None);
        assert_eq!(fleiss(&[vec![3, 0], vec![3, 0]]).expect("3 people each"), None);
        assert_eq!(fleiss(&[]).expect("nothing"), None);
        assert_eq!(fleiss(&[vec![0, 1]]).expect("1 person"), None);
    }

    #[test]
    fn grades_far_apart_dont_overflow() {
        assert_eq!(
            cohen(&[(i64::MIN, i64::MAX), (i64::MAX, i64::MIN)], Weights::Linear),
            Some(-1.0)
        );
    }

    #[test]
    fn as_many_people_for_each_thing() {
        let error = fleiss(&[vec![2, 1], vec![1, 1]]).expect_err("2 people, not 3");
        assert!(error.to_string().starts_with("row 2: 2 people judged it"), "{error}");
    }
}
