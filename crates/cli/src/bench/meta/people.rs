//! What people of the help-desk world say of replies that the world draws.

use rein_data::example::Preference;
use rein_data::helpdesk::Helpdesk;
use rein_data::helpdesk::gold::{Judgement, judge};
use rein_data::helpdesk::tastes::Taste;
use rein_data::seed::Seed;
use rein_data::tokenizer::Tokenizer;
use rein_reward::encoding::{Pair, encode_preferences};

const MAX_TOKENS: usize = 128;

/// What a person says of `count` pairs of replies, with the noise that they have.
pub(super) fn said(
    person: &Taste,
    prompts: &[String],
    count: usize,
    seed: Seed,
    tokenizer: &Tokenizer,
) -> Vec<Pair> {
    let prefers = |number: u64, [first, second]: &[Judgement; 2]| {
        let mut rng = seed.child("says").index(number).rng();
        Some(person.prefers_first(first, second, &mut rng))
    };
    pairs(prompts, count, seed, tokenizer, prefers)
}

/// What a person truly prefers of `count` pairs; those that are worth the same to them are left out.
pub(super) fn truth(
    person: &Taste,
    prompts: &[String],
    count: usize,
    seed: Seed,
    tokenizer: &Tokenizer,
) -> Vec<Pair> {
    let prefers = |_, replies: &[Judgement; 2]| {
        let [first, second] = replies.each_ref().map(|it| person.utility(it));
        ((first - second).abs() > 1e-6).then_some(first > second)
    };
    pairs(prompts, count, seed, tokenizer, prefers)
}

/// Pairs of replies to one prompt, of which somebody prefers the first or the second.
fn pairs(
    prompts: &[String],
    count: usize,
    seed: Seed,
    tokenizer: &Tokenizer,
    prefers_first: impl Fn(u64, &[Judgement; 2]) -> Option<bool>,
) -> Vec<Pair> {
    let pair = |number: u64| {
        let first = Helpdesk::demonstration(prompts, seed.child("first"), number);
        let prompt = [first.prompt.clone()];
        let second = Helpdesk::demonstration(&prompt, seed.child("second"), number);
        if first.completion == second.completion {
            return None;
        }
        let replies = [first.completion, second.completion];
        let judged = replies.each_ref().map(|reply| judge(&prompt[0], reply, true));
        let [first, second] = replies;
        let is_first = prefers_first(number, &judged)?;
        let (chosen, rejected) = if is_first { (first, second) } else { (second, first) };
        let [prompt] = prompt;
        Some(Preference {
            prompt,
            chosen,
            rejected,
            margin: None,
            chosen_finished: true,
            rejected_finished: true,
        })
    };
    let pairs: Vec<Preference> = (0..).filter_map(pair).take(count).collect();
    let encoded = encode_preferences(&pairs, tokenizer, MAX_TOKENS);
    encoded.judgements.into_pairs().expect("pairs were encoded")
}
