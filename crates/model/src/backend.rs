//! The one place that says what the workspace asks of a tensor backend.

use burn::tensor::backend::AutodiffBackend;
use rein_kernels::{Gathers, Kernels};

/// A backend that can run a language model: one with fused kernels, or with what they are composed
/// of. Every function of the workspace is generic over it.
pub trait LmBackend: Kernels {}

impl<B: Kernels> LmBackend for B {}

/// A backend that can train one: [`LmBackend`] with a tape.
pub trait LmAutodiffBackend:
    AutodiffBackend<InnerBackend: LmBackend> + LmBackend + Gathers
{
}

impl<B: AutodiffBackend<InnerBackend: LmBackend> + LmBackend + Gathers> LmAutodiffBackend for B {}
