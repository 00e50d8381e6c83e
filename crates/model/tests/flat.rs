//! A module's trainable tensors as one vector, and back.

use burn::backend::Autodiff;
use burn::module::AutodiffModule;
use burn_flex::{Flex, FlexDevice};
use rein_data::seed::Seed;
use rein_model::CausalLm;
use rein_model::config::{LlamaShape, ModelConfig};
use rein_model::flat::FlatParams;
use rein_model::optim::Gradients;
use rein_model::tokens::{TokenBatch, host};
use rein_model::weights::RandomWeights;

type AB = Autodiff<Flex>;

fn model() -> CausalLm<AB> {
    let config = ModelConfig::llama(LlamaShape {
        vocab_size: 5,
        hidden_size: 4,
        mlp_size: 6,
        n_layers: 2,
        n_heads: 2,
        n_kv_heads: 1,
        max_positions: 8,
        tied_head: false,
    });
    let config = config.expect("a valid shape");
    let mut weights = RandomWeights::new(&config, Seed::new(1));
    CausalLm::new(&config, &mut weights, &FlexDevice).expect("random weights fit")
}

/// In the order of names: `embedding` of 5 · 4 numbers, then `head.weight` of 4 · 5.
#[test]
fn tensors_lie_one_after_the_other_by_name() {
    let model = model();
    let params = FlatParams::of(&model, |name| ["head.weight", "embedding"].contains(&name));
    let head = host(model.head.as_ref().expect("isn't tied").weight.val());
    let want = [host(model.decoder.embedding.val()), head].concat();
    assert_eq!((params.len(), params.values(&model)), (40, want));
    assert_eq!(FlatParams::of(&model, |_| true).len(), model.config().n_params());
}

#[test]
fn a_copy_has_the_values_and_shares_the_rest() {
    let model = model();
    let params = FlatParams::of(&model, |name| name.starts_with("blocks.1."));
    let rest = FlatParams::of(&model, |name| !name.starts_with("blocks.1."));
    let values: Vec<f32> = (0..params.len()).map(|it| it as f32).collect();
    let copy = params.with_values(model.clone(), &values);
    assert_eq!(params.values(&copy), values);
    assert_eq!(params.values(&params.with_values(model.valid(), &values)), values);
    assert_eq!(rest.values(&copy), rest.values(&model));
    assert_ne!(params.values(&model), values);
    // Trained as before, and by the same ids.
    assert_eq!(FlatParams::of(&copy, |_| true), FlatParams::of(&model, |_| true));
    let [own, copied] = [&model, &copy].map(|it| it.decoder.blocks[1].mlp.up.weight.id);
    assert_eq!(own, copied);
}

#[test]
fn what_is_left_alone_gets_no_gradient() {
    let model = model();
    let params = FlatParams::of(&model, |name| name.starts_with("blocks.1."));
    let all = FlatParams::of(&model, |_| true);
    let loss = |model: &CausalLm<AB>, ()| {
        model.hidden(&TokenBatch::right_padded(&[[1, 2, 3]], &FlexDevice)).powi_scalar(2).sum()
    };
    let whole = Gradients::of(&model, [()], loss);
    let narrow = Gradients::of(&params.alone_trainable(model.clone()), [()], loss);
    assert_eq!(params.gradient(&narrow), params.gradient(&whole));
    let n_given = |gradients| all.gradient(gradients).iter().filter(|it| **it != 0.0).count();
    assert!(n_given(&narrow) <= params.len() && n_given(&whole) > params.len());
}
