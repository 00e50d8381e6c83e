//! The cascade model.

use std::collections::{BTreeMap, BTreeSet};

use super::events::Impression;
use super::position_based::{Mean, has_converged};
use super::tally::Shown;

/// Iterations after which expectation maximisation gives up.
const MAX_ITERATIONS: usize = 2000;
/// Where the fit of the continuation begins.
const FIRST_CONTINUATION: f64 = 0.5;

/// How probable it is that who wasn't attracted looks at the next response, too.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Continuation {
    /// Certain: the model of Craswell et al.
    Certain,
    /// To be found. The orders must vary, or it can't be told from attractiveness.
    Fitted,
}

/// People look from the top and click the first response that attracts them (Craswell, Zoeter, Taylor,
/// Ramsey, WSDM 2008), perhaps giving up after each that doesn't (Chapelle, Zhang, WWW 2009,
/// without clicks that don't satisfy). Only the uppermost click of a list counts.
#[derive(Clone, Debug, PartialEq)]
pub struct Cascade {
    /// Probability that a response is clicked when looked at.
    pub attractiveness: BTreeMap<Shown, f64>,
    /// Probability of looking on after a response that wasn't clicked.
    pub continuation: f64,
    /// Log-likelihood of the clicks in nats before each iteration, and after the last.
    pub log_likelihoods: Vec<f64>,
}

impl Cascade {
    /// The most likely model by expectation maximisation.
    ///
    /// Hidden is only where somebody stopped who clicked nothing: after the `s`-th of `n` responses
    /// with probability proportional to `γ^(s−1) Π_{i≤s} (1 − α_i)`, times `1 − γ` if `s < n`. With a
    /// certain continuation nothing is hidden, and the first iteration is the last that changes
    /// anything: clicks over looks.
    pub fn fit(impressions: &[Impression], continuation: Continuation) -> Self {
        let (shown, scans) = scans(impressions);
        let n_lists = scans.values().sum();
        let mut model = Values {
            attractiveness: vec![0.5; shown.len()],
            continuation: match continuation {
                Continuation::Certain => 1.0,
                Continuation::Fitted => FIRST_CONTINUATION,
            },
        };
        let mut log_likelihoods = vec![model.log_likelihood(&scans)];
        for _ in 0..MAX_ITERATIONS {
            model = model.improve(&scans, continuation);
            log_likelihoods.push(model.log_likelihood(&scans));
            if has_converged(&log_likelihoods, n_lists) {
                break;
            }
        }
        Self {
            attractiveness: shown.into_iter().zip(model.attractiveness).collect(),
            continuation: model.continuation,
            log_likelihoods,
        }
    }
}

/// The responses of a list from the top, by number, down to the uppermost click if there is one.
#[derive(PartialEq, Eq, PartialOrd, Ord)]
struct Scan {
    responses: Vec<usize>,
    is_clicked: bool,
}

/// Equal scans are counted, so that neither their number nor their order changes the sums.
type Scans = BTreeMap<Scan, f64>;

fn scans(impressions: &[Impression]) -> (Vec<Shown>, Scans) {
    let names: BTreeSet<Shown> = impressions.iter().flat_map(names).collect();
    let names: Vec<Shown> = names.into_iter().collect();
    let mut scans = Scans::new();
    for impression in impressions.iter().filter(|it| !it.items.is_empty()) {
        *scans.entry(scan(impression, &names)).or_default() += 1.0;
    }
    (names, scans)
}

fn scan(impression: &Impression, sorted: &[Shown]) -> Scan {
    let number = |shown| sorted.binary_search(&shown).expect("all names are there");
    let click = impression.items.iter().position(|it| impression.is_clicked(&it.response_id));
    let n_seen = click.map_or(impression.items.len(), |place| place + 1);
    let responses = names(impression).take(n_seen).map(number).collect();
    Scan { responses, is_clicked: click.is_some() }
}

fn names(impression: &Impression) -> impl Iterator<Item = Shown> {
    impression.items.iter().map(|item| Shown {
        prompt_id: impression.prompt_id.clone(),
        response_id: item.response_id.clone(),
    })
}

struct Values {
    attractiveness: Vec<f64>,
    continuation: f64,
}

impl Values {
    fn log_likelihood(&self, scans: &Scans) -> f64 {
        scans.iter().map(|(scan, count)| count * self.log_probability(scan)).sum()
    }

    fn log_probability(&self, scan: &Scan) -> f64 {
        match scan.responses.split_last() {
            Some((clicked, above)) if scan.is_clicked => {
                let pass = |it: &usize| (1.0 - self.attractiveness[*it]) * self.continuation;
                let passes: f64 = above.iter().map(|it| pass(it).ln()).sum();
                passes + self.attractiveness[*clicked].ln()
            }
            _ => self.stops(scan).iter().sum::<f64>().max(f64::MIN_POSITIVE).ln(),
        }
    }

    /// Of a list without a click: the probability of stopping after each response, and clicking none.
    fn stops(&self, scan: &Scan) -> Vec<f64> {
        let n_responses = scan.responses.len();
        let mut reached = 1.0;
        let stop = |(place, response): (usize, &usize)| {
            let passed = reached * (1.0 - self.attractiveness[*response]);
            reached = passed * self.continuation;
            if place + 1 == n_responses { passed } else { passed * (1.0 - self.continuation) }
        };
        scan.responses.iter().enumerate().map(stop).collect()
    }

