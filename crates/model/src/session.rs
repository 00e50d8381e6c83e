use rein_data::seed::Seed;

use crate::backend::LmBackend;
use crate::decoding::{Prefilled, complete};
use crate::guard::rows_fit;
use crate::monitor::Monitor;
use crate::sampling::Sampling;
use crate::tokens::TokenBatch;
use crate::{CausalLm, Generated, KvCache, ModelError};

/// One row that goes on, as a conversation does: what a prompt has in common with the row so far isn't
/// computed again.
#[derive(Debug)]
pub struct Session<'a, B: LmBackend> {
    model: &'a CausalLm<B>,
    device: &'a B::Device,
    cache: KvCache<B>,
    /// The tokens whose keys and values stand in the cache.
    tokens: Vec<u32>,
}

impl<'a, B: LmBackend> Session<'a, B> {
    /// Nothing was said yet.
    pub fn new(model: &'a CausalLm<B>, device: &'a B::Device) -> Self {
        let cache = KvCache::new(model.config().n_layers);
        Self { model, device, cache, tokens: Vec::new() }
    }

    /// How many tokens of `prompt` are known from before. The last one is always computed: its hidden
    /// state says what comes next.
    pub fn n_known(&self, prompt: &[u32]) -> usize {
        let common = prompt.iter().zip(&self.tokens).take_while(|(new, old)| new == old).count();
        common.min(prompt.len().saturating_sub(1))
    }

    /// Samples what [`generate`](crate::generate()) samples for this prompt alone; `monitor` knows the
    /// row as 0.
    ///
    /// # Errors
    /// Those of [`generate`](crate::generate()).
    pub fn reply(
        &mut self,
        prompt: &[u32],
        sampling: &Sampling,
        seed: Seed,
        monitor: &mut dyn Monitor,
    ) -> Result<Generated, ModelError> {
        let Self { model, device, .. } = *self;
        sampling.check()?;
        sampling.fits(model.config())?;
        rows_fit(model.config(), &[prompt], sampling.max_new_tokens)?;
        let n_known = self.n_known(prompt);
        let mut cache = std::mem::replace(&mut self.cache, KvCache::new(model.config().n_layers));
        let ids = TokenBatch::<B>::right_padded(&[&prompt[n_known..]], device);
        let hidden = if n_known == 0 {
            cache = KvCache::new(model.config().n_layers);
            model.decoder.prefill(&ids, &mut cache)
        } else {
            cache.truncate(n_known);
            model.decoder.advance(ids.ids, &mut cache)
        };
        let rows = [(0, prompt, seed.index(0))];
        let start = Prefilled::one(cache, hidden);
        let (mut generated, cache) = complete(model, start, &rows, sampling, monitor);
        let generated = generated.pop().expect("one row was asked for");
        self.tokens = [prompt, &generated.tokens].concat();
        // The last token was chosen, but nothing followed that would have needed its keys.
        self.tokens.truncate(cache.n_past);
        self.cache = cache;
        Ok(generated)
    }
}
