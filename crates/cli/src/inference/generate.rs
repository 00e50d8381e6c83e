use std::io::{IsTerminal, Write, stdout};
use std::iter::repeat_n;
use std::ops::ControlFlow;

use anyhow::{Context, Result, bail};
use rein_data::inputs::Purpose;
use rein_data::seed::Seed;
use rein_model::backend::{LmAutodiffBackend, LmBackend};
use rein_model::{Batches, CausalLm, Finish, Generated, Sampler, read_config};
use serde_json::{Value, json};

use super::args::GenerateArgs;
use super::choosing::{Candidate, Choice};
use super::settings::{Settings, Tally};
use super::terminal::harmless;
use super::texts::Texts;
use super::{Inputs, Output};
use crate::device::Work;
use crate::speech::note;

/// The limit where nobody sets one.
const MAX_NEW_TOKENS: usize = 64;

/// Completes rows.
pub(crate) struct Generate<'a> {
    args: &'a GenerateArgs,
    inputs: Inputs,
    settings: Settings,
    choice: Choice<'a>,
}

impl<'a> Generate<'a> {
    pub(crate) fn new(args: &'a GenerateArgs) -> Result<Self> {
        let n_samples = args.samples;
        if n_samples == 0 {
            bail!("`--samples` is 0; it must be above 0");
        }
        let mut inputs = Inputs::read(&args.rows, Purpose::Continue)?;
        let choice = Choice::new(&args.choice, &inputs, n_samples, &args.rows.model.hub)?;
        inputs.rows = inputs.rows.into_iter().flat_map(|row| repeat_n(row, n_samples)).collect();
        inputs.lines =
            inputs.lines.into_iter().flat_map(|line| repeat_n(line, n_samples)).collect();
        let tokenizer = inputs.tokenizer.as_ref();
        let mut settings =
            Settings::new(&args.sampling, &args.guards, &inputs.model.base, tokenizer)?;
        let longest = inputs.rows.iter().map(Vec::len).max().unwrap_or(0);
        let room = read_config(&inputs.model.base)?.max_positions.saturating_sub(longest);
        let max_new_tokens = args.sampling.max_new_tokens.unwrap_or(room.clamp(1, MAX_NEW_TOKENS));
        inputs.fit(max_new_tokens)?;
        choice.fit(&inputs, max_new_tokens + 1)?;
        settings.sampling.max_new_tokens = max_new_tokens;
        settings.sampling.batch_rows = args.rows.batch_size;
        Ok(Self { args, inputs, settings, choice })
    }

    /// Whether a person sees a single completion grow.
    fn is_watched(&self) -> bool {
        let Self { args, inputs, choice, .. } = self;
        let is_terminal = args.rows.output.is_none() && stdout().is_terminal();
        is_terminal && choice.is_idle() && inputs.rows.len() == 1 && inputs.tokenizer.is_some()
    }

    fn write_lines<B: LmBackend>(
        &self,
        mut batches: Batches<'_, B>,
        device: &B::Device,
    ) -> Result<()> {
        let Self { args, inputs, settings, choice } = self;
        let mut chooser = choice.chooser::<B>(args.rows.batch_size, device)?;
        let output = args.rows.output.as_deref();
        let mut output = Output::open(output, "generate", inputs.rows.len())?;
        let mut texts = Texts::new(settings, inputs.tokenizer.as_ref());
        let mut tally = Tally::default();
        let mut n_done = 0;
        while let Some(batch) = batches.next(&mut texts) {
            batch.iter().for_each(|row| tally.count(row));
            let rows = (n_done..).zip(&batch);
            let candidates = rows.map(|(number, row)| Candidate {
                number,
                line: self.line(row, texts.take(number)),
                tokens: self.judged(number, row),
                finish: row.finish,
            });
            let lines = chooser.choose(candidates.collect());
            n_done += batch.len();
            output.write(&lines, batch.len())?;
        }
        let sentences = tally.sentence().into_iter().chain(chooser.sentence());
        sentences.for_each(|sentence| output.note(&sentence));
        Ok(())
    }

    /// What a reward model reads of a completion. Where a text stopped it, the end of sequence follows, as
    /// where a reward model learned.
    fn judged(&self, number: usize, row: &Generated) -> Vec<u32> {
        let Self { inputs, settings, .. } = self;
        let mut tokens = [&inputs.rows[number][..], &row.tokens].concat();
        let has_end = row.tokens.last().is_some_and(|it| settings.sampling.ends.contains(it));
        if row.finish == Finish::Stop && !has_end {
            tokens.extend(inputs.tokenizer.as_ref().map(|it| it.special().eos));
        }
        tokens
    }

    fn line(&self, row: &Generated, text: Option<String>) -> Value {
        let refusal = self.settings.refusal(row);
        let tokenizer = self.inputs.tokenizer.as_ref();
        let mut line = match refusal {
            Some(refusal) => {
                json!({ "output_ids": tokenizer.map_or(vec![], |it| it.encode(refusal)) })
            }
            None => json!({ "output_ids": row.tokens }),
        };
        if let Some(text) = text {
            line["text"] = refusal.map_or(text, str::to_owned).into();
        }
        line["finish_reason"] = match row.finish {
            Finish::Stop => "stop",
            Finish::Length => "length",
            Finish::Guard => "guard",
        }
        .into();
        if self.args.logprobs {
            line["logprobs"] = if refusal.is_some() { json!([]) } else { json!(row.logprobs) };
        }
        line
    }

    /// Shows the one completion while it grows.
    fn show<B: LmBackend>(&self, mut batches: Batches<'_, B>) -> Result<()> {
        let Self { inputs, settings, .. } = self;
        let mut out = stdout();
        let mut written = Ok(());
        let mut reader = |piece: &str| {
            written = out.write_all(harmless(piece).as_bytes()).and_then(|()| out.flush());
            if written.is_ok() { ControlFlow::Continue(()) } else { ControlFlow::Break(()) }
        };
        let mut texts = Texts::new(settings, inputs.tokenizer.as_ref()).read_by(&mut reader);
        let rows = batches.next(&mut texts).unwrap_or_default();
        written.context("standard output")?;
        for row in rows {
            let refusal = settings.refusal(&row).unwrap_or_default();
            writeln!(out, "{}", harmless(refusal)).context("standard output")?;
            if row.finish == Finish::Length {
                note(&format!("(cut at {} tokens; see --max-new-tokens)", row.tokens.len()));
            }
        }
        Ok(())
    }
}

impl Work for Generate<'_> {
    type Output = ();

    fn run<B: LmAutodiffBackend>(self, device: B::Device) -> Result<()> {
        let seed = Seed::new(self.args.sampling.seed);
        let Self { inputs, settings, .. } = &self;
        let model: CausalLm<B::InnerBackend> = inputs.model.load_causal_lm(&device)?;
        let sampler = Sampler::new(&model, &settings.sampling, &device)?;
        let batches = sampler.batches(&inputs.rows, seed)?;
        if self.is_watched() { self.show(batches) } else { self.write_lines(batches, &device) }
    }
}
