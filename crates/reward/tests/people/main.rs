//! People who differ: numbers of independent code, and populations drawn as theirs were. `REIN_FIXTURES` names
//! another folder of them.

#![allow(clippy::print_stdout, reason = "experiments tell their figures")]

#[path = "../../../../fixtures/golden.rs"]
mod golden;

mod draws;
mod online;
mod queries;

use std::fs;

use burn::backend::Autodiff;
use burn_flex::{Flex, FlexDevice};
use draws::{accuracy, dot, normals, unit};
use golden::*;
use rand::{Rng, RngExt};
use rein_data::log::RunLog;
use rein_data::seed::Seed;
use rein_data::stage::Train;
use rein_model::ScalarModel;
use rein_model::config::{LlamaShape, ModelConfig};
use rein_model::optim::OptimizerConfig;
use rein_model::weights::RandomWeights;
use rein_reward::Normalization;
use rein_reward::encoding::Pair;
use rein_reward::meta::{
    Annotated, Descent, Difference, JointTraining, Method, Personal, PersonalConfig,
    PersonalReward, Taste, fomaml, from_scratch, outer_step, reptile,
};
use rein_reward::train::RewardConfig;
use serde_json::Value;

type AB = Autodiff<Flex>;

fn fixture(name: &str) -> Value {
    let named = root().join("feedback").join(name);
    json(&if named.exists() { named } else { own_root().join("feedback").join(name) })
}

#[test]
fn steps_on_a_quadratic_end_where_they_must() {
    let file = fixture("meta_quadratic.json");
    let (c, start) = (number(&file["c"]), number(&file["theta0"]));
    let cases = file["by_inner_steps"].as_object().expect("a map by steps");
    assert!(!cases.is_empty());
    for (steps, want) in cases {
        let steps = steps.parse().expect("a count of steps");
        let inner = Descent { learning_rate: number(&file["inner_lr"]), steps };
        let gradient = |theta: &[f64]| vec![theta[0] - c];
        let near = |got: f64, key: &str| {
            assert!((got - number(&want[key])).abs() < 1e-6, "{steps} steps, {key}: {got}");
        };
        near(inner.from(&[start], gradient)[0], "theta_k");
        let reptile = reptile(&[start], &inner, gradient);
        near(reptile[0], "reptile_direction_theta_minus_theta_k");
        near(fomaml(&[start], &inner, gradient, gradient)[0], "fomaml_grad");
        let mut moved = vec![start];
        outer_step(&mut moved, &[reptile.clone(), reptile.clone()], 0.5);
        assert!((moved[0] - (start - 0.5 * reptile[0])).abs() < 1e-12);
    }
}

/// The design of `meta_opposite_annotators.json`: 16 features, weights `4 (s b₀ + 0.7 n b₁)` with `s = ±1`, 80
/// people to learn from with 30 answers each, 60 to measure with by 400 pairs each.
struct Population {
    axes: [Vec<f64>; 2],
    opposite: bool,
}

const N_FEATURES: usize = 16;

impl Population {
    fn new(opposite: bool, rng: &mut impl Rng) -> Self {
        let first = unit(normals(N_FEATURES, rng));
        let second = normals(N_FEATURES, rng);
        let along = dot(&first, &second);
        let second = unit(second.iter().zip(&first).map(|(y, x)| y - along * x).collect());
        Self { axes: [first, second], opposite }
    }

    fn person(&self, rng: &mut impl Rng) -> Vec<f64> {
        let sign = if self.opposite && rng.random() { -1.0 } else { 1.0 };
        let second = if self.opposite { 0.7 * normals(1, rng)[0] } else { 0.7 };
        let [x, y] = &self.axes;
        x.iter().zip(y).map(|(x, y)| 4.0 * (sign * x + second * y)).collect()
    }
}

