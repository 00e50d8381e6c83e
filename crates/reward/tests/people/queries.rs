//! Which pairs to ask about: numbers of independent code, and how many labels it takes.

use rand::{Rng, RngExt};
use rein_data::seed::Seed;
use rein_reward::active::{
    bald, d_optimal, d_optimal_after, deviation, entropy, predictive_entropy,
};
use rein_reward::meta::{Difference, posterior_head};

use crate::draws::{accuracy, dot, normals, unit};
use crate::fixture;
use crate::golden::{number, numbers};

#[test]
fn queries_are_scored_as_the_fixture_scores_them() {
    let file = fixture("active_query.json");
    let members = file["ensemble_p_left"].as_array().expect("a list of pairs");
    for (pair, members) in members.iter().enumerate() {
        let members = numbers(members);
        let each: Vec<f64> = members.iter().map(|p| entropy(*p)).collect();
        let mean_entropy = each.iter().sum::<f64>() / each.len() as f64;
        for (got, key) in [
            (predictive_entropy(&members), "entropy_of_mean"),
            (mean_entropy, "mean_entropy"),
            (bald(&members), "bald_nats"),
            (deviation(&members), "std"),
        ] {
            assert!((got - number(&file[key][pair])).abs() < 1e-5, "{key} of pair {pair}: {got}");
        }
    }
    let want = &file["d_optimal"];
    let rows = want["pair_feature_differences"].as_array().expect("a list of differences");
    let rows: Vec<Vec<f64>> = rows.iter().map(numbers).collect();
    let order: Vec<usize> =
        numbers(&want["greedy_logdet_order"]).into_iter().map(|it| it as usize).collect();
    let design = d_optimal(&rows, &vec![1.0; rows.len()], number(&want["ridge"]), order.len());
    assert_eq!(design.places, order);
    assert!((design.ln_determinant - number(&want["logdet"])).abs() < 1e-9);
}

/// 12 features in a pool of pairs of different sizes, batches of 5, at most 400 labels.
fn labels_needed(query: &str, seed: Seed) -> usize {
    const MOST: usize = 400;
    let mut rng = seed.rng();
    let truth: Vec<f64> = unit(normals(12, &mut rng)).iter().map(|it| 4.0 * it).collect();
    let mut row = |_| {
        let size = (0.7 * normals(1, &mut rng)[0]).exp();
        let x = normals(12, &mut rng).into_iter().enumerate();
        x.map(|(place, x)| x * size * 0.1_f64.powf(place as f64 / 11.0)).collect()
    };
    let mut pool: Vec<Vec<f64>> = (0..1500).map(&mut row).collect();
    let tests: Vec<Vec<f64>> = (0..1000).map(|_| normals(12, &mut rng)).collect();
    let mut said: Vec<Difference> = Vec::new();
    let mut chosen: Vec<usize> = (0..5).collect();
    while said.len() < MOST {
        chosen.sort_unstable_by(|a, b| b.cmp(a));
        for place in chosen {
            let x = pool.swap_remove(place);
            let likes = rng.random::<f64>() < 1.0 / (1.0 + (-dot(&x, &truth)).exp());
            said.push(if likes { x } else { x.iter().map(|it| -it).collect() });
        }
        let (head, covariance) = posterior_head(&said, 0.1);
        if accuracy(&head, &truth, &tests) >= 0.9 {
            break;
        }
        let probability = |head: &[f64], x: &[f64]| 1.0 / (1.0 + (-dot(head, x)).exp());
        chosen = match query {
            "random" => (0..5).map(|it| it * (pool.len() / 5)).collect(),
            "d_optimal" => {
                let variance = |x: &Vec<f64>| {
                    let p = probability(&head, x);
                    p * (1.0 - p)
                };
                let weights: Vec<f64> = pool.iter().map(variance).collect();
                d_optimal_after(&pool, &weights, covariance, 5).places
            }
            _ => {
                let draws: Vec<Vec<f64>> =
                    (0..10).map(|_| drawn(&head, &covariance, &mut rng)).collect();
                let score = |x: &Vec<f64>| {
                    bald(&draws.iter().map(|draw| probability(draw, x)).collect::<Vec<_>>())
                };
                let scores: Vec<f64> = pool.iter().map(score).collect();
                let mut places: Vec<usize> = (0..pool.len()).collect();
                places.sort_by(|a, b| scores[*b].total_cmp(&scores[*a]));
                places.truncate(5);
                places
            }
        };
    }
    said.len()
}

/// A draw of `N(mean, covariance)`.
fn drawn(mean: &[f64], covariance: &[Vec<f64>], rng: &mut impl Rng) -> Vec<f64> {
    let mut lower: Vec<Vec<f64>> = Vec::new();
    for (i, row) in covariance.iter().enumerate() {
        let mut next: Vec<f64> = Vec::new();
        for j in 0..i {
            next.push((row[j] - dot(&next[..j], &lower[j][..j])) / lower[j][j]);
        }
        next.push((row[i] - dot(&next, &next)).sqrt());
        lower.push(next);
    }
    let noise = normals(mean.len(), rng);
    lower.iter().zip(mean).map(|(row, mean)| mean + dot(row, &noise)).collect()
}

#[test]
fn asking_what_is_not_known_takes_half_the_labels() {
    let file = fixture("active_query.json");
    let median = |query: &str| {
        let mut needed: Vec<usize> =
            (0..8).map(|seed| labels_needed(query, Seed::new(seed))).collect();
        needed.sort_unstable();
        println!("{query}: {needed:?}");
        (needed[3] + needed[4]) as f64 / 2.0
    };
    let random = median("random");
    for query in ["bald", "d_optimal"] {
        let got = median(query);
        assert!(got <= 0.5 * random, "{query} takes {got} labels, chance {random}");
    }
    // The fixture's own medians hold to the same.
    let medians = &file["label_efficiency"]["median"];
    assert!(number(&medians["d_optimal"]) <= 0.5 * number(&medians["random"]));
}
