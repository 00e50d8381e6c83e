use proptest::prelude::*;
use rein_data::seed::{Seed, shuffle};
use rein_feedback::ability::{
    BradleyTerry, BradleyTerryFit, Comparison, Comparisons, NoisyBradleyTerry, Outcome,
    PositionBias, Ties,
};

use super::{SAME, SAME_TOP, assert_finite, assert_same, cases, picked};

type Row = Comparison<usize, u8>;

fn rows() -> impl Strategy<Value = Vec<Row>> {
    let outcome = prop_oneof![Just(Outcome::Left), Just(Outcome::Right), Just(Outcome::Tie)];
    let row = (0..6_usize, 1..6_usize, 0..3_u8, outcome);
    let comparison = row.prop_map(|(left, further, worker, outcome)| Comparison {
        left,
        right: (left + further) % 6,
        worker,
        outcome,
    });
    proptest::collection::vec(comparison, 0..25)
}

/// Every kind of model, with a ridge and without.
fn models() -> Vec<BradleyTerry> {
    let mut models = Vec::new();
    for ridge in [0.0, 0.1] {
        for ties in [Ties::HalfWins, Ties::Davidson] {
            let [shared, own] = [PositionBias::Shared { ridge }, PositionBias::PerWorker { ridge }];
            for bias in [PositionBias::None, shared, own] {
                models.push(BradleyTerry { ridge, ties, bias });
            }
        }
    }
    models
}

fn counted(rows: &[Row]) -> Comparisons {
    Comparisons::new(rows).expect("different items").0
}

fn fit(model: &BradleyTerry, rows: &[Row]) -> BradleyTerryFit {
    model.fit(&counted(rows)).expect("few items")
}

fn noisy(rows: &[Row]) -> [Vec<f64>; 3] {
    let model = NoisyBradleyTerry { n_starts: 2, ..NoisyBradleyTerry::new(Seed::new(3)) };
    let fit = model.fit(&counted(rows));
    [fit.scores, fit.skill, fit.habit]
}

fn mirrored(row: &Row) -> Row {
    let outcome = match row.outcome {
        Outcome::Left => Outcome::Right,
        Outcome::Right => Outcome::Left,
        Outcome::Tie => Outcome::Tie,
    };
    Comparison { left: row.right, right: row.left, worker: row.worker, outcome }
}

proptest! {
    #![proptest_config(cases(60))]

    #[test]
    fn whatever_was_compared_has_scores(rows in rows()) {
        for model in models() {
            let what = format!("{model:?}");
            let fit = fit(&model, &rows);
            assert_finite(&what, &fit.scores);
            assert_finite(&what, &fit.std_errors);
            assert_finite(&what, &fit.bias);
            assert!(fit.nu.is_none_or(|it| it.is_finite()), "{what}: {:?}", fit.nu);
            assert!(fit.loglik <= 0.0 && fit.objective <= fit.loglik + SAME, "{what}");
            assert!(fit.scores.iter().sum::<f64>().abs() < 1e-6, "{what}: {:?}", fit.scores);
            assert!(model.ridge == 0.0 || fit.converged, "{what}");
        }
        noisy(&rows).iter().for_each(|it| assert_finite("noisy", it));
    }

    #[test]
    fn the_order_of_comparisons_says_nothing(rows in rows(), seed in any::<u64>()) {
        let mut shuffled = rows.clone();
        shuffle(&mut shuffled, &mut Seed::new(seed).rng());
        for model in models() {
            let (one, other) = (fit(&model, &rows), fit(&model, &shuffled));
            assert_same("scores", &one.scores, &other.scores, SAME);
            assert_same("errors", &one.std_errors, &other.std_errors, SAME);
        }
        assert_same("noisy", &noisy(&rows).concat(), &noisy(&shuffled).concat(), SAME);
    }

    #[test]
    fn sides_say_nothing_but_of_the_bias(rows in rows()) {
        let turned: Vec<Row> = rows.iter().map(mirrored).collect();
        for model in models().into_iter().filter(|it| it.ridge > 0.0) {
            let (one, other) = (fit(&model, &rows), fit(&model, &turned));
            assert_same("scores", &one.scores, &other.scores, SAME_TOP);
            let bias: Vec<f64> = other.bias.iter().map(|it| -it).collect();
            assert_same("bias", &one.bias, &bias, SAME_TOP);
        }
    }

    #[test]
    fn names_of_items_say_nothing(rows in rows(), seed in any::<u64>()) {
        let mut names: Vec<usize> = (0..6).collect();
        shuffle(&mut names, &mut Seed::new(seed).rng());
        let rename = |row: &Row| Comparison {
            left: names[row.left],
            right: names[row.right],
            ..row.clone()
        };
        let renamed: Vec<Row> = rows.iter().map(rename).collect();
        let [items, new_items] =
            [&rows, &renamed].map(|it| Comparisons::new(it).expect("different items").1);
        let place = |item: &usize| new_items.binary_search(&names[*item]).expect("it was renamed");
        let order: Vec<usize> = items.iter().map(place).collect();
        for model in models().into_iter().filter(|it| it.ridge > 0.0) {
            let (one, other) = (fit(&model, &rows), fit(&model, &renamed));
            assert_same("scores", &one.scores, &picked(&other.scores, &order), SAME_TOP);
            assert_same("errors", &one.std_errors, &picked(&other.std_errors, &order), SAME_TOP);
        }
    }
}

#[test]
fn islands_are_compared_by_the_ridge_alone() {
    let won = |left, right| Comparison { left, right, worker: 0, outcome: Outcome::Left };
    let fit = fit(&BradleyTerry::default(), &[won(0, 1), won(2, 3)]);
    assert_same("islands", &fit.scores[..2], &fit.scores[2..], SAME);
    // Of each island, σ(−2 s) = 0.1 s.
    let s = fit.scores[0];
    assert!((1.0 / (1.0 + (2.0 * s).exp()) - 0.1 * s).abs() < SAME, "{s}");
}

#[test]
fn too_many_items_are_refused() {
    let won = |left| Comparison { left, right: left + 1, worker: 0, outcome: Outcome::Left };
    let rows: Vec<Row> = (0..2000).map(won).collect();
    let error = BradleyTerry::default().fit(&counted(&rows)).expect_err("2001 items");
    assert!(error.to_string().starts_with("2001 items and biases are too many"), "{error}");
}
