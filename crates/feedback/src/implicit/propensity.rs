//! How often each place is looked at.

use std::collections::BTreeMap;

use super::tally::{Cell, Tally};
use crate::error::FeedbackError;

/// Propensities below this count as this much, unless told otherwise.
pub const DEFAULT_CLIP: f64 = 0.1;

/// The probability that a place is looked at, relative to the first: 1 at position 1.
#[derive(Clone, Debug, PartialEq)]
pub enum Propensities {
    /// By place. A place that isn't among them takes the nearest above it, or else 1.
    ByPosition(BTreeMap<u32, f64>),
    /// `(1/position)^eta`: 0 is no bias, 1 is Zipf's.
    PowerLaw {
        /// The exponent.
        eta: f64,
    },
}

impl Propensities {
    /// These values, from the top.
    ///
    /// # Errors
    /// A value that isn't a probability above 0.
    pub fn given(values: &[f64]) -> Result<Self, FeedbackError> {
        match values.iter().find(|value| !(**value > 0.0 && **value <= 1.0)) {
            Some(value) => Err(FeedbackError::Invalid(format!(
                "a propensity is a probability above 0 and up to 1, not {value}"
            ))),
            None => Ok(Self::ByPosition((1..).zip(values.iter().copied()).collect())),
        }
    }

    /// Measured from orders that were drawn at random (`Tally::of` those impressions that
    /// [are randomised](super::Impression::is_randomised)).
    ///
    /// A response that stood at position 1 and at `k` is compared with itself, so that what it is worth
    /// cancels: `p_k = Σ_d c_dk n_d1/(n_d1 + n_dk) / Σ_d c_d1 n_dk/(n_d1 + n_dk)` with views `n` and
    /// clicks `c`; at most 1. This is the ratio of the swap intervention (Joachims, Swaminathan,
    /// Schnabel, WSDM 2017), pooled over responses as Mantel and Haenszel pool strata (1959).
    ///
    /// `None` if nothing was clicked at position 1 that stood at another, too.
    pub fn measured(randomised: &Tally) -> Option<Self> {
        let ratios = ratios(randomised);
        let measured = ratios.iter().map(|(position, ratio)| (*position, ratio.value().min(1.0)));
        let by_position: BTreeMap<u32, f64> = [(1, 1.0)].into_iter().chain(measured).collect();
        (!ratios.is_empty()).then_some(Self::ByPosition(by_position))
    }

    /// The power law that is nearest to what [`measured`](Self::measured) finds: least squares of
    /// `ln p_k = −eta ln k`, each place with the inverse variance `1/(1/c_k + 1/c_1)` of its logarithm;
    /// `eta` is 0 at least.
    ///
    /// `None` if nothing was clicked at two places.
    pub fn fitted_power_law(randomised: &Tally) -> Option<Self> {
        let (mut products, mut squares) = (0.0, 0.0);
        for (position, ratio) in ratios(randomised) {
            if ratio.clicks > 0.0 {
                let log_position = f64::from(position).ln();
                let weight = 1.0 / (1.0 / ratio.clicks + 1.0 / ratio.first_clicks);
                products -= weight * log_position * ratio.value().ln();
                squares += weight * log_position * log_position;
            }
        }
        (squares > 0.0).then(|| Self::PowerLaw { eta: (products / squares).max(0.0) })
    }

    /// The propensity of a place, counted from 1.
    pub fn at(&self, position: u32) -> f64 {
        match self {
            Self::ByPosition(values) => {
                values.range(..=position).next_back().map_or(1.0, |(_, value)| *value)
            }
            Self::PowerLaw { eta } => f64::from(position).powf(-eta),
        }
    }
}

/// Clicks at a place and at the first, of the same responses, as if both had been shown as often.
#[derive(Clone, Copy, Default)]
struct Ratio {
    clicks: f64,
    first_clicks: f64,
}

impl Ratio {
    fn value(self) -> f64 {
        self.clicks / self.first_clicks
    }
}

/// The ratio of every place but the first for which there is one.
fn ratios(tally: &Tally) -> BTreeMap<u32, Ratio> {
    let mut ratios: BTreeMap<u32, Ratio> = BTreeMap::new();
    for (_, places) in tally.iter() {
        let Some(first) = places.get(&1) else { continue };
        for (position, cell) in places.range(2..) {
            add(ratios.entry(*position).or_default(), *first, *cell);
        }
    }
    ratios.retain(|_, ratio| ratio.first_clicks > 0.0);
    ratios
}

fn add(ratio: &mut Ratio, first: Cell, cell: Cell) {
    let n_views = first.views + cell.views;
    if n_views > 0.0 {
        ratio.clicks += cell.clicks * first.views / n_views;
        ratio.first_clicks += first.clicks * cell.views / n_views;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::implicit::tally::Shown;

    fn tally(cells: &[(&str, u32, f64, f64)]) -> Tally {
        let mut tally = Tally::default();
        for (response, position, views, clicks) in cells {
            let shown = Shown { prompt_id: "p".into(), response_id: (*response).into() };
            tally.add(shown, *position, Cell { views: *views, clicks: *clicks });
        }
        tally
    }

    #[test]
    fn what_responses_are_worth_cancels() {
        // Worth 0.8 and 0.2, p_2 = 0.5; the good one mostly stands at the top.
        let tally = tally(&[
            ("a", 1, 90.0, 72.0),
            ("a", 2, 10.0, 4.0),
            ("b", 1, 10.0, 2.0),
            ("b", 2, 90.0, 9.0),
        ]);
        let measured = Propensities::measured(&tally).expect("both stood at both places");
        assert!((measured.at(2) - 0.5).abs() < 1e-12, "{measured:?}");
        assert_eq!((measured.at(1), measured.at(7)), (1.0, measured.at(2)));
        // ln 0.5 = −eta ln 2.
        let Some(Propensities::PowerLaw { eta }) = Propensities::fitted_power_law(&tally) else {
            panic!("is fitted");
        };
        assert!((eta - 1.0).abs() < 1e-12, "{eta}");
    }

    #[test]
    fn without_clicks_or_swaps_nothing_is_measured() {
        let no_swap = tally(&[("a", 1, 9.0, 9.0), ("b", 2, 9.0, 1.0)]);
        let no_click = tally(&[("a", 1, 9.0, 0.0), ("a", 2, 9.0, 0.0)]);
        for tally in [Tally::default(), no_swap, no_click] {
            assert_eq!(Propensities::measured(&tally), None);
            assert_eq!(Propensities::fitted_power_law(&tally), None);
        }
        let none_below = tally(&[("a", 1, 9.0, 5.0), ("a", 2, 9.0, 0.0)]);
        assert_eq!(Propensities::measured(&none_below).map(|it| it.at(2)), Some(0.0));
        assert_eq!(Propensities::fitted_power_law(&none_below), None);
    }

    #[test]
    fn given_values_are_probabilities() {
        assert_eq!(Propensities::given(&[1.0, 0.5]).expect("is taken").at(2), 0.5);
        for bad in [0.0, -1.0, 1.5, f64::NAN] {
            assert!(Propensities::given(&[1.0, bad]).is_err(), "{bad}");
        }
    }
}
