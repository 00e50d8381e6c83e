//! Consensus of rankings.

use rein_feedback::consensus::{
    Method, PairCounts, Ranking, borda, consensus, kemeny, kendall_tau, kendall_tau_b, tideman,
};
use serde_json::Value;

use super::{assert_close, fixture, index, list, number, numbers};

fn item(letter: &str, letters: &str) -> usize {
    letters.find(letter).expect("one of the letters")
}

/// Letters, or lists of tied ones.
fn ranking(value: &Value, letters: &str) -> Ranking {
    let group = |group: &Value| match group {
        Value::Array(tied) => {
            tied.iter().map(|it| item(it.as_str().expect("a letter"), letters)).collect()
        }
        single => vec![item(single.as_str().expect("a letter"), letters)],
    };
    Ranking::new(list(value).iter().map(group).collect()).expect("no item twice")
}

fn order(value: &Value, letters: &str) -> Vec<usize> {
    ranking(value, letters).groups().concat()
}

const LETTERS: &str = "wxyz";

#[test]
fn open_assistant_s_example() {
    let file = fixture("rankings.json");
    let rankings: Vec<Ranking> =
        list(&file["rankings"]).iter().map(|it| ranking(it, LETTERS)).collect();
    let counts = PairCounts::new(&rankings, 4).expect("4 items");
    for (pair, wins) in file["pairwise_wins"].as_object().expect("wins by pair") {
        let before = counts.before(item(&pair[..1], LETTERS), item(&pair[1..], LETTERS));
        assert_eq!(before, index(wins) as u64, "{pair}");
    }

    let want = &file["kemeny"];
    let found = kemeny(&counts).expect("4 items");
    let orders: Vec<Vec<usize>> =
        list(&want["orders"]).iter().map(|it| order(it, LETTERS)).collect();
    assert_eq!(found.n_disagreements, index(&want["min_disagreements"]) as u64);
    assert_eq!((found.order.clone(), found.n_orders), (orders[0].clone(), orders.len() as u64));
    assert_eq!(tideman(&counts), order(&file["tideman_by_winning_votes"], LETTERS));
    let points = borda(&rankings, 4).expect("4 items");
    for (at, points) in points.iter().enumerate() {
        assert_close("Borda", &[*points], &file["borda"][&LETTERS[at..=at]], 0.0);
    }

    let agreed = consensus(&rankings, 4).expect("4 items");
    assert_eq!((agreed.order, agreed.method), (found.order, Method::Kemeny));
    // A ranking with d of 6 pairs against the order has τ = 1 − 2 d / 6; there are 27 in 15 rankings.
    let mean_tau = agreed.mean_tau.expect("rankings without ties");
    assert!((mean_tau - (1.0 - 2.0 * 27.0 / (6.0 * 15.0))).abs() < 1e-12);
}

#[test]
fn pairs_of_rankings_with_and_without_ties() {
    let letters = "abcd";
    let pairs = |value: &Value| -> Vec<[usize; 2]> {
        let pairs = value.as_array().map_or(&[][..], Vec::as_slice);
        let mut pairs: Vec<[usize; 2]> = pairs
            .iter()
            .map(|pair| [0, 1].map(|at| item(pair[at].as_str().expect("a letter"), letters)))
            .collect();
        pairs.sort_unstable();
        pairs
    };
    let file = fixture("rankings.json");
    for case in list(&file["k_choose_2"]) {
        let mut found = ranking(&case["ranking"], letters).pairs();
        found.preferred.sort_unstable();
        assert_eq!(found.preferred, pairs(&case["pairs"]));
        assert_eq!(found.tied, pairs(&case["dropped_ties"]));
    }
}

#[test]
fn kendall_s_tau() {
    let file = fixture("rankings.json");
    let case = &file["kendall_tau"];
    let [a, b] = ["a", "b"].map(|key| numbers(&case[key]));
    for tau in [kendall_tau(&a, &b), kendall_tau_b(&a, &b)] {
        assert!((tau.expect("no ties") - number(&case["tau"])).abs() < 1e-12);
    }
}
