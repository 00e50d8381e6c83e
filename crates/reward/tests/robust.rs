//! Ensembles and attackers: against closed forms, against brute force, and cut and resumed in any way.

#[path = "../../../fixtures/golden.rs"]
mod golden;

use std::fs;
use std::path::Path;

use burn::backend::Autodiff;
use burn::prelude::*;
use burn_flex::{Flex, FlexDevice};
use golden::*;
use rein_data::example::Completion;
use rein_data::log::RunLog;
use rein_data::seed::Seed;
use rein_data::stage::Train;
use rein_model::config::{LlamaShape, ModelConfig};
use rein_model::optim::OptimizerConfig;
use rein_model::tokens::{TokenBatch, host, scalar};
use rein_model::weights::RandomWeights;
use rein_model::{ScalarModel, load_scalar_model};
use rein_reward::adversarial::AdversarialConfig;
use rein_reward::adversarial::flips::{FlipBudget, Flipper, Target};
use rein_reward::adversarial::pgd::{ascend, project};
use rein_reward::encoding::{Judgements, Pair};
use rein_reward::ensemble::{
    Backbones, ENSEMBLE, EnsembleConfig, Pessimism, Spread, ensemble_losses,
};
use rein_reward::loss::bradley_terry;
use rein_reward::train::{RewardConfig, RewardTraining};
use rein_reward::{LearnedReward, Mixture, Reward, RewardError, scores};
use serde_json::Value;
use tempfile::TempDir;

type AB = Autodiff<Flex>;

const DEVICE: FlexDevice = FlexDevice;

/// A linear reward `w · e` of embeddings, whose worst case is known: `w · (c − r) − 2 ε ‖w‖`.
struct Linear {
    chosen: Tensor<AB, 2>,
    epsilon: f64,
}

impl Linear {
    fn new(differences: &Value, epsilon: f64) -> Self {
        let rows = rows(differences);
        let shape = [rows.len(), rows[0].len()];
        let chosen = Tensor::from_data(TensorData::new(rows.concat(), shape), &DEVICE);
        Self { chosen, epsilon }
    }

    /// The loss where both embeddings of each pair are moved; the rejected one lies at 0.
    fn loss(&self, weights: &Tensor<AB, 2>, delta: Tensor<AB, 2>) -> Tensor<AB, 1> {
        let [n_pairs, _] = self.chosen.dims();
        let score =
            |embeddings: Tensor<AB, 2>| embeddings.matmul(weights.clone()).reshape([n_pairs]);
        let chosen = score(self.chosen.clone() + delta.clone().narrow(0, 0, n_pairs));
        let rejected = score(delta.narrow(0, n_pairs, n_pairs));
        bradley_terry(chosen, rejected, None, 0.0).mean()
    }

    /// The loss where an attacker has moved them.
    fn attacked(&self, weights: &Tensor<AB, 2>) -> Tensor<AB, 1> {
        let [n_pairs, width] = self.chosen.dims();
        let fixed = weights.clone().detach();
        let shape = [2 * n_pairs, width];
        let delta = match self.epsilon > 0.0 {
            true => ascend::<AB>(shape, self.epsilon, 3, &DEVICE, |it| self.loss(&fixed, it) * 1e3),
            false => Tensor::zeros(shape, &DEVICE),
        };
        self.loss(weights, Tensor::from_inner(delta))
    }

    /// The weights that minimise the attacked loss and `l2 ‖w‖²`, by Nesterov's momentum.
    fn fit(&self, l2: f64) -> Vec<f32> {
        let width = self.chosen.dims()[1];
        let mut weights = Tensor::<AB, 2>::zeros([width, 1], &DEVICE);
        let mut velocity = weights.clone();
        for _ in 0..300 {
            let ahead = (weights.clone() + velocity.clone() * 0.9).detach().require_grad();
            let loss = self.attacked(&ahead) + ahead.clone().square().sum() * l2;
            let gradient = ahead.grad(&loss.backward()).expect("a leaf has a gradient");
            velocity = (velocity * 0.9 - Tensor::from_inner(gradient)).detach();
            weights = weights + velocity.clone();
        }
        host(weights)
    }
}

