//! Each fused operation beside its composition of ordinary ones, at the sizes of a step of fine-tuning.
//!
//! Backends without kernels of their own run the composition in both ways, so that their ratios are 1.

mod attention;
mod decoding;
mod layers;
mod optimizer;
mod vocabulary;

use anyhow::{Context, Result};
use burn::prelude::*;
use burn::tensor::{Distribution, Element};
use rein_kernels::Kernels;
use rein_kernels::composed::primitive;
use rein_model::backend::LmAutodiffBackend;
use serde::Serialize;

use super::clock::in_turn;
use super::shape::{Shape, Sizes};
use super::{SizeArgs, n_threads};
use crate::args::BenchArgs;
use crate::device::Work;
use crate::speech::print;

/// Times all operations and prints a line of JSON for each.
#[derive(Debug)]
pub(super) struct Ops<'a> {
    pub(super) args: &'a BenchArgs,
    pub(super) backend: String,
}

/// One line of figures.
#[derive(Debug, Serialize)]
struct Figures<'a> {
    what: &'a str,
    shape: Shape,
    /// Where they aren't the shape's.
    #[serde(flatten)]
    sizes: SizeArgs,
    backend: &'a str,
    threads: usize,
    dtype: &'a str,
    /// Seconds of the fused operation.
    median: f64,
    min: f64,
    max: f64,
    composed_median: f64,
    /// The fused operation's share of its composition's time.
    ratio: f64,
    #[serde(skip_serializing_if = "Option::is_none")]
    flops_per_s: Option<f64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    bytes_per_s: Option<f64>,
}

/// What bounds an operation.
#[derive(Clone, Copy, Debug)]
enum Load {
    /// Multiplications and additions.
    Flops(usize),
    /// Numbers read and written at least.
    Numbers(usize),
}

impl Work for Ops<'_> {
    type Output = ();

    fn run<B: LmAutodiffBackend>(self, device: B::Device) -> Result<()> {
        let sizes = self.args.shape.sizes().with(&self.args.sizes)?;
        let bench = Operations::<B::InnerBackend> { ops: self, sizes, device };
        bench.layers()?;
        bench.attention()?;
        bench.vocabulary()?;
        bench.optimizer()?;
        if B::ON_HOST {
            bench.decoding()?;
        }
        Ok(())
    }
}

/// The operations at one size.
struct Operations<'a, B: Kernels> {
    ops: Ops<'a>,
    sizes: Sizes,
    device: B::Device,
}

impl<B: Kernels> Operations<'_, B> {
    /// Tokens of a step.
    fn n_tokens(&self) -> usize {
        let [n_rows, n_time] = self.sizes.sft;
        n_rows * n_time
    }

    /// Numbers within ±1.
    fn tensor<const D: usize>(&self, shape: [usize; D]) -> Tensor<B, D> {
        Tensor::random(shape, Distribution::Uniform(-1.0, 1.0), &self.device)
    }

    fn primitive<const D: usize>(&self, shape: [usize; D]) -> B::FloatTensorPrimitive {
        primitive(self.tensor(shape))
    }

    /// Times both ways and prints their figures.
    fn compare<T, U>(
        &self,
        what: &str,
        load: Load,
        mut fused: impl FnMut() -> T,
        mut composed: impl FnMut() -> U,
    ) -> Result<()> {
        let wait = || B::sync(&self.device).context("the device failed");
        let ways: [&mut dyn FnMut(); 2] =
            [&mut || drop(std::hint::black_box(fused())), &mut || {
                drop(std::hint::black_box(composed()));
            }];
        let [fused, composed] = in_turn(self.ops.args.iters, ways, wait)?;
        let [median, composed_median] = [&fused, &composed].map(|it| it[it.len() / 2]);
        let (flops, bytes) = match load {
            Load::Flops(flops) => (Some(flops), None),
            Load::Numbers(count) => (None, Some(count * size_of::<B::FloatElem>())),
        };
        let figures = Figures {
            what,
            shape: self.ops.args.shape,
            sizes: self.ops.args.sizes,
            backend: &self.ops.backend,
            threads: n_threads(),
            dtype: B::FloatElem::dtype().name(),
            median,
            min: fused[0],
            max: fused[fused.len() - 1],
            composed_median,
            ratio: median / composed_median,
            flops_per_s: flops.map(|it| it as f64 / median),
            bytes_per_s: bytes.map(|it| it as f64 / median),
        };
        print(&format!("{}\n", serde_json::to_string(&figures)?));
        Ok(())
    }
}
