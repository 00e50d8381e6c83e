use burn::prelude::*;
use rein_data::seed::Seed;

use crate::ModelError;
use crate::backend::LmBackend;
use crate::causal_lm::CausalLm;
use crate::config::ModelConfig;
use crate::decoder::Decoder;
use crate::heads::ScoreHeads;
use crate::linear::Linear;
use crate::tokens::{TokenBatch, host, indices};
use crate::weights::{RandomWeights, WeightSource};

/// A [`Decoder`] that gives one number: a reward model at the last token, a value model at each.
#[derive(Module, Debug)]
pub struct ScalarModel<B: Backend> {
    /// The backbone.
    pub decoder: Decoder<B>,
    /// `[hidden, 1]`
    pub score: Linear<B>,
    /// Heads that learn in its place, if there are any; checkpoints of the model know nothing of them.
    pub heads: Option<ScoreHeads<B>>,
}

impl<B: LmBackend> ScalarModel<B> {
    /// A model with the source's weights.
    pub fn new(
        config: &ModelConfig,
        source: &mut dyn WeightSource,
        device: &B::Device,
    ) -> Result<Self, ModelError> {
        let decoder = Decoder::new(config, source, device)?;
        Ok(Self {
            decoder,
            score: Linear::new(source, "score", [config.hidden_size, 1], false, device)?,
            heads: None,
        })
    }

    /// The backbone of a language model with a new score head.
    pub fn from_causal_lm(
        model: CausalLm<B>,
        seed: Seed,
        device: &B::Device,
    ) -> Result<Self, ModelError> {
        let CausalLm { decoder, .. } = model;
        let mut weights = RandomWeights::new(decoder.config(), seed);
        let shape = [decoder.config().hidden_size, 1];
        let score = Linear::new(&mut weights, "score", shape, false, device)?;
        Ok(Self { decoder, score, heads: None })
    }

    /// The model with a head that gives 0 everywhere: for a value model that begins as a policy. Random heads are
    /// for reward models; here they would be noise as large as the rewards.
    #[must_use]
    pub fn expecting_nothing(self, device: &B::Device) -> Self {
        let values = vec![0.0; self.config().hidden_size];
        Self { score: self.score.with_weight(values, device), ..self }
    }

    /// The shape of the model.
    pub fn config(&self) -> &ModelConfig {
        self.decoder.config()
    }

    /// The number at every token, `[batch, time]`. Those of pads mean nothing.
    pub fn values(&self, batch: &TokenBatch<B>) -> Tensor<B, 2> {
        let [n_batch, n_time] = batch.dims();
        let hidden =
            self.decoder.hidden(batch).reshape([n_batch * n_time, self.config().hidden_size]);
        self.score.forward(hidden).reshape([n_batch, n_time])
    }

    /// The number at each row's last token, `[batch]`: the score of a whole completion.
    pub fn scores(&self, batch: &TokenBatch<B>) -> Tensor<B, 1> {
        let [n_batch, _] = batch.dims();
        self.score.forward(self.pooled(batch)).reshape([n_batch])
    }

    /// What the score head reads: the hidden state at each row's last token, after the final norm, `[batch, hidden]`.
    pub fn pooled(&self, batch: &TokenBatch<B>) -> Tensor<B, 2> {
        let [n_batch, n_time] = batch.dims();
        let last_columns = batch.last_columns();
        let cells: Vec<usize> =
            last_columns.iter().enumerate().map(|(row, last)| row * n_time + last).collect();
        let hidden =
            self.decoder.hidden(batch).reshape([n_batch * n_time, self.config().hidden_size]);
        hidden.select(0, indices(&cells, &batch.ids.device()))
    }

    /// The numbers of the head, `[hidden]`.
    pub fn head(&self) -> Vec<f32> {
        host(self.score.weight.val())
    }

    /// The model with another head of as many numbers.
    ///
    /// # Panics
    /// Other than one number for each hidden one.
    #[must_use]
    pub fn with_head(self, head: Vec<f32>, device: &B::Device) -> Self {
        assert_eq!(head.len(), self.config().hidden_size, "one number for each hidden one");
        Self { score: self.score.with_weight(head, device), ..self }
    }
}
