//! The shapes of the standard workloads.

use anyhow::{Result, ensure};
use clap::ValueEnum;
use rein_model::config::LlamaShape;
use serde::Serialize;

use super::SizeArgs;

/// How large.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, ValueEnum)]
pub(crate) enum Shape {
    /// 0.26 million parameters
    #[value(name = "S")]
    S,
    /// 5.8 million parameters
    #[value(name = "M")]
    M,
    /// 110 million parameters
    #[value(name = "L")]
    L,
    /// 0.5 billion parameters, with the sizes of Qwen2.5-0.5B
    #[value(name = "XL", alias = "0.5B")]
    XL,
}

/// A model's shape and the batches that go with it.
#[derive(Clone, Copy, Debug)]
pub(super) struct Sizes {
    pub(super) model: LlamaShape,
    /// Rows and tokens of a row in a step of fine-tuning.
    pub(super) sft: [usize; 2],
    /// Prompts, tokens of a prompt and new tokens of a rollout.
    pub(super) rollout: [usize; 3],
    pub(super) micro_batch_rows: usize,
}

impl Shape {
    pub(super) fn sizes(self) -> Sizes {
        let model = |hidden_size, mlp_size, n_layers, n_heads, n_kv_heads, vocab_size| LlamaShape {
            vocab_size,
            hidden_size,
            mlp_size,
            n_layers,
            n_heads,
            n_kv_heads,
            max_positions: 1024,
            tied_head: true,
        };
        let (model, sft, rollout, micro_batch_rows) = match self {
            Self::S => (model(64, 172, 5, 8, 4, 512), [32, 128], [64, 16, 64], 16),
            Self::M => (model(256, 688, 6, 8, 8, 4096), [8, 128], [64, 32, 64], 16),
            Self::L => (model(768, 2048, 12, 12, 12, 32000), [2, 256], [8, 32, 32], 4),
            Self::XL => (model(896, 4864, 24, 14, 2, 151_936), [2, 256], [8, 32, 32], 4),
        };
        Sizes { model, sft, rollout, micro_batch_rows }
    }
}

impl Sizes {
    /// The same, but for what was named.
    pub(super) fn with(mut self, args: &SizeArgs) -> Result<Self> {
        if let Some(batch) = args.batch {
            (self.sft[0], self.rollout[0]) = (batch, batch);
        }
        if let Some(length) = args.length {
            ensure!(length > 1, "--length {length}: a row needs a token and the one that follows");
            let [n_prompts, n_prompt, n_new] = self.rollout;
            let n_prompt = (length * n_prompt / (n_prompt + n_new)).max(1);
            self.sft[1] = length;
            self.rollout = [n_prompts, n_prompt, length - n_prompt];
            self.model.max_positions = self.model.max_positions.max(length);
        }
        if let Some(width) = args.width {
            self.model = widened(self.model, width)?;
        }
        if let Some(vocabulary) = args.vocabulary {
            ensure!(vocabulary > 3, "--vocabulary {vocabulary}: three tokens are special ones");
            self.model.vocab_size = vocabulary;
        }
        Ok(self)
    }

    /// Tokens of a completion and its prompt.
    pub(super) fn rollout_length(&self) -> usize {
        let [_, n_prompt, n_new] = self.rollout;
        n_prompt + n_new
    }
}

/// Heads keep their width and the number that shares a key.
fn widened(model: LlamaShape, width: usize) -> Result<LlamaShape> {
    let group = model.n_heads / model.n_kv_heads;
    let step = model.hidden_size / model.n_heads * group;
    ensure!(width.is_multiple_of(step), "--width {width}: not a multiple of {step}, a key's heads");
    Ok(LlamaShape {
        hidden_size: width,
        mlp_size: (width * model.mlp_size / model.hidden_size).max(1),
        n_heads: width / step * group,
        n_kv_heads: width / step,
        ..model
    })
}

#[cfg(test)]
mod tests {
    use rein_model::config::ModelConfig;

    use super::*;

    #[test]
    fn shapes_have_the_parameters_that_they_are_known_for() {
        let n_params = |shape: Shape| {
            let config = ModelConfig::llama(shape.sizes().model).expect("a good shape");
            config.n_params()
        };
        assert_eq!(n_params(Shape::S), 260_032);
        // Qwen2.5-0.5B has 494,032,768; 27,648 of them are biases, which these shapes lack.
        assert_eq!(n_params(Shape::XL), 494_032_768 - 24 * (896 + 2 * 128));
    }

    #[test]
    fn a_size_that_is_named_changes_and_the_others_stay() {
        let args = SizeArgs { length: Some(160), width: Some(128), ..SizeArgs::default() };
        let sizes = Shape::S.sizes().with(&args).expect("good sizes");
        assert_eq!((sizes.sft, sizes.rollout), ([32, 160], [64, 32, 128]));
        let LlamaShape { hidden_size, mlp_size, n_heads, n_kv_heads, vocab_size, .. } = sizes.model;
        assert_eq!((hidden_size, mlp_size, n_heads, n_kv_heads), (128, 344, 16, 8));
        assert_eq!(vocab_size, 512);
        let uneven = SizeArgs { width: Some(40), ..SizeArgs::default() };
        let refused = Shape::S.sizes().with(&uneven).map(drop).map_err(|it| it.to_string());
        assert_eq!(refused, Err("--width 40: not a multiple of 16, a key's heads".into()));
    }
}