#[test]
fn attacks_reach_the_closed_form_and_training_against_them_is_that_of_the_fixtures() {
    let path = "feedback/adversarial_linear.json";
    let named = root().join(path);
    let file = json(&if named.exists() { named } else { own_root().join(path) });
    let (epsilon, l2) = (number(&file["eps"]), number(&file["l2"]));
    let results = file["results"].as_object().expect("results by name");
    assert!(results.len() > 1);
    for (name, want) in results {
        let trained_against = if name == "standard" { 0.0 } else { epsilon };
        let weights = Linear::new(&file["train_differences"], trained_against).fit(l2);
        assert_close(name, &weights, &numbers(&want["w"]), 1e-3);
        let column = |weights: &[f32]| {
            let shape = [weights.len(), 1];
            Tensor::<AB, 2>::from_data(TensorData::new(weights.to_vec(), shape), &DEVICE)
        };
        let test = Linear::new(&file["test_differences"], epsilon);
        let clean = Linear::new(&file["test_differences"], 0.0);
        let loss = |of: &Linear| scalar(of.attacked(&column(&weights)).inner());
        assert_near("robust loss", loss(&test), &want["robust_loss"], 1e-4);
        assert_near("clean loss", loss(&clean), &want["clean_loss"], 1e-4);
        let norm = weights.iter().map(|it| it * it).sum::<f32>().sqrt();
        let margins = host(test.chosen.clone().matmul(column(&weights)).inner());
        let worst = 2.0 * epsilon as f32 * norm;
        let right = margins.iter().filter(|it| **it > 0.0).count() as f64;
        let flipped = margins.iter().filter(|it| **it > 0.0 && **it <= worst).count() as f64;
        assert_near("accuracy", right / margins.len() as f64, &want["clean_accuracy"], 2e-3);
        assert_near("attack success", flipped / right, &want["attack_success_rate"], 4e-3);
        let total: f32 = weights.iter().map(|it| it.abs()).sum();
        let spurious = weights.last().expect("has weights").abs() / total;
        assert_near("spurious share", f64::from(spurious), &want["spurious_share"], 2e-3);
    }
}

fn model() -> ScalarModel<AB> {
    let config = ModelConfig::llama(LlamaShape {
        vocab_size: 40,
        hidden_size: 16,
        mlp_size: 32,
        n_layers: 2,
        n_heads: 4,
        n_kv_heads: 2,
        max_positions: 16,
        tied_head: true,
    });
    let config = ModelConfig { init_std: 0.2, ..config.expect("a valid shape") };
    let mut weights = RandomWeights::new(&config, Seed::new(5));
    ScalarModel::new(&config, &mut weights, &DEVICE).expect("random weights fit")
}

fn row(number: u32) -> Vec<u32> {
    (0..3 + number % 5).map(|it| (number * 7 + it * it) % 40).collect()
}

fn pairs() -> Judgements {
    let pair = |number| Pair { chosen: row(number), rejected: row(number + 1), ..Pair::default() };
    Judgements::Pairs((0..12).map(pair).collect())
}

/// Everything at once: heads, noise and an attacker.
fn config(micro_batch_rows: usize) -> RewardConfig {
    RewardConfig {
        epochs: 10.0,
        batch_rows: 8,
        micro_batch_rows,
        ensemble: Some(EnsembleConfig::default()),
        neftune_noise_alpha: Some(5.0),
        adversarial: Some(AdversarialConfig::default()),
        optimizer: OptimizerConfig { learning_rate: 1e-2, ..OptimizerConfig::default() },
        ..RewardConfig::default()
    }
}

fn training(config: RewardConfig) -> RewardTraining<AB> {
    RewardTraining::new(config, model(), None, [pairs(), pairs()], Seed::new(2), &DEVICE)
        .expect("begins")
}

