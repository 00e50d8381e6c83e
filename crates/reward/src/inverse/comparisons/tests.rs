use rein_data::seed::Seed;

use super::asking::{FAINT, UNASKED};
use super::*;
use crate::cholesky::{add_square, quadratic};
use crate::meta::posterior_head;

const RIDGE: f64 = 0.7;

/// Pairs of some words each.
fn pairs() -> ReadablePairs {
    let side = |number: usize| {
        let words = ["kind", "rude", "long", "short", "sorry", "no"];
        let some = (0..5).map(|at| words[(number * 7 + at * at * (1 + number % 3)) % 6]);
        Completion {
            prompt: format!("p{}", number % 2),
            text: some.collect::<Vec<_>>().join(" "),
            finished: !number.is_multiple_of(4),
            ..Completion::default()
        }
    };
    let pairs: Vec<[Completion; 2]> = (0..12).map(|it| [side(2 * it), side(2 * it + 1)]).collect();
    ReadablePairs::of(&pairs, &FeaturesConfig { min_count: 2, ..FeaturesConfig::default() })
}

fn dense(pairs: &ReadablePairs, pair: usize, sign: f64) -> Vec<f64> {
    let mut row = vec![0.0; pairs.names.len()];
    pairs.differences[pair].iter().for_each(|(at, value)| row[*at] = sign * value);
    row
}

/// The same by a matrix of all features.
fn assert_known(pairs: &ReadablePairs, said: &[Said]) {
    let known = Posterior::of(pairs, said, RIDGE);
    let sign = |first: f64| 2.0 * first - 1.0;
    let rows: Vec<Vec<f64>> = said.iter().map(|it| dense(pairs, it.pair, sign(it.first))).collect();
    let (head, covariance) = posterior_head(&rows, RIDGE);
    for pair in 0..pairs.len() {
        let x = dense(pairs, pair, 1.0);
        assert!((known.gap(pair) - inner(&head, &x)).abs() < 1e-5, "{pair}");
        let want = quadratic(&covariance, &x);
        assert!((known.variance(pair) - want).abs() < 1e-4 * want, "{pair}");
    }
}

#[test]
fn few_and_many_answers_say_the_same_as_a_matrix_of_all_features() {
    let pairs = pairs();
    let say = |pair: usize, first: f64| Said { pair, first };
    assert_known(&pairs, &[say(0, 1.0), say(3, 0.0), say(5, 1.0), say(8, 1.0)]);
    let many: Vec<Said> = (0..2 * pairs.names.len())
        .map(|it| say(it % 11, f64::from(u8::from(it % 3 == 0))))
        .collect();
    assert_known(&pairs, &many);
}

#[test]
fn a_batch_knows_what_it_asks_already() {
    let pairs = pairs();
    let said = [Said { pair: 1, first: 1.0 }, Said { pair: 2, first: 0.25 }];
    let few = Posterior::of(&pairs, &said, RIDGE);
    assert_batch(&pairs, &few, &said);
    let many = said.repeat(pairs.names.len());
    assert_batch(&pairs, &Posterior::of(&pairs, &many, RIDGE), &many);
    // Pairs that are the same are asked once, as long as others tell something.
    let twice = ReadablePairs {
        differences: vec![vec![(0, 3.0)], vec![(0, 3.0)], vec![(1, 2.0)]],
        ..pairs.clone()
    };
    let nothing = Posterior::of(&twice, &[], 1.0);
    assert_eq!(nothing.ask(&[0, 1, 2], 2, 0.0, Seed::new(1)), [0, 2]);
}

#[test]
fn a_focused_posterior_has_a_prior_for_each_feature() {
    let pairs = pairs();
    let said: Vec<Said> =
        [(0, 1.0), (3, 0.0), (5, 1.0), (8, 0.5)].map(|(pair, first)| Said { pair, first }).into();
    let known = Posterior::of(&pairs, &said, RIDGE);
    let asked: Vec<usize> = known.asked().collect();
    let focused_pairs = pairs.focused(&known.theta, &asked);
    let focused = Posterior::of(&focused_pairs, &said, RIDGE);
    // The prior variances, by their definition.
    let rows: Vec<Vec<f64>> = asked.iter().map(|pair| dense(&pairs, *pair, 1.0)).collect();
    let raw: Vec<f64> = known.theta.iter().map(|it| (it.abs() + FAINT).powi(2)).collect();
    let square = |weights: &[f64]| -> f64 {
        rows.iter().map(|row| row.iter().zip(weights).map(|(x, w)| w * x * x).sum::<f64>()).sum()
    };
    let scale = square(&vec![1.0; raw.len()]) / square(&raw);
    let is_asked = |at: usize| rows.iter().any(|row| row[at] != 0.0);
    assert!((0..raw.len()).any(|at| !is_asked(at)), "some feature is in no answer");
    let variance = |at: usize| if is_asked(at) { scale * raw[at] } else { UNASKED };
    let mut precision = diagonal(raw.len(), 0.0);
    (0..raw.len()).for_each(|at| precision[at][at] = RIDGE / variance(at));
    for pair in &asked {
        let p = sigmoid(focused.gap(*pair));
        add_square(&mut precision, p * (1.0 - p), &dense(&pairs, *pair, 1.0));
    }
    let covariance = Cholesky::of(&precision).expect("is positive definite").inverse();
    for pair in 0..pairs.len() {
        let want = quadratic(&covariance, &dense(&pairs, pair, 1.0));
        assert!((focused.variance(pair) / want - 1.0).abs() < 1e-6, "{pair}");
    }
}

