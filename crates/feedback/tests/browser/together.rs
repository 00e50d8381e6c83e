//! Two people at once.

use std::collections::BTreeSet;

use rein_feedback::{Choice, Judgement, NewTask, Settings};

use crate::chromium::{Browser, DESKTOP, Driver};
use crate::served::{Project, Served, tasks};

/// Both answer in turns until nothing is left for either: ann always what stands left, bob what stands right.
fn both(overlap: u32) -> Option<(Served, Vec<(String, Judgement)>)> {
    let driver = Driver::start()?;
    let of_overlap = |task| NewTask { overlap, ..task };
    let tasks = tasks(6, 2).into_iter().map(of_overlap).collect();
    let served = Served::start(&[Project::of(Settings::default(), tasks)], &["ann", "bob"]);
    let people: Vec<Browser> = served
        .tokens
        .iter()
        .map(|token| {
            let browser = driver.open(DESKTOP);
            browser.log_in(&served.address, token);
            browser.open_project("p");
            browser
        })
        .collect();
    let mut said = Vec::new();
    while people.iter().any(|it| it.has("prompt")) {
        for (browser, (name, key)) in people.iter().zip([("ann", "1"), ("bob", "2")]) {
            if !browser.has("prompt") {
                continue;
            }
            let item = browser.shown(2)[if key == "1" { 0 } else { 1 }];
            let choice = if item == 0 { Choice::First } else { Choice::Second };
            browser.finish(|| browser.press(&[key, key]));
            said.push((name.to_owned(), Judgement::preferred(choice)));
        }
    }
    Some((served, said))
}

fn stored(served: &Served) -> Vec<(String, Judgement)> {
    served.stored("p").into_iter().map(|it| (it.annotator, it.answer.judgement)).collect()
}

#[test]
fn two_places_are_taken_by_two_people() {
    let Some((served, said)) = both(2) else { return };
    assert_eq!(said.len(), 12);
    assert_eq!(stored(&served), said);
    let who_and_what: BTreeSet<_> =
        served.stored("p").into_iter().map(|it| (it.task, it.annotator)).collect();
    assert_eq!(who_and_what.len(), 12, "nobody is asked twice");
}

#[test]
fn one_place_is_taken_by_one_person() {
    let Some((served, said)) = both(1) else { return };
    assert_eq!(said.len(), 6);
    assert_eq!(stored(&served), said);
    let tasks: BTreeSet<_> = served.stored("p").into_iter().map(|it| it.task).collect();
    assert_eq!(tasks.len(), 6);
    let by_ann = said.iter().filter(|(name, _)| name == "ann").count();
    assert!((1..6).contains(&by_ann), "both find something to do");
}
