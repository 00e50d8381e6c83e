use std::cmp::Ordering;

/// Kendall's `τ = (C − D) / (n (n − 1) / 2)` (Kendall, 1938), with `C` and `D` the pairs in the same and in opposite
/// order in both lists; tied pairs are neither. From −1 to 1; none for lists of different lengths, for fewer than two
/// numbers, and for NaN. Takes time quadratic in the length.
pub fn kendall_tau(a: &[f64], b: &[f64]) -> Option<f64> {
    let counts = count(a, b)?;
    let n_pairs = (a.len() * (a.len() - 1) / 2) as f64;
    (n_pairs > 0.0).then(|| counts.concordance / n_pairs)
}

/// Kendall's `τ_b = (C − D) / √((P − T_a) (P − T_b))` (Kendall, 1945), with `P` all pairs and `T_a`, `T_b` those tied
/// in a list; without ties it is [`kendall_tau`]. None also where a list is all ties.
pub fn kendall_tau_b(a: &[f64], b: &[f64]) -> Option<f64> {
    let counts = count(a, b)?;
    let scale = (counts.untied_a * counts.untied_b).sqrt();
    (scale > 0.0).then(|| (counts.concordance / scale).clamp(-1.0, 1.0))
}

struct Counts {
    concordance: f64,
    untied_a: f64,
    untied_b: f64,
}

fn count(a: &[f64], b: &[f64]) -> Option<Counts> {
    if a.len() != b.len() || a.is_empty() {
        return None;
    }
    let mut counts = Counts { concordance: 0.0, untied_a: 0.0, untied_b: 0.0 };
    for at in 0..a.len() {
        for before in 0..at {
            let in_a = sign(a[before].partial_cmp(&a[at])?);
            let in_b = sign(b[before].partial_cmp(&b[at])?);
            counts.concordance += in_a * in_b;
            counts.untied_a += in_a.abs();
            counts.untied_b += in_b.abs();
        }
    }
    Some(counts)
}

fn sign(ordering: Ordering) -> f64 {
    f64::from(ordering as i8)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ties_count_by_their_list() {
        // Of 6 pairs 4 agree, 1 is tied in a and 1 in b: τ = 4 / 6, τ_b = 4 / √(5 · 5).
        let (a, b) = ([1.0, 2.0, 2.0, 3.0], [1.0, 2.0, 3.0, 3.0]);
        assert_eq!(kendall_tau(&a, &b), Some(4.0 / 6.0));
        assert_eq!(kendall_tau_b(&a, &b), Some(0.8));
    }

    #[test]
    fn nothing_to_compare_has_no_tau() {
        assert_eq!(kendall_tau(&[1.0], &[1.0]), None);
        assert_eq!(kendall_tau_b(&[1.0, 1.0], &[1.0, 2.0]), None);
        assert_eq!(kendall_tau(&[1.0, f64::NAN], &[1.0, 2.0]), None);
        assert_eq!(kendall_tau(&[1.0, 2.0], &[1.0]), None);
    }
}
