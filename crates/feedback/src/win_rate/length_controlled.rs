use nalgebra::{DMatrix, DVector};

use super::PairedScores;
use super::paired::points;
use crate::optimize::{Local, ln_sigmoid, newton, sigmoid};

/// `λ`, small beside the information of a single game (1/4), so that it matters only where length decides all.
const RIDGE: f64 = 1e-3;

/// A game as length sees it.
#[derive(Clone, Copy, Debug, PartialEq)]
struct Game {
    /// `tanh(Δ / sd(Δ))`
    longer: f64,
    points: f64,
}

impl PairedScores<'_> {
    /// The win rate if the replies of both sides were equally long: [`WinRate::value`](super::WinRate::value) without
    /// what a judge gives for length.
    ///
    /// After AlpacaEval 2 (Dubois et al., 2024, arXiv 2404.04475). With `Δ` our length less theirs on a prompt, and
    /// wins `y` of 1, 1/2 or 0,
    ///
    /// `P(y = 1) = σ(a + b tanh(Δ / sd(Δ)))`
    ///
    /// is fitted by maximum likelihood less `λ b² / 2`, where `λ` = 0.001 keeps `b` finite if the longer reply always
    /// wins. The result is `σ(a)`. AlpacaEval also fits how hard each prompt is; one game a prompt can't tell that, so
    /// it is left out.
    ///
    /// `lengths` are those of our replies and of theirs, in any unit. None without prompts, or without a length for
    /// each score. Sides that change places get `1 − p`. Where `Δ` never varies, length can't be told from quality, and
    /// the plain win rate is the result. Near that it rests on what `tanh` says of lengths that weren't seen: if a
    /// judge's log-odds grow with length by another curve, up to five points of a hundred stay wrong in simulations of
    /// replies that are nearly always longer.
    pub fn length_controlled(&self, lengths: [&[usize]; 2]) -> Option<f64> {
        let games = self.by_length(lengths)?;
        let rate = games.iter().map(|it| it.points).sum::<f64>() / games.len() as f64;
        if rate == 0.0 || rate == 1.0 {
            // The limit: `a` grows without end.
            return Some(rate);
        }
        let (top, _) = newton(vec![0.0; 2], |at| local(&games, at));
        Some(sigmoid(top.at[0]))
    }

    /// Games in an order that the order of prompts can't change.
    fn by_length(&self, lengths: [&[usize]; 2]) -> Option<Vec<Game>> {
        let n = self.differences().count();
        if n == 0 || lengths.iter().any(|it| it.len() != n) {
            return None;
        }
        let sides = lengths[0].iter().zip(lengths[1]);
        let longer: Vec<f64> = sides.map(|(ours, theirs)| *ours as f64 - *theirs as f64).collect();
        let scale = standard_deviation(&longer);
        // Without variation there is nothing to learn from lengths.
        let feature = |it: f64| if scale > 0.0 { (it / scale).tanh() } else { 0.0 };
        let played = longer.into_iter().zip(self.differences());
        let mut games: Vec<Game> =
            played.map(|(by, won)| Game { longer: feature(by), points: points(won) }).collect();
        games.sort_by(|a, b| {
            a.longer.total_cmp(&b.longer).then_with(|| a.points.total_cmp(&b.points))
        });
        Some(games)
    }
}

fn standard_deviation(numbers: &[f64]) -> f64 {
    let mut numbers = numbers.to_vec();
    numbers.sort_by(f64::total_cmp);
    let n = numbers.len() as f64;
    let mean = numbers.iter().sum::<f64>() / n;
    (numbers.iter().map(|it| (it - mean).powi(2)).sum::<f64>() / n).sqrt()
}

