use burn::prelude::*;
use rein_kernels::HeadLayout;
use rein_kernels::ops::{self, TokenStats};

use crate::ModelError;
use crate::backend::LmBackend;
use crate::config::ModelConfig;
use crate::decoder::Decoder;
use crate::linear::Linear;
use crate::tokens::TokenBatch;
use crate::weights::WeightSource;

/// The tensor of an untied head.
pub(crate) const HEAD: &str = "head.weight";

/// A causal language model: a [`Decoder`] and a head over the vocabulary.
#[derive(Module, Debug)]
pub struct CausalLm<B: Backend> {
    /// The backbone.
    pub decoder: Decoder<B>,
    /// `[hidden, vocab]`; absent where the embedding serves as the head.
    pub head: Option<Linear<B>>,
    /// `[hidden, 1]`: the head for values, where they share the backbone.
    pub value_head: Option<Linear<B>>,
}

impl<B: LmBackend> CausalLm<B> {
    /// A model with the source's weights.
    pub fn new(
        config: &ModelConfig,
        source: &mut dyn WeightSource,
        device: &B::Device,
    ) -> Result<Self, ModelError> {
        let decoder = Decoder::new(config, source, device)?;
        let shape = [config.hidden_size, config.vocab_size];
        let untied = !config.tied_head;
        let head = untied.then(|| Linear::new(source, "head", shape, false, device)).transpose()?;
        Ok(Self { decoder, head, value_head: None })
    }

    /// The shape of the model.
    pub fn config(&self) -> &ModelConfig {
        self.decoder.config()
    }

    /// Hidden states of a batch, `[batch, time, hidden]`.
    pub fn hidden(&self, batch: &TokenBatch<B>) -> Tensor<B, 3> {
        self.decoder.hidden(batch)
    }

    /// Scores of the next token over the vocabulary.
    ///
    /// # Shapes
    /// - `hidden`: `[rows, hidden]`
    /// - returns: `[rows, vocab]`
    pub fn logits(&self, hidden: Tensor<B, 2>) -> Tensor<B, 2> {
        match &self.head {
            Some(head) => head.forward(hidden),
            None => hidden.matmul(self.decoder.embedding.val().transpose()),
        }
    }

    /// The weight of the head, `[hidden, vocab]`, and `false`; or the embedding that serves as the head,
    /// `[vocab, hidden]`, and `true`.
    pub fn head_weight(&self) -> (Tensor<B, 2>, bool) {
        match &self.head {
            Some(head) => (head.weight.val(), false),
            None => (self.decoder.embedding.val(), true),
        }
    }

    /// The mean score over the vocabulary, `h · mean_v w_v`; the scores themselves are never held. Nothing
    /// flows back through it.
    ///
    /// # Shapes
    /// - `hidden`: `[rows, hidden]`
    /// - returns: `[rows]`
    pub fn mean_logits(&self, hidden: Tensor<B, 2>) -> Tensor<B, 1> {
        let [n_rows, n_hidden] = hidden.dims();
        let (head, is_tied) = self.head_weight();
        let mean = head.detach().mean_dim(if is_tied { 0 } else { 1 }).reshape([n_hidden, 1]);
        hidden.detach().matmul(mean).reshape([n_rows])
    }

    /// What the model gives to the tokens that come next, its scores divided by the temperature; the
    /// scores themselves are never held.
    ///
    /// # Shapes
    /// - `hidden`: `[rows, hidden]`
    /// - `targets`: `[rows]`
    pub fn token_stats(
        &self,
        hidden: Tensor<B, 2>,
        targets: Tensor<B, 1, Int>,
        temperature: f32,
    ) -> TokenStats<B> {
        let (head, tied) = self.head_weight();
        let layout = HeadLayout { tied, temperature, precision: self.decoder.precision };
        ops::token_stats(hidden, head, targets, layout)
    }
}
