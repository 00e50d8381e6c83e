//! Completions that are sampled while the step before theirs is updated (Noukhovitch et al., 2024): one
//! step off-policy, which [`importance`](crate::importance) weights correct.
//!
//! Only sampling overlaps, with a snapshot of the policy as it was before the update. What everyone says
//! about the completions is computed after it, by the policy that learns from them, so that the first ratio
//! is 1. Nothing depends on which of the two ends first.

use std::fs;
use std::path::Path;

use rein_data::seed::RowSeeds;
use rein_data::tokenizer::Tokenizer;
use rein_data::{DataError, jsonl};
use rein_model::Sampler;
use rein_model::backend::LmBackend;
use rein_model::config::ModelConfig;
use rein_model::guard::row_fits;

use crate::PpoError;
use crate::rollout::{Prompt, Sampled, sample_until};

/// The file of completions for the next step within a checkpoint.
const FILE: &str = "ahead.jsonl";

/// Does `work` on this thread and `errand`, if there is one, on another thread of the pool, or after it
/// where there is none. If one of them panics, this panics when both have ended.
pub fn beside<T, U: Send>(
    errand: Option<impl FnOnce() -> U + Send>,
    work: impl FnOnce() -> T,
) -> (T, Option<U>) {
    let mut brought = None;
    let worked = rayon::in_place_scope(|scope| {
        if let Some(errand) = errand {
            scope.spawn(|_| brought = Some(errand()));
        }
        work()
    });
    (worked, brought)
}

/// A rollout that can be sampled anywhere: it holds what it needs.
#[derive(Debug)]
pub(crate) struct Errand<B: LmBackend> {
    pub(crate) sampler: Sampler<B>,
    pub(crate) prompts: Vec<Prompt>,
    pub(crate) tokenizer: Tokenizer,
    /// Texts that end a completion.
    pub(crate) stops: Vec<String>,
    pub(crate) seeds: RowSeeds,
}

impl<B: LmBackend> Errand<B> {
    pub(crate) fn run(self) -> Result<Vec<Sampled>, PpoError> {
        let Self { sampler, prompts, tokenizer, stops, seeds } = self;
        sample_until(&sampler, prompts, &tokenizer, &stops, seeds)
    }
}

/// Completions of all workers for a step that has yet to come.
#[derive(Debug, PartialEq)]
pub(crate) struct Ahead {
    /// Counted from 0.
    pub(crate) step: usize,
    pub(crate) sampled: Vec<Sampled>,
}

impl Ahead {
    pub(crate) fn save(&self, folder: &Path) -> Result<(), PpoError> {
        let path = folder.join(FILE);
        let lines: String = self.sampled.iter().map(jsonl::line).collect();
        Ok(fs::write(&path, lines).map_err(|source| DataError::Io { path, source })?)
    }

    /// Reads `n_rows` completions for a step of a policy of this shape.
    pub(crate) fn load(
        folder: &Path,
        step: usize,
        n_rows: usize,
        model: &ModelConfig,
    ) -> Result<Self, PpoError> {
        let path = folder.join(FILE);
        let sampled = jsonl::read_with(&path, |row| checked(row, model))?;
        if sampled.len() != n_rows {
            let reason = format!("holds {} completions, but a step has {n_rows}", sampled.len());
            return Err(DataError::File { path, reason }.into());
        }
        Ok(Self { step, sampled })
    }
}

fn checked(row: Sampled, model: &ModelConfig) -> Result<Sampled, String> {
    let Sampled { completion, logprobs } = &row;
    let (n_tokens, n_logprobs) = (completion.tokens.len(), logprobs.len());
    if completion.prompt_tokens.is_empty() || n_tokens == 0 {
        return Err("needs a prompt and a completion, of a token at least".into());
    }
    if n_logprobs != n_tokens {
        return Err(format!("has {n_tokens} tokens and {n_logprobs} log-probabilities"));
    }
    row_fits(model, &completion.sequence(), 0)?;
    Ok(row)
}

