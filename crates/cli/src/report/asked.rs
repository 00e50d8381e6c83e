//! What people were asked, and what they said.

use minijinja::{Value, context};

use super::{Round, grouped, percent};
use crate::config::Query;
use crate::pipeline::{Asked, Chosen, Counts, Judged, JudgedReply};

/// The rounds in which people were asked, or judgements were told.
pub(super) fn rounds(rounds: &[Round]) -> Vec<Value> {
    let asked = rounds.iter().filter_map(|it| Some((it.number, it.asked.as_ref()?)));
    asked.map(|(number, asked)| round(number, asked)).collect()
}

fn round(number: usize, asked: &Asked) -> Value {
    let counts = |it: &Counts| [it.tasks, it.answers].map(|it| grouped(it as u64)).to_vec();
    context! {
        number,
        chosen => words(asked.chosen),
        train => counts(&asked.train),
        heldout => counts(&asked.heldout),
        agreement => asked.agreement.map_or_else(|| "–".to_owned(), percent),
        shown => asked.shown.iter().map(judged).collect::<Vec<_>>(),
    }
}

fn words(chosen: Chosen) -> &'static str {
    match chosen {
        Chosen::All => "all that were sampled",
        Chosen::By(Query::Random) => "by chance",
        Chosen::By(Query::Bald) => "of which answers so far said least; a tenth by chance",
        Chosen::Given => "judgements that were there",
    }
}

fn judged(it: &Judged) -> Value {
    let is_alone = it.replies.len() == 1;
    let replies =
        it.replies.iter().map(|it| context! { text => it.text.trim(), said => said(it, is_alone) });
    context! { prompt => it.prompt, n_answers => it.n_answers, replies => replies.collect::<Vec<_>>() }
}

fn said(reply: &JudgedReply, is_alone: bool) -> String {
    match reply.share {
        None => "–".to_owned(),
        Some(share) if is_alone => if share >= 0.5 { "good" } else { "bad" }.to_owned(),
        Some(share) => format!("{:.0} %", 100.0 * share),
    }
}
