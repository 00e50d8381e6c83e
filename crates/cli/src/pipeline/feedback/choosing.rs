//! Which of many pairs people are asked about.

use std::collections::HashSet;

use rein_data::example::{Completion, Content};
use rein_data::seed::Seed;
use rein_feedback::{Answered, NewTask, Response};
use rein_reward::inverse::comparisons::{Posterior, RIDGE, ReadablePairs, Said};
use rein_reward::inverse::features::FeaturesConfig;

use crate::config::Query;

/// Pairs that are always drawn by chance, as a share, so that what is asked stays honest.
const RANDOM_SHARE: f64 = 0.1;
/// Features of a reward that is there to choose by, not to be right: time grows with their cube.
const MAX_FEATURES: usize = 1024;

/// `count` of the candidates, those first whose answers tell most given what was `said` of pairs before. Pairs that are there
/// twice, or were asked before, are passed over.
pub(super) fn chosen(
    query: Query,
    said: &[Answered],
    candidates: Vec<NewTask>,
    count: usize,
    seed: Seed,
) -> Vec<NewTask> {
    let mut known: HashSet<(String, [String; 2])> =
        said.iter().map(|it| key(&it.task.prompt, &it.task.responses)).collect();
    let fresh: Vec<NewTask> =
        candidates.into_iter().filter(|it| known.insert(key(&it.prompt, &it.responses))).collect();
    let places = match query {
        Query::Random => rein_data::batches::permutation(fresh.len(), seed),
        Query::Bald => most_telling(said, &fresh, count, seed),
    };
    let mut fresh: Vec<Option<NewTask>> = fresh.into_iter().map(Some).collect();
    places.into_iter().take(count).filter_map(|place| fresh[place].take()).collect()
}

/// The places of those candidates.
fn most_telling(said: &[Answered], fresh: &[NewTask], count: usize, seed: Seed) -> Vec<usize> {
    let judged: Vec<&[Answered]> =
        said.chunk_by(|one, other| one.task.id == other.task.id).collect();
    let before =
        judged.iter().map(|of_task| sides(&of_task[0].task.prompt, &of_task[0].task.responses));
    let now = fresh.iter().map(|it| sides(&it.prompt, &it.responses));
    let pairs: Vec<[Completion; 2]> = before.chain(now).collect();
    let config = FeaturesConfig { max_features: MAX_FEATURES, ..FeaturesConfig::default() };
    let pairs = ReadablePairs::of(&pairs, &config);
    let said: Vec<Said> = judged
        .iter()
        .enumerate()
        .filter_map(|(pair, votes)| Some(Said { pair, first: share_for_first(votes)? }))
        .collect();
    let among: Vec<usize> = (judged.len()..pairs.len()).collect();
    let chosen = Posterior::of(&pairs, &said, RIDGE).ask(&among, count, RANDOM_SHARE, seed);
    chosen.into_iter().map(|pair| pair - judged.len()).collect()
}

fn sides(prompt: &Content, responses: &[Response]) -> [Completion; 2] {
    [0, 1].map(|place| Completion {
        prompt: prompt.to_text(),
        text: responses[place].text.clone(),
        finished: responses[place].finished,
        ..Completion::default()
    })
}

/// The share of votes for the first, a tie being half a vote.
fn share_for_first(votes: &[Answered]) -> Option<f64> {
    let votes: Vec<f64> = votes.iter().filter_map(|it| it.judgement.for_first()).collect();
    (!votes.is_empty()).then(|| votes.iter().sum::<f64>() / votes.len() as f64)
}

/// What tells pairs apart, whichever side is first.
fn key(prompt: &Content, responses: &[Response]) -> (String, [String; 2]) {
    let mut texts = [0, 1].map(|place| responses[place].text.clone());
    texts.sort_unstable();
    (prompt.transcript(), texts)
}

#[cfg(test)]
mod tests {
    use rein_feedback::{Choice, Judgement, Split, Task};

    use super::*;

    fn pair(name: &str, texts: [&str; 2]) -> NewTask {
        let response =
            |text: &str| Response { text: text.into(), finished: true, source: String::new() };
        NewTask {
            external_id: name.into(),
            prompt: "What now?".into(),
            split: Split::Train,
            responses: texts.map(response).into(),
            overlap: 1,
            priority: 0.0,
            gold: None,
        }
    }

    fn said(id: i64, texts: [&str; 2]) -> Answered {
        let NewTask { external_id, prompt, responses, overlap, gold, .. } = pair("", texts);
        let task = Task { id, external_id, prompt, responses, overlap, gold };
        let judgement = Judgement::preferred(Choice::First);
        Answered { task, annotator: "ann".into(), judgement }
    }

    fn names(tasks: &[NewTask]) -> Vec<&str> {
        tasks.iter().map(|it| it.external_id.as_str()).collect()
    }

    #[test]
    fn what_little_is_known_of_is_asked_first() {
        let said: Vec<Answered> =
            (0..40).map(|id| said(id, ["kind words", "rude words"])).collect();
        let mut candidates = vec![pair("new", ["one two three", "seven"])];
        candidates
            .extend((0..8).map(|it| pair("other", ["one two three", &format!("seven {it}")])));
        candidates.push(pair("known", ["kind words now", "rude words now"]));
        let asked = chosen(Query::Bald, &said, candidates, 5, Seed::new(1));
        assert_eq!(asked.len(), 5);
        assert!(!names(&asked[..4]).contains(&"known"), "{:?}", names(&asked));
    }

    #[test]
    fn nothing_is_asked_twice() {
        let candidates = vec![
            pair("asked", ["rude", "kind"]),
            pair("new", ["a", "b"]),
            pair("turned", ["b", "a"]),
        ];
        for query in [Query::Random, Query::Bald] {
            let asked =
                chosen(query, &[said(1, ["kind", "rude"])], candidates.clone(), 3, Seed::new(1));
            assert_eq!(names(&asked), ["new"]);
        }
    }
}
