//! The one place where rows of token ids become tensors.

use burn::prelude::*;

use rein_data::encoding::TokenRow;
use rein_data::packing::Packing;

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
    /// Where sequences hold several rows: the column in which each cell's row begins,
    /// `[batch · time]`.
    begins: Option<Vec<usize>>,
    /// What embeddings are moved by, if they are, `[batch · time, hidden]`.
    pub(crate) delta: Option<Tensor<B, 2>>,
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

    /// Sequences of rows that know nothing of each other, with pads on their right. Each row has the
    /// positions and sees the tokens that it would have and see alone.
    pub fn packed(sequences: &[Vec<impl AsRef<[u32]>>], device: &B::Device) -> Self {
        let joined = |rows: &Vec<_>| rows.iter().flat_map(AsRef::as_ref).copied().collect();
        let joined: Vec<Vec<u32>> = sequences.iter().map(joined).collect();
        let batch = Self::right_padded(&joined, device);
        if sequences.iter().all(|rows| rows.len() <= 1) {
            return batch;
        }
        let [_, n_time] = batch.dims();
        let begins = sequences.iter().flat_map(|rows| {
            let lengths = rows.iter().map(|row| row.as_ref().len());
            let mut begins = Vec::with_capacity(n_time);
            lengths.for_each(|length| begins.resize(begins.len() + length, begins.len()));
            // A pad is a row of its own, so that no position is beyond those of rows.
            begins.extend(begins.len()..n_time);
            begins
        });
        Self { begins: Some(begins.collect()), ..batch }
    }

    /// The column in which each cell's row begins, `[batch · time]`.
    pub(crate) fn begins(&self) -> Vec<usize> {
        self.begins.clone().unwrap_or_else(|| repeated(&self.starts, self.dims()[1]))
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
        Self { ids, starts, ends, begins: None, delta: None }
    }
}

/// A batch and its learned tokens: heads are computed there and nowhere else.
#[derive(Clone, Debug)]
pub struct LearnedTokens<B: Backend> {
    /// The sequences, padded on their right.
    pub batch: TokenBatch<B>,
    /// The cell before each learned token, which predicts it; row by row.
    pub before: Vec<usize>,
    /// The learned tokens, `[tokens]`.
    pub targets: Tensor<B, 1, Int>,
}

impl<B: LmBackend> LearnedTokens<B> {
    /// The learned tokens of some rows, in their order. Short rows share a sequence as long as the longest
    /// row, so that little is computed for pads.
    pub fn new(rows: &[&TokenRow], device: &B::Device) -> Self {
        let lengths: Vec<u32> = rows.iter().map(|row| row.tokens.len() as u32).collect();
        let longest = lengths.iter().max().map_or(0, |length| *length as usize);
        let packing = Packing::best_fit_decreasing(&lengths, longest);
        let places = (0..packing.len()).map(|number| packing.rows(number).collect());
        Self::placed(rows, &places.collect::<Vec<_>>(), device)
    }

    /// The learned tokens of sequences that may hold several rows.
    pub fn packed(sequences: &[Vec<&TokenRow>], device: &B::Device) -> Self {
        let mut numbers = 0..;
        let places = sequences.iter().map(|rows| numbers.by_ref().take(rows.len()).collect());
        let places: Vec<Vec<usize>> = places.collect();
        Self::placed(&sequences.concat(), &places, device)
    }

    /// Rows of which each sequence holds some.
    fn placed(rows: &[&TokenRow], sequences: &[Vec<usize>], device: &B::Device) -> Self {
        let of = |numbers: &Vec<usize>| -> Vec<&[u32]> {
            numbers.iter().map(|row| rows[*row].tokens.as_slice()).collect()
        };
        let batch = TokenBatch::packed(&sequences.iter().map(of).collect::<Vec<_>>(), device);
        let [n_sequences, n_time] = batch.dims();
        let mut begins = vec![0; rows.len()];
        for (number, sequence) in sequences.iter().enumerate() {
            let mut begin = number * n_time;
            for row in sequence {
                begins[*row] = begin;
                begin += rows[*row].tokens.len();
            }
        }
        let learned = rows.iter().zip(begins).flat_map(|(row, begin)| {
            let columns = row.learned.iter().enumerate().filter(|(_, learned)| **learned);
            columns.map(move |(column, _)| begin + column)
        });
        let cells: Vec<usize> = learned.collect();
        let before = cells.iter().map(|cell| cell - 1).collect();
        let all = batch.ids.clone().reshape([n_sequences * n_time]);
        Self { targets: all.select(0, indices(&cells, device)), batch, before }
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

/// Each number `count` times.
pub(crate) fn repeated(numbers: &[usize], count: usize) -> Vec<usize> {
    numbers.iter().flat_map(|number| std::iter::repeat_n(*number, count)).collect()
}

fn longest(rows: &[impl AsRef<[u32]>]) -> usize {
    rows.iter().map(|row| row.as_ref().len()).max().unwrap_or(0)
}
