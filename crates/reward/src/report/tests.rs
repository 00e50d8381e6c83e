use super::*;
use crate::encoding::{Pair, Ranking, Scored};

fn pairs(said: &[f32]) -> Judgements {
    let pair = |said: &f32| Pair { chosen_probability: Some(*said), ..Pair::default() };
    Judgements::Pairs(said.iter().map(pair).collect())
}

/// Margins that are the logits of how often they hold are calibrated; twice as large, they want a temperature of 2.
#[test]
fn calibration_is_that_of_known_probabilities() {
    let said: Vec<f32> = [vec![1.0; 80], vec![0.0; 20], vec![1.0; 60], vec![0.0; 40]].concat();
    let logit = |p: f32| (p / (1.0 - p)).ln();
    let margins = [vec![logit(0.8); 100], vec![logit(0.6); 100]].concat();
    let look = |factor: f32| {
        let scores: Vec<Vec<f32>> = margins.iter().map(|it| vec![factor * it, 0.0]).collect();
        let lengths = vec![vec![1, 1]; scores.len()];
        report(&pairs(&said), &scores, &lengths, &[]).calibration.expect("there are pairs")
    };
    let right = look(1.0);
    assert!(right.ece < 1e-6 && (right.temperature - 1.0).abs() < 1e-5, "{right:?}");
    // (0.8 · 0.2² + 0.2 · 0.8² + 0.6 · 0.4² + 0.4 · 0.6²) / 2 = 0.2
    assert!((right.brier - 0.2).abs() < 1e-6, "{right:?}");
    let sure = look(2.0);
    assert!((sure.temperature - 2.0).abs() < 1e-5 && sure.ece_at_temperature < 1e-6, "{sure:?}");
    // σ(2 logit 0.8) = 16/17, of which 0.8 hold, and σ(2 logit 0.6) = 9/13, of which 0.6 hold.
    let want = (16.0 / 17.0 - 0.8 + 9.0 / 13.0 - 0.6) / 2.0;
    assert!((sure.ece - want).abs() < 1e-6, "{sure:?}");
    assert!(look(-1.0).brier > 0.25);
}

/// A judge that only counts letters likes length; one that doesn't care about it has a coefficient of 0.
#[test]
fn a_judge_that_counts_letters_is_found_out() {
    let lengths: Vec<Vec<usize>> = (0..40).map(|it| vec![10 + it % 7, 10 + it % 5]).collect();
    let said = vec![1.0; lengths.len()];
    let counts: Vec<Vec<f32>> =
        lengths.iter().map(|it| it.iter().map(|length| *length as f32).collect()).collect();
    let told = report(&pairs(&said), &counts, &lengths, &[]);
    let of_model = told.length.of_model.expect("lengths differ");
    assert!(of_model.low > 0.0, "{of_model:?}");
    assert!((told.length.correlation.expect("varies").value - 1.0).abs() < 1e-9);
    assert_eq!(told.by_length["better is longer"].value, 1.0);
    assert_eq!(told.by_length["better is shorter"].value, 0.0);
    // Every comparison beside its mirror image: length says nothing.
    let mirrored: Vec<Vec<usize>> =
        lengths.iter().flat_map(|it| [it.clone(), vec![it[1], it[0]]]).collect();
    let scores = vec![vec![1.0, 0.0]; mirrored.len()];
    let told = report(&pairs(&vec![1.0; mirrored.len()]), &scores, &mirrored, &[]);
    assert!(told.length.of_model.expect("lengths differ").value.abs() < 1e-9);
    // One of the longer and one of the shorter side, with odds of 3 to 1: ln 3 for a deviation of 1.
    let odds: Vec<Vec<usize>> = [vec![vec![3, 1]; 300], vec![vec![1, 3]; 100]].concat();
    let told = report(&pairs(&vec![1.0; 400]), &vec![vec![1.0, 0.0]; 400], &odds, &[]);
    let people = told.length.of_people.expect("lengths differ").value;
    assert!((people - 3.0_f64.ln()).abs() < 1e-3, "{people}");
}

#[test]
fn categories_and_the_best_of_four_are_counted() {
    let ranking = || Ranking { ranks: vec![1, 2, 2, 2], ..Ranking::default() };
    let judgements = Judgements::Rankings(vec![ranking(), ranking(), ranking()]);
    let scores = [vec![2.0, 1.0, 0.0, -1.0], vec![0.0, 1.0, -1.0, -1.0], vec![1.0, 1.0, 0.0, 0.0]];
    let lengths = vec![vec![1; 4]; 3];
    let categories = ["Math", "Math", "Safety"].map(str::to_owned);
    let told = report(&judgements, &scores, &lengths, &categories);
    assert_eq!(told.best_of.expect("are rankings").value, 0.5);
    assert!((told.categories["Math"].value - (1.0 + 2.0 / 3.0) / 2.0).abs() < 1e-12);
    // Half of Math's and half of Safety's, whose best shares the highest score.
    assert_eq!(told.mean_of_categories, Some(0.5));
    assert_eq!(told.by_margin.len(), 4);
    let graded = |score| Scored { score, ..Scored::default() };
    let grades = Judgements::Scores([1.0, 2.0, 3.0, 4.0].map(graded).to_vec());
    let told =
        report(&grades, &[[0.1], [0.2], [0.3], [0.4]].map(Vec::from), &vec![vec![1]; 4], &[]);
    assert!(told.calibration.is_none());
    assert!((told.correlation.expect("varies").value - 1.0).abs() < 1e-9);
}