#[test]
fn what_counts_is_asked_about_rather_than_what_does_not() {
    let words = ["kind", "rude", "it", "is"];
    let side = |word: usize, at: usize| Completion {
        text: format!("{} {at}", words[word]),
        ..Completion::default()
    };
    // Pairs of words that count, or of words that don't, in turn; most answers were about the first.
    let of = |at: usize, first: usize| [side(first, at), side(first + 1, at)];
    let all: Vec<[Completion; 2]> = (0..64).map(|at| of(at, at % 2 * 2)).collect();
    let config = FeaturesConfig { pairs: false, given: false, ..FeaturesConfig::default() };
    let pairs = ReadablePairs::of(&all, &config);
    let said: Vec<Said> =
        [(0, 1.0), (2, 1.0), (4, 1.0), (1, 0.5)].map(|(pair, first)| Said { pair, first }).into();
    let known = Posterior::of(&pairs, &said, 1.0);
    assert!(known.information(63) > known.information(62), "of all weights, it would tell more");
    let open: Vec<usize> = (6..64).collect();
    let asked = known.ask_focused(&open, 4, 0.0, Seed::new(1));
    assert!(asked.iter().all(|pair| pair % 2 == 0), "{asked:?}");
}

/// A batch is what matrices of all features choose.
fn assert_batch(pairs: &ReadablePairs, known: &Posterior<'_>, said: &[Said]) {
    let among: Vec<usize> = (3..12).collect();
    let chosen = known.most_telling(&among, 3);
    // The same by matrices of all features.
    let mut precision = diagonal(pairs.names.len(), RIDGE);
    let mut add = |pair: usize| {
        let p = sigmoid(known.gap(pair));
        add_square(&mut precision, p * (1.0 - p), &dense(pairs, pair, 1.0));
        Cholesky::of(&precision).expect("is positive definite").inverse()
    };
    let known_of = said.iter().map(|it| add(it.pair)).last();
    let mut covariance = known_of.expect("something was said");
    for (at, pair) in chosen.iter().enumerate() {
        let tells = |it: usize| told(known.gap(it), quadratic(&covariance, &dense(pairs, it, 1.0)));
        let others = among.iter().filter(|it| !chosen[..=at].contains(it));
        for other in others {
            assert!(tells(*pair) >= tells(*other) - 1e-9, "{pair} before {other}");
        }
        covariance = add(*pair);
    }
}

#[test]
fn information_is_the_integral_over_rewards() {
    // By adaptive quadrature (scipy.integrate.quad); the last as rough as the rule is there.
    let cases = [
        (0.0, 1.0, 0.093_708_961, 1e-3),
        (0.5, 1.0, 0.090_455_471, 1e-3),
        (2.0, 4.0, 0.176_599_710, 1e-3),
        (-1.0, 0.1, 0.009_644_795, 1e-3),
        (0.0, 25.0, 0.451_221_127, 0.05),
    ];
    for (gap, variance, want, tolerance) in cases {
        let got = told(gap, variance);
        assert!((got / want - 1.0).abs() < tolerance, "{gap} ± {variance}: {got} for {want}");
    }
    assert!(told(0.7, 0.0) < 1e-12, "what is known tells nothing");
}

#[test]
fn a_share_is_drawn_and_nothing_comes_twice() {
    let pairs = pairs();
    let known = Posterior::of(&pairs, &[], RIDGE);
    let among: Vec<usize> = (0..12).collect();
    let mut chosen = known.ask(&among, 10, 0.2, Seed::new(3));
    assert_ne!(chosen[8..], known.ask(&among, 10, 0.2, Seed::new(4))[8..]);
    chosen.sort_unstable();
    chosen.dedup();
    assert_eq!(chosen.len(), 10);
    assert_eq!(known.ask(&among[..2], 9, 0.1, Seed::new(3)).len(), 2);
    assert!(known.ask(&[], 9, 0.1, Seed::new(3)).is_empty());
}

#[test]
fn what_was_preferred_is_worth_more_and_can_be_read() {
    let side = |text: &str| Completion { text: text.into(), ..Completion::default() };
    let all: Vec<[Completion; 2]> =
        (0..8).map(|it| [side(&format!("kind {it}")), side(&format!("rude {it}"))]).collect();
    let config = FeaturesConfig { pairs: false, given: false, ..FeaturesConfig::default() };
    let pairs = ReadablePairs::of(&all, &config);
    let said: Vec<Said> = (0..4).map(|pair| Said { pair, first: 1.0 }).collect();
    let known = Posterior::of(&pairs, &said, 1.0);
    assert!(known.gap(7) > 0.5, "{}", known.gap(7));
    assert!(known.information(7) < Posterior::of(&pairs, &[], 1.0).information(7));
    let reward = known.reward();
    let heaviest: Vec<&str> = reward.weights()[..2].iter().map(|(name, _)| name.as_str()).collect();
    assert_eq!(heaviest, ["word:kind", "word:rude"]);
}
