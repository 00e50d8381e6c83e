use burn::module::Param;
use burn::prelude::*;
use rein_kernels::{Heads, Precision, ops};

use crate::ModelError;
use crate::attention::{HIDDEN, Mask, Surroundings};
use crate::backend::LmBackend;
use crate::block::Block;
use crate::config::{ModelConfig, Positions};
use crate::kv_cache::KvCache;
use crate::norm::Norm;
use crate::recompute::{is_recording, record};
use crate::rotary::RotaryTables;
use crate::tokens::{TokenBatch, indices, repeated};
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
    /// Of products with the embedding, where it is the head.
    #[module(skip)]
    pub(crate) precision: Precision,
    /// Whether gradients recompute what is inside blocks.
    #[module(skip)]
    pub(crate) recomputes: bool,
}

/// What is looked up in the embeddings.
#[derive(Clone, Debug)]
pub(crate) struct Places<B: Backend> {
    /// `[batch · time]`
    ids: Tensor<B, 1, Int>,
    /// `[batch · time]`, where positions are learned.
    positions: Option<Tensor<B, 1, Int>>,
    /// What is added to them, `[batch · time, hidden]`.
    delta: Option<Tensor<B, 2>>,
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
            precision: Precision::F32,
            recomputes: false,
        })
    }

    /// The shape of the decoder.
    pub fn config(&self) -> &ModelConfig {
        &self.config
    }

    /// Hidden states after the last norm, `[batch, time, hidden]`. Those of pads mean nothing.
    pub fn hidden(&self, batch: &TokenBatch<B>) -> Tensor<B, 3> {
        self.forward(batch.ids.clone(), batch.delta.clone(), &batch.begins(), 0, None)
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
        let (n_past, n_time) = (cache.n_past, ids.dims()[1]);
        let begins = repeated(&cache.starts, n_time);
        cache.n_past += n_time;
        self.forward(ids, None, &begins, n_past, Some(cache))
    }

    fn forward(
        &self,
        ids: Tensor<B, 2, Int>,
        delta: Option<Tensor<B, 2>>,
        begins: &[usize],
        n_past: usize,
        mut cache: Option<&mut KvCache<B>>,
    ) -> Tensor<B, 3> {
        let [n_batch, n_time] = ids.dims();
        let device = ids.device();
        let positions = positions(begins, n_past, n_time);
        let learned = self.positions.as_ref().map(|_| indices(&positions, &device));
        let places = Places { ids: ids.reshape([n_batch * n_time]), positions: learned, delta };
        let ModelConfig { n_heads, n_kv_heads, head_dim, .. } = self.config;
        let rotary = match &self.config.positions {
            Positions::Rotary(rotary) => {
                Some(RotaryTables::new(rotary, &positions, head_dim, &device))
            }
            Positions::Learned => None,
        };
        let mask = cache.is_some().then(|| mask(begins, n_past, n_time, &device)).flatten();
        let begins = begins.into();
        let heads = Heads { n_batch, n_time, n_heads, n_kv_heads, head_dim, begins };
        let around = Surroundings { rotary, heads, mask };
        let stream = if self.recomputes && cache.is_none() && is_recording::<B>(&device) {
            record(self, places, around)
        } else {
            let mut stream = self.embed(&places);
            for (layer, block) in self.blocks.iter().enumerate() {
                let cache = cache.as_mut().map(|cache| &mut cache.layers[layer]);
                stream = block.forward(stream, &around, cache);
            }
            stream
        };
        self.norm.forward(stream).reshape([n_batch, n_time, self.config.hidden_size])
    }

    /// What enters the first block, `[batch · time, hidden]`.
    pub(crate) fn embed(&self, places: &Places<B>) -> Tensor<B, 2> {
        let mut stream = ops::embed(self.embedding.val(), places.ids.clone());
        if let Some(delta) = &places.delta {
            stream = stream + delta.clone();
        }
        match (&self.positions, &places.positions) {
            (Some(table), Some(positions)) => stream + ops::embed(table.val(), positions.clone()),
            _ => stream,
        }
    }
}

/// Each token's position: the number of real tokens before it in its row; 0 for pads on the left.
/// `begins` holds the column in which each token's row begins, `[batch · time]`.
fn positions(begins: &[usize], n_past: usize, n_time: usize) -> Vec<usize> {
    let columns = (n_past..n_past + n_time).cycle();
    begins.iter().zip(columns).map(|(begin, column)| column.saturating_sub(*begin)).collect()
}

/// Hides what comes later, pads on the left, and other rows of the same sequence. `None` if nothing
/// is to be hidden.
fn mask<B: LmBackend>(
    begins: &[usize],
    n_past: usize,
    n_time: usize,
    device: &B::Device,
) -> Option<Mask<B>> {
    let n_cells = n_time * (n_past + n_time);
    if begins.iter().any(|begin| *begin > 0) {
        let shape = [begins.len() / n_time, 1, n_cells];
        let cells = mask_cells(begins, n_past, n_time);
        Some(Mask::PerRow(Tensor::from_data(TensorData::new(cells, shape), device)))
    } else if n_time > 1 {
        let cells = mask_cells(&vec![0; n_time], n_past, n_time);
        Some(Mask::Shared(Tensor::from_data(TensorData::new(cells, [1, n_cells]), device)))
    } else {
        None
    }
}

/// Each token sees its row up to itself, and nothing else.
fn mask_cells(begins: &[usize], n_past: usize, n_time: usize) -> Vec<f32> {
    let n_keys = n_past + n_time;
    let mut cells = vec![HIDDEN; begins.len() * n_keys];
    let queries = (n_past..n_keys).cycle();
    for ((begin, query), keys) in begins.iter().zip(queries).zip(cells.chunks_exact_mut(n_keys)) {
        // A pad on the left lies before the row's beginning.
        if *begin <= query {
            keys[*begin..=query].fill(0.0);
        }
    }
    cells
}
