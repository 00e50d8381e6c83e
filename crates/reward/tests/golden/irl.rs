//! Rewards that are read off behaviour, in a world whose reward is known: sequences of a few tokens, a reference
//! that draws them and an expert who tilts it towards a reward of tokens and pairs of tokens.

use rein_data::batches::{RowOrder, permutation};
use rein_data::encoding::TokenRow;
use rein_data::example::Completion;
use rein_data::seed::Seed;
use rein_data::store::TokenStore;
use rein_model::config::{LlamaShape, ModelConfig};
use rein_model::optim::OptimizerConfig;
use rein_model::schedule::Schedule;
use rein_model::sft::{Sft, SftConfig, SftRows};
use rein_model::weights::RandomWeights;
use rein_model::{CausalLm, ScalarModel};
use rein_reward::inverse::demonstrations::pairs;
use rein_reward::inverse::max_ent::{Choice, Fit, Sparse, Weighted, discriminator, dot, max_ent};
use rein_reward::inverse::similarity::pearson;
use rein_reward::inverse::{LogRatio, LogRatioConfig};
use rein_reward::{LearnedReward, Normalization, Reward};
use serde_json::Value;

use super::*;

struct World {
    vocab: usize,
    sequences: Vec<Vec<u32>>,
    log_p_ref: Vec<f64>,
    log_p_expert: Vec<f64>,
    reward: Vec<f64>,
    demonstrated: Vec<f64>,
    sampled: Vec<f64>,
    file: Value,
}

impl World {
    fn read() -> Self {
        let name = "feedback/irl_token_mdp.json";
        let path = root().join(name);
        let file = json(&if path.exists() { path } else { own_root().join(name) });
        let of = |key: &str| numbers(&file[key]);
        Self {
            vocab: number(&file["vocab"]) as usize,
            sequences: token_rows(&file["sequences"]),
            log_p_ref: of("log_p_ref"),
            log_p_expert: of("log_p_expert"),
            reward: of("reward_true"),
            demonstrated: of("demo_counts"),
            sampled: of("ref_counts"),
            file,
        }
    }

    fn gate(&self, name: &str) -> f64 {
        number(&self.file["suggested_gates"][name])
    }

    /// Counts of tokens, then of pairs of tokens.
    fn features(&self, sequence: &[u32]) -> Sparse {
        let mut counts = vec![0.0; self.n_features()];
        sequence.iter().for_each(|token| counts[*token as usize] += 1.0);
        for pair in sequence.windows(2) {
            counts[self.vocab + pair[0] as usize * self.vocab + pair[1] as usize] += 1.0;
        }
        counts.into_iter().enumerate().filter(|(_, count)| *count > 0.0).collect()
    }

    fn n_features(&self) -> usize {
        self.vocab * (self.vocab + 1)
    }

    fn weighted(&self, weights: impl IntoIterator<Item = f64>) -> Weighted {
        weights.into_iter().zip(self.sequences.iter().map(|it| self.features(it))).collect()
    }

    fn scores(&self, theta: &[f64]) -> Vec<f64> {
        self.sequences.iter().map(|it| dot(&self.features(it), theta)).collect()
    }

    /// How alike to the truth the scores of all sequences are.
    fn likeness(&self, scores: &[f64]) -> f64 {
        pearson(scores, &self.reward)
    }

    /// How often scores order two sequences as the truth does.
    fn pair_accuracy(&self, scores: &[f64]) -> f64 {
        let (mut right, mut all) = (0.0, 0.0);
        for (one, place) in self.reward.iter().zip(0..) {
            for (other, behind) in self.reward.iter().zip(0..place) {
                if one != other {
                    all += 1.0;
                    let agrees = (scores[place] > scores[behind]) == (one > other);
                    right += f64::from(u8::from(agrees));
                }
            }
        }
        right / all
    }

    /// `log p` of all sequences under the policy of token after token that these counts suggest, each cell a
    /// tenth more than was seen.
    fn imitated(&self, counts: &[f64]) -> Vec<f64> {
        let mut seen = vec![vec![0.1; self.vocab]; self.vocab + 1];
        for (sequence, count) in self.sequences.iter().zip(counts) {
            self.states(sequence).for_each(|(state, token)| seen[state][token] += count);
        }
        let logprob = |(state, token): (usize, usize)| {
            (seen[state][token] / seen[state].iter().sum::<f64>()).ln()
        };
        self.sequences.iter().map(|it| self.states(it).map(logprob).sum()).collect()
    }

