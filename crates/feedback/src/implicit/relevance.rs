//! What each response is worth, from its clicks.

use std::collections::BTreeMap;

use super::propensity::Propensities;
use super::tally::{Cell, Shown, Tally};

/// Clicks over views. Biased: what stands at the top is clicked for standing there.
pub fn click_rates(tally: &Tally) -> BTreeMap<Shown, f64> {
    by_response(tally, |places| {
        ratio(sum(places, |_, it| it.clicks), sum(places, |_, it| it.views))
    })
}

/// Inverse propensity scoring: `Σ_i c_i / max(p(pos_i), clip) / n` over the `n` views of a response
/// (Joachims, Swaminathan, Schnabel, WSDM 2017; clipped as in Strehl et al., NeurIPS 2010).
///
/// Without clipping its expectation is the probability that who looks at the response clicks it,
/// wherever it stood. Clipping bounds the variance, and undervalues what stood where few look. A value
/// can exceed 1, as the noise of a few clicks at a place that few look at. `clip` above 0 keeps all
/// values finite; [`DEFAULT_CLIP`](super::DEFAULT_CLIP) is 0.1.
pub fn ips(tally: &Tally, propensities: &Propensities, clip: f64) -> BTreeMap<Shown, f64> {
    let weight = |position| 1.0 / propensities.at(position).max(clip);
    by_response(tally, |places| {
        let clicks = sum(places, |position, it| it.clicks * weight(position));
        ratio(clicks, sum(places, |_, it| it.views))
    })
}

/// Self-normalised inverse propensity scoring: `Σ_i c_i w_i / Σ_i p(pos_i) w_i`, with
/// `w_i = 1 / max(p(pos_i), clip)`.
///
/// Swaminathan and Joachims (NeurIPS 2015) divide by the sum of the weights of what was
/// observed. Whether somebody looked isn't logged; its probability stands in. So this gives back on
/// average what clipping takes from [`ips`], and without clipping is the same.
pub fn snips(tally: &Tally, propensities: &Propensities, clip: f64) -> BTreeMap<Shown, f64> {
    let weight = |position| 1.0 / propensities.at(position).max(clip);
    by_response(tally, |places| {
        let clicks = sum(places, |position, it| it.clicks * weight(position));
        let looks = |position| propensities.at(position) * weight(position);
        ratio(clicks, sum(places, |position, it| it.views * looks(position)))
    })
}

fn by_response(tally: &Tally, value: impl Fn(&BTreeMap<u32, Cell>) -> f64) -> BTreeMap<Shown, f64> {
    tally.iter().map(|(shown, places)| (shown.clone(), value(places))).collect()
}

fn sum(places: &BTreeMap<u32, Cell>, value: impl Fn(u32, Cell) -> f64) -> f64 {
    places.iter().map(|(position, cell)| value(*position, *cell)).sum()
}

/// Nothing seen is worth nothing.
fn ratio(clicks: f64, views: f64) -> f64 {
    if views > 0.0 { clicks / views } else { 0.0 }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn value(of: &BTreeMap<Shown, f64>) -> f64 {
        *of.values().next().expect("one response")
    }

    /// Worth 0.6, seen 100 times at the top and 100 times at the fourth place of eta = 1.
    fn tally() -> Tally {
        let shown = Shown { prompt_id: "p".into(), response_id: "a".into() };
        let mut tally = Tally::default();
        tally.add(shown.clone(), 1, Cell { views: 100.0, clicks: 60.0 });
        tally.add(shown, 4, Cell { views: 100.0, clicks: 15.0 });
        tally
    }

    #[test]
    fn dividing_by_the_propensity_undoes_the_position() {
        let (tally, zipf) = (tally(), Propensities::PowerLaw { eta: 1.0 });
        assert!((value(&click_rates(&tally)) - 0.375).abs() < 1e-12);
        assert!((value(&ips(&tally, &zipf, 0.1)) - 0.6).abs() < 1e-12);
        // Clipped at 0.5: (60 + 15 · 2) / 200; given back: (60 + 30) / (100 + 100 · 0.25 · 2).
        assert!((value(&ips(&tally, &zipf, 0.5)) - 0.45).abs() < 1e-12);
        assert!((value(&snips(&tally, &zipf, 0.5)) - 0.6).abs() < 1e-12);
    }

    #[test]
    fn without_position_bias_all_are_the_click_rate() {
        let (tally, level) = (tally(), Propensities::PowerLaw { eta: 0.0 });
        assert_eq!(ips(&tally, &level, 0.1), click_rates(&tally));
        assert_eq!(snips(&tally, &level, 0.1), click_rates(&tally));
    }

    #[test]
    fn a_place_that_nobody_looks_at_gives_no_nan() {
        let nobody = Propensities::ByPosition(BTreeMap::from([(1, 0.0)]));
        assert_eq!(value(&ips(&tally(), &nobody, 0.1)), 3.75);
        assert_eq!(value(&snips(&tally(), &nobody, 0.1)), 0.0);
    }
}
