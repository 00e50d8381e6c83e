//! A head that says what is to be expected, on the backbone of a language model.

use std::fs;
use std::path::Path;

use burn::prelude::*;
use rein_data::DataError;
use rein_data::seed::Seed;
use safetensors::tensor::TensorView;
use safetensors::{Dtype, SafeTensorError, SafeTensors};

use crate::backend::LmBackend;
use crate::linear::Linear;
use crate::tokens::host;
use crate::weights::RandomWeights;
use crate::{CausalLm, FloatType, ModelError};

/// The tensor's name within its file.
const WEIGHT: &str = "value_head.weight";

impl<B: LmBackend> CausalLm<B> {
    /// The model with a new head that gives a number at each token, at first 0. It learns together with the
    /// model, and checkpoints of the model know nothing of it.
    pub fn with_value_head(self, device: &B::Device) -> Result<Self, ModelError> {
        let values = vec![0.0; self.config().hidden_size];
        self.with_head_of(values, device)
    }

    fn with_head_of(self, values: Vec<f32>, device: &B::Device) -> Result<Self, ModelError> {
        let mut weights = RandomWeights::new(self.config(), Seed::new(0));
        let shape = [self.config().hidden_size, 1];
        let head = Linear::new(&mut weights, "score", shape, false, device)?;
        Ok(Self { value_head: Some(head.with_weight(values, device)), ..self })
    }

    /// The language model alone.
    #[must_use]
    pub fn without_value_head(self) -> Self {
        Self { value_head: None, ..self }
    }

    /// The head's numbers.
    ///
    /// # Shapes
    /// - `hidden`: `[rows, hidden]`
    /// - returns: `[rows]`
    ///
    /// # Panics
    /// A model without a head for values.
    pub fn values(&self, hidden: Tensor<B, 2>) -> Tensor<B, 1> {
        let head = self.value_head.as_ref().expect("there is a head for values");
        let [n_rows, _] = hidden.dims();
        head.forward(hidden).reshape([n_rows])
    }

    /// Writes the head for values, if there is one, to a safetensors file.
    pub fn save_value_head(&self, path: &Path) -> Result<(), ModelError> {
        let Some(head) = &self.value_head else { return Ok(()) };
        let shape = head.weight.dims().to_vec();
        let values = host(head.weight.val().flatten::<1>(0, 1));
        let bytes: Vec<u8> = values.iter().flat_map(|it| it.to_le_bytes()).collect();
        let refuse = |error: SafeTensorError| ModelError::checkpoint(path, error.to_string());
        let view = TensorView::new(Dtype::F32, shape, &bytes).map_err(refuse)?;
        let file = safetensors::serialize([(WEIGHT, view)], None).map_err(refuse)?;
        Ok(fs::write(path, file).map_err(|source| DataError::Io { path: path.into(), source })?)
    }

    /// The model with the head that [`save_value_head`](Self::save_value_head) wrote.
    ///
    /// # Errors
    /// A file that doesn't hold the head of such a model.
    pub fn with_saved_value_head(
        self,
        path: &Path,
        device: &B::Device,
    ) -> Result<Self, ModelError> {
        let refuse = |reason: String| ModelError::checkpoint(path, reason);
        let bytes = fs::read(path).map_err(|error| refuse(error.to_string()))?;
        let file = SafeTensors::deserialize(&bytes).map_err(|error| refuse(error.to_string()))?;
        let view = file.tensor(WEIGHT).map_err(|error| refuse(error.to_string()))?;
        let hidden = self.config().hidden_size;
        if view.dtype() != Dtype::F32 || view.shape() != [hidden, 1] {
            return Err(refuse(format!("{WEIGHT} isn't {hidden} numbers in f32")));
        }
        let mut values = Vec::with_capacity(hidden);
        FloatType::F32.decode(view.data(), &mut values);
        self.with_head_of(values, device)
    }
}
