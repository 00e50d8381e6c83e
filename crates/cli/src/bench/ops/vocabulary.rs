use anyhow::Result;
use burn::prelude::*;
use rein_kernels::{HeadLayout, Kernels, Precision, StatsSeen, Wanted, composed};

use super::{Load, Operations};

/// Numbers that are told of a token.
const N_STATS: usize = 4;

impl<B: Kernels> Operations<'_, B> {
    pub(super) fn vocabulary(&self) -> Result<()> {
        let (n_tokens, width) = (self.n_tokens(), self.sizes.model.hidden_size);
        let n_entries = self.sizes.model.vocab_size;
        let layout = HeadLayout { tied: true, temperature: 1.0, precision: Precision::F32 };
        let hidden = self.primitive([n_tokens, width]);
        let head = self.primitive([n_entries, width]);
        let targets = Tensor::<B, 1, Int>::arange(0..n_tokens as i64, &self.device)
            .remainder_scalar(n_entries as i64)
            .into_primitive();
        let (hidden, head, targets) = (|| hidden.clone(), || head.clone(), || targets.clone());
        let grad = self.primitive([n_tokens, N_STATS]);
        let product = 2 * n_tokens * width * n_entries;
        self.compare(
            "token_stats",
            Load::Flops(product),
            || B::token_stats(hidden(), head(), targets(), layout),
            || composed::token_stats::<B>(hidden(), head(), targets(), layout),
        )?;
        let (stats, logs) = B::token_stats(hidden(), head(), targets(), layout);
        let seen = || StatsSeen { stats: stats.clone(), logs: logs.clone(), grad: grad.clone() };
        // The scores again, and the gradients of both of their factors.
        self.compare(
            "token_stats_backward",
            Load::Flops(3 * product),
            || B::token_stats_backward(hidden(), head(), targets(), layout, seen(), Wanted::New),
            || {
                composed::token_stats_backward::<B>(
                    hidden(),
                    head(),
                    targets(),
                    layout,
                    seen(),
                    true,
                )
            },
        )
    }
}
