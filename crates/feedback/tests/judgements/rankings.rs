use proptest::prelude::*;
use rein_data::seed::{Seed, shuffle};
use rein_feedback::agreement::{Level, Weights, cohen, fleiss, krippendorff, percent};
use rein_feedback::consensus::{PairCounts, Ranking, borda, consensus, kemeny, tideman};

use super::{SAME, cases};

fn rankings(n_items: usize) -> impl Strategy<Value = Vec<Ranking>> {
    let ranks = proptest::collection::vec(0..4_u32, 0..=n_items);
    let ranking = ranks.prop_map(|ranks| Ranking::of_ranks(&ranks).expect("few items"));
    proptest::collection::vec(ranking, 0..8)
}

/// Who is before every other for more people than the other way round, if anybody.
fn condorcet(counts: &PairCounts) -> Option<usize> {
    let mut items = 0..counts.n_items();
    items.find(|item| {
        let others = (0..counts.n_items()).filter(|other| other != item);
        others.into_iter().all(|it| counts.before(*item, it) > counts.before(it, *item))
    })
}

proptest! {
    #![proptest_config(cases(200))]

    #[test]
    fn orders_hold_all_items_and_begin_with_whom_most_prefer(
        rankings in (1..=10_usize).prop_flat_map(rankings),
        seed in any::<u64>(),
    ) {
        let counts = PairCounts::new(&rankings, 10).expect("items below 10");
        let few = rankings.iter().all(|it| it.n_items() <= 6);
        let fewer = few.then(|| PairCounts::new(&rankings, 6).expect("items below 6"));
        let mut orders = vec![(tideman(&counts), condorcet(&counts))];
        if let Some(counts) = &fewer {
            orders.push((kemeny(counts).expect("6 items").order, condorcet(counts)));
        }
        for (order, winner) in orders {
            let mut items = order.clone();
            items.sort_unstable();
            assert_eq!(items, (0..order.len()).collect::<Vec<_>>());
            assert!(winner.is_none_or(|it| order[0] == it), "{order:?} begins with {winner:?}");
        }
        let mut shuffled = rankings.clone();
        shuffle(&mut shuffled, &mut Seed::new(seed).rng());
        let [one, other] = [&rankings, &shuffled].map(|it| consensus(it, 10).expect("10 items"));
        assert_eq!(one.order, other.order);
        let [one, other] = [one, other].map(|it| it.mean_tau.unwrap_or(0.0));
        assert!((one - other).abs() < SAME && one.abs() <= 1.0 + SAME, "{one} or {other}");
        borda(&rankings, 10).expect("10 items");
    }

    #[test]
    fn agreement_is_at_most_1_and_forgets_the_order(
        units in proptest::collection::vec(proptest::collection::vec(0..4_u32, 0..5), 0..8),
        seed in any::<u64>(),
    ) {
        let mut rng = Seed::new(seed).rng();
        let mut shuffled = units.clone();
        shuffled.iter_mut().for_each(|unit| shuffle(unit, &mut rng));
        shuffle(&mut shuffled, &mut rng);
        let alphas = |units: &[Vec<u32>]| -> Vec<f64> {
            let values = |unit: &Vec<u32>| unit.iter().map(|it| f64::from(*it)).collect();
            let units: Vec<Vec<f64>> = units.iter().map(values).collect();
            let levels = [Level::Nominal, Level::Ordinal, Level::Interval, Level::Ratio];
            let alphas = levels.map(|level| krippendorff(&units, level));
            // What isn't defined is 2 here.
            alphas.map(|it| it.unwrap_or(2.0)).to_vec()
        };
        for (one, other) in alphas(&units).into_iter().zip(alphas(&shuffled)) {
            assert!((one - other).abs() < SAME, "{one} or {other}");
            assert!(one == 2.0 || one <= 1.0 + SAME, "{one}");
        }
        assert_eq!(percent(&units), percent(&shuffled));
        let grades: Vec<(i64, i64)> = units.iter().filter(|it| it.len() > 1)
            .map(|it| (i64::from(it[0]), i64::from(it[1]))).collect();
        for weights in [Weights::None, Weights::Linear, Weights::Quadratic] {
            assert!(cohen(&grades, weights).is_none_or(|it| it <= 1.0));
        }
        let counts: Vec<Vec<u64>> = grades.iter().map(|it| vec![it.0 as u64, 3 - it.0 as u64]).collect();
        assert!(fleiss(&counts).expect("3 people each").is_none_or(|it| it <= 1.0 + SAME));
    }
}