fn steps(training: &mut RewardTraining<AB>, steps: std::ops::Range<usize>) {
    for step in steps {
        training.step(step, &mut RunLog::silent()).expect("updates");
    }
}

/// The weights of a saved model and of its heads.
fn saved(training: &RewardTraining<AB>, folder: &Path) -> Vec<Vec<u8>> {
    training.save(folder).expect("saves");
    let names = ["model/model.safetensors", "model/ensemble.safetensors", "optimizer.safetensors"];
    names.map(|name| fs::read(folder.join(name)).expect("was saved")).to_vec()
}

#[test]
fn an_ensemble_learns_the_same_however_it_is_cut_and_resumed() {
    let folder = |name: &str| {
        let folder = tempfile::Builder::new().prefix(name).tempdir();
        folder.expect("a temporary folder")
    };
    let [whole, cut, half, resumed] = ["whole", "cut", "half", "resumed"].map(folder);
    let mut one = training(config(8));
    steps(&mut one, 0..2);
    saved(&one, half.path());
    steps(&mut one, 2..4);
    let want = saved(&one, whole.path());
    let mut other = training(config(8));
    other.restore(half.path()).expect("restores");
    steps(&mut other, 2..4);
    assert!(saved(&other, resumed.path()) == want, "resumed");
    let mut parts = training(config(2));
    steps(&mut parts, 0..4);
    saved(&parts, cut.path());
    for name in ["model/ensemble.safetensors", "model/model.safetensors"] {
        let [whole, cut] = [&whole, &cut].map(|it| {
            let mut tensors = tensors(&it.path().join(name));
            tensors.sort_by(|a, b| a.0.cmp(&b.0));
            tensors
        });
        for ((name, _, whole), (_, _, cut)) in whole.into_iter().zip(cut) {
            let whole: Vec<f64> = whole.into_iter().map(f64::from).collect();
            assert_close(&name, &cut, &whole, 1e-4);
        }
    }
}

#[test]
fn heads_differ_their_mean_is_the_model_and_their_doubt_is_told() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let mut training = training(config(8));
    steps(&mut training, 0..3);
    let evaluation = training.evaluate().expect("evaluates").expect("has held-out rows");
    assert!(evaluation.metrics.get("eval_ensemble_std").expect("is told") > 0.01);
    saved(&training, folder.path());
    let folder = folder.path().join("model");
    let load = || LearnedReward::<Flex>::load(&folder, 4, &DEVICE).expect("loads");
    let all = pairs();
    let rows = all.rows();
    let (reward, want) = (load(), load().score_rows(&rows));
    let heads = reward.head_scores(&rows).expect("there are heads");
    for (heads, want) in heads.iter().zip(&want) {
        assert_eq!(heads.len(), 5);
        assert!((Spread::of(heads).mean as f32 - want).abs() < 1e-4, "{heads:?}, not {want}");
    }
    for head in 0..5 {
        let mean = heads.iter().map(|it| it[head]).sum::<f32>() / heads.len() as f32;
        assert!(mean.abs() < 1e-4, "head {head} is centred on the rows: {mean}");
    }
    let completion = |row: &&[u32]| Completion {
        prompt_tokens: row[..1].to_vec(),
        tokens: row[1..].to_vec(),
        finished: true,
        ..Completion::default()
    };
    let completions: Vec<Completion> = rows.iter().map(completion).collect();
    let parts = load().into_parts(Some(Pessimism::Minimum), 1.0).expect("has heads");
    let mixture = Mixture::new(parts).expect("mixes");
    let got = scores(&mixture, &completions).expect("scores");
    for (row, heads) in heads.iter().enumerate() {
        assert_eq!(got.total[row], Pessimism::Minimum.score(heads));
        let Spread { mean, std } = Spread::of(heads);
        assert_eq!([got.parts[1][row], got.parts[2][row]], [mean as f32, std as f32]);
    }
    let names: Vec<&str> = mixture.parts().iter().map(|it| it.reward.name()).collect();
    assert_eq!(names, ["learned", "learned_mean", "learned_std"]);
    fs::remove_file(folder.join(ENSEMBLE)).expect("was there");
    let refused = load().into_parts(Some(Pessimism::Minimum), 1.0).expect_err("one head");
    assert!(refused.to_string().contains("no ensemble of heads"), "{refused}");
    fs::write(folder.join(ENSEMBLE), b"not heads").expect("writes");
    LearnedReward::<Flex>::load(&folder, 4, &DEVICE).expect_err("a damaged file");
    load_scalar_model::<Flex>(&folder, &DEVICE).expect("others see one head");
}

