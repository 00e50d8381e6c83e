//! The moving average of weights.

use burn::module::{Module, ModuleMapper, ModuleVisitor, Param};
use burn::tensor::Tensor;
use burn_flex::{Flex, FlexDevice};
use rein_data::seed::Seed;
use rein_model::config::{LlamaShape, ModelConfig};
use rein_model::tokens::host;
use rein_model::weights::RandomWeights;
use rein_model::{CausalLm, Ema, EmaConfig};

const DEVICE: FlexDevice = FlexDevice;

fn model(seed: u64, n_layers: usize) -> CausalLm<Flex> {
    let config = ModelConfig::llama(LlamaShape {
        vocab_size: 12,
        hidden_size: 8,
        mlp_size: 16,
        n_layers,
        n_heads: 2,
        n_kv_heads: 1,
        max_positions: 16,
        tied_head: false,
    });
    let config = config.expect("a valid shape");
    CausalLm::new(&config, &mut RandomWeights::new(&config, Seed::new(seed)), &DEVICE)
        .expect("random weights fit")
}

/// All weights, one tensor after the other.
fn weights(model: &CausalLm<Flex>) -> Vec<f32> {
    struct Collector(Vec<f32>);
    impl ModuleVisitor<Flex> for Collector {
        fn visit_float<const D: usize>(&mut self, param: &Param<Tensor<Flex, D>>) {
            self.0.extend(host(param.val()));
        }
    }
    let mut collector = Collector(Vec::new());
    model.visit(&mut collector);
    collector.0
}

/// The model with this number for each weight.
fn filled(model: CausalLm<Flex>, number: f32) -> CausalLm<Flex> {
    struct Filler(f32);
    impl ModuleMapper<Flex> for Filler {
        fn map_float<const D: usize>(
            &mut self,
            param: Param<Tensor<Flex, D>>,
        ) -> Param<Tensor<Flex, D>> {
            let number = self.0;
            param.map(|tensor| Tensor::full(tensor.shape(), number, &DEVICE))
        }
    }
    model.map(&mut Filler(number))
}

fn average(ema: &Ema<Flex>) -> Vec<f32> {
    weights(&ema.applied(model(9, 1)))
}

fn assert_all(values: &[f32], want: f32) {
    assert!(!values.is_empty());
    assert!(values.iter().all(|it| (it - want).abs() < 1e-6), "{want}: {values:?}");
}

#[test]
fn an_average_begins_where_training_does_and_is_nobody_elses() {
    let start = model(1, 1);
    let mut ema = Ema::new(EmaConfig { decay: 0.5, warmup: false }, &start);
    let before = weights(&start);
    assert_eq!(average(&ema), before);
    let applied = ema.applied(model(9, 1));
    ema.update(&model(2, 1));
    assert_eq!(weights(&start), before, "the model's own weights stay");
    assert_eq!(weights(&applied), before, "and so does an average that was given away");
    assert_ne!(average(&ema), before);
}

#[test]
fn weights_are_averaged_in_by_hand() {
    let start = filled(model(1, 1), 8.0);
    let mut ema = Ema::new(EmaConfig { decay: 0.75, warmup: false }, &start);
    // 0.75 · 8 + 0.25 · 4 = 7; 0.75 · 7 + 0.25 · (−1) = 5; then nearer and nearer to −1.
    for (weight, want) in [(4.0, 7.0), (-1.0, 5.0), (-1.0, 3.5), (-1.0, 2.375)] {
        ema.update(&filled(model(1, 1), weight));
        assert_all(&average(&ema), want);
    }
    assert_eq!(ema.n_updates(), 4);
}

#[test]
fn while_warming_up_an_average_follows_faster() {
    let config = EmaConfig { decay: 0.3, warmup: true };
    // (1 + n) / (10 + n) until it exceeds the decay.
    for (n_updates, want) in [(0, 0.1), (1, 2.0 / 11.0), (2, 0.25), (3, 0.3), (500, 0.3)] {
        assert!((config.keep(n_updates) - want).abs() < 1e-12, "{n_updates}");
    }
    let mut ema = Ema::new(config, &filled(model(1, 1), 1.0));
    // 0.1 · 1 + 0.9 · 2, then 2/11 of that.
    ema.update(&filled(model(1, 1), 2.0));
    assert_all(&average(&ema), 1.9);
    ema.update(&filled(model(1, 1), 0.0));
    assert_all(&average(&ema), 1.9 * 2.0 / 11.0);
}

#[test]
fn an_average_that_was_taken_out_goes_on_to_the_same_bits() {
    let config = EmaConfig { decay: 0.9, warmup: true };
    let mut whole = Ema::new(config, &model(0, 1));
    (1..4).for_each(|seed| whole.update(&model(seed, 1)));
    let mut resumed = Ema::resumed(config, &whole.applied(model(9, 1)), 3);
    assert_eq!((average(&resumed), resumed.n_updates()), (average(&whole), 3));
    for ema in [&mut whole, &mut resumed] {
        (4..7).for_each(|seed| ema.update(&model(seed, 1)));
    }
    assert_eq!(average(&resumed), average(&whole));
}

#[test]
fn a_decay_that_means_nothing_is_refused_by_name() {
    let config = EmaConfig { decay: 1.5, warmup: false };
    assert_eq!(config.problems("rl.ema"), ["`rl.ema.decay` must be within 0..=1"]);
    assert!(EmaConfig::default().problems("rl.ema").is_empty());
}
