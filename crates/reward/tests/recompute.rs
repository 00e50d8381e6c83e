//! A reward model learns the same whether what is inside blocks is kept or computed again.

use std::fs;

use burn::backend::Autodiff;
use burn_flex::{Flex, FlexDevice};
use rein_data::seed::Seed;
use rein_data::stage::Train;
use rein_model::ScalarModel;
use rein_model::config::{LlamaShape, ModelConfig};
use rein_model::lora::LoraConfig;
use rein_model::optim::OptimizerConfig;
use rein_model::weights::RandomWeights;
use rein_reward::encoding::{Judgements, Label, Pair, Ranking, Scored};
use rein_reward::objective::{GradeLoss, LossConfig, Ties};
use rein_reward::train::{RewardConfig, RewardTraining};

type AB = Autodiff<Flex>;

fn model() -> ScalarModel<AB> {
    let config = ModelConfig::llama(LlamaShape {
        vocab_size: 40,
        hidden_size: 16,
        mlp_size: 32,
        n_layers: 3,
        n_heads: 4,
        n_kv_heads: 2,
        max_positions: 16,
        tied_head: true,
    });
    let config = ModelConfig { init_std: 0.2, ..config.expect("a valid shape") };
    let mut weights = RandomWeights::new(&config, Seed::new(5));
    ScalarModel::new(&config, &mut weights, &FlexDevice).expect("random weights fit")
}

fn row(number: u32) -> Vec<u32> {
    (0..3 + number % 5).map(|it| (number * 7 + it * it) % 40).collect()
}

/// What is saved after some updates.
fn trained(judgements: &Judgements, config: RewardConfig) -> [Vec<u8>; 2] {
    let (train, none) = (judgements.clone(), Judgements::Pairs(vec![]));
    let mut training =
        RewardTraining::<AB>::new(config, model(), None, [train, none], Seed::new(0), &FlexDevice)
            .expect("begins");
    for step in 0..3 {
        training.update(step, judgements).expect("updates");
    }
    let saved = tempfile::tempdir().expect("a temporary folder");
    training.save(saved.path()).expect("saves");
    let names = ["model/model.safetensors", "optimizer.safetensors"];
    names.map(|name| fs::read(saved.path().join(name)).expect("was saved"))
}

#[test]
fn an_update_is_the_same_to_the_last_bit() {
    let pair = |number| {
        let margin = (number % 2 == 0).then_some(0.5);
        Pair { chosen: row(number), rejected: row(number + 1), margin, ..Pair::default() }
    };
    let label = |number| Label { tokens: row(number), is_good: number % 3 == 0, weight: None };
    let pairs = Judgements::Pairs((0..6).map(pair).collect());
    let labels = Judgements::Labels((0..6).map(label).collect());
    let lora = Some(LoraConfig { rank: 2, ..LoraConfig::default() });
    for (judgements, lora) in [(&pairs, None), (&pairs, lora), (&labels, None)] {
        let config = |gradient_checkpointing| RewardConfig {
            epochs: 10.0,
            batch_rows: 6,
            micro_batch_rows: 4,
            gradient_checkpointing,
            lora: lora.clone(),
            optimizer: OptimizerConfig { learning_rate: 1e-2, ..OptimizerConfig::default() },
            ..RewardConfig::default()
        };
        let [kept, recomputed] = [false, true].map(|it| trained(judgements, config(it)));
        assert!(kept == recomputed, "{lora:?}");
    }
}

/// What is learned from rankings, ties and grades doesn't depend on how a batch is cut, nor on an interruption.
#[test]
fn micro_batches_and_interruptions_change_nothing() {
    let ranking = |number: u32| Ranking {
        rows: (0..2 + number % 3).map(|it| row(number + it)).collect(),
        ranks: (0..2 + number % 3).map(|it| 1 + it / 2).collect(),
        weight: Some(1.0 + number as f32),
    };
    let scored =
        |number: u32| Scored { tokens: row(number), score: (number % 3) as f32, weight: None };
    let rankings = Judgements::Rankings((0..6).map(ranking).collect());
    let scores = Judgements::Scores((0..6).map(scored).collect());
    let ties = LossConfig { ties: Ties::Davidson, ..LossConfig::default() };
    let ordinal = LossConfig { score: GradeLoss::Ordinal, ..LossConfig::default() };
    for (judgements, loss) in [(&rankings, ties), (&scores, ordinal)] {
        let config = |micro_batch_rows| RewardConfig {
            epochs: 10.0,
            batch_rows: 6,
            micro_batch_rows,
            loss: loss.clone(),
            optimizer: OptimizerConfig { learning_rate: 1e-2, ..OptimizerConfig::default() },
            ..RewardConfig::default()
        };
        let begin = |micro_batch_rows| {
            let parts = [judgements.clone(), Judgements::Pairs(vec![])];
            RewardTraining::<AB>::new(
                config(micro_batch_rows),
                model(),
                None,
                parts,
                Seed::new(0),
                &FlexDevice,
            )
            .expect("begins")
        };
        let losses = |training: &mut RewardTraining<AB>, steps: std::ops::Range<usize>| {
            let one = |step| training.update(step, judgements).expect("updates").get("loss");
            steps.map(one).map(|it| it.expect("is measured")).collect::<Vec<f64>>()
        };
        let (mut whole, mut cut) = (begin(6), begin(2));
        let (whole, seen) = (losses(&mut whole, 0..6), losses(&mut cut, 0..3));
        assert!(whole.iter().zip(&seen).all(|(a, b)| (a - b).abs() < 1e-5), "{whole:?} {seen:?}");
        let saved = tempfile::tempdir().expect("a temporary folder");
        cut.save(saved.path()).expect("saves");
        let rest = losses(&mut cut, 3..6);
        let mut resumed = begin(2);
        resumed.restore(saved.path()).expect("restores");
        assert_eq!(losses(&mut resumed, 3..6), rest);
        let told = fs::read_to_string(saved.path().join("model/config.json")).expect("was saved");
        assert!(told.contains("\"nu\"") || told.contains("\"thresholds\""), "{told}");
    }
}
