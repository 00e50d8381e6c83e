//! What a recorded pass keeps, and that it is replayed as it was.

use burn::backend::Autodiff;
use burn::module::AutodiffModule;
use burn_flex::{Flex, FlexDevice};

use super::*;
use crate::config::{LlamaShape, ModelConfig};
use crate::lora::LoraConfig;
use crate::optim::Gradients;
use crate::tokens::TokenBatch;
use crate::weights::RandomWeights;

type AB = Autodiff<Flex>;

/// A model with adapters that drop this share of their input.
fn model(dropout: f64) -> ScalarModel<AB> {
    let shape = LlamaShape {
        vocab_size: 20,
        hidden_size: 16,
        mlp_size: 24,
        n_layers: 3,
        n_heads: 4,
        n_kv_heads: 2,
        max_positions: 16,
        tied_head: true,
    };
    let config = ModelConfig { init_std: 0.3, ..ModelConfig::llama(shape).expect("is valid") };
    let mut weights = RandomWeights::new(&config, Seed::new(5));
    let lora = LoraConfig { rank: 2, dropout, ..LoraConfig::default() };
    let model = ScalarModel::new(&config, &mut weights, &FlexDevice).expect("fits");
    let model = model.with_lora(&lora, Seed::new(6), &FlexDevice).expect("fits");
    model.with_gradient_checkpointing(true)
}

fn batch() -> TokenBatch<AB> {
    TokenBatch::right_padded(&[vec![3, 1, 4, 1, 5], vec![9, 2, 6]], &FlexDevice)
}

#[test]
fn a_pass_keeps_what_enters_each_block_if_it_is_replayed() {
    let model = model(0.0);
    let (_, passes) = recorded::<AB, _>(|| model.values(&batch()));
    let [pass] = &passes[..] else { panic!("one pass, not {}", passes.len()) };
    assert_eq!((pass.inputs.len(), pass.inputs[0].dims()), (3, [10, 16]));
    let (_, passes) = recorded::<AB, _>(|| {
        host(model.valid().values(&TokenBatch::right_padded(&[[3]], &FlexDevice)))
    });
    assert!(passes.is_empty());
    model.values(&batch());
    assert!(PASSES.with_borrow(Option::is_none), "nobody would replay it");
}

#[test]
fn a_replayed_block_drops_what_it_dropped() {
    // No other test of this crate draws from the backend's generator, which all threads share.
    let model = model(0.3);
    let (_, mut passes) = recorded::<AB, _>(|| model.values(&batch()));
    let Pass { places, around, .. } = passes.remove(0);
    let seed = |seed| <AB as Backend>::seed(&FlexDevice, seed);
    let kept = |model: &ScalarModel<AB>| {
        let decoder = &model.decoder;
        let dropout = Some(drawn::<AB>(&FlexDevice));
        let mut stream = decoder.embed(&places);
        for (layer, block) in decoder.blocks.iter().enumerate() {
            seed_block::<AB>(dropout, layer, &FlexDevice);
            stream = block.forward(stream, &around, None);
        }
        model.score.forward(decoder.norm.forward(stream)).reshape([2, 5])
    };
    let gradient = |values: &dyn Fn(&ScalarModel<AB>) -> Tensor<AB, 2>, number| {
        let gradients = Gradients::of(&model, [()], |model, ()| {
            seed(number);
            values(model).powi_scalar(2).sum()
        });
        let values = gradients.tensors.iter().map(|(name, it)| (name.clone(), it.to_values()));
        values.collect::<Vec<_>>()
    };
    let want = gradient(&kept, 7);
    assert!(want.iter().any(|(name, _)| name.starts_with("blocks.0")));
    assert!(gradient(&|model| model.values(&batch()), 7) == want);
    assert!(gradient(&|model| model.values(&batch()), 8) != want);
}
