use std::path::Path;

use anyhow::Result;
use rein_data::encoding::TokenRow;
use rein_data::inputs::Purpose;
use rein_model::CausalLm;
use rein_model::backend::LmAutodiffBackend;
use rein_model::logprobs::row_logprobs;
use rein_reward::ensemble::Spread;
use rein_reward::meta::PersonalScore;
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
    person: Option<&'a Path>,
    inputs: Inputs,
}

impl<'a> Logprobs<'a> {
    pub(crate) fn new(args: &'a RowsArgs) -> Result<Self> {
        Ok(Self { args, inputs: read(args, Purpose::Read)? })
    }
}

impl<'a> Score<'a> {
    pub(crate) fn new(args: &'a RowsArgs, person: Option<&'a Path>) -> Result<Self> {
        // Where a reward model learned from completions, they ended.
        Ok(Self { args, person, inputs: read(args, Purpose::Judge)? })
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
        let Self { args, person, inputs } = self;
        let folders = &inputs.model;
        let score: LinesOf = match person {
            Some(person) => {
                let reward =
                    folders.load_personal::<B::InnerBackend>(person, args.batch_size, &device)?;
                Box::new(move |rows| reward.score_rows(rows).iter().map(personal_line).collect())
            }
            None => {
                let reward = folders.load_reward::<B::InnerBackend>(args.batch_size, &device)?;
                let scores = move |rows: &[Vec<u32>]| match reward.head_scores(rows) {
                    Some(heads) => {
                        heads.iter().map(|it| ensemble_line(it, reward.bald(it))).collect()
                    }
                    None => {
                        reward.score_rows(rows).iter().map(|it| json!({ "score": it })).collect()
                    }
                };
                Box::new(scores)
            }
        };
        let mut output = Output::open(args.output.as_deref(), "score", inputs.rows.len())?;
        for batch in inputs.rows.chunks(args.batch_size) {
            let lines = score(batch);
            output.write(&lines, lines.len())?;
        }
        Ok(())
    }
}

/// What is written of rows.
type LinesOf = Box<dyn Fn(&[Vec<u32>]) -> Vec<Value>>;

/// The mean of an ensemble's heads, and how much they differ.
fn ensemble_line(heads: &[f32], bald: f64) -> Value {
    let Spread { mean, std } = Spread::of(heads);
    json!({ "score": mean as f32, "std": std as f32, "bald": bald as f32 })
}

/// A person's score, and how sure it is where that is known.
fn personal_line(scored: &PersonalScore) -> Value {
    let mut line = json!({ "score": scored.score });
    if let Some(std) = scored.std {
        line["std"] = json!(std);
    }
    line
}
