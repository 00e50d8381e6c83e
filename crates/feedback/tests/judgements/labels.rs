use proptest::prelude::*;
use rand::{Rng, RngExt};
use rein_data::seed::{Seed, shuffle};
use rein_feedback::aggregate::{
    Consensus, DawidSkene, Glad, Keys, Mace, OneCoin, Stop, Vote, Votes, majority,
};

use super::{SAME, SAME_TOP, assert_finite, assert_same, cases, picked};

type Row = Vote<u8, u8, u8>;

/// A model's labels and what it says of workers, a row for each.
type Fit = (Consensus, Vec<Vec<f64>>);

fn fits(votes: &Votes) -> [(&'static str, Fit); 5] {
    let dawid_skene = DawidSkene::default().fit(votes);
    let accuracy = dawid_skene.accuracy();
    let confusion = dawid_skene.confusion.iter().zip(accuracy);
    let errors = confusion.map(|(rows, accuracy)| [rows.concat(), vec![accuracy]].concat());
    let one_coin = OneCoin::default().fit(votes);
    let glad = Glad::default().fit(votes);
    let mace = Mace { n_starts: 3, ..Mace::new(Seed::new(5)) }.fit(votes);
    let alone = |numbers: &[f64]| numbers.iter().map(|it| vec![*it]).collect();
    let workers = mace.workers.iter().map(|it| [&it.habit[..], &[it.know]].concat());
    [
        ("majority", (majority(votes), Vec::new())),
        ("Dawid-Skene", (dawid_skene.consensus, errors.collect())),
        ("one coin", (one_coin.consensus, alone(&one_coin.skill))),
        ("GLAD", (glad.consensus, [alone(&glad.skill), alone(&glad.easiness)].concat())),
        ("MACE", (mace.consensus, workers.collect())),
    ]
}

fn assert_sound(what: &str, (consensus, workers): &Fit, votes: &Votes) {
    assert_eq!(consensus.posterior.len(), votes.n_tasks(), "{what}");
    for posterior in &consensus.posterior {
        assert_finite(what, posterior);
        assert!((posterior.iter().sum::<f64>() - 1.0).abs() < SAME, "{what}: {posterior:?}");
    }
    assert_finite(what, &workers.concat());
    assert!(consensus.loglik <= 0.0, "{what}: {}", consensus.loglik);
}

fn rows() -> impl Strategy<Value = Vec<Row>> {
    let row = (0..5_u8, 0..4_u8, 0..3_u8);
    let vote = row.prop_map(|(task, worker, label)| Vote { task, worker, label });
    proptest::collection::vec(vote, 0..25)
}

proptest! {
    #![proptest_config(cases(200))]

    #[test]
    fn whatever_was_voted_gives_probabilities(rows in rows(), more in 0..4_u8) {
        let labels: Vec<u8> = (0..more).collect();
        let (votes, _) = Votes::among(&rows, &labels).expect("few labels");
        for (what, fit) in fits(&votes) {
            assert_sound(what, &fit, &votes);
        }
    }

    #[test]
    fn the_order_of_votes_says_nothing(rows in rows(), seed in any::<u64>()) {
        let mut shuffled = rows.clone();
        shuffle(&mut shuffled, &mut Seed::new(seed).rng());
        let (votes, keys) = Votes::new(&rows).expect("few labels");
        let (again, same_keys) = Votes::new(&shuffled).expect("few labels");
        assert_eq!(keys, same_keys);
        for ((what, one), (_, other)) in fits(&votes).into_iter().zip(fits(&again)) {
            assert_same(what, &one.0.posterior.concat(), &other.0.posterior.concat(), SAME);
            assert_same(what, &one.1.concat(), &other.1.concat(), SAME);
        }
    }
}

/// 40 tasks of 3 labels, 6 workers of whom one spams and the best are right 9 times of 10.
fn crowd(rng: &mut impl Rng) -> Vec<Row> {
    let mut rows = Vec::new();
    for task in 0..40 {
        let truth = rng.random_range(0..3);
        for worker in 0..6_u8 {
            let is_right = worker > 0 && rng.random::<f64>() < 0.4 + 0.1 * f64::from(worker);
            let other = if worker == 0 { 2 } else { rng.random_range(0..3) };
            rows.push(Vote { task, worker, label: if is_right { truth } else { other } });
        }
    }
    rows
}

proptest! {
    #![proptest_config(cases(20))]

    #[test]
    fn names_of_labels_say_nothing(seed in any::<u64>()) {
        let mut rng = Seed::new(seed).rng();
        let rows = crowd(&mut rng);
        let mut names: Vec<usize> = vec![0, 1, 2];
        shuffle(&mut names, &mut rng);
        let renamed: Vec<Row> =
            rows.iter().map(|it| Vote { label: names[usize::from(it.label)] as u8, ..it.clone() }).collect();
        let [(votes, _), (again, _)] = [&rows, &renamed].map(|it| Votes::new(it).expect("3 labels"));
        for ((what, one), (_, other)) in fits(&votes).into_iter().zip(fits(&again)) {
            for (one, other) in one.0.posterior.iter().zip(&other.0.posterior) {
                assert_same(what, one, &picked(other, &names), SAME_TOP);
            }
        }
    }
}

#[test]
fn nobody_said_anything() {
    let (votes, keys) = Votes::new::<u8, u8, u8>(&[]).expect("no labels");
    assert_eq!(keys, Keys { tasks: vec![], workers: vec![], labels: vec![] });
    for (what, (consensus, workers)) in fits(&votes) {
        assert!(consensus.posterior.is_empty() && workers.is_empty(), "{what}");
        assert_eq!((consensus.loglik, consensus.labels()), (0.0, vec![]), "{what}");
    }
}

#[test]
fn one_voice_is_heard() {
    let rows = [Vote { task: "t", worker: "w", label: "yes" }];
    let (votes, _) = Votes::among(&rows, &["no"]).expect("two labels");
    for (what, fit) in fits(&votes) {
        assert_sound(what, &fit, &votes);
        assert_eq!(fit.0.labels(), [Some(1)], "{what}");
    }
}

#[test]
fn a_crowd_is_wiser_than_its_votes() {
    let mut rng = Seed::new(11).rng();
    let rows = crowd(&mut rng);
    let (votes, _) = Votes::new(&rows).expect("3 labels");
    let fit = DawidSkene::default().fit(&votes);
    let (best, worst) = (fit.accuracy()[5], fit.accuracy()[0]);
    assert!(best > 0.8 && worst < 0.5, "who knows: {best}, who spams: {worst}");
    let stop = Stop { max_iterations: 3, tolerance: 0.0 };
    let early = DawidSkene { stop, ..DawidSkene::default() }.fit(&votes);
    assert_eq!((early.consensus.n_iterations, early.consensus.converged), (3, false));
}
