//! Embeddings that are moved: by noise, which fine-tuning gets better from, or by an attack.

use burn::prelude::*;
use rand::RngExt;
use rein_data::encoding::TokenRow;
use rein_data::seed::Seed;

use crate::backend::LmBackend;
use crate::decoder::Decoder;
use crate::tokens::{LearnedTokens, TokenBatch, scalar};

/// NEFTune's noise (Jain et al., 2023): `uniform(−1, 1) · α / √(L d)` for rows of `L` tokens and embeddings of `d`
/// numbers. `L` is a row's own length, and what a row gets follows from the seed and its tokens alone, so that it
/// doesn't depend on the rows beside it.
#[derive(Clone, Copy, Debug)]
pub struct Noise {
    /// How much; 5 to 15 in the paper.
    pub alpha: f64,
    /// Whose stream it is: an update's.
    pub seed: Seed,
}

impl Noise {
    fn draw(&self, row: &[u32], cells: &mut [f32]) {
        let mut rng = self.seed.child(&format!("{row:?}")).rng();
        let reach = (self.alpha / (cells.len() as f64).sqrt()) as f32;
        cells.iter_mut().for_each(|cell| *cell = rng.random_range(-1.0..=1.0) * reach);
    }
}

impl<B: LmBackend> TokenBatch<B> {
    /// The batch whose tokens' embeddings are moved by `delta` on their way into a model. Gradients flow back
    /// into it, but not where a model [recomputes](crate::ScalarModel::with_gradient_checkpointing).
    ///
    /// # Shapes
    /// - `delta`: `[batch · time, hidden]`
    #[must_use]
    pub fn perturbed(mut self, delta: Tensor<B, 2>) -> Self {
        let [n_batch, n_time] = self.dims();
        assert_eq!(delta.dims()[0], n_batch * n_time, "a vector for each cell");
        self.delta = Some(delta);
        self
    }

    /// [`perturbed`](Self::perturbed) by this noise. `rows` are those of the batch, each with the cell in which it
    /// begins; embeddings have `hidden_size` numbers.
    #[must_use]
    pub fn with_noise<'a>(
        self,
        noise: Noise,
        rows: impl IntoIterator<Item = (usize, &'a [u32])>,
        hidden_size: usize,
    ) -> Self {
        let [n_batch, n_time] = self.dims();
        let mut cells = vec![0.0; n_batch * n_time * hidden_size];
        for (begin, row) in rows {
            noise.draw(row, &mut cells[begin * hidden_size..][..row.len() * hidden_size]);
        }
        let shape = [n_batch * n_time, hidden_size];
        let delta = Tensor::from_data(TensorData::new(cells, shape), &self.ids.device());
        self.perturbed(delta)
    }
}

impl<B: LmBackend> LearnedTokens<B> {
    /// The same tokens, seen through noise. `sequences` are those of which the batch [is](Self::packed).
    pub(crate) fn with_noise(
        self,
        noise: Noise,
        sequences: &[Vec<&TokenRow>],
        hidden_size: usize,
    ) -> Self {
        let [_, n_time] = self.batch.dims();
        let rows = sequences.iter().enumerate().flat_map(|(number, rows)| {
            rows.iter().scan(number * n_time, |next, row| {
                let begin = *next;
                *next += row.tokens.len();
                Some((begin, row.tokens.as_slice()))
            })
        });
        Self { batch: self.batch.with_noise(noise, rows, hidden_size), ..self }
    }
}

impl<B: LmBackend> Decoder<B> {
    /// The mean Euclidean norm of the embeddings of all tokens: the unit of what moves them.
    pub fn mean_embedding_norm(&self) -> f64 {
        let squares = self.embedding.val().detach().square().sum_dim(1);
        scalar(squares.sqrt().mean())
    }
}
