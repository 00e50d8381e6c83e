//! Every operation as its clients see it, held against the description: what is sent, and whatever may come back.

mod ordinary;
mod refused;
mod turned_away;
mod visit;

use rein_feedback::{Kind, Settings};
use serde_json::{Value, json};

use self::visit::{ADD, ANNOTATE, People, next, refuses_whatever_is_not_described, start};
use crate::described::Described;
use crate::running::{Running, task};

/// What is described and can't be seen here: no test fills a disk. `serve/error.rs` shows what is told of one.
const UNSEEN: &str = "507 disk_full";

#[test]
fn all_that_is_described_is_so_and_nothing_else_happens() {
    let described = Described::new();
    ordinary::a_browser_comes_and_goes(&described);
    ordinary::people_answer(&described);
    refused::what_makes_no_sense_is_refused(&described);
    refused::somebody_is_late(&described);
    refused::whoever_is_suspended_is_told(&described);
    ordinary::two_people_judge_the_same(&described);
    ordinary::programs_bring_tasks_and_take_answers(&described);
    ordinary::the_model_answers(&described);
    refused::the_model_does_not_answer(&described);
    turned_away::strangers_are_turned_away(&described);
    turned_away::bodies_are_turned_away(&described);
    turned_away::the_hasty_wait(&described);
    turned_away::the_store_breaks(&described);
    let unseen = described.unseen();
    assert!(unseen.iter().all(|it| it.ends_with(UNSEEN)), "described, but never seen: {unseen:#?}");
    assert!(!unseen.is_empty(), "`UNSEEN` says nothing any more");
}

/// Every kind of answer comes back as described, and is refused once anything of it isn't.
#[test]
fn every_kind_of_answer_is_as_described() {
    let described = Described::new();
    let pair = Kind::Pair { points: 4, ties: true };
    let ranking = Kind::Ranking { ties: true };
    for (kind, n_items, judgement) in [
        (pair, 2, json!({ "kind": "preferred", "choice": "first", "strength": 2 })),
        (pair, 2, json!({ "kind": "leaning", "first": 0.25 })),
        (pair, 2, json!({ "kind": "tie" })),
        (pair, 2, json!({ "kind": "both_bad" })),
        (ranking, 3, json!({ "kind": "ranked", "ranks": [2, 1, 2] })),
        (Kind::Score { least: 1, most: 7 }, 1, json!({ "kind": "scored", "score": 6 })),
        (Kind::Thumbs, 1, json!({ "kind": "thumb", "up": false })),
        (Kind::Edit, 1, json!({ "kind": "edited", "text": "better" })),
        (Kind::RedTeam, 1, json!({ "kind": "attacked", "success": 3, "tags": ["insult"] })),
    ] {
        let (running, people) = start(&Settings::of(kind), &[task("1", n_items, 1)], None);
        goes_through_a_page(&described, &running, &people, &judgement);
        is_known_for_certain(&described, &running, &people, n_items, &judgement);
    }
}

fn goes_through_a_page(
    described: &Described,
    running: &Running,
    people: &People,
    judgement: &Value,
) {
    let asked = next(described, running, &people.ann);
    let mut answer = judgement.clone();
    answer["reasons"] = json!(["short"]);
    answer["comment"] = json!("so it is");
    answer["weight"] = json!(0.5);
    if asked["items"].as_array().is_some_and(|it| it.len() == 2) {
        let second = json!({ "name": "tone", "choice": "second" });
        answer["aspects"] = json!([second, { "name": "style", "choice": null }]);
    }
    let body = json!({
        "task": asked["id"], "idem_key": "k", "opened_at": asked["now"], "active_ms": 900,
        "said": { "do": "answer", "answer": answer },
    });
    refuses_whatever_is_not_described(described, running, ANNOTATE, &people.ann, &body);
    let post = |line, body: &Value| described.ask(running, line, &people.ann, Some(body));
    assert_eq!(post(ANNOTATE, &body).status, 200, "{answer}");
    let export = described.ask(running, "GET /api/export?project=p", &people.root, None);
    assert_eq!(export.body.lines().count(), 1);
    let undone = post("POST /api/undo", &json!({ "project": "p", "idem_key": "u" })).json();
    assert_eq!(undone["task"]["draft"]["kind"], judgement["kind"], "it comes back");
    let projects = described.ask(running, "GET /api/projects", &people.ann, None).json();
    assert_eq!(projects["projects"][0]["name"], "p");
}

fn is_known_for_certain(
    described: &Described,
    running: &Running,
    people: &People,
    n_items: usize,
    judgement: &Value,
) {
    let responses = vec![json!({ "text": "a", "finished": true, "source": "x" }); n_items];
    let conversation = json!([{ "role": "user", "content": "well?" }]);
    let task = json!({
        "external_id": "t", "prompt": conversation, "responses": responses, "overlap": 1,
        "priority": 0.5, "heldout": false, "gold": judgement,
    });
    let body = json!({ "project": "p", "tasks": [task] });
    refuses_whatever_is_not_described(described, running, ADD, &people.root, &body);
    let reply = described.ask(running, ADD, &people.root, Some(&body));
    assert_eq!(reply.json(), json!({ "new": 1 }));
}
