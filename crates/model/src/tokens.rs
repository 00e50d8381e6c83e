//! The one place where rows of token ids become tensors.

use burn::prelude::*;

use crate::backend::LmBackend;

/// Rows of tokens as a rectangle. Which cells are real is told by the rows' lengths, never by an
/// id: a pad may have the id of any token.
#[derive(Clone, Debug)]
pub struct TokenBatch<B: Backend> {
    /// `[batch, time]`
    pub ids: Tensor<B, 2, Int>,
    /// Where each row's tokens begin: the number of pads on its left.
    pub(crate) starts: Vec<usize>,
    /// Where each row's tokens end.
    ends: Vec<usize>,
}

impl<B: LmBackend> TokenBatch<B> {
    /// Rows with pads on their right. Attention looks only back, so nothing needs a mask.
    pub fn right_padded(rows: &[impl AsRef<[u32]>], device: &B::Device) -> Self {
        let n_time = longest(rows);
        let spans = rows.iter().map(|row| (0, row.as_ref().len())).collect();
        Self::place(rows, spans, n_time, device)
    }

    /// Rows with pads on their left: they all end in the last column, as generation needs it.
    pub fn left_padded(rows: &[impl AsRef<[u32]>], device: &B::Device) -> Self {
        let n_time = longest(rows);
        let spans = rows.iter().map(|row| (n_time - row.as_ref().len(), n_time)).collect();
        Self::place(rows, spans, n_time, device)
    }

    /// Prompts padded on their left and what follows them padded on its right, so that the first
    /// token after a prompt stands in the same column in every row. That column is returned too.
    pub fn aligned(
        prompts: &[impl AsRef<[u32]>],
        completions: &[impl AsRef<[u32]>],
        device: &B::Device,
    ) -> (Self, usize) {
        let (n_prompt, n_completion) = (longest(prompts), longest(completions));
        let (mut rows, mut spans) = (Vec::new(), Vec::new());
        for (prompt, completion) in prompts.iter().zip(completions) {
            let (prompt, completion) = (prompt.as_ref(), completion.as_ref());
            rows.push([prompt, completion].concat());
            spans.push((n_prompt - prompt.len(), n_prompt + completion.len()));
        }
        (Self::place(&rows, spans, n_prompt + n_completion, device), n_prompt)
    }

    /// `[batch, time]`
    pub fn dims(&self) -> [usize; 2] {
        self.ids.dims()
    }

    /// The column of each row's last token. A row without tokens has none and must not be asked.
    pub fn last_columns(&self) -> Vec<usize> {
        self.ends.iter().map(|end| end.checked_sub(1).expect("a row has tokens")).collect()
    }

    fn place(
        rows: &[impl AsRef<[u32]>],
        spans: Vec<(usize, usize)>,
        n_time: usize,
        device: &B::Device,
    ) -> Self {
        let mut cells = vec![0_i32; rows.len() * n_time];
        for (row, ((start, end), cells)) in
            rows.iter().zip(spans.iter().zip(cells.chunks_exact_mut(n_time.max(1))))
        {
            for (cell, token) in cells[*start..*end].iter_mut().zip(row.as_ref()) {
                *cell = i32::try_from(*token).expect("a vocabulary has fewer than 2^20 entries");
            }
        }
        let ids = Tensor::from_data(TensorData::new(cells, [rows.len(), n_time]), device);
        let (starts, ends) = spans.into_iter().unzip();
        Self { ids, starts, ends }
    }
}

/// A rectangle of numbers as a tensor, `[rows, columns]`.
pub fn matrix<B: LmBackend>(rows: &[Vec<f32>], device: &B::Device) -> Tensor<B, 2> {
    let n_columns = rows.first().map_or(0, Vec::len);
    Tensor::from_data(TensorData::new(rows.concat(), [rows.len(), n_columns]), device)
}

/// Indices as a tensor.
pub fn indices<B: LmBackend>(values: &[usize], device: &B::Device) -> Tensor<B, 1, Int> {
    let values: Vec<i32> =
        values.iter().map(|value| i32::try_from(*value).expect("fewer than 2^31 cells")).collect();
    let n_values = values.len();
    Tensor::from_data(TensorData::new(values, [n_values]), device)
}

/// The numbers of a tensor on the host, row-major.
pub fn host<B: LmBackend, const D: usize>(tensor: Tensor<B, D>) -> Vec<f32> {
    tensor.into_data().convert::<f32>().into_vec().expect("converted to f32 above")
}

/// The one number of a tensor.
pub fn scalar<B: LmBackend>(tensor: Tensor<B, 1>) -> f64 {
    f64::from(host(tensor)[0])
}

fn longest(rows: &[impl AsRef<[u32]>]) -> usize {
    rows.iter().map(|row| row.as_ref().len()).max().unwrap_or(0)
}
