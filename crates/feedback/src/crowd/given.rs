//! Fields become an answer to the task.

use std::collections::BTreeMap;
use std::str::FromStr;

use super::form;
use super::sent::{CHECK, ORDER, TASK, check};
use crate::records::{Answer, Aspect, Choice, Judgement, Kind, Settings, Shown, Task};

/// An answer and the order in which the worker saw the items.
#[derive(Debug)]
pub(super) struct Given<'a> {
    pub(super) task: &'a Task,
    /// What was said, or why it says nothing: workers can send what they like.
    pub(super) answer: Result<Answer, String>,
    pub(super) shown: Shown,
}

/// What fields say of one of these tasks, which go by name; `inputs` are the columns that were sent.
///
/// # Errors
/// Columns of something else.
pub(super) fn given<'a>(
    inputs: &BTreeMap<String, String>,
    fields: &BTreeMap<String, String>,
    settings: &Settings,
    tasks: &'a BTreeMap<String, Task>,
) -> Result<Given<'a>, String> {
    let input = |name: &str| {
        let cell = inputs.get(name);
        cell.ok_or_else(|| {
            format!("no `{name}` came with it; only answers to what was exported here can be read")
        })
    };
    let name = input(TASK)?;
    let task = tasks.get(name).ok_or_else(|| {
        format!("task `{name}` isn't in the project; name the project that was exported")
    })?;
    if *input(CHECK)? != check(task) {
        return Err(format!(
            "task `{name}` has other texts than were exported; name its own store"
        ));
    }
    let shown = order(input(ORDER)?, task.responses.len())
        .ok_or_else(|| format!("`{ORDER}` isn't an order of the task's responses"))?;
    let fields = Fields { values: fields, shown: &shown };
    let answer = fields.answer(settings, task).and_then(|answer| {
        let refusal = answer.refusal(&settings.kind, task.responses.len());
        refusal.map_or(Ok(answer), Err)
    });
    Ok(Given { task, answer, shown })
}

fn order(cell: &str, n_items: usize) -> Option<Shown> {
    let places = cell.split_whitespace().take(n_items + 1);
    let places = places.map(|it| it.parse::<usize>().ok()?.checked_sub(1));
    let shown = Shown(places.collect::<Option<_>>()?);
    shown.is_order_of(n_items).then_some(shown)
}

struct Fields<'a> {
    values: &'a BTreeMap<String, String>,
    shown: &'a Shown,
}

impl Fields<'_> {
    fn answer(&self, settings: &Settings, task: &Task) -> Result<Answer, String> {
        let mut answer = Answer::from(self.judgement(&settings.kind, task)?);
        let ticked = |number: &usize| self.chosen(&form::reason(*number)) == Some("yes");
        let numbers = (0..settings.reasons.len()).filter(ticked);
        answer.reasons = numbers.map(|number| settings.reasons[number].clone()).collect();
        let aspects = settings.aspects.iter().enumerate();
        answer.aspects = aspects
            .filter_map(|(number, name)| {
                let choice = match self.chosen(&form::aspect(number))? {
                    "neither" => None,
                    side => Some(self.side(side)?),
                };
                Some(Aspect { name: name.clone(), choice })
            })
            .collect();
        answer.comment = self.values.get(form::COMMENT).cloned().unwrap_or_default();
        Ok(answer)
    }

    fn judgement(&self, kind: &Kind, task: &Task) -> Result<Judgement, String> {
        Ok(match kind {
            Kind::Pair { .. } => self.preference()?,
            Kind::Ranking { .. } => Judgement::Ranked { ranks: self.ranks()? },
            Kind::Score { .. } => Judgement::Scored { score: self.number(form::SCORE)? },
            Kind::Thumbs => match self.need(form::THUMB)? {
                "up" => Judgement::Thumb { up: true },
                "down" => Judgement::Thumb { up: false },
                _ => return Err(format!("`{}` is neither up nor down", form::THUMB)),
            },
            Kind::Edit => {
                let text = self.values.get(form::TEXT).ok_or("nothing was written")?;
                Judgement::Edited { text: edited(text, &task.responses[0].text) }
            }
            Kind::RedTeam => {
                let success = self.number(form::SUCCESS)?;
                Judgement::Attacked { success, tags: Vec::new() }
            }
        })
    }

    fn preference(&self) -> Result<Judgement, String> {
        let chosen = self.need(form::CHOICE)?;
        let preferred = || {
            let (side, strength) = chosen.split_once('_')?;
            let (choice, strength) = (self.side(side)?, strength.parse().ok()?);
            Some(Judgement::Preferred { choice, strength })
        };
        match chosen {
            "tie" => Ok(Judgement::Tie),
            "both_bad" => Ok(Judgement::BothBad),
            _ => preferred().ok_or_else(|| format!("`{}` is no side", form::CHOICE)),
        }
    }

    /// The item that stood on this side of the page.
    fn side(&self, side: &str) -> Option<Choice> {
        let place = match side {
            "left" => self.shown.0.first()?,
            "right" => self.shown.0.get(1)?,
            _ => return None,
        };
        Some(if *place == 0 { Choice::First } else { Choice::Second })
    }

    fn ranks(&self) -> Result<Vec<u8>, String> {
        let mut ranks = vec![0; self.shown.0.len()];
        for (place, item) in self.shown.0.iter().enumerate() {
            ranks[*item] = self.number(&form::rank(place + 1))?;
        }
        Ok(ranks)
    }

    fn number<T: FromStr>(&self, field: &str) -> Result<T, String> {
        let value = self.need(field)?.parse();
        value.map_err(|_| format!("`{field}` isn't a number that it may be"))
    }

    fn need(&self, field: &str) -> Result<&str, String> {
        self.chosen(field).ok_or_else(|| format!("`{field}` wasn't answered"))
    }

    /// What a field holds, or the one value of it that is ticked.
    fn chosen(&self, field: &str) -> Option<&str> {
        if let Some(value) = self.values.get(field) {
            return Some(value.trim());
        }
        let is_ticked = |it: &str| it.eq_ignore_ascii_case("true") || it == "on";
        let mut ticked = self.values.iter().filter_map(|(name, value)| {
            let option = name.strip_prefix(field)?.strip_prefix('.')?;
            is_ticked(value).then_some(option)
        });
        let first = ticked.next()?;
        ticked.next().is_none().then_some(first)
    }
}

/// What was written. Browsers change line breaks; where nothing else was changed, nothing was.
fn edited(written: &str, before: &str) -> String {
    let plain = |text: &str| text.replace("\r\n", "\n").replace('\r', "\n");
    let written = plain(written);
    if written == plain(before) { before.to_owned() } else { written }
}