fn answers(person: &[f64], count: usize, rng: &mut impl Rng) -> Vec<Difference> {
    let answer = |_| {
        let x = normals(N_FEATURES, rng);
        let likes = rng.random::<f64>() < 1.0 / (1.0 + (-dot(&x, person)).exp());
        if likes { x } else { x.iter().map(|it| -it).collect() }
    };
    (0..count).map(answer).collect()
}

/// Mean accuracies of new people's heads after `counts` answers: of the pooled head, from scratch, adapted.
fn adapted(population: &Population, method: Method, counts: &[usize], seed: Seed) -> Vec<[f64; 3]> {
    let mut rng = seed.rng();
    let people: Vec<Vec<Difference>> =
        (0..80).map(|_| answers(&population.person(&mut rng), 30, &mut rng)).collect();
    let pooled = from_scratch(&people.concat(), 1.0);
    let head: Vec<f32> = pooled.iter().map(|it| *it as f32).collect();
    let config = PersonalConfig { method, ..PersonalConfig::default() };
    let personal = Personal::fit(&people, &head, &[], &config, seed.child("fit")).expect("fits");
    let mut sums = vec![[0.0; 3]; counts.len()];
    for _ in 0..60 {
        let truth = population.person(&mut rng);
        let said = answers(&truth, 32, &mut rng);
        let pairs: Vec<Vec<f64>> = (0..400).map(|_| normals(N_FEATURES, &mut rng)).collect();
        for (sums, count) in sums.iter_mut().zip(counts) {
            let scratch = from_scratch(&said[..*count], 1.0);
            let own = personal.head(&personal.adapt(&said[..*count]));
            for (sum, head) in sums.iter_mut().zip([&pooled, &scratch, &own]) {
                *sum += accuracy(head, &truth, &pairs) / 60.0;
            }
        }
    }
    sums
}

#[test]
fn opposite_people_are_told_apart_by_a_few_answers() {
    let file = fixture("meta_opposite_annotators.json");
    let seed = Seed::new(6);
    let population = Population::new(true, &mut seed.child("axes").rng());
    let by_count = file["accuracy_by_k_labels"].as_object().expect("a map by labels");
    let counts: Vec<usize> = by_count.keys().map(|it| it.parse().expect("a count")).collect();
    let got = adapted(&population, Method::Basis, &counts, seed);
    for ((count, want), [pooled, scratch, basis]) in by_count.iter().zip(&got) {
        println!("{count} answers: pooled {pooled:.3}, scratch {scratch:.3}, basis {basis:.3}");
        if count == "0" {
            // Nothing is known, so everybody is the mean.
            assert!((basis - pooled).abs() < 0.03 && *scratch <= 0.5);
            continue;
        }
        // Other people and pairs than the fixture's: 60 people's means stray by 0.02.
        assert!((scratch - number(&want["scratch_ridge"])).abs() < 0.05, "scratch at {count}");
        assert!((basis - number(&want["subspace_rank2"])).abs() < 0.05, "basis at {count}");
        if count == "8" {
            assert!(*basis >= 0.85 && basis - scratch >= 0.15 && basis - pooled >= 0.15);
        }
    }
    for method in [Method::Reptile, Method::Fomaml] {
        let got = adapted(&population, method, &[0, 8, 32], seed);
        println!("{method:?}: {got:.3?}");
        // A start can't be near opposite people: what it gains is what descent finds, as from scratch.
        for ([_, _, own], count) in got[1..].iter().zip(["8", "32"]) {
            let want = number(&by_count[count]["reptile"]);
            assert!((own - want).abs() < 0.05, "{method:?} at {count}: {own}, not {want}");
        }
    }
}

#[test]
fn people_who_are_alike_lose_nothing_by_being_asked() {
    let seed = Seed::new(7);
    let population = Population::new(false, &mut seed.child("axes").rng());
    for (count, [pooled, _, basis]) in
        [0, 2, 8, 32].iter().zip(adapted(&population, Method::Basis, &[0, 2, 8, 32], seed))
    {
        println!("{count} answers: pooled {pooled:.3}, basis {basis:.3}");
        assert!(basis >= pooled - 0.01, "after {count} answers: {basis}, pooled {pooled}");
    }
}