#[cfg(test)]
mod tests {
    use std::panic::{AssertUnwindSafe, catch_unwind};

    use rein_data::example::Completion;
    use rein_model::config::LlamaShape;

    use super::*;

    fn model() -> ModelConfig {
        let shape = LlamaShape {
            vocab_size: 10,
            hidden_size: 4,
            mlp_size: 4,
            n_layers: 1,
            n_heads: 1,
            n_kv_heads: 1,
            max_positions: 4,
            tied_head: true,
        };
        ModelConfig::llama(shape).expect("a valid shape")
    }

    fn row() -> Sampled {
        let completion = Completion {
            prompt: "a\nb".into(),
            prompt_tokens: vec![1, 2],
            tokens: vec![3, 9],
            text: "\u{fffd}\"".into(),
            finished: true,
            columns: serde_json::Map::from_iter([("answer".to_owned(), 0.1.into())]).into(),
        };
        // Neighbours of 1/3 and a number whose shortest form is easily read as another.
        Sampled { completion, logprobs: vec![-0.333_333_34, -7.038_531e-26] }
    }

    #[test]
    fn completions_come_back_to_the_bit() {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let logprob = |number: u32| -f32::from_bits(0x3000_0000 + number * 0x0012_3457);
        let rows = (0..200).map(|number| Sampled {
            logprobs: vec![logprob(number), logprob(number + 200)],
            ..row()
        });
        let ahead = Ahead { step: 3, sampled: rows.chain([row()]).collect() };
        ahead.save(folder.path()).expect("saves");
        assert_eq!(Ahead::load(folder.path(), 3, 201, &model()).expect("loads"), ahead);
    }

    #[test]
    fn what_cannot_be_a_step_is_refused() {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let refusal = |text: &str| {
            fs::write(folder.path().join(FILE), text).expect("writes");
            let error = Ahead::load(folder.path(), 0, 1, &model()).expect_err("is refused");
            assert!(matches!(error, PpoError::Data(_)), "{error:?}");
            let path = folder.path().to_str().expect("UTF-8");
            error.to_string().replace(path, "").replace('\\', "/")
        };
        let good = jsonl::line(&row());
        let two = "/ahead.jsonl: holds 2 completions, but a step has 1";
        assert_eq!(refusal(&good.repeat(2)), two);
        assert!(refusal(&good[..40]).starts_with("/ahead.jsonl:1: not JSON"));
        let changed = |from: &str, to: &str| refusal(&good.replace(from, to));
        let one = "/ahead.jsonl:1: ";
        assert_eq!(changed("[3,9]", "[3]"), format!("{one}has 1 tokens and 2 log-probabilities"));
        assert_eq!(
            changed("[3,9]", "[3,10]"),
            format!("{one}holds the token 10, but the model's vocabulary has 10")
        );
        let empty = format!("{one}needs a prompt and a completion, of a token at least");
        assert_eq!(changed("[1,2]", "[]"), empty);
        assert_eq!(
            changed("[1,2]", "[1,2,3]"),
            format!("{one}has 5 tokens, but the model has 4 positions")
        );
        assert!(changed("-7.038531e-26", "null").contains("invalid type: null"));
        fs::remove_file(folder.path().join(FILE)).expect("removes");
        assert!(Ahead::load(folder.path(), 0, 1, &model()).is_err(), "no file");
    }

    #[test]
    fn both_are_done_and_a_panic_is_passed_on() {
        let done = beside(Some(|| 2), || 1);
        assert_eq!(done, (1, Some(2)));
        assert_eq!(beside(None::<fn() -> i32>, || 1), (1, None));
        let mut worked = false;
        let both = AssertUnwindSafe(|| {
            beside(Some(|| panic!("the errand failed")), || worked = true);
        });
        let panic = catch_unwind(both).expect_err("panics");
        assert_eq!(panic.downcast_ref(), Some(&"the errand failed"));
        assert!(worked);
    }
}
