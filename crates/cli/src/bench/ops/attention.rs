use anyhow::Result;
use rein_kernels::{AttentionSeen, Heads, Kernels, composed};

use super::{Load, Operations};

impl<B: Kernels> Operations<'_, B> {
    pub(super) fn attention(&self) -> Result<()> {
        let ([n_batch, n_time], model) = (self.sizes.sft, &self.sizes.model);
        let heads = Heads {
            n_batch,
            n_time,
            n_heads: model.n_heads,
            n_kv_heads: model.n_kv_heads,
            head_dim: model.hidden_size / model.n_heads,
            begins: vec![0; n_batch * n_time].into(),
        };
        let n_tokens = n_batch * n_time;
        let inputs = [heads.query_width(), heads.key_width(), heads.key_width()]
            .map(|width| self.primitive([n_tokens, width]));
        let inputs = || inputs.clone();
        let grad = self.primitive([n_tokens, heads.query_width()]);
        // A product of each token's queries with the keys up to its own.
        let product = n_tokens * n_time * heads.query_width();
        self.compare(
            "attention",
            Load::Flops(2 * product),
            || B::causal_attention(inputs(), &heads),
            || composed::attention::<B>(inputs(), &heads),
        )?;
        let (output, logs) = B::causal_attention(inputs(), &heads);
        let seen =
            || AttentionSeen { output: output.clone(), logs: logs.clone(), grad: grad.clone() };
        self.compare(
            "attention_backward",
            Load::Flops(5 * product),
            || B::causal_attention_backward(inputs(), seen(), &heads),
            || composed::attention_backward::<B>(inputs(), seen(), &heads),
        )
    }
}
