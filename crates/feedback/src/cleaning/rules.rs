//! What a row says by itself.

use rein_data::example::PAIR_FINISHED;

use super::reading::Reading;
use super::report::{Draft, Rule};
use super::text::{folded, shown};
use super::{Action, Cleaning, errors, identity, personal};

/// The responses of a pair, in the order of [`PAIR_FINISHED`].
const SIDES: [&str; 2] = ["chosen", "rejected"];

/// The rules for single rows, ready to look.
pub(super) struct RowRules<'a> {
    cleaning: &'a Cleaning,
    /// What else betrays a model, as it is compared.
    phrases: Vec<String>,
}

impl<'a> RowRules<'a> {
    pub(super) fn new(cleaning: &'a Cleaning) -> Self {
        let phrases = cleaning.phrases.iter().map(|it| lowered(it)).filter(|it| !it.is_empty());
        Self { cleaning, phrases: phrases.collect() }
    }

    /// Writes down what they say of a row.
    pub(super) fn look(&self, row: usize, reading: &Reading<'_>, draft: &mut Draft) {
        let Self { cleaning, phrases } = self;
        let mut say = |action: Action, rule: Rule, look: &dyn Fn() -> Option<String>| {
            if action != Action::Off
                && !draft.is_set_aside(row)
                && let Some(reason) = look()
            {
                draft.say(action, row, rule, reason);
            }
        };
        say(cleaning.empty, Rule::Empty, &|| empty(reading));
        say(cleaning.identical, Rule::Identical, &|| identical(reading));
        say(cleaning.identity, Rule::Identity, &|| leak(reading, phrases));
        say(cleaning.error_text, Rule::ErrorText, &|| error(reading));
        say(cleaning.unfinished, Rule::Unfinished, &|| cut(reading, true));
        say(cleaning.unfinished_rejected, Rule::Unfinished, &|| cut(reading, false));
        say(cleaning.personal_data, Rule::PersonalData, &|| personal_data(reading));
    }
}

fn empty(reading: &Reading<'_>) -> Option<String> {
    if reading.responses.is_empty() {
        return reading.folded_prompt.is_empty().then(|| "there is no text".into());
    }
    let empty = reading.responses.iter().find(|it| it.folded.is_empty())?;
    Some(format!("{}: there is no text", empty.name))
}

fn identical(reading: &Reading<'_>) -> Option<String> {
    let (first, others) = reading.responses.split_first()?;
    let are_same = !others.is_empty() && others.iter().all(|it| it.folded == first.folded);
    are_same.then(|| format!("all responses are {}", shown(&first.folded)))
}

fn leak(reading: &Reading<'_>, phrases: &[String]) -> Option<String> {
    let leak = |folded: &str| -> Option<String> {
        if let Some(found) = identity::leak(folded) {
            return Some(shown(found));
        }
        let lowered = if phrases.is_empty() { String::new() } else { folded.to_lowercase() };
        phrases.iter().find(|it| lowered.contains(*it)).map(|it| shown(it))
    };
    reading.responses.iter().find_map(|it| Some(format!("{}: {}", it.name, leak(&it.folded)?)))
}

fn error(reading: &Reading<'_>) -> Option<String> {
    let it = reading.responses.iter().find(|it| errors::is_error(&it.text, &it.folded))?;
    Some(format!("{}: {}", it.name, shown(&it.folded)))
}

/// Whether the better response was cut, or another one. Of ties, the chosen one passes for the better.
fn cut(reading: &Reading<'_>, better: bool) -> Option<String> {
    let best = reading.better_and_worse().map_or("chosen", |[best, _]| best.name.as_ref());
    let place = (0..SIDES.len()).find(|place| {
        let is_there = reading.responses.iter().any(|it| it.name == SIDES[*place]);
        is_there && (SIDES[*place] == best) == better && !reading.example.finished(*place)
    })?;
    Some(format!("{}: it was cut (`{}` is false)", SIDES[place], PAIR_FINISHED[place]))
}

fn personal_data(reading: &Reading<'_>) -> Option<String> {
    const MOST: usize = 3;
    let responses = reading.responses.iter().map(|it| (it.name.as_ref(), it.text.as_ref()));
    let texts = [("prompt", reading.prompt.as_ref())].into_iter().chain(responses);
    let (mut told, mut n_found): (Vec<String>, usize) = (Vec::new(), 0);
    for (name, text) in texts {
        let found = personal::found(text);
        let first = found.iter().take(MOST.saturating_sub(n_found));
        told.extend(first.map(|it| format!("{name}: {}", it.described(text))));
        n_found += found.len();
    }
    let n_more = n_found - told.len();
    let more = if n_more > 0 { format!("; {n_more} more") } else { String::new() };
    (n_found > 0).then(|| format!("{}{more}", told.join("; ")))
}

/// For comparisons in which case doesn't matter.
fn lowered(text: &str) -> String {
    folded(text).to_lowercase()
}