#[test]
fn a_person_on_disk_scores_as_the_model_with_their_head_does() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let mut weights = RandomWeights::new(&shape(), Seed::new(1));
    let model = ScalarModel::<Flex>::new(&shape(), &mut weights, &FlexDevice).expect("is made");
    let rows: Vec<Vec<u32>> = (0..40_u32)
        .map(|row| (0..3 + row % 4).map(|it| (row * 7 + it * 5) % 32).collect())
        .collect();
    let references = rein_reward::meta::features(&model, &rows, 16, &FlexDevice);
    let mut rng = Seed::new(2).rng();
    let population = Population::new(true, &mut rng);
    let people: Vec<Vec<Difference>> =
        (0..20).map(|_| answers(&population.person(&mut rng), 20, &mut rng)).collect();
    for method in [Method::Basis, Method::Reptile] {
        let config = PersonalConfig { method, rank: 2, ..PersonalConfig::default() };
        let fitted = Personal::fit(&people, &model.head(), &references, &config, Seed::new(3));
        let fitted = fitted.expect("fits");
        fitted.save(folder.path()).expect("saves");
        let personal = Personal::load(folder.path(), &model.head()).expect("loads");
        assert_eq!(personal, fitted);
        let path = folder.path().join("person.json");
        let person = personal.adapt(&people[0][..8]);
        person.save(&path).expect("saves");
        assert_eq!(personal.person(&path).expect("loads"), person);
        let own = Normalization { mean: 0.5, std: 2.0 };
        let reward = PersonalReward::new(
            model.clone(),
            personal.clone(),
            person.clone(),
            own,
            7,
            &FlexDevice,
        );
        let scored = reward.score_rows(&rows);
        let by_model = reward.into_reward().score_rows(&rows);
        for (scored, by_model) in scored.iter().zip(&by_model) {
            assert!((scored.score - by_model).abs() < 1e-4, "{scored:?}, not {by_model}");
            assert_eq!(scored.std.is_some(), method == Method::Basis);
        }
        if method == Method::Basis {
            let mean = by_model.iter().sum::<f32>() / by_model.len() as f32;
            let square = by_model.iter().map(|it| (it - mean).powi(2)).sum::<f32>();
            assert!(mean.abs() < 1e-3 && (square / by_model.len() as f32 - 1.0).abs() < 1e-3);
            // More answers, more certain.
            let nobody = personal.adapt(&[]);
            let deviation = |person| personal.deviation(person, &references[0]).expect("is known");
            assert!(deviation(&person) < deviation(&nobody));
        }
        refuses_what_does_not_fit(&personal, &path, folder.path(), &model.head());
    }
}

pub(crate) fn shape() -> ModelConfig {
    let shape = LlamaShape {
        vocab_size: 32,
        hidden_size: N_FEATURES,
        mlp_size: 32,
        n_layers: 1,
        n_heads: 2,
        n_kv_heads: 2,
        max_positions: 16,
        tied_head: true,
    };
    ModelConfig::llama(shape).expect("a shape")
}