    /// One iteration.
    fn improve(&self, scans: &Scans, continuation: Continuation) -> Self {
        let mut attracted = vec![Mean::default(); self.attractiveness.len()];
        let mut goes_on = Mean::default();
        for (scan, count) in scans {
            let looks = self.looks(scan);
            for (place, (response, look)) in scan.responses.iter().zip(&looks).enumerate() {
                let next = looks.get(place + 1);
                let is_clicked = scan.is_clicked && next.is_none();
                attracted[*response].add(if is_clicked { *count } else { 0.0 }, count * look);
                if let Some(next) = next {
                    goes_on.add(count * next, count * look);
                }
            }
        }
        Self {
            attractiveness: attracted.into_iter().map(Mean::value).collect(),
            continuation: match continuation {
                Continuation::Certain => 1.0,
                Continuation::Fitted => goes_on.value(),
            },
        }
    }

    /// The probability that each response was looked at, given the clicks.
    fn looks(&self, scan: &Scan) -> Vec<f64> {
        if scan.is_clicked {
            return vec![1.0; scan.responses.len()];
        }
        let mut looks = self.stops(scan);
        for place in (1..looks.len()).rev() {
            looks[place - 1] += looks[place];
        }
        let total = looks[0].max(f64::MIN_POSITIVE);
        looks.iter().map(|look| look / total).collect()
    }
}

#[cfg(test)]
mod tests {
    use rand::RngExt;
    use rein_data::seed::{Seed, shuffle};

    use super::*;
    use crate::implicit::events::tests::impression;

    const ATTRACTIVENESS: [f64; 4] = [0.1, 0.2, 0.4, 0.6];

    /// Lists in random orders, looked through as the model says.
    fn log(n_lists: usize, continuation: f64) -> Vec<Impression> {
        let mut rng = Seed::new(5).rng();
        let mut list = |number| {
            let mut order = [0, 1, 2, 3];
            shuffle(&mut order, &mut rng);
            let mut click = None;
            for response in order {
                if rng.random_bool(ATTRACTIVENESS[response]) {
                    click = Some(response.to_string());
                    break;
                }
                if !rng.random_bool(continuation) {
                    break;
                }
            }
            let click: Vec<&str> = click.iter().map(String::as_str).collect();
            impression(number, &order.map(|it| it.to_string()), &click)
        };
        (0..n_lists).map(&mut list).collect()
    }

    fn assert_recovered(model: &Cascade, tolerance: f64) {
        for (got, want) in model.attractiveness.values().zip(ATTRACTIVENESS) {
            assert!((got - want).abs() < tolerance, "{:?}", model.attractiveness);
        }
        let lls = &model.log_likelihoods;
        assert!(lls.windows(2).all(|it| it[1] >= it[0] - 1e-9 * it[0].abs()), "{lls:?}");
    }

    #[test]
    fn with_a_certain_continuation_it_is_clicks_over_looks_at_once() {
        let model = Cascade::fit(&log(20_000, 1.0), Continuation::Certain);
        assert_recovered(&model, 0.02);
        assert_eq!((model.continuation, model.log_likelihoods.len()), (1.0, 3));

        // a is looked at three times and clicked once, b is looked at twice.
        let lists = [["a", "b"], ["a", "b"], ["b", "a"]].map(|it| it.map(String::from));
        let clicks: [&[&str]; 3] = [&["a", "b"], &[], &[]];
        let log: Vec<Impression> =
            (0..3).map(|it| impression(it, &lists[it], clicks[it])).collect();
        let model = Cascade::fit(&log, Continuation::Certain);
        let values: Vec<f64> = model.attractiveness.into_values().collect();
        assert_eq!(values, [1.0 / 3.0, 1e-12]);
    }

    #[test]
    fn impatience_is_told_from_unattractive_responses() {
        let log = log(40_000, 0.7);
        let model = Cascade::fit(&log, Continuation::Fitted);
        assert_recovered(&model, 0.03);
        assert!((model.continuation - 0.7).abs() < 0.03, "{}", model.continuation);
        let certain = Cascade::fit(&log, Continuation::Certain);
        let last = |model: &Cascade| *model.log_likelihoods.last().expect("one at least");
        assert!(last(&model) > last(&certain) + 100.0, "{} {}", last(&model), last(&certain));
    }

    #[test]
    fn extremes_stay_finite() {
        let names: [String; 64] = std::array::from_fn(|it| format!("{it:02}"));
        let clicked: Vec<Impression> =
            (0..64).map(|it| impression(it, &names[it..=it], &[&names[it]])).collect();
        let unclicked = impression(99, &names, &[]);
        let all: Vec<Impression> = clicked.iter().cloned().chain([unclicked.clone()]).collect();
        for log in [&[][..], &clicked, &all, &[unclicked]] {
            for continuation in [Continuation::Certain, Continuation::Fitted] {
                let model = Cascade::fit(log, continuation);
                let values = model.attractiveness.values().chain(&model.log_likelihoods);
                assert!(values.chain([&model.continuation]).all(|it| it.is_finite()), "{model:?}");
            }
        }
    }
}
