//! The one place that says what the workspace asks of a tensor backend.

use burn::tensor::backend::{AutodiffBackend, Backend};

/// A backend that can run a language model. Every function of the workspace is generic over it, so
/// that fused kernels can be asked for here and nowhere else.
pub trait LmBackend: Backend {}

impl<B: Backend> LmBackend for B {}

/// A backend that can train one: [`LmBackend`] with a tape.
pub trait LmAutodiffBackend: AutodiffBackend<InnerBackend: LmBackend> + LmBackend {}

impl<B: AutodiffBackend<InnerBackend: LmBackend> + LmBackend> LmAutodiffBackend for B {}
