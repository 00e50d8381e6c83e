//! Where a policy began.

use burn::prelude::*;
use rein_data::DataError;
use rein_data::encoding::TokenRow;
use rein_data::workers::Workers;
use rein_model::backend::LmBackend;
use rein_model::{CausalLm, Frozen};

use crate::preference::judgement::Judgement;

/// What the reference gives to the completions of all judgements, in nats. It is asked once, before the
/// first update, and then let go.
#[derive(Debug)]
pub(super) struct Reference<B: Backend> {
    /// Until it has been asked.
    model: Option<Frozen<CausalLm<B>>>,
    pub(super) train: Vec<[f32; 2]>,
    pub(super) heldout: Vec<[f32; 2]>,
}

impl<B: LmBackend> Reference<B> {
    /// A model that is yet to be asked about so many judgements to train on and to measure with; without
    /// one, everything is compared with 0.
    pub(super) fn new(model: Option<Frozen<CausalLm<B>>>, counts: [usize; 2]) -> Self {
        let [train, heldout] = counts.map(|count| vec![[0.0; 2]; count]);
        Self { model, train, heldout }
    }

    /// Asks about all judgements, unless that was done before. Which of them share a forward pass depends
    /// on neither epochs nor interruptions nor workers, so that the numbers don't either.
    pub(super) fn ask<J: Judgement>(
        &mut self,
        [train, heldout]: [&[J]; 2],
        micro_batch_rows: usize,
        workers: &Workers,
        device: &B::Device,
    ) -> Result<(), DataError> {
        let Some(model) = self.model.take() else { return Ok(()) };
        let answers = |judgements: &&[J]| -> Vec<[f32; 2]> {
            let rows: Vec<&TokenRow> = judgements.iter().flat_map(Judgement::rows).collect();
            let logprobs = model.row_logprobs(&rows, 1.0, rows.len(), device);
            let sums = logprobs.iter().map(|row| row.iter().map(|it| f64::from(*it)).sum::<f64>());
            let sums: Vec<f32> = sums.map(|sum| sum as f32).collect();
            sums.chunks_exact(2).map(|of_rows| [of_rows[0], of_rows[1]]).collect()
        };
        let ask = |judgements: &[J]| -> Result<Vec<[f32; 2]>, DataError> {
            let chunks: Vec<&[J]> = judgements.chunks(micro_batch_rows).collect();
            let mine = workers.share(&chunks).into_iter().map(answers).collect();
            Ok(workers.merge::<Vec<[f32; 2]>>(mine)?.concat())
        };
        self.train = ask(train)?;
        self.heldout = ask(heldout)?;
        Ok(())
    }
}
