use std::path::Path;
use std::sync::Arc;

use anyhow::{Context, Result, bail};
use rein_data::text_rules::TextRules;
use rein_data::tokenizer::Tokenizer;
use rein_model::sampling::{Choice, Filters};
use rein_model::{Finish, Generated, Sampling, generation_ends};

use super::args::{GuardArgs, OnViolation, SamplingArgs, Tokens};

/// Attempts at a completion that breaks a rule, where nobody says how many.
const ATTEMPTS: usize = 4;

/// What the command line says about sampling, with a model's folder at hand.
#[derive(Clone, Debug)]
pub(super) struct Settings {
    /// Where it stops is known, how long it may get is not.
    pub(super) sampling: Sampling,
    /// Texts at which a completion stops.
    pub(super) stops: Arc<[String]>,
    pub(super) rules: TextRules,
    on_violation: OnViolation,
    refusal: String,
}

impl Settings {
    pub(super) fn new(
        args: &SamplingArgs,
        guards: &GuardArgs,
        model: &Path,
        tokenizer: Option<&Tokenizer>,
    ) -> Result<Self> {
        let texts = [&args.stop, &guards.ban, &guards.require_regex, &guards.forbid_regex];
        if tokenizer.is_none() && texts.iter().any(|texts| !texts.is_empty()) {
            bail!(
                "{}: holds no tokenizer, which `--stop`, `--ban` and expressions need; give tokens: \
                 `--stop-token`, `--ban-tokens`",
                model.display()
            );
        }
        if [&args.stop, &guards.ban].iter().any(|texts| texts.iter().any(String::is_empty)) {
            bail!("`--stop` and `--ban` need a text that isn't empty");
        }
        let mut ends = generation_ends(model)?;
        if ends.is_empty() {
            ends.extend(tokenizer.map(|it| it.special().eos));
        }
        ends.extend(&args.stop_token);
        let mut banned = sequences(&guards.ban_tokens);
        let spoken = guards.ban.iter().zip(std::iter::repeat(tokenizer));
        banned
            .extend(spoken.flat_map(|(text, it)| it.map_or(Vec::new(), |it| spellings(text, it))));
        let sampling = Sampling {
            min_new_tokens: args.min_new_tokens,
            choice: choice(args),
            repetition_penalty: args.repetition_penalty,
            ends,
            banned,
            required: sequences(&guards.require_tokens),
            attempts: guards.attempts.unwrap_or(if args.greedy { 1 } else { ATTEMPTS }),
            ..Sampling::greedy()
        };
        sampling.check()?;
        let rules = TextRules::new(&guards.require_regex, &guards.forbid_regex, &guards.ban);
        Ok(Self {
            sampling,
            stops: args.stop.clone().into(),
            rules: rules.context("--require-regex, --forbid-regex")?,
            on_violation: guards.on_violation,
            refusal: guards.refusal.clone(),
        })
    }

    /// Whether text can be shown before a completion is whole.
    pub(super) fn can_show_early(&self) -> bool {
        self.rules.is_empty() && self.sampling.required.is_empty()
    }

    /// What is said instead of a completion, if that must not stand.
    pub(super) fn refusal(&self, generated: &Generated) -> Option<&str> {
        let refused = generated.finish == Finish::Guard && self.on_violation == OnViolation::Refuse;
        refused.then_some(&self.refusal)
    }
}

fn choice(args: &SamplingArgs) -> Choice {
    let filters = Filters {
        temperature: args.temperature,
        top_k: args.top_k,
        top_p: args.top_p,
        min_p: args.min_p,
    };
    if args.greedy { Choice::Greedy } else { Choice::Random(filters) }
}

fn sequences(tokens: &[Tokens]) -> Vec<Vec<u32>> {
    tokens.iter().map(|Tokens(ids)| ids.clone()).collect()
}

/// A text's tokens at the beginning of a text and after a space. Others are left to the rule on the text.
fn spellings(text: &str, tokenizer: &Tokenizer) -> Vec<Vec<u32>> {
    let mut spellings = vec![tokenizer.encode(text), tokenizer.encode(&format!(" {text}"))];
    spellings.dedup();
    spellings.retain(|tokens| !tokens.is_empty());
    spellings
}

/// What the guards did.
#[derive(Debug, Default)]
pub(super) struct Tally {
    n_rows: usize,
    n_again: usize,
    n_attempts: usize,
    n_broken: usize,
}

impl Tally {
    pub(super) fn count(&mut self, generated: &Generated) {
        self.n_rows += 1;
        self.n_again += usize::from(generated.n_attempts > 1);
        self.n_attempts += generated.n_attempts;
        self.n_broken += usize::from(generated.finish == Finish::Guard);
    }

    /// A sentence, if there is anything to say.
    pub(super) fn sentence(&self) -> Option<String> {
        let Self { n_rows, n_again, n_attempts, n_broken } = self;
        (n_again + n_broken > 0).then(|| {
            format!(
                "guards: of {n_rows} rows, {n_again} were sampled again ({n_attempts} attempts in \
                 all) and {n_broken} broke a rule each time"
            )
        })
    }
}
