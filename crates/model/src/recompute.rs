//! Gradients for which what is inside blocks is computed twice instead of kept (Chen et al., 2016).
//!
//! A tape holds what each block's backward needs until it is run. Where a decoder recomputes, its
//! forward pass is off the tape and keeps what enters each block, nothing else; what leaves the last
//! one is a leaf, from which norm, head and loss have their tape as always. When that was run, the
//! blocks are replayed from the last to the first: forward from what was kept, on a tape of the
//! block's own, and backward from the gradient that the block behind it gave. (A tape can't be run
//! while another is.) These are the same operations on the same numbers in the same order, so
//! gradients are the same to the last bit.
//!
//! Only [`Gradients::of`](crate::optim::Gradients::of) replays, so only what it computes is recorded.

use std::any::Any;
use std::cell::RefCell;
use std::collections::HashMap;

use burn::module::{ModuleMapper, Param, ParamId};
use burn::prelude::*;
use burn::tensor::Distribution;
use rand::RngExt;
use rein_data::seed::Seed;
use rein_kernels::{GradientSum, gathered};

use crate::attention::Surroundings;
use crate::backend::{LmAutodiffBackend, LmBackend};
use crate::block::Block;
use crate::decoder::{Decoder, Places};
use crate::tokens::host;
use crate::{CausalLm, ScalarModel};

/// The sums of gradients, by the tensors they are of.
pub(crate) type Sums<B> = HashMap<ParamId, GradientSum<B>>;

thread_local! {
    /// The passes of the loss that this thread computes; `None` where nobody would replay them. Losses
    /// know modules only by their type, so that there is no other way from a decoder to its gradient.
    static PASSES: RefCell<Option<Vec<Box<dyn Any>>>> = const { RefCell::new(None) };
}

/// A forward pass whose blocks are yet to be run backwards.
pub(crate) struct Pass<B: Backend> {
    decoder: Decoder<B>,
    places: Places<B>,
    around: Surroundings<B>,
    dropout: Option<Seed>,
    /// What entered each block, `[batch · time, hidden]`.
    inputs: Vec<Tensor<B, 2>>,
    /// What left the last one: a leaf.
    output: Tensor<B, 2>,
}

/// What `compute` gives, and the passes within it.
pub(crate) fn recorded<B: LmBackend, T>(compute: impl FnOnce() -> T) -> (T, Vec<Pass<B>>) {
    let _end = Recording::begin();
    let result = compute();
    let passes = PASSES.take().unwrap_or_default();
    let known = |pass: Box<dyn Any>| *pass.downcast().expect("a loss has one tape");
    (result, passes.into_iter().map(known).collect())
}

/// Whether what this thread computes on the backend is a loss whose passes are replayed.
pub(crate) fn is_recording<B: LmBackend>(device: &B::Device) -> bool {
    B::ad_enabled(device) && PASSES.with_borrow(Option::is_some)
}

/// Ends with its scope, however that ends; then what was before is again.
struct Recording(Option<Vec<Box<dyn Any>>>);

impl Recording {
    fn begin() -> Self {
        Self(PASSES.replace(Some(Vec::new())))
    }
}

impl Drop for Recording {
    fn drop(&mut self) {
        PASSES.set(self.0.take());
    }
}

/// What leaves the last block, computed off the tape and to be replayed.
pub(crate) fn record<B: LmBackend>(
    decoder: &Decoder<B>,
    places: Places<B>,
    around: Surroundings<B>,
) -> Tensor<B, 2> {
    let embedding = Decoder { blocks: Vec::new(), ..decoder.clone() };
    let mut stream = embedding.no_grad().embed(&places);
    let dropout =
        decoder.blocks.iter().any(Block::has_dropout).then(|| drawn::<B>(&stream.device()));
    let mut inputs = Vec::with_capacity(decoder.blocks.len());
    for (layer, block) in decoder.blocks.iter().enumerate() {
        inputs.push(stream.clone());
        seed_block::<B>(dropout, layer, &stream.device());
        stream = block.clone().no_grad().forward(stream, &around, None);
    }
    let output = stream.detach().require_grad();
    let decoder = decoder.clone();
    let pass = Pass { decoder, places, around, dropout, inputs, output: output.clone() };
    PASSES.with_borrow_mut(|passes| {
        passes.as_mut().expect("somebody records").push(Box::new(pass));
    });
    output
}

