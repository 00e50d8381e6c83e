//! The shapes of the standard workloads.

use clap::ValueEnum;
use rein_model::config::LlamaShape;
use serde::Serialize;

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
}

/// A model's shape and the batches that go with it.
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
        };
        Sizes { model, sft, rollout, micro_batch_rows }
    }
}
