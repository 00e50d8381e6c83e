//! Simulated people are as noisy as people are, and say the same thing when asked again.

use std::collections::BTreeMap;

use rein_data::helpdesk::Helpdesk;
use rein_data::helpdesk::people::Person;
use rein_data::seed::Seed;
use rein_feedback::simulate::{agreement, judge};
use rein_feedback::{Answered, NewTask, Response, Split, Store, preferences};

const N_PAIRS: usize = 4000;

/// Pairs of the mixture that the base model learns to imitate.
fn pairs() -> Vec<NewTask> {
    let world = Helpdesk::new();
    let response = |prompt: &String, seed: Seed, number: usize| {
        let prompts = std::slice::from_ref(prompt);
        let text = Helpdesk::demonstration(prompts, seed, number as u64).completion;
        Response { text, finished: true, source: "grammar".into() }
    };
    (0..N_PAIRS)
        .map(|number| {
            let prompt = world.train[number % world.train.len()].clone();
            let sides = [Seed::new(1), Seed::new(2)].map(|seed| response(&prompt, seed, number));
            NewTask {
                external_id: format!("pair-{number}"),
                prompt: prompt.into(),
                split: Split::Train,
                responses: sides.into(),
                overlap: 2,
                priority: 0.0,
                gold: None,
            }
        })
        .collect()
}

#[test]
fn each_person_agrees_with_gold_on_70_to_85_percent_of_pairs() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let mut store = Store::open(&folder.path().join("f.sqlite")).expect("opens");
    store.add_tasks("helpdesk", &pairs()).expect("adds");
    let tasks = store.tasks("helpdesk", Split::Train).expect("reads");
    let crowd = Person::crowd(10, Seed::new(3));
    judge(&mut store, &tasks, &crowd, Seed::new(4)).expect("judges");
    let answers = preferences(&store, "helpdesk", Split::Train).expect("reads");
    assert_eq!(answers.len(), 2 * N_PAIRS);

    let mut by_person: BTreeMap<String, Vec<Answered>> = BTreeMap::new();
    for answer in &answers {
        by_person.entry(answer.annotator.clone()).or_default().push(answer.clone());
    }
    assert_eq!(by_person.len(), crowd.len());
    for (person, answers) in by_person {
        let agreement = agreement(&answers);
        assert!((0.70..=0.85).contains(&agreement), "{person} agrees on {agreement}");
    }

    judge(&mut store, &tasks, &crowd, Seed::new(4)).expect("judges again");
    let again = preferences(&store, "helpdesk", Split::Train).expect("reads");
    assert_eq!(again.len(), answers.len());
}