    /// The token before each token, or the beginning, and the token.
    fn states<'a>(&self, sequence: &'a [u32]) -> impl Iterator<Item = (usize, usize)> + use<'a> {
        let before = [self.vocab].into_iter().chain(sequence.iter().map(|it| *it as usize));
        before.zip(sequence.iter().map(|it| *it as usize))
    }

    /// Each sequence as often as it was counted, behind the token that begins all of them, in a random order.
    fn rows(&self, counts: &[f64]) -> Vec<Vec<u32>> {
        let begin = self.vocab as u32;
        let row = |sequence: &Vec<u32>| [&[begin], sequence.as_slice()].concat();
        let each = self.sequences.iter().zip(counts);
        let rows: Vec<Vec<u32>> =
            each.flat_map(|(it, count)| vec![row(it); *count as usize]).collect();
        permutation(rows.len(), Seed::new(1)).into_iter().map(|it| rows[it].clone()).collect()
    }

    fn completions(&self) -> Vec<Completion> {
        let completion = |sequence: &Vec<u32>| Completion {
            prompt_tokens: vec![self.vocab as u32],
            tokens: sequence.clone(),
            finished: true,
            ..Completion::default()
        };
        self.sequences.iter().map(completion).collect()
    }
}

#[test]
fn an_expert_is_its_reference_tilted_by_its_reward() {
    let world = World::read();
    let (beta, log_z) = (number(&world.file["beta"]), number(&world.file["identities"]["logZ"]));
    for place in 0..world.sequences.len() {
        let ratio = world.log_p_expert[place] - world.log_p_ref[place];
        assert!((ratio - (world.reward[place] / beta - log_z)).abs() < 1e-9);
    }
    let theta = numbers(&world.file["theta_true"]);
    let scores = world.scores(&theta);
    let far = scores.iter().zip(&world.reward).map(|(a, b)| (a - b).abs()).fold(0.0, f64::max);
    assert!(far < 1e-9, "the features are those of the file");
}

#[test]
fn rewards_are_recovered_from_expectations_and_from_demonstrations() {
    let world = World::read();
    let fit = Fit { n_features: world.n_features(), l2: 1e-6, n_steps: 500 };
    let exact = |log_p: &[f64]| world.weighted(log_p.iter().map(|it| it.exp()));
    let counted = |counts: &[f64]| world.weighted(counts.iter().copied());
    let max_ent = |demonstrated, sampled| {
        let theta = max_ent(&[Choice { demonstrated, sampled }], &fit);
        world.likeness(&world.scores(&theta))
    };
    let expected = max_ent(exact(&world.log_p_expert), exact(&world.log_p_ref));
    assert!(expected >= world.gate("exact_pearson_min"), "expectations: {expected}");

    let bare = world.imitated(&world.demonstrated);
    let naive = world.likeness(&bare);
    let demonstrated = || counted(&world.demonstrated);
    let ratio: Vec<f64> =
        bare.iter().zip(world.imitated(&world.sampled)).map(|(a, b)| a - b).collect();
    let told = discriminator(&demonstrated(), &counted(&world.sampled), &fit);
    for (name, gate, got) in [
        ("MaxEnt", "maxent_demo_pearson_min", max_ent(demonstrated(), exact(&world.log_p_ref))),
        (
            "MaxEnt, sampled",
            "maxent_demo_pearson_min",
            max_ent(demonstrated(), counted(&world.sampled)),
        ),
        ("discriminator", "discriminator_pearson_min", world.likeness(&world.scores(&told))),
        ("log-ratio", "log_ratio_pearson_min", world.likeness(&ratio)),
    ] {
        let gate = world.gate(gate);
        assert!(got >= gate && got > naive, "{name}: {got}, not {gate}; bare log π {naive}");
    }
}

const BATCH_ROWS: usize = 250;
/// Samples that each demonstration is compared with.
const N_SAMPLES: usize = 4;

fn shape(world: &World) -> ModelConfig {
    let shape = LlamaShape {
        vocab_size: world.vocab + 1,
        hidden_size: 16,
        mlp_size: 32,
        n_layers: 1,
        n_heads: 2,
        n_kv_heads: 2,
        max_positions: 1 + world.sequences[0].len(),
        tied_head: true,
    };
    ModelConfig::llama(shape).expect("a valid shape")
}

