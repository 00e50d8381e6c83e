//! A reward model that learns while people talk.

use burn_flex::{Flex, FlexDevice};
use rein_data::seed::Seed;
use rein_model::ScalarModel;
use rein_model::weights::RandomWeights;
use rein_reward::{LearnedReward, Normalization, OnlineReward, RIDGE};

use super::shape;

fn reward() -> LearnedReward<Flex> {
    let mut weights = RandomWeights::new(&shape(), Seed::new(1));
    let model = ScalarModel::<Flex>::new(&shape(), &mut weights, &FlexDevice).expect("is made");
    LearnedReward::new(model, Normalization { mean: 0.5, std: 2.0 }, 4, &FlexDevice)
}

#[test]
fn a_lesson_counts_at_once_and_agrees_with_a_model_of_that_head() {
    let rows: Vec<Vec<u32>> =
        (0..6_u32).map(|row| (0..4).map(|it| (row * 7 + it * 5) % 32).collect()).collect();
    let before = reward().score_rows(&rows);
    let mut online = OnlineReward::new(reward(), RIDGE, &FlexDevice).expect("is in f32");
    assert_eq!(online.score_rows(&rows), before, "nothing was taught");
    // Whatever the model holds better now is taught to be worse.
    let (worse, better) = if before[0] > before[1] { (0, 1) } else { (1, 0) };
    let mut gap = before[better] - before[worse];
    let lesson = online.read(&[[rows[better].clone(), rows[worse].clone()]]).remove(0);
    for n_lessons in 1..=3 {
        online.teach(&vec![lesson.clone(); n_lessons]);
        let scores = online.score_rows(&rows);
        assert!(scores[better] - scores[worse] > gap, "each lesson widens the gap");
        gap = scores[better] - scores[worse];
    }
    assert_eq!(online.n_lessons(), 3);
    assert_eq!(online.disagreement([&rows[0], &rows[1]]), None, "one head can't disagree");

    // θ − θ₀ = x (σ(−xᵀθ) · 3) / λ, the stationary point of three equal lessons.
    let model = reward();
    let model = model.model().expect("is in f32");
    let features = rein_reward::meta::features(model, &rows, 4, &FlexDevice);
    let x: Vec<f64> = features[better].iter().zip(&features[worse]).map(|(a, b)| a - b).collect();
    let surprise = 1.0 / (1.0 + f64::from(2.0 * gap).exp());
    let norm: f64 = x.iter().map(|it| it * it).sum();
    let expected = f64::from(before[better] - before[worse]) + 3.0 * surprise * norm / RIDGE / 2.0;
    assert!((f64::from(gap) - expected).abs() < 1e-4, "{gap}, not {expected}");
}

#[test]
fn what_is_taken_back_leaves_nothing() {
    let rows: Vec<Vec<u32>> = (0..4_u32).map(|row| vec![row, 9 - row, 3 * row]).collect();
    let mut online = OnlineReward::new(reward(), RIDGE, &FlexDevice).expect("is in f32");
    let before = online.score_rows(&rows);
    let lessons = online.read(&[
        [rows[0].clone(), rows[1].clone()],
        [rows[2].clone(), rows[3].clone()],
        [rows[3].clone(), rows[0].clone()],
    ]);
    online.teach(&lessons[..1]);
    let after_one = online.score_rows(&rows);
    online.teach(&lessons);
    assert_ne!(online.score_rows(&rows), after_one);
    online.teach(&lessons[..1]);
    assert_eq!(online.score_rows(&rows), after_one);
    online.teach(&[]);
    assert_eq!((online.score_rows(&rows), online.n_lessons()), (before, 0));
    let n_positions = shape().max_positions;
    assert!(online.fits(&vec![1; n_positions]) && !online.fits(&vec![1; n_positions + 1]));
}
