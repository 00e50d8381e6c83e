//! The same figures for each kind of prompt.

use std::cmp::Reverse;
use std::collections::BTreeMap;

use rein_data::helpdesk::Ticket;
use rein_feedback::win_rate::PairedScores;
use rein_model::backend::LmAutodiffBackend;
use serde::{Deserialize, Serialize};

use super::{Judged, Session, judged};
use crate::pipeline::compare::{CONFIDENCE, Replies};
use crate::world::Question;

/// Rarer categories than the first so many are told as one.
const MOST: usize = 24;

/// What models come to on the prompts of one category.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct CategoryReport {
    pub(crate) name: String,
    pub(crate) n_prompts: usize,
    /// Each model that was measured.
    pub(crate) models: Vec<CategoryMeans>,
    /// The newest policy against the fine-tuned model, by each judge.
    pub(crate) wins: Vec<CategoryWins>,
}

/// What judges say of a model's replies.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct CategoryMeans {
    pub(crate) name: String,
    pub(crate) judges: Vec<Judged>,
}

/// How often a model's reply is worth more than another one's.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct CategoryWins {
    pub(crate) by: String,
    /// The share of wins, ties as half, and its Wilson interval.
    pub(crate) rate: f64,
    pub(crate) wilson: [f64; 2],
}

impl<B: LmAutodiffBackend> Session<B> {
    /// The category of each prompt that is asked; nothing where prompts have none.
    pub(super) fn categories(&self) -> Vec<String> {
        let config = &self.setup.config.evaluate;
        let of_column = |it: &Question| -> Option<String> {
            let value = it.columns.get(config.category.as_ref()?)?;
            Some(value.as_str().map_or_else(|| value.to_string(), str::to_owned))
        };
        let of_ticket = |it: &Question| -> Option<String> {
            Some(Ticket::of_prompt(&it.text).filter(|_| self.setup.world.has_gold())?.problem())
        };
        let asked = self.setup.world.prompts.heldout.iter().take(config.prompts);
        let all: Option<Vec<String>> =
            asked.map(|it| of_column(it).or_else(|| of_ticket(it))).collect();
        all.unwrap_or_default()
    }
}

/// What models come to by category, and how often the first of `pair` beats the second; nothing where there are fewer than
/// two categories.
pub(super) fn by_category(
    categories: &[String],
    replies: &[Replies],
    pair: Option<(&Replies, &Replies)>,
) -> Vec<CategoryReport> {
    let parts = parts(categories);
    if parts.len() < 2 {
        return Vec::new();
    }
    let report = |(name, rows): (String, Vec<usize>)| CategoryReport {
        models: replies.iter().map(|it| means(&it.of(&rows))).collect(),
        wins: pair.map_or(Vec::new(), |(ours, theirs)| wins(&ours.of(&rows), &theirs.of(&rows))),
        n_prompts: rows.len(),
        name,
    };
    parts.into_iter().map(report).collect()
}

/// The prompts of each category, by its name; of many, those of the rarest ones last and together.
fn parts(categories: &[String]) -> Vec<(String, Vec<usize>)> {
    let mut rows: BTreeMap<&String, Vec<usize>> = BTreeMap::new();
    for (row, category) in categories.iter().enumerate() {
        rows.entry(category).or_default().push(row);
    }
    let mut parts: Vec<(String, Vec<usize>)> =
        rows.into_iter().map(|(name, rows)| (name.clone(), rows)).collect();
    if parts.len() > MOST {
        parts.sort_by_key(|(_, rows)| Reverse(rows.len()));
        let mut rest: Vec<usize> = parts.split_off(MOST).into_iter().flat_map(|it| it.1).collect();
        rest.sort_unstable();
        parts.sort();
        parts.push(("all others".to_owned(), rest));
    }
    parts
}

fn means(replies: &Replies) -> CategoryMeans {
    CategoryMeans {
        name: replies.name.clone(),
        judges: replies.scores.iter().map(judged).collect(),
    }
}

fn wins(ours: &Replies, theirs: &Replies) -> Vec<CategoryWins> {
    let by = |scores: &super::Scores| {
        let others = theirs.scores.iter().find(|it| it.by == scores.by)?;
        let games = PairedScores::new(&scores.of, &others.of)?.games();
        let (by, rate) = (scores.by.clone(), games.value()?);
        Some(CategoryWins { by, rate, wilson: games.wilson(CONFIDENCE) })
    };
    ours.scores.iter().filter_map(by).collect()
}

#[cfg(test)]
mod tests {
    use rein_data::example::Completion;

    use super::*;
    use crate::pipeline::evaluate::Scores;

    fn replies(name: &str, gold: [f32; 4]) -> Replies {
        let scores = vec![Scores::new("gold", gold)];
        Replies {
            name: name.into(),
            scores,
            lengths: vec![1; 4],
            said: vec![Completion::default(); 4],
        }
    }

    #[test]
    fn each_category_has_means_and_wins_of_its_own() {
        let (old, new) =
            (replies("SFT", [0.0, 1.0, 2.0, 3.0]), replies("PPO", [1.0, 1.0, 4.0, 2.0]));
        let categories = ["b", "a", "b", "a"].map(String::from);
        let told = by_category(&categories, &[old.clone(), new.clone()], Some((&new, &old)));
        let names: Vec<&str> = told.iter().map(|it| it.name.as_str()).collect();
        assert_eq!(names, ["a", "b"]);
        let means = |it: &CategoryReport| [0, 1].map(|model| it.models[model].judges[0].mean);
        assert_eq!([means(&told[0]), means(&told[1])], [[2.0, 1.5], [1.0, 2.5]]);
        let wins = |it: &CategoryReport| (it.n_prompts, it.wins[0].rate);
        assert_eq!([wins(&told[0]), wins(&told[1])], [(2, 0.25), (2, 1.0)]);
        let one = vec!["a".to_owned(); 4];
        assert!(by_category(&one, &[old], None).is_empty(), "one category says nothing more");
    }

    #[test]
    fn of_many_categories_the_rarest_are_told_together() {
        let mut categories: Vec<String> = (0..40).map(|it| format!("{it:02}")).collect();
        categories.extend((0..23).map(|it| format!("{:02}", 39 - it)));
        let told = parts(&categories);
        assert_eq!(told.len(), MOST + 1);
        assert_eq!(
            (told[0].0.as_str(), &told[0].1[..]),
            ("00", &[0][..]),
            "the first of equal ones"
        );
        let (name, rest) = &told[MOST];
        assert_eq!((name.as_str(), rest.len()), ("all others", 16));
        assert_eq!(told.iter().map(|it| it.1.len()).sum::<usize>(), categories.len());
    }
}