/// The ensemble that trains a model for each of two heads.
fn alone(seed: u64) -> RewardTraining<AB> {
    let own = EnsembleConfig { heads: 2, backbones: Backbones::Own, ..EnsembleConfig::default() };
    let config = RewardConfig { ensemble: Some(own), ..config(8) };
    RewardTraining::new(config, model(), None, [pairs(), pairs()], Seed::new(seed), &DEVICE)
        .expect("begins")
}

/// Two models, trained apart, in folders of their own and as one ensemble in the last folder.
fn trained_apart() -> (RewardTraining<AB>, [TempDir; 3]) {
    let folders = [0; 3].map(|_| tempfile::tempdir().expect("a temporary folder"));
    let [first, second, both] = folders.each_ref().map(|it| it.path());
    let (mut one, mut other) = (alone(2), alone(3));
    for (training, folder) in [(&mut one, first), (&mut other, second)] {
        steps(training, 0..3);
        training.save(folder).expect("saves");
    }
    let one = one.with_members(vec![second.join("model")]);
    one.save(both).expect("saves");
    (one, folders)
}

fn load(folder: &TempDir) -> Result<LearnedReward<Flex>, RewardError> {
    LearnedReward::load(&folder.path().join("model"), 4, &DEVICE)
}

#[test]
fn models_with_backbones_of_their_own_are_one_ensemble() {
    let (_, [first, second, both]) = trained_apart();
    let [first, second, reward] = [first, second, both].map(|it| load(&it).expect("loads"));
    assert!(reward.is_ensemble() && !first.is_ensemble());
    let all = pairs();
    let rows = all.rows();
    let each = [&first, &second].map(|it| it.score_rows(&rows));
    let raw = [&first, &second].map(|it| it.raw_rows(&rows));
    let heads = reward.head_scores(&rows).expect("two models");
    let [scores, raw_scores] = [reward.score_rows(&rows), reward.raw_rows(&rows)];
    for row in 0..rows.len() {
        assert_eq!(heads[row], [each[0][row], each[1][row]]);
        assert!((scores[row] - (each[0][row] + each[1][row]) / 2.0).abs() < 1e-6);
        assert!((raw_scores[row] - (raw[0][row] + raw[1][row]) / 2.0).abs() < 1e-6);
    }
    let differ = heads.iter().map(|heads| Spread::of(heads).std).sum::<f64>() / rows.len() as f64;
    assert!(differ > 0.05, "they learned the same: {differ}");
    // A toss-up for both teaches nothing, however uncertain it is.
    assert_eq!(reward.bald(&[0.0, 0.0]), 0.0);
    assert!(reward.bald(&[-1.0, 1.0]) > 1e-3);
    let parts = reward.into_parts(Some(Pessimism::Minimum), 1.0);
    assert_eq!(parts.expect("two models").len(), 3);
}

#[test]
fn an_ensemble_of_models_goes_on_from_what_was_saved() {
    let (mut one, [first, second, both]) = trained_apart();
    let mut resumed = alone(2).with_members(vec![second.path().join("model")]);
    resumed.restore(both.path()).expect("restores");
    steps(&mut one, 3..4);
    steps(&mut resumed, 3..4);
    assert!(saved(&one, first.path()) == saved(&resumed, both.path()), "resumed");
}

