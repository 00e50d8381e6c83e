use rein_data::encoding::TokenRow;
use rein_kernels::Precision;

use crate::backend::LmBackend;
use crate::engine::Engine;
use crate::logprobs::row_logprobs;
use crate::tokens::{TokenBatch, host};
use crate::{CausalLm, ScalarModel};

/// A model that is asked and never trained. In bf16 it holds packed weights of half the size and no
/// tensors, and computes in bf16.
#[derive(Debug)]
pub struct Frozen<M>(Kept<M>);

#[derive(Debug)]
enum Kept<M> {
    Whole(M),
    Packed(Box<Engine>),
}

impl<M> Frozen<M> {
    /// The model itself, where it is kept as it was.
    pub fn whole(&self) -> Option<&M> {
        match &self.0 {
            Kept::Whole(model) => Some(model),
            Kept::Packed(_) => None,
        }
    }
}

impl<B: LmBackend> Frozen<CausalLm<B>> {
    /// Keeps a model in this precision, where [`obstacle`](crate::obstacle) finds none.
    pub fn new(model: CausalLm<B>, precision: Precision) -> Self {
        Self(match precision {
            Precision::F32 => Kept::Whole(model),
            Precision::Bf16 => Kept::Packed(Box::new(Engine::new(&model, precision))),
        })
    }

    /// [`row_logprobs`] of the model.
    pub fn row_logprobs(
        &self,
        rows: &[&TokenRow],
        temperature: f32,
        micro_batch_rows: usize,
        device: &B::Device,
    ) -> Vec<Vec<f32>> {
        match &self.0 {
            Kept::Whole(model) => row_logprobs(model, rows, temperature, micro_batch_rows, device),
            Kept::Packed(engine) => engine.logprobs(rows, temperature),
        }
    }
}

impl<B: LmBackend> Frozen<ScalarModel<B>> {
    /// Keeps a model in this precision, where [`obstacle`](crate::obstacle) finds none.
    pub fn of_scalar(model: ScalarModel<B>, precision: Precision) -> Self {
        Self(match precision {
            Precision::F32 => Kept::Whole(model),
            Precision::Bf16 => Kept::Packed(Box::new(Engine::of_scalar(&model, precision))),
        })
    }

    /// The model in this precision; one that is packed stays as it is.
    #[must_use]
    pub fn with_precision(self, precision: Precision) -> Self {
        match self.0 {
            Kept::Whole(model) => Self::of_scalar(model, precision),
            packed @ Kept::Packed(_) => Self(packed),
        }
    }

    /// [`ScalarModel::pooled`] hidden states, one a row, some rows at a time.
    pub fn pooled(
        &self,
        rows: &[impl AsRef<[u32]>],
        batch_rows: usize,
        device: &B::Device,
    ) -> Vec<Vec<f32>> {
        match &self.0 {
            Kept::Whole(model) => {
                let width = model.config().hidden_size;
                let pool = |rows| host(model.pooled(&TokenBatch::right_padded(rows, device)));
                let cut = |flat: Vec<f32>| flat.chunks(width).map(<[f32]>::to_vec).collect();
                rows.chunks(batch_rows)
                    .flat_map(|rows| -> Vec<Vec<f32>> { cut(pool(rows)) })
                    .collect()
            }
            Kept::Packed(engine) => {
                engine.pooled(&rows.iter().map(AsRef::as_ref).collect::<Vec<_>>())
            }
        }
    }

    /// The number at each row's last token, some rows at a time.
    pub fn scores(
        &self,
        rows: &[impl AsRef<[u32]>],
        batch_rows: usize,
        device: &B::Device,
    ) -> Vec<f32> {
        match &self.0 {
            Kept::Whole(model) => {
                let score = |rows| host(model.scores(&TokenBatch::right_padded(rows, device)));
                rows.chunks(batch_rows).flat_map(score).collect()
            }
            Kept::Packed(engine) => {
                engine.scores(&rows.iter().map(AsRef::as_ref).collect::<Vec<_>>())
            }
        }
    }
}
