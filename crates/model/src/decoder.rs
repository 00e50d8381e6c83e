use burn::module::Param;
use burn::prelude::*;

use crate::ModelError;
use crate::attention::{HIDDEN, Mask, Surroundings};
use crate::backend::LmBackend;
use crate::block::Block;
use crate::config::{ModelConfig, Positions};
use crate::kv_cache::KvCache;
use crate::norm::Norm;
use crate::rotary::RotaryTables;
use crate::tokens::{TokenBatch, indices};
use crate::weights::{WeightSource, param};

/// The backbone: tokens in, hidden states out. Heads stand on it.
#[derive(Module, Debug)]
pub struct Decoder<B: Backend> {
    /// `[vocab, hidden]`
    pub embedding: Param<Tensor<B, 2>>,
    /// `[positions, hidden]`, where positions are learned.
    pub positions: Option<Param<Tensor<B, 2>>>,
    /// The layers.
    pub blocks: Vec<Block<B>>,
    /// After the last layer.
    pub norm: Norm<B>,
    #[module(skip)]
    pub(crate) config: ModelConfig,
}

impl<B: LmBackend> Decoder<B> {
    pub(crate) fn new(
        config: &ModelConfig,
        source: &mut dyn WeightSource,
        device: &B::Device,
    ) -> Result<Self, ModelError> {
        let ModelConfig { vocab_size, hidden_size, max_positions, .. } = *config;
        let learned = config.positions == Positions::Learned;
        let blocks = (0..config.n_layers)
            .map(|layer| Block::new(config, source, &format!("blocks.{layer}"), device))
            .collect::<Result<_, _>>()?;
        Ok(Self {
            embedding: param(source, "embedding", [vocab_size, hidden_size], device)?,
            positions: learned
                .then(|| param(source, "positions", [max_positions, hidden_size], device))
                .transpose()?,
            blocks,
            norm: Norm::new(config, source, "norm", hidden_size, device)?,
            config: config.clone(),
        })
    }

    /// The shape of the decoder.
    pub fn config(&self) -> &ModelConfig {
        &self.config
    }

    /// Hidden states after the last norm, `[batch, time, hidden]`. Those of pads mean nothing.
    pub fn hidden(&self, batch: &TokenBatch<B>) -> Tensor<B, 3> {
        self.forward(batch.ids.clone(), &batch.starts, 0, None)
    }

    /// Hidden states of a cache's first tokens; the rows must end together, as
    /// [`TokenBatch::left_padded`] makes them.
    pub fn prefill(&self, batch: &TokenBatch<B>, cache: &mut KvCache<B>) -> Tensor<B, 3> {
        assert_eq!(cache.n_past, 0, "a cache is filled once");
        cache.starts.clone_from(&batch.starts);
        self.advance(batch.ids.clone(), cache)
    }

    /// Hidden states of the tokens that come next in each row, `[batch, time, hidden]`.
    pub fn advance(&self, ids: Tensor<B, 2, Int>, cache: &mut KvCache<B>) -> Tensor<B, 3> {
        let starts = std::mem::take(&mut cache.starts);
        let n_past = cache.n_past;
        cache.n_past += ids.dims()[1];
        let hidden = self.forward(ids, &starts, n_past, Some(cache));
        cache.starts = starts;
        hidden
    }

    fn forward(
        &self,
        ids: Tensor<B, 2, Int>,
        starts: &[usize],
        n_past: usize,
        mut cache: Option<&mut KvCache<B>>,
    ) -> Tensor<B, 3> {
        let [n_batch, n_time] = ids.dims();
        let device = ids.device();
        let positions = positions(starts, n_past, n_time);
        let mut stream = self.embedding.val().select(0, ids.reshape([n_batch * n_time]));
        if let Some(table) = &self.positions {
            stream = stream + table.val().select(0, indices(&positions, &device));
        }
        let rotary = match &self.config.positions {
            Positions::Rotary(rotary) => {
                let ModelConfig { n_heads, n_kv_heads, head_dim, .. } = self.config;
                let table =
                    |heads| RotaryTables::new(rotary, &positions, [heads, head_dim], &device);
                let query = table(n_heads);
                let key = if n_kv_heads == n_heads { query.clone() } else { table(n_kv_heads) };
                Some([query, key])
            }
            Positions::Learned => None,
        };
        let mask = mask(starts, n_past, n_time, &device);
        let around = Surroundings { rotary, mask, n_batch, n_time };
        for (layer, block) in self.blocks.iter().enumerate() {
            let cache = cache.as_mut().map(|cache| &mut cache.layers[layer]);
            stream = block.forward(stream, &around, cache);
        }
        self.norm.forward(stream).reshape([n_batch, n_time, self.config.hidden_size])
    }
}

/// Each token's position: the number of real tokens before it in its row; 0 for pads on the left.
fn positions(starts: &[usize], n_past: usize, n_time: usize) -> Vec<usize> {
    let row = |start: &usize| {
        let start = *start;
        (n_past..n_past + n_time).map(move |column| column.saturating_sub(start))
    };
    starts.iter().flat_map(row).collect()
}

/// Hides what comes later, and pads on the left. `None` if nothing is to be hidden.
fn mask<B: LmBackend>(
    starts: &[usize],
    n_past: usize,
    n_time: usize,
    device: &B::Device,
) -> Option<Mask<B>> {
    let n_keys = n_past + n_time;
    let cells = |start: usize| {
        let queries = n_past..n_keys;
        queries.flat_map(move |query| {
            let seen = move |key: usize| key <= query && key >= start;
            (0..n_keys).map(move |key| if seen(key) { 0.0 } else { HIDDEN })
        })
    };
    if starts.iter().any(|start| *start > 0) {
        let cells: Vec<f32> = starts.iter().flat_map(|start| cells(*start)).collect();
        let shape = [starts.len(), 1, n_time * n_keys];
        Some(Mask::PerRow(Tensor::from_data(TensorData::new(cells, shape), device)))
    } else if n_time > 1 {
        let cells: Vec<f32> = cells(0).collect();
        Some(Mask::Shared(Tensor::from_data(TensorData::new(cells, [1, n_time * n_keys]), device)))
    } else {
        None
    }
}