#[test]
fn a_further_model_that_reads_other_tokens_is_refused() {
    let (_, [_, _, both]) = trained_apart();
    let config = both.path().join("model/members/2/config.json");
    let text = fs::read_to_string(&config).expect("reads");
    // Its files are shared with the member's own folder.
    fs::remove_file(&config).expect("removes");
    fs::write(&config, text.replace("\"vocab_size\": 40", "\"vocab_size\": 41")).expect("writes");
    let refused = load(&both).expect_err("other tokens").to_string();
    assert!(refused.contains("members/2: has another vocabulary"), "{refused}");
}

#[test]
fn the_best_exchange_is_found_and_what_is_forbidden_is_not_done() {
    let model = model().no_grad();
    let score = |rows: &[Vec<u32>]| host(model.scores(&TokenBatch::right_padded(rows, &DEVICE)));
    let row = vec![3, 17, 25, 8, 30];
    let flipper = |flips, candidates| {
        let budget = FlipBudget { flips, candidates };
        Flipper::<AB>::new(model.clone(), 0..40, budget, Seed::new(1), &DEVICE)
    };
    let target = |open: std::ops::Range<usize>| Target { row: &row, open, goal: f32::INFINITY };
    // All exchanges of one place, each tried.
    let exchanged = |token: u32| vec![3, 17, token, 8, 30];
    let rows: Vec<Vec<u32>> = (0..40).map(exchanged).collect();
    let best = score(&rows).into_iter().fold(f32::NEG_INFINITY, f32::max);
    let one = flipper(1, 40).attack(&target(2..3), |_| true);
    assert!((one.score - best).abs() < 1e-6 && one.n_flips == 1, "{one:?}, not {best}");
    assert!(!one.succeeded, "nothing exceeds the goal");
    let legal = |row: &[u32]| {
        row[1] == 17 && row.iter().all(|token| token % 2 == 0 || [3, 17, 25].contains(token))
    };
    let far = flipper(20, 8).attack(&target(1..5), legal);
    assert!(legal(&far.row) && far.row[0] == 3, "{far:?}");
    assert!(far.score > score(std::slice::from_ref(&row))[0] && far.n_flips > 1, "{far:?}");
    assert_eq!(far, flipper(20, 8).attack(&target(1..5), legal), "the seed decides");
    let nothing = flipper(20, 8).attack(&target(5..5), |_| true);
    assert_eq!((nothing.row, nothing.n_flips), (row.clone(), 0));
}

#[test]
fn vectors_are_shortened_each_by_itself() {
    let vectors = Tensor::<Flex, 2>::from_data([[3.0, 4.0], [0.3, 0.4], [0.0, 0.0]], &DEVICE);
    assert_close("vectors", &host(project(vectors, 1.0)), &[0.6, 0.8, 0.3, 0.4, 0.0, 0.0], 1e-6);
}

#[test]
fn a_linear_objective_is_maximised_and_what_has_no_gradient_stays() {
    let slopes = Tensor::<AB, 2>::from_data([[2.0, 0.0], [0.0, 0.0]], &DEVICE);
    let objective = |delta: Tensor<AB, 2>| (delta * slopes.clone()).sum();
    assert_eq!(host(ascend::<AB>([2, 2], 0.5, 3, &DEVICE, objective)), [0.5, 0.0, 0.0, 0.0]);
}

#[test]
fn losses_are_the_weighted_mean_over_heads() {
    let scores = Tensor::<Flex, 2>::from_data([[1.0, 10.0], [2.0, 20.0]], &DEVICE);
    let weights = [vec![2.0, 0.0], vec![1.0, 1.0]];
    let losses = host(ensemble_losses(scores, &weights, |scores| scores * 3.0));
    // (2 · 3 + 0 · 30) / 2 and (6 + 60) / 2
    assert_eq!(losses, [3.0, 33.0]);
}
