//! The pairs of an attack.

use std::path::Path;

use anyhow::{Result, bail};
use rein_data::example::Preference;
use rein_data::helpdesk::{Helpdesk, gold};
use rein_data::jsonl;
use rein_data::seed::Seed;
use rein_data::tokenizer::Tokenizer;
use rein_reward::adversarial::flips::Target;

/// A pair in tokens, whose rejected reply is attacked.
pub(super) struct Case {
    pub(super) pair: Preference,
    chosen: Vec<u32>,
    rejected: Vec<u32>,
    /// Tokens of the prompt.
    n_prompt: usize,
}

/// The first pairs of a file.
pub(super) fn read(path: &Path, count: usize) -> Result<Vec<Preference>> {
    let mut pairs: Vec<Preference> = jsonl::read(path)?;
    pairs.truncate(count);
    if pairs.is_empty() {
        bail!("{}: holds no pairs", path.display());
    }
    Ok(pairs)
}

/// Replies of the help desk in pairs of which one is truly better, the same ones each time.
pub(super) fn helpdesk(count: usize) -> Vec<Preference> {
    let prompts = Helpdesk::new().heldout;
    let seed = Seed::new(0).child("attack");
    let pair = |number: u64| {
        let place = number as usize % prompts.len();
        let reply = |side: u64| {
            let prompt = &prompts[place..=place];
            Helpdesk::demonstration(prompt, seed.index(number), side).completion
        };
        let worth = |reply: &String| gold::judge(&prompts[place], reply, true).total();
        let mut replies = [reply(0), reply(1)];
        replies.sort_by(|a, b| worth(b).total_cmp(&worth(a)));
        let [chosen, rejected] = replies;
        (worth(&chosen) > worth(&rejected)).then(|| Preference {
            prompt: prompts[place].clone(),
            chosen,
            rejected,
            margin: None,
            chosen_finished: true,
            rejected_finished: true,
        })
    };
    (0..).filter_map(pair).take(count).collect()
}

impl Case {
    pub(super) fn new(pair: Preference, tokenizer: &Tokenizer) -> Self {
        let prompt = tokenizer.encode_prompt(&pair.prompt);
        let row = |reply: &str, finished: bool| {
            let reply = match finished {
                true => tokenizer.encode_completion(reply),
                false => tokenizer.encode(reply),
            };
            [prompt.clone(), reply].concat()
        };
        Self {
            chosen: row(&pair.chosen, pair.chosen_finished),
            rejected: row(&pair.rejected, pair.rejected_finished),
            n_prompt: prompt.len(),
            pair,
        }
    }

    /// Both replies with their prompt, the preferred one first.
    pub(super) fn rows(&self) -> [&[u32]; 2] {
        [&self.chosen, &self.rejected]
    }

    /// The rejected reply, which shall score higher than the preferred one. What ends it stays.
    pub(super) fn target(&self, goal: f32) -> Target<'_> {
        let n_ends = usize::from(self.pair.rejected_finished);
        let end = (self.rejected.len() - n_ends).max(self.n_prompt);
        Target { row: &self.rejected, open: self.n_prompt..end, goal }
    }

    /// The reply of a row that came of an attack.
    pub(super) fn reply(&self, row: &[u32], tokenizer: &Tokenizer) -> String {
        let n_ends = usize::from(self.pair.rejected_finished);
        tokenizer.decode(&row[self.n_prompt..row.len() - n_ends])
    }

    /// Whether a row that came of an attack is truly no better than the rejected reply.
    pub(super) fn is_no_better(&self, row: &[u32], tokenizer: &Tokenizer) -> bool {
        let Preference { prompt, rejected, rejected_finished, .. } = &self.pair;
        let worth = |reply: &str| gold::judge(prompt, reply, *rejected_finished).total();
        worth(&self.reply(row, tokenizer)) <= worth(rejected)
    }
}
