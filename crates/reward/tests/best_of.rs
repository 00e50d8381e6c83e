//! The best of several completions, by numbers of independent code; and answers that are right or wrong.

mod answers;
#[path = "../../../fixtures/golden.rs"]
mod golden;

use golden::*;
use rein_reward::best_of::{best_of_kl, expected_best};
use rein_reward::overoptimization::{Curve, Optimization};
use serde_json::{Map, Value};

fn by_count(value: &Value) -> Vec<(usize, f64)> {
    let map: &Map<String, Value> = value.as_object().expect("a map by counts");
    map.iter().map(|(count, value)| (count.parse().expect("a count"), number(value))).collect()
}

fn fixture() -> Value {
    let named = root().join("feedback/overoptimization.json");
    json(&match named.exists() {
        true => named,
        false => own_root().join("feedback/overoptimization.json"),
    })
}

#[test]
fn distances_and_expectations_are_those_of_the_fixtures() {
    let file = fixture();
    for (count, want) in by_count(&file["kl_bon_nats"]) {
        assert!((best_of_kl(count) - want).abs() < 1e-9, "the best of {count}");
    }
    let estimator = &file["bon_unbiased_estimator"];
    let proxy: Vec<f32> = numbers(&estimator["proxy"]).into_iter().map(|it| it as f32).collect();
    let gold = numbers(&estimator["gold"]);
    let expected = by_count(&estimator["expected_gold"]);
    assert!(!expected.is_empty());
    for (count, want) in expected {
        let got = expected_best(&proxy, &gold, count);
        assert!((got - want).abs() < 1e-9, "the best of {count}: {got}, not {want}");
    }
}

#[test]
fn curves_of_over_optimisation_are_recovered_from_their_points() {
    let example = &fixture()["example"];
    let distances = numbers(&example["d"]);
    for (of, gains, peak) in [
        (Optimization::BestOf, &example["R_bon"], &example["peak_bon_d"]),
        (Optimization::Rl, &example["R_rl"], &example["peak_rl_d"]),
    ] {
        let points: Vec<(f64, f64)> = distances.iter().copied().zip(numbers(gains)).collect();
        let curve = Curve::fit(of, &points).expect("is determined");
        assert_near("alpha", curve.alpha, &example["alpha"], 1e-6);
        assert_near("beta", curve.beta, &example["beta"], 1e-6);
        assert_near("peak", curve.peak().expect("falls in the end"), peak, 1e-6);
        for (d, gain) in points {
            assert!((curve.gain(d) - gain).abs() < 1e-9, "at {d}");
        }
    }
}
