use anyhow::Result;
use rein_data::encoding::TokenRow;
use rein_data::inputs::Purpose;
use rein_model::CausalLm;
use rein_model::backend::LmAutodiffBackend;
use rein_model::logprobs::row_logprobs;
use serde_json::{Value, json};

use super::{Inputs, Output};
use crate::args::RowsArgs;
use crate::device::Work;

/// Says how probable each token of each row is.
pub(crate) struct Logprobs<'a> {
    args: &'a RowsArgs,
    inputs: Inputs,
}

/// Asks a reward model for a score of each row.
pub(crate) struct Score<'a> {
    args: &'a RowsArgs,
    inputs: Inputs,
}

impl<'a> Logprobs<'a> {
    pub(crate) fn new(args: &'a RowsArgs) -> Result<Self> {
        Ok(Self { args, inputs: read(args, Purpose::Read)? })
    }
}

impl<'a> Score<'a> {
    pub(crate) fn new(args: &'a RowsArgs) -> Result<Self> {
        // Where a reward model learned from completions, they ended.
        Ok(Self { args, inputs: read(args, Purpose::Judge)? })
    }
}

fn read(args: &RowsArgs, purpose: Purpose) -> Result<Inputs> {
    let inputs = Inputs::read(args, purpose)?;
    inputs.fit(0)?;
    Ok(inputs)
}

impl Work for Logprobs<'_> {
    type Output = ();

    fn run<B: LmAutodiffBackend>(self, device: B::Device) -> Result<()> {
        let Self { args, inputs } = self;
        let model: CausalLm<B::InnerBackend> = inputs.model.load_causal_lm(&device)?;
        let rows: Vec<TokenRow> =
            inputs.rows.into_iter().map(|row| TokenRow::completion(Vec::new(), &row)).collect();
        let mut output = Output::open(args.output.as_deref(), "logprobs", rows.len())?;
        for batch in rows.chunks(args.batch_size) {
            let batch: Vec<&TokenRow> = batch.iter().collect();
            let logprobs = row_logprobs(&model, &batch, 1.0, args.batch_size, &device);
            let lines: Vec<Value> = logprobs.iter().map(|it| json!({ "logprobs": it })).collect();
            output.write(&lines, lines.len())?;
        }
        Ok(())
    }
}

impl Work for Score<'_> {
    type Output = ();

    fn run<B: LmAutodiffBackend>(self, device: B::Device) -> Result<()> {
        let Self { args, inputs } = self;
        let reward = inputs.model.load_reward::<B::InnerBackend>(args.batch_size, &device)?;
        let mut output = Output::open(args.output.as_deref(), "score", inputs.rows.len())?;
        for batch in inputs.rows.chunks(args.batch_size) {
            let scores = reward.score_rows(batch);
            let lines: Vec<Value> = scores.iter().map(|it| json!({ "score": it })).collect();
            output.write(&lines, lines.len())?;
        }
        Ok(())
    }
}