fn optimizer() -> OptimizerConfig {
    OptimizerConfig {
        learning_rate: 1e-2,
        schedule: Schedule::Cosine,
        warmup_ratio: 0.0,
        ..OptimizerConfig::default()
    }
}

/// A transformer that imitates some sequences.
fn imitating(world: &World, rows: Vec<Vec<u32>>) -> CausalLm<Flex> {
    let rows: Vec<TokenRow> =
        rows.iter().map(|row| TokenRow::completion(row[..1].to_vec(), &row[1..])).collect();
    let config = shape(world);
    let model =
        CausalLm::<AB>::new(&config, &mut RandomWeights::new(&config, Seed::new(2)), &DEVICE);
    let config = SftConfig {
        epochs: 10.0,
        batch_rows: BATCH_ROWS,
        micro_batch_rows: BATCH_ROWS,
        optimizer: optimizer(),
        ..SftConfig::default()
    };
    let store = |rows| TokenStore::in_memory(rows);
    let data = SftRows { train: store(rows.clone()), heldout: store(Vec::new()) };
    let model = model.expect("random weights fit");
    let mut stage = Sft::new(config, model, None, data, Seed::new(3), &DEVICE).expect("begins");
    let mut order = RowOrder::new(rows.len(), Seed::new(4));
    for step in 0..stage.n_steps() {
        let batch: Vec<&TokenRow> =
            order.batch(step, BATCH_ROWS).into_iter().map(|row| &rows[row]).collect();
        stage.update(step, &batch).expect("updates");
    }
    stage.model().valid()
}

#[test]
fn transformers_recover_the_reward() {
    let world = World::read();
    let [shown, sampled] = [&world.demonstrated, &world.sampled].map(|it| world.rows(it));
    let ratio = LogRatio::new(
        imitating(&world, shown.clone()),
        imitating(&world, sampled.clone()),
        LogRatioConfig::default(),
        BATCH_ROWS,
        &DEVICE,
    )
    .expect("fits together");
    let completions = world.completions();
    let scores = ratio.score(&completions).expect("scores");
    let tokens = ratio.token_scores(&completions).expect("scores");
    for (score, tokens) in scores.iter().zip(tokens) {
        assert_eq!(*score, tokens.iter().sum::<f64>() as f32, "tokens' advantages add up to it");
    }
    let learned = discriminating(&world, shown, sampled).score(&completions).expect("scores");
    for (name, scores) in [("log-ratio", scores), ("discriminator", learned)] {
        let scores: Vec<f64> = scores.into_iter().map(f64::from).collect();
        let (likeness, accuracy) = (world.likeness(&scores), world.pair_accuracy(&scores));
        assert!(likeness >= 0.85 && accuracy >= 0.85, "{name}: {likeness}, of pairs {accuracy}");
    }
}

/// A reward model that tells demonstrations from samples.
fn discriminating(
    world: &World,
    shown: Vec<Vec<u32>>,
    sampled: Vec<Vec<u32>>,
) -> LearnedReward<Flex> {
    let mut train: Vec<Pair> = Vec::new();
    for (row, shown) in shown.iter().enumerate() {
        let other = |number: usize| sampled[(row + 701 * number) % sampled.len()].clone();
        train.extend(pairs(shown, &[(0..N_SAMPLES).map(other).collect()], false));
    }
    let config = RewardConfig {
        epochs: 4.0,
        batch_rows: BATCH_ROWS,
        micro_batch_rows: BATCH_ROWS,
        // What is remembered of single samples decays.
        optimizer: OptimizerConfig { weight_decay: 0.3, ..optimizer() },
        ..RewardConfig::default()
    };
    let (n_pairs, model) = (train.len(), ModelConfig { init_std: 0.2, ..shape(world) });
    let model =
        ScalarModel::<AB>::new(&model, &mut RandomWeights::new(&model, Seed::new(5)), &DEVICE);
    let model = model.expect("random weights fit");
    let train = Judgements::Pairs(train);
    let both = [train.clone(), Judgements::Pairs(Vec::new())];
    let mut training =
        RewardTraining::new(config, model, None, both, Seed::new(6), &DEVICE).expect("begins");
    let mut order = RowOrder::new(n_pairs, Seed::new(7));
    for step in 0..training.n_steps() {
        let batch = train.select(order.batch(step, BATCH_ROWS));
        training.update(step, &batch).expect("updates");
    }
    let model = training.model().valid();
    LearnedReward::new(model, Normalization::NONE, BATCH_ROWS, &DEVICE)
}
