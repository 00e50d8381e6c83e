/// What a point says about the step that leads to it.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Outlook {
    /// `Σ ρ A / n`
    pub surrogate: f64,
    /// The mean divergence from the policy before the step, in nats a token.
    pub kl: f64,
}

impl Outlook {
    /// Whether the step may be taken: within the region, and better than `surrogate`.
    fn improves(self, surrogate: f64, max_kl: f64) -> bool {
        let is_finite = self.surrogate.is_finite() && self.kl.is_finite();
        is_finite && self.surrogate > surrogate && self.kl <= max_kl
    }
}

/// How far a line search goes.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Search {
    /// The largest mean divergence, in nats a token.
    pub max_kl: f64,
    /// How often the step is shortened before it is given up.
    pub max_cuts: usize,
    /// What a shortened step is multiplied by.
    pub backtrack: f64,
}

/// A step that may be taken.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Accepted {
    /// The part of the whole step.
    pub scale: f64,
    /// How often it was shortened.
    pub n_cuts: usize,
    /// Where it leads.
    pub outlook: Outlook,
}

/// Looks at parts `1, b, b², …` of a step for the first that keeps the divergence within the region and
/// improves on the surrogate of the beginning (Schulman et al., 2015, appendix C); `None` if there is none.
///
/// Points are looked at and never entered, so that there is nothing to restore.
pub fn backtrack(
    beginning: f64,
    search: &Search,
    mut outlook: impl FnMut(f64) -> Outlook,
) -> Option<Accepted> {
    let parts = (0..=search.max_cuts).map(|n_cuts| (n_cuts, search.backtrack.powi(n_cuts as i32)));
    let mut looks =
        parts.map(|(n_cuts, scale)| Accepted { scale, n_cuts, outlook: outlook(scale) });
    looks.find(|it| it.outlook.improves(beginning, search.max_kl))
}

#[cfg(test)]
mod tests {
    use super::*;

    const SEARCH: Search = Search { max_kl: 0.01, max_cuts: 10, backtrack: 0.5 };

    /// `L = s` and `KL = 0.05 s²`: 0.05, then 0.0125, then 0.003125 ≤ 0.01 at a quarter of the step.
    #[test]
    fn the_first_part_within_the_region_is_taken() {
        let look = |scale: f64| Outlook { surrogate: scale, kl: 0.05 * scale * scale };
        let accepted = backtrack(0.0, &SEARCH, look).expect("a part fits");
        assert_eq!((accepted.scale, accepted.n_cuts), (0.25, 2));
        assert_eq!(accepted.outlook, look(0.25));
    }

    #[test]
    fn what_does_not_improve_or_is_not_finite_is_given_up() {
        let [nan, inf] = [f64::NAN, f64::INFINITY];
        for (surrogate, kl) in [(1.0, 0.0), (2.0, 0.02), (nan, 0.0), (2.0, nan), (inf, 0.0)] {
            let mut n_looks = 0;
            let look = |_| {
                n_looks += 1;
                Outlook { surrogate, kl }
            };
            assert_eq!(backtrack(1.0, &SEARCH, look), None, "{surrogate}, {kl}");
            assert_eq!(n_looks, 11);
        }
    }
}