fn refuses_what_does_not_fit(
    personal: &Personal,
    path: &std::path::Path,
    folder: &std::path::Path,
    head: &[f32],
) {
    let refusal = |text: &str| {
        fs::write(path, text).expect("writes");
        personal.person(path).expect_err("is refused").to_string()
    };
    let good = fs::read_to_string(path).expect("reads");
    let other = good.replace("\"personal\": \"", "\"personal\": \"0");
    assert!(refusal(&other).contains("another reward model"));
    assert!(refusal("{}").contains("is no person"));
    let mut person = personal.adapt(&[]);
    person.taste = match person.taste {
        Taste::Basis { mean, covariance } => {
            let covariance = covariance.iter().map(|row| row.iter().map(|it| -it).collect());
            Taste::Basis { mean, covariance: covariance.collect() }
        }
        Taste::Head { .. } => Taste::Head { head: vec![1.0; 3] },
    };
    person.save(path).expect("saves");
    personal.person(path).expect_err("is refused");
    assert!(Personal::load(folder, &head[1..]).is_err());
    let numbers = folder.join("personal.json");
    let text = fs::read_to_string(&numbers).expect("reads");
    for (old, new) in
        [("\"version\": 1", "\"version\": 2"), ("\"scale\": ", "\"scale\": -"), ("{", "[")]
    {
        fs::write(&numbers, text.replacen(old, new, 1)).expect("writes");
        Personal::load(folder, head).expect_err("is refused");
    }
    fs::write(&numbers, &text).expect("writes");
    let tensors = folder.join("personal.safetensors");
    let bytes = fs::read(&tensors).expect("reads");
    fs::write(&tensors, &bytes[..bytes.len() - 4]).expect("writes");
    Personal::load(folder, head).expect_err("is refused");
}

#[test]
fn answers_that_teach_nothing_of_people_are_refused_or_harmless() {
    let config = PersonalConfig::default();
    let fit =
        |people: &[Vec<Difference>]| Personal::fit(people, &[0.5; 2], &[], &config, Seed::new(0));
    for people in [vec![], vec![vec![vec![1.0, 0.0]]], vec![vec![vec![1.0, 0.0]], vec![]]] {
        let error = fit(&people).expect_err("is refused").to_string();
        assert!(error.contains("two people at least"), "{error}");
    }
    // Contradictions, pairs without a difference, and fewer people than directions.
    let contradicting = vec![vec![1.0, 2.0], vec![-1.0, -2.0]];
    for people in [vec![contradicting.clone(), contradicting], vec![vec![vec![0.0, 0.0]]; 3]] {
        let personal = fit(&people).expect("fits");
        let head = personal.head(&personal.adapt(&people[0]));
        assert!(head.iter().all(|it| it.is_finite()), "{head:?}");
    }
}

#[test]
fn a_trunk_that_learns_with_tastes_resumes_where_it_was() {
    // One half of the people want what the other half doesn't.
    let annotated = |row: u32| {
        let (person, sides) =
            (row as usize % 4, [vec![1, row % 7 + 3, 2], vec![1, row % 5 + 11, 2]]);
        let [chosen, rejected] =
            if person < 2 { sides } else { [sides[1].clone(), sides[0].clone()] };
        Annotated { person, pair: Pair { chosen, rejected, ..Pair::default() } }
    };
    let rows: Vec<Annotated> = (0..64).map(annotated).collect();
    let config = RewardConfig {
        epochs: 15.0,
        batch_rows: 16,
        micro_batch_rows: 8,
        optimizer: OptimizerConfig { learning_rate: 3e-3, ..OptimizerConfig::default() },
        personal: Some(PersonalConfig { joint: true, rank: 2, ..PersonalConfig::default() }),
        ..RewardConfig::default()
    };
    let begin = || {
        let mut weights = RandomWeights::new(&shape(), Seed::new(1));
        let model = ScalarModel::<AB>::new(&shape(), &mut weights, &FlexDevice).expect("is made");
        JointTraining::new(config.clone(), model, None, rows.clone(), Seed::new(2), &FlexDevice)
            .expect("begins")
    };
    let mut log = RunLog::silent();
    let (mut whole, mut resumed) = (begin(), begin());
    let folder = tempfile::tempdir().expect("a temporary folder");
    let mut accuracy = 0.0;
    for step in 0..whole.n_steps() {
        accuracy =
            whole.step(step, &mut log).expect("learns").get("accuracy").expect("is measured");
        if step == 9 {
            whole.save(folder.path()).expect("saves");
            resumed.restore(folder.path()).expect("resumes");
        }
        if step > 9 {
            resumed.step(step, &mut log).expect("learns");
        }
    }
    assert!(
        accuracy > 0.9,
        "people want opposite things, and the head is each one's own: {accuracy}"
    );
    assert_eq!(whole.digest(), resumed.digest());
}
