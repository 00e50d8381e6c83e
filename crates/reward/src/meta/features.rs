use rein_model::ScalarModel;
use rein_model::backend::LmBackend;
use rein_model::tokens::{TokenBatch, host};

use super::Difference;
use crate::encoding::Pair;

/// What the model's head reads of each row: the hidden state at its last token, `[rows][features]`.
pub fn features<B: LmBackend>(
    model: &ScalarModel<B>,
    rows: &[impl AsRef<[u32]>],
    batch_rows: usize,
    device: &B::Device,
) -> Vec<Vec<f64>> {
    let n_features = model.config().hidden_size;
    let of_batch = |rows| {
        let pooled: Vec<f32> = host(model.pooled(&TokenBatch::right_padded(rows, device)));
        let rows = pooled.chunks(n_features);
        rows.map(|row| row.iter().copied().map(f64::from).collect()).collect::<Vec<_>>()
    };
    rows.chunks(batch_rows).flat_map(of_batch).collect()
}

/// What each pair says: the features of the chosen side less those of the rejected one.
pub fn differences<B: LmBackend>(
    model: &ScalarModel<B>,
    pairs: &[Pair],
    batch_rows: usize,
    device: &B::Device,
) -> Vec<Difference> {
    let sides: Vec<&[u32]> =
        pairs.iter().flat_map(|pair| [pair.chosen.as_slice(), &pair.rejected]).collect();
    let features = features(model, &sides, batch_rows, device);
    let of_pair = |sides: &[Vec<f64>; 2]| {
        let [chosen, rejected] = sides;
        chosen.iter().zip(rejected).map(|(chosen, rejected)| chosen - rejected).collect()
    };
    features.as_chunks::<2>().0.iter().map(of_pair).collect()
}