/// A seed that follows from the state of the backend's generator.
fn drawn<B: LmBackend>(device: &B::Device) -> Seed {
    let numbers = host(Tensor::<B, 1>::random([2], Distribution::Default, device));
    let [high, low] = [0, 1].map(|it| u64::from(numbers[it].to_bits()));
    Seed::new(high << 32 | low)
}

/// Makes a block's dropout draw the same whenever it runs.
fn seed_block<B: LmBackend>(dropout: Option<Seed>, layer: usize, device: &B::Device) {
    if let Some(seed) = dropout {
        B::seed(device, seed.index(layer as u64).rng().random());
    }
}

impl<B: LmAutodiffBackend> Pass<B> {
    /// Adds the gradients of blocks and embeddings to `sums`; `rest` has that of the pass's output.
    pub(crate) fn replay(self, rest: &mut B::Gradients, sums: &Sums<B::InnerBackend>) {
        let Self { decoder, places, around, dropout, inputs, output } = self;
        let Some(mut grad) = output.grad_remove(rest) else { return };
        let decoder = decoder.map(&mut Gatherer { sums });
        for (layer, input) in inputs.into_iter().enumerate().rev() {
            let input = Tensor::from_inner(input.inner()).require_grad();
            seed_block::<B>(dropout, layer, &input.device());
            let output = decoder.blocks[layer].forward(input.clone(), &around, None);
            let mut rest = run_back(output, grad);
            grad = input.grad_remove(&mut rest).expect("the residual stream goes through");
        }
        let tables = [&decoder.embedding].into_iter().chain(&decoder.positions);
        if tables.into_iter().any(|table| sums.contains_key(&table.id)) {
            run_back(decoder.embed(&places), grad);
        }
    }
}

/// Runs the tape of `output` backwards, from this gradient.
fn run_back<B: LmAutodiffBackend>(
    output: Tensor<B, 2>,
    grad: Tensor<B::InnerBackend, 2>,
) -> B::Gradients {
    (output * Tensor::from_inner(grad)).sum().backward()
}

/// Puts tensors on tapes of their own, with the sums that they had.
struct Gatherer<'a, B: LmBackend> {
    sums: &'a Sums<B>,
}

impl<B: LmAutodiffBackend> ModuleMapper<B> for Gatherer<'_, B::InnerBackend> {
    fn map_float<const D: usize>(&mut self, param: Param<Tensor<B, D>>) -> Param<Tensor<B, D>> {
        let Some(sum) = self.sums.get(&param.id) else { return param };
        let (id, tensor, mapper) = param.consume();
        let leaf = Tensor::from_inner(tensor.inner()).require_grad();
        Param::from_mapped_value(id, gathered(leaf, sum), mapper)
    }
}

impl<B: LmBackend> CausalLm<B> {
    /// The model whose gradients recompute what is inside blocks, or keep it: less memory for a second
    /// forward pass. They are the same; only dropout draws differently.
    #[must_use]
    pub fn with_gradient_checkpointing(mut self, recomputes: bool) -> Self {
        self.decoder.recomputes = recomputes;
        self
    }
}

impl<B: LmBackend> ScalarModel<B> {
    /// [`CausalLm::with_gradient_checkpointing`]
    #[must_use]
    pub fn with_gradient_checkpointing(mut self, recomputes: bool) -> Self {
        self.decoder.recomputes = recomputes;
        self
    }
}

#[cfg(test)]
#[path = "../tests/unit/recompute.rs"]
mod tests;
