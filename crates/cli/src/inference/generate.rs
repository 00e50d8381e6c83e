use anyhow::{Context, Result};
use rein_data::inputs::Ending;
use rein_data::seed::Seed;
use rein_model::backend::LmAutodiffBackend;
use rein_model::sampling::{Choice, Filters};
use rein_model::{
    CausalLm, Generated, Sampling, generate_batches, generation_ends, load_causal_lm, read_config,
};
use serde_json::{Value, json};

use super::{Inputs, Output};
use crate::args::GenerateArgs;
use crate::device::Work;

/// The limit where nobody sets one.
const MAX_NEW_TOKENS: usize = 64;

/// Completes rows.
pub(crate) struct Generate<'a> {
    args: &'a GenerateArgs,
    inputs: Inputs,
    sampling: Sampling,
}

impl<'a> Generate<'a> {
    pub(crate) fn new(args: &'a GenerateArgs) -> Result<Self> {
        let mut inputs = Inputs::read(&args.rows, Ending::Open)?;
        let n_samples = args.samples;
        let rows = std::mem::take(&mut inputs.rows).into_iter();
        inputs.rows = rows.flat_map(|row| std::iter::repeat_n(row, n_samples)).collect();
        let eos = inputs.tokenizer.as_ref().map(|it| it.special().eos);
        let mut ends = generation_ends(&inputs.model)?;
        if ends.is_empty() {
            ends.extend(eos);
        }
        let longest = inputs.rows.iter().map(Vec::len).max().unwrap_or(0);
        let room = read_config(&inputs.model)?.max_positions.saturating_sub(longest);
        let max_new_tokens = args.max_new_tokens.unwrap_or(room.clamp(1, MAX_NEW_TOKENS));
        let sampling = Sampling { max_new_tokens, ends, ..sampling(args) };
        sampling.check()?;
        Ok(Self { args, inputs, sampling })
    }
}

fn sampling(args: &GenerateArgs) -> Sampling {
    let filters = Filters {
        temperature: args.temperature,
        top_k: args.top_k,
        top_p: args.top_p,
        min_p: args.min_p,
    };
    Sampling {
        min_new_tokens: args.min_new_tokens,
        choice: if args.greedy { Choice::Greedy } else { Choice::Random(filters) },
        repetition_penalty: args.repetition_penalty,
        batch_rows: args.rows.batch_size,
        ..Sampling::greedy()
    }
}

impl Work for Generate<'_> {
    type Output = ();

    fn run<B: LmAutodiffBackend>(self, device: B::Device) -> Result<()> {
        let Self { args, inputs, sampling } = self;
        let model: CausalLm<B::InnerBackend> = load_causal_lm(&inputs.model, &device)?;
        let seed = Seed::new(args.seed);
        let batches = generate_batches(&model, &inputs.rows, &sampling, seed, &device)
            .with_context(|| inputs.blame(&args.rows))?;
        let mut output = Output::open(args.rows.output.as_deref(), "generate", inputs.rows.len())?;
        for batch in batches {
            let lines: Vec<Value> = batch.iter().map(|row| inputs.line(row)).collect();
            output.write(&lines)?;
        }
        Ok(())
    }
}

impl Inputs {
    fn line(&self, row: &Generated) -> Value {
        let reason = if row.finished { "stop" } else { "length" };
        let mut line = json!({ "output_ids": row.tokens });
        if let Some(tokenizer) = &self.tokenizer {
            line["text"] = tokenizer.decode(&row.tokens).into();
        }
        line["finish_reason"] = reason.into();
        line
    }
}
