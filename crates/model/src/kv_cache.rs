//! Keys and values of tokens already seen.

use burn::prelude::*;

use crate::backend::LmBackend;

/// The cache of one batch of rows, one entry a layer. It belongs to one generation: start each with
/// a new one.
#[derive(Clone, Debug)]
pub struct KvCache<B: Backend> {
    pub(crate) layers: Vec<LayerCache<B>>,
    /// Columns already in the cache.
    pub(crate) n_past: usize,
    /// Where each row's tokens begin.
    pub(crate) starts: Vec<usize>,
}

/// Keys and values of one layer, `[batch, kv_heads, 1, past, head_dim]`.
#[derive(Clone, Debug)]
pub(crate) struct LayerCache<B: Backend>(Option<(Tensor<B, 5>, Tensor<B, 5>)>);

impl<B: LmBackend> KvCache<B> {
    /// An empty cache.
    pub fn new(n_layers: usize) -> Self {
        let layers = std::iter::repeat_with(|| LayerCache(None)).take(n_layers).collect();
        Self { layers, n_past: 0, starts: Vec::new() }
    }

    /// Keeps only the rows with these indices, in this order; one may be named several times.
    pub fn select_rows(&mut self, rows: &[usize], device: &B::Device) {
        let index = crate::tokens::indices::<B>(rows, device);
        for LayerCache(layer) in &mut self.layers {
            *layer = layer
                .take()
                .map(|(key, value)| (key.select(0, index.clone()), value.select(0, index.clone())));
        }
        self.starts = rows.iter().map(|row| self.starts[*row]).collect();
    }

    /// Forgets all columns but the first `n_past`.
    pub(crate) fn truncate(&mut self, n_past: usize) {
        if n_past < self.n_past {
            for LayerCache(layer) in &mut self.layers {
                let cut = |it: Tensor<B, 5>| it.narrow(3, 0, n_past);
                *layer = layer.take().map(|(key, value)| (cut(key), cut(value)));
            }
            self.n_past = n_past;
        }
    }
}

impl<B: LmBackend> LayerCache<B> {
    /// Appends keys and values along time and returns all.
    pub(crate) fn extend(
        &mut self,
        key: Tensor<B, 5>,
        value: Tensor<B, 5>,
    ) -> (Tensor<B, 5>, Tensor<B, 5>) {
        let (key, value) = match self.0.take() {
            Some((old_key, old_value)) => {
                (Tensor::cat(vec![old_key, key], 3), Tensor::cat(vec![old_value, value], 3))
            }
            None => (key, value),
        };
        self.0 = Some((key.clone(), value.clone()));
        (key, value)
    }
}
