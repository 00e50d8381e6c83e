//! Losses of several completions of one prompt, which share a batch.
//!
//! Scores of all rankings lie one after the other, and ranks say how many belong to each. Rank 1 is the best.

use burn::prelude::*;
use rein_model::backend::LmBackend;
use rein_model::tokens::indices;

use crate::loss::soft;
use crate::objective::davidson_slope;
use crate::ties::davidson;

/// The negative log-likelihood of rankings (Plackett, 1975; Luce, 1959): the best is chosen among all, then the next
/// one among those that are left,
///
/// `Σ_i [ log Σ_{j: rank_j ≥ rank_i} exp(s_j) − s_i ]`
///
/// Of completions of one rank, each is chosen among all of them and what is behind (Breslow, 1974).
///
/// # Shapes
/// - `scores`: `[rows]`, returns: `[rankings]`
pub fn plackett_luce<B: LmBackend>(scores: Tensor<B, 1>, ranks: &[&[u32]]) -> Tensor<B, 1> {
    /// What a score that can't be chosen is lowered by.
    const OUT: f32 = -1e9;
    let device = scores.device();
    let (n_rankings, n_most) = (ranks.len(), longest(ranks));
    let mut is_real = vec![0.0; n_rankings * n_most];
    let mut out = vec![OUT; n_rankings * n_most * n_most];
    for (ranking, ranks) in ranks.iter().enumerate() {
        for (first, rank) in ranks.iter().enumerate() {
            let cell = ranking * n_most + first;
            is_real[cell] = 1.0;
            for (second, other) in ranks.iter().enumerate() {
                if other >= rank {
                    out[cell * n_most + second] = 0.0;
                }
            }
        }
    }
    let numbers = |values: &[f32]| Tensor::<B, 1>::from_data(values, &device);
    let scores = padded(scores, ranks);
    let choices =
        scores.clone().reshape([n_rankings, 1, n_most]).expand([n_rankings, n_most, n_most])
            + numbers(&out).reshape([n_rankings, n_most, n_most]);
    let highest = choices.clone().max_dim(2).detach();
    let sums = (choices - highest.clone()).exp().sum_dim(2).log() + highest;
    let losses = sums.reshape([n_rankings, n_most]) - scores;
    let losses = losses * numbers(&is_real).reshape([n_rankings, n_most]);
    losses.sum_dim(1).reshape([n_rankings])
}

/// The mean Bradley-Terry loss of all pairs of a ranking, so that a ranking counts once whatever its length (Ouyang et
/// al., 2022: divided by `K (K − 1) / 2`). Pairs of one rank are ties: half for each side, or
/// [Davidson's](davidson) with `ln_nu`.
///
/// # Shapes
/// - `scores`: `[rows]`, returns: `[rankings]`
pub fn all_pairs<B: LmBackend>(
    scores: Tensor<B, 1>,
    ranks: &[&[u32]],
    label_smoothing: f64,
    ln_nu: Option<f64>,
) -> Tensor<B, 1> {
    let device = scores.device();
    let n_most = longest(ranks) * (longest(ranks) - 1) / 2;
    let mut rows = [Vec::new(), Vec::new()];
    let [mut targets, mut ties, mut shares] = [const { Vec::<f32>::new() }; 3];
    let mut begin = 0;
    for ranks in ranks {
        let pairs = pairs(ranks);
        for [better, worse] in &pairs {
            let is_tie = ranks[*better] == ranks[*worse];
            rows[0].push(begin + better);
            rows[1].push(begin + worse);
            targets.push(if is_tie { 0.5 } else { 1.0 - label_smoothing as f32 });
            ties.push(f32::from(u8::from(is_tie && ln_nu.is_some())));
            shares.push(1.0 / pairs.len() as f32);
        }
        // Pairs that aren't there weigh nothing.
        let n_pads = n_most - pairs.len();
        rows.iter_mut().for_each(|side| side.extend(std::iter::repeat_n(begin, n_pads)));
        targets.extend(std::iter::repeat_n(0.5, n_pads));
        ties.extend(std::iter::repeat_n(0.0, n_pads));
        shares.extend(std::iter::repeat_n(0.0, n_pads));
        begin += ranks.len();
    }
    let numbers = |values: &[f32]| Tensor::<B, 1>::from_data(values, &device);
    let side = |rows: &[usize]| scores.clone().select(0, indices(rows, &device));
    let differences = side(&rows[0]) - side(&rows[1]);
    let losses = match ln_nu {
        None => soft(differences, numbers(&targets)),
        Some(ln_nu) => davidson(differences, numbers(&targets), numbers(&ties), ln_nu),
    };
    let losses = losses * numbers(&shares);
    losses.reshape([ranks.len(), n_most]).sum_dim(1).reshape([ranks.len()])
}

/// The mean score of each ranking, `[rankings]`.
pub(crate) fn mean<B: LmBackend>(scores: Tensor<B, 1>, ranks: &[&[u32]]) -> Tensor<B, 1> {
    let device = scores.device();
    let (n_rankings, n_most) = (ranks.len(), longest(ranks));
    let share = |ranks: &&[u32]| {
        let count = ranks.len();
        (0..n_most).map(move |place| if place < count { 1.0 / count as f32 } else { 0.0 })
    };
    let shares: Vec<f32> = ranks.iter().flat_map(share).collect();
    let shares = Tensor::<B, 1>::from_data(shares.as_slice(), &device);
    let scores = padded(scores, ranks) * shares.reshape([n_rankings, n_most]);
    scores.sum_dim(1).reshape([n_rankings])
}

/// `∂ℓ/∂ln ν` of [`all_pairs`] for one ranking.
pub(crate) fn tie_slope(ranks: &[u32], scores: &[f32], ln_nu: f64) -> f64 {
    let pairs = pairs(ranks);
    let slope = |[better, worse]: &[usize; 2]| {
        let difference = f64::from(scores[*better] - scores[*worse]);
        davidson_slope(difference, ln_nu, ranks[*better] == ranks[*worse])
    };
    pairs.iter().map(slope).sum::<f64>() / pairs.len() as f64
}

/// All pairs of a ranking, the better one first.
pub(crate) fn pairs(ranks: &[u32]) -> Vec<[usize; 2]> {
    let ordered = |first: usize, second: usize| {
        if ranks[first] <= ranks[second] { [first, second] } else { [second, first] }
    };
    let below = |second: usize| (0..second).map(move |first| (first, second));
    (0..ranks.len()).flat_map(below).map(|(first, second)| ordered(first, second)).collect()
}

/// Scores as a rectangle, `[rankings, most]`. What isn't there is some other score.
fn padded<B: LmBackend>(scores: Tensor<B, 1>, ranks: &[&[u32]]) -> Tensor<B, 2> {
    let n_most = longest(ranks);
    let mut cells = Vec::with_capacity(ranks.len() * n_most);
    let mut begin = 0;
    for ranks in ranks {
        cells.extend((0..n_most).map(|place| begin + place.min(ranks.len() - 1)));
        begin += ranks.len();
    }
    let device = scores.device();
    scores.select(0, indices(&cells, &device)).reshape([ranks.len(), n_most])
}

fn longest(ranks: &[&[u32]]) -> usize {
    ranks.iter().map(|ranks| ranks.len()).max().unwrap_or(0)
}