/// `Σ y ln σ(η) + (1 − y) ln σ(−η) − λ b² / 2` for `η = a + b x`, with derivatives.
fn local(games: &[Game], at: &[f64]) -> Local {
    let (mut value, mut lost) = (-0.5 * RIDGE * at[1] * at[1], 0.0);
    let mut gradient = [0.0, -RIDGE * at[1]];
    let mut curvature = [0.0, 0.0, 0.0, RIDGE];
    for Game { longer, points } in games {
        let eta = at[0] + at[1] * longer;
        // Kahan's sum: of so many terms, rounding would else be more than what steps near the top gain.
        let term = points * ln_sigmoid(eta) + (1.0 - points) * ln_sigmoid(-eta) - lost;
        (value, lost) = (value + term, ((value + term) - value) - term);
        let error = points * sigmoid(-eta) - (1.0 - points) * sigmoid(eta);
        let spread = sigmoid(eta) * sigmoid(-eta);
        for (place, factor) in [1.0, *longer].into_iter().enumerate() {
            gradient[place] += error * factor;
            curvature[2 * place] += spread * factor;
            curvature[2 * place + 1] += spread * factor * longer;
        }
    }
    Local {
        value,
        gradient: DVector::from_row_slice(&gradient),
        curvature: DMatrix::from_row_slice(2, 2, &curvature),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use rand::RngExt;
    use rein_data::seed::Seed;

    use super::*;

    const OURS: [f64; 12] = [1.5, 0.25, -0.75, 2.0, 0.5, 1.25, -0.25, 3.0, 0.0, 1.0, 0.75, -1.5];
    const THEIRS: [f64; 12] = [0.5, 0.75, -0.75, 1.0, 1.0, 0.75, -1.25, 0.5, 0.5, -0.5, 2.0, -2.0];
    const OUR_LENGTHS: [usize; 12] = [120, 45, 200, 30, 75, 310, 300, 88, 150, 64, 20, 500];
    const THEIR_LENGTHS: [usize; 12] = [80, 60, 150, 90, 70, 200, 310, 88, 40, 32, 25, 100];

    fn controlled(scores: [&[f64]; 2], lengths: [&[usize]; 2]) -> Option<f64> {
        PairedScores::new(scores[0], scores[1]).expect("as many").length_controlled(lengths)
    }

    #[test]
    fn the_rate_is_that_of_scipy() {
        // numpy, scipy 1.17.1: x = tanh(d / d.std()); root of the penalised likelihood's gradient; expit(a).
        let rate = controlled([&OURS, &THEIRS], [&OUR_LENGTHS, &THEIR_LENGTHS]);
        assert!((rate.expect("games") - 0.599_117_566_324_144_1).abs() < 1e-9, "{rate:?}");
        // The longer always wins.
        let scores = [OUR_LENGTHS, THEIR_LENGTHS].map(|side| side.map(|it| it as f64));
        let rate = controlled([&scores[0], &scores[1]], [&OUR_LENGTHS, &THEIR_LENGTHS]);
        assert!((rate.expect("games") - 0.463_313_787_232_103_15).abs() < 1e-9, "{rate:?}");
    }

    #[test]
    fn a_side_against_itself_wins_half() {
        assert_eq!(controlled([&OURS, &OURS], [&OUR_LENGTHS, &OUR_LENGTHS]), Some(0.5));
    }

    #[test]
    fn lengths_that_never_differ_change_nothing() {
        let shifted = THEIR_LENGTHS.map(|it| it + 17);
        for lengths in [[&THEIR_LENGTHS, &THEIR_LENGTHS], [&shifted, &THEIR_LENGTHS]] {
            let rate = controlled([&OURS, &THEIRS], lengths.map(|it| it.as_slice()));
            assert!((rate.expect("games") - 0.625).abs() < 1e-9, "{rate:?}");
        }
        assert_eq!(controlled([&[1.0], &[0.0]], [&[3], &[7]]), Some(1.0));
        assert_eq!(controlled([&[], &[]], [&[], &[]]), None);
        assert_eq!(controlled([&[1.0], &[0.0]], [&[3], &[7, 8]]), None);
    }

    /// Replies as good as theirs but up to twice as long. `bonus` is what the judge gives for lengths (ours, theirs).
    /// The win rate plain and controlled.
    fn verbose(seed: u64, bonus: impl Fn(f64, f64) -> f64) -> [f64; 2] {
        const N: usize = 20_000;
        let mut rng = Seed::new(seed).rng();
        let theirs: Vec<usize> = (0..N).map(|_| rng.random_range(50..500)).collect();
        let ours: Vec<usize> =
            theirs.iter().map(|it| it * rng.random_range(90..190) / 100).collect();
        let mut judge = |(ours, theirs): (&usize, &usize)| {
            let noise: f64 = rng.random_range(1e-9..1.0);
            bonus(*ours as f64, *theirs as f64) + (noise / (1.0 - noise)).ln()
        };
        let scores: Vec<f64> = ours.iter().zip(&theirs).map(&mut judge).collect();
        let scores = PairedScores::new(&scores, &[0.0; N]).expect("as many");
        let controlled = scores.length_controlled([&ours, &theirs]).expect("games");
        [scores.games().value().expect("games"), controlled]
    }

    #[test]
    fn words_alone_win_nothing() {
        for seed in 0..4 {
            // The standard deviation of these differences is about 101.
            let judge = |ours: f64, theirs: f64| 2.0 * ((ours - theirs) / 101.0).tanh();
            let [plain, controlled] = verbose(seed, judge);
            assert!(plain > 0.7, "seed {seed}: {plain}");
            assert!((controlled - 0.5).abs() < 0.02, "seed {seed}: {controlled}");
        }
    }

    #[test]
    fn most_is_put_right_if_the_judge_is_another() {
        let judges: [fn(f64, f64) -> f64; 2] =
            [|ours, theirs| 3.0 * (ours / theirs).ln(), |ours, theirs| (ours - theirs) / 101.0];
        for judge in judges {
            let [plain, controlled] = verbose(0, judge);
            assert!(plain > 0.68, "{plain}");
            assert!((controlled - 0.5).abs() < 0.05, "{controlled}");
        }
    }

    /// Scores and lengths of our side and of theirs.
    type Replies = (f64, f64, usize, usize);

    fn replies() -> impl Strategy<Value = Vec<Replies>> {
        let score = || prop_oneof![-2.0..2.0, Just(0.0), Just(f64::NAN), Just(f64::INFINITY)];
        let length = || prop_oneof![0..900_usize, Just(0), Just(usize::MAX)];
        proptest::collection::vec((score(), score(), length(), length()), 1..40)
    }

    fn rate(replies: &[Replies]) -> f64 {
        let ours: Vec<f64> = replies.iter().map(|it| it.0).collect();
        let theirs: Vec<f64> = replies.iter().map(|it| it.1).collect();
        let our_lengths: Vec<usize> = replies.iter().map(|it| it.2).collect();
        let their_lengths: Vec<usize> = replies.iter().map(|it| it.3).collect();
        controlled([&ours, &theirs], [&our_lengths, &their_lengths]).expect("games")
    }

    proptest! {
        #[test]
        fn sides_that_change_places_get_the_rest(mut replies in replies()) {
            let here = rate(&replies);
            prop_assert!((0.0..=1.0).contains(&here), "{here}");
            replies.reverse();
            prop_assert_eq!(rate(&replies), here, "the order of prompts counts");
            let swapped: Vec<Replies> = replies.iter().map(|it| (it.1, it.0, it.3, it.2)).collect();
            let there = rate(&swapped);
            prop_assert!((here + there - 1.0).abs() < 1e-9, "{here} {there}");
        }
    }
}
