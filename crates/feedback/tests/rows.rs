//! Rows of data sets go into a store and come back.

use std::fs;
use std::path::PathBuf;

use rand::RngExt;
use rein_data::jsonl;
use rein_data::schema::Examples;
use rein_data::seed::Seed;
use rein_feedback::aggregate::Aggregation;
use rein_feedback::rows::{Import, Imported};
use rein_feedback::{FeedbackError, Judgement, Split, Store, judged, said};
use serde_json::{Value, json};
use tempfile::TempDir;

struct Place(TempDir);

impl Place {
    fn new() -> Self {
        Self(TempDir::new().expect("a folder"))
    }

    fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    fn rows(&self, rows: &[Value]) -> PathBuf {
        let path = self.path("rows.jsonl");
        let lines: String = rows.iter().map(jsonl::line).collect();
        fs::write(&path, lines).expect("writes");
        path
    }

    fn store(&self) -> Store {
        Store::open(&self.path("store.sqlite")).expect("opens")
    }

    fn import(&self, rows: &[Value]) -> Result<Imported, FeedbackError> {
        let file = self.rows(rows);
        import(0.0).run(&mut self.store(), "rows", &file, |_| ())
    }
}

fn import(heldout: f64) -> Import {
    Import { annotator: "file".into(), heldout }
}

/// What a store says, as examples that are compared by their text.
fn told(place: &Place, aggregation: Aggregation) -> Vec<String> {
    let rows = judged(&place.store(), "rows", Split::Train, aggregation).expect("reads");
    rows.iter().map(|row| format!("{:?} {:?}", row.body, row.extra)).collect()
}

fn read(place: &Place, rows: &[Value]) -> Vec<String> {
    let file = place.rows(rows);
    let rows = Examples::open(&file, None).expect("opens").map(|row| row.expect("reads").example);
    rows.map(|row| format!("{:?} {:?}", row.body, row.extra)).collect()
}

fn some(kind: &str) -> Vec<Value> {
    let text = |number: usize| format!("=1+{number}, \"quoted\"\nand 中文 {number} &#44; \u{202e}");
    (0..40)
        .map(|it| match kind {
            "preference" if it % 3 == 0 => json!({"prompt": text(it), "chosen": "b", "rejected": text(it), "chosen_probability": 0.75}),
            "preference" if it % 3 == 1 => json!({"prompt": text(it), "chosen": "b", "rejected": "a", "weight": 0.2, "margin": 0.5}),
            "preference" => json!({"prompt": text(it), "chosen": "a", "rejected": text(it), "rejected_finished": false}),
            "ranking" => json!({"prompt": text(it), "completions": ["a", text(it), "c"], "ranks": [1 + it % 3, 2, 1], "completions_finished": [true, it % 4 == 0, true]}),
            "attack" => json!({"prompt": text(it), "completion": text(it + 1), "label": it % 5 == 0, "success": it % 5, "tags": [text(it)]}),
            "label" if it % 3 == 0 => json!({"prompt": text(it), "completion": text(it + 1), "label": true, "completion_finished": false}),
            "label" => json!({"prompt": text(it), "completion": text(it + 1), "label": it % 2 == 0}),
            _ => json!({"prompt": text(it), "completion": text(it + 1), "score": it as f32 / 4.0 - 2.0}),
        })
        .collect()
}

#[test]
fn what_goes_in_comes_out() {
    for kind in ["preference", "label", "attack", "score"] {
        let place = Place::new();
        let rows = some(kind);
        let done = place.import(&rows).expect("reads");
        assert_eq!((done.n_rows, done.n_new, done.n_tasks), (40, 40, 40), "{kind}");
        assert_eq!(told(&place, Aggregation::Share), read(&place, &rows), "{kind}");
        let again = place.import(&rows).expect("reads again");
        assert_eq!((again.n_new, again.n_known, again.n_tasks), (0, 40, 0), "{kind}");
    }
}

#[test]
fn rankings_come_back_in_another_order_with_the_same_places() {
    let place = Place::new();
    let rows = some("ranking");
    place.import(&rows).expect("reads");
    let back = judged(&place.store(), "rows", Split::Train, Aggregation::Share).expect("reads");
    for (row, back) in rows.iter().zip(back) {
        let rein_data::example::Body::Ranking { completions, ranks, .. } = back.body else {
            panic!("a ranking")
        };
        for (here, (text, rank)) in completions.iter().zip(ranks).enumerate() {
            let texts = row["completions"].as_array().expect("a list");
            let place = texts.iter().position(|it| *it == text.to_text()).expect("is there");
            assert_eq!(row["ranks"][place], rank);
            let is_cut = row["completions_finished"][place] == false;
            let finished = back.extra.get("completions_finished").map(|it| it[here] == true);
            assert_eq!(finished.unwrap_or(true), !is_cut);
        }
    }
}

#[test]
fn what_each_person_said_goes_through_a_file_without_loss() {
    let first = Place::new();
    let vote = |by: &str, chosen: &str, rejected: &str| json!({"prompt": "p", "chosen": chosen, "rejected": rejected, "annotator": by});
    let rows =
        [vote("ann", "x", "y"), vote("ben", "y", "x"), vote("cy", "x", "y"), vote("cy", "x", "z")];
    let done = first.import(&rows).expect("reads");
    assert_eq!((done.n_tasks, done.n_new), (2, 4));
    let row = &judged(&first.store(), "rows", Split::Train, Aggregation::Share).expect("reads")[0];
    let rein_data::example::Body::Preference { chosen, chosen_probability, .. } = &row.body else {
        panic!("a pair")
    };
    assert_eq!((chosen.to_text().as_str(), *chosen_probability), ("x", Some(2.0 / 3.0)));

    let each = said(&first.store(), "rows", Split::Train).expect("reads");
    let names: Vec<&Value> = each.iter().map(|row| &row.extra["annotator"]).collect();
    assert_eq!(names, ["ann", "ben", "cy", "cy"]);
    let answers = |place: &Place| {
        let answers = place.store().answers("rows").expect("reads");
        let answers = answers.into_iter().map(|it| (it.task, it.annotator, it.answer.judgement));
        answers.collect::<Vec<(i64, String, Judgement)>>()
    };
    let second = Place::new();
    second.import(&rows).expect("reads");
    assert_eq!(answers(&first), answers(&second));
}

#[test]
fn rows_that_name_nobody_are_different_people() {
    let place = Place::new();
    let row = |chosen: &str, rejected: &str| json!({"prompt": "p", "chosen": chosen, "rejected": rejected});
    let rows = [row("x", "y"), row("x", "y"), row("y", "x"), row("x", "x")];
    let done = place.import(&rows).expect("reads");
    assert_eq!((done.n_tasks, done.n_new, done.n_identical), (1, 3, 1));
    let names: Vec<String> =
        place.store().answers("rows").expect("reads").into_iter().map(|it| it.annotator).collect();
    assert_eq!(names, ["file", "file 2", "file 3"]);
    let again = place.import(&rows).expect("reads");
    assert_eq!((again.n_new, again.n_known), (0, 3));
}

#[test]
fn a_bad_row_is_named_and_nothing_is_changed() {
    let good = json!({"prompt": "p", "chosen": "x", "rejected": "y"});
    let cases = [
        (json!({"prompt": "p", "completion": "x", "label": true}), "rows.jsonl:2"),
        (json!({"prompt": "p", "chosen": "x", "rejected": "y", "weight": 2.0}), "`weight`"),
        (
            json!({"prompt": [{"role": "user", "content": "p"}], "chosen": [{"role": "assistant", "content": "x"}], "rejected": [{"role": "assistant", "content": "y"}], "tools": [{"type": "function", "function": {"name": "f"}}]}),
            "tools",
        ),
        (json!({"prompt": "p", "chosen": "x", "rejected": "y", "annotator": "a\nb"}), "one line"),
        (json!({"prompt": "p".repeat(5 << 20), "chosen": "x", "rejected": "y"}), "bytes"),
    ];
    for (bad, reason) in cases {
        let place = Place::new();
        let error = place.import(&[good.clone(), bad]).expect_err("is refused").to_string();
        assert!(error.contains(reason) && error.contains("rows.jsonl"), "{error}");
        assert!(place.store().projects().expect("reads").is_empty(), "{error}");
    }
    let place = Place::new();
    place.import(&[good]).expect("reads");
    let label = json!({"prompt": "p", "completion": "x", "label": true});
    let error = place.import(&[label]).expect_err("is of another kind").to_string();
    assert!(error.contains("kind `pair`"), "{error}");
}

#[test]
fn ranks_with_gaps_become_places_without() {
    let place = Place::new();
    let row = |ranks: Value| json!({"prompt": "p", "completions": ["a", "b", "c"], "ranks": ranks});
    let done = place.import(&[row(json!([10, 300_000, 20]))]).expect("reads");
    assert_eq!((done.n_tasks, done.n_new), (1, 1));
    let rows = judged(&place.store(), "rows", Split::Train, Aggregation::Share).expect("reads");
    let rein_data::example::Body::Ranking { completions, ranks, .. } = &rows[0].body else {
        panic!("a ranking")
    };
    let mut order: Vec<(u32, String)> =
        ranks.iter().copied().zip(completions.iter().map(|it| it.to_text())).collect();
    order.sort();
    assert_eq!(order, [(1, "a".into()), (2, "c".into()), (3, "b".into())]);

    let said = |ranks: Value| {
        let place = Place::new();
        place.import(&[row(ranks)]).expect("reads");
        place.store().answers("rows").expect("reads").remove(0).answer.judgement
    };
    assert_eq!(said(json!([1, 3, 5])), said(json!([1, 2, 3])));
    assert_eq!(said(json!([7, 2, 7])), said(json!([2, 1, 2])), "equal stays equal");
    assert_eq!(said(json!([1, 1, 3])), said(json!([1, 1, 2])));
    assert_ne!(said(json!([1, 3, 5])), said(json!([1, 5, 3])));
}

#[test]
fn a_ranking_that_nobody_can_be_shown_is_refused() {
    let refused = |n_items: usize, ranks: Vec<usize>| {
        let texts: Vec<String> = (0..n_items).map(|it| format!("r{it}")).collect();
        let row = json!({"prompt": "p", "completions": texts, "ranks": ranks});
        Place::new().import(&[row]).map_err(|error| error.to_string())
    };
    assert_eq!(refused(9, (1..=9).collect()).expect("reads").n_new, 1);
    let error = refused(10, (1..=10).collect()).expect_err("too many");
    assert!(error.contains("ranks 10 responses") && error.contains("at most 9"), "{error}");
    let error = refused(3, vec![0, 1, 2]).expect_err("no place is 0");
    assert!(error.contains("`ranks` holds 0"), "{error}");
}

#[test]
fn a_share_of_the_prompts_is_kept_to_measure_with() {
    let place = Place::new();
    let row = |it: usize| json!({"prompt": format!("p{}", it % 1000), "chosen": format!("x{it}"), "rejected": "y"});
    let file = place.rows(&(0..2000).map(row).collect::<Vec<_>>());
    import(0.2).run(&mut place.store(), "rows", &file, |_| ()).expect("reads");
    let count = |split| judged(&place.store(), "rows", split, Aggregation::Share).expect("reads");
    let (train, heldout) = (count(Split::Train), count(Split::Heldout));
    assert_eq!(train.len() + heldout.len(), 2000);
    assert!((300..500).contains(&heldout.len()), "{}", heldout.len());
    assert_eq!(heldout.len() % 2, 0, "both rows of a prompt lie on one side");
}

#[test]
fn a_model_finds_out_who_answers_at_random() {
    let place = Place::new();
    // Three who know the answer, but for a tenth of the tasks each, and three who answer anything.
    let (mut rows, mut random) = (Vec::new(), Seed::new(5).rng());
    for task in 0..200_usize {
        for person in 0..6 {
            let is_first = task.is_multiple_of(2);
            let says_first = match person {
                0..3 => is_first != (task % 10 == person),
                _ => random.random_bool(0.5),
            };
            let (chosen, rejected) = if says_first { ("x", "y") } else { ("y", "x") };
            rows.push(json!({"prompt": format!("p{task}"), "chosen": format!("{chosen}{task}"), "rejected": format!("{rejected}{task}"), "annotator": format!("a{person}")}));
        }
    }
    place.import(&rows).expect("reads");
    let right = |aggregation| {
        let rows = judged(&place.store(), "rows", Split::Train, aggregation).expect("reads");
        let right = rows.iter().filter(|row| {
            let rein_data::example::Body::Preference { prompt, chosen, chosen_probability, .. } =
                &row.body
            else {
                panic!("a pair")
            };
            let task: usize = prompt.to_text()[1..].parse().expect("a number");
            let is_sure = chosen_probability.is_none_or(|it| it > 0.5);
            is_sure && chosen.to_text().starts_with(if task.is_multiple_of(2) { 'x' } else { 'y' })
        });
        right.count() as f64 / 200.0
    };
    assert!(right(Aggregation::Share) <= 0.9, "{}", right(Aggregation::Share));
    for model in
        [Aggregation::OneCoin, Aggregation::DawidSkene, Aggregation::Glad, Aggregation::Mace]
    {
        assert!(right(model) >= 0.95, "{}: {}", model.name(), right(model));
    }
}

fn message(role: &str, content: &str) -> Value {
    json!({ "role": role, "content": content })
}

#[test]
fn conversations_come_out_as_they_went_in() {
    let place = Place::new();
    let asked = json!([
        message("system", "Be kind."),
        message("user", "Hello <b>"),
        message("assistant", "Hello."),
        message("user", "再见"),
    ]);
    let says = |text: &str| json!([message("assistant", text)]);
    let rows = [
        json!({"prompt": asked, "chosen": says("Bye."), "rejected": says("No.")}),
        json!({"prompt": asked, "chosen": says("Bye."), "rejected": says("Go"), "rejected_finished": false, "chosen_probability": 0.75}),
        json!({"prompt": "Hello <b>", "chosen": "Hello.", "rejected": "No."}),
    ];
    let done = place.import(&rows).expect("reads");
    assert_eq!((done.n_new, done.n_tasks), (3, 3));
    assert_eq!(told(&place, Aggregation::Share), read(&place, &rows));
    let again = place.import(&rows).expect("reads again");
    assert_eq!((again.n_new, again.n_known), (0, 3));
}

#[test]
fn a_whole_conversation_is_split_before_what_is_compared() {
    let place = Place::new();
    let whole = |last: &str| json!([message("user", "Hello"), message("assistant", last)]);
    place.import(&[json!({"chosen": whole("Hello."), "rejected": whole("No.")})]).expect("reads");
    let task = &place.store().tasks("rows", Split::Train).expect("reads")[0];
    assert_eq!(json!(task.prompt), json!([message("user", "Hello")]));
    let mut texts: Vec<&str> = task.responses.iter().map(|it| it.text.as_str()).collect();
    texts.sort_unstable();
    assert_eq!(texts, ["Hello.", "No."]);
}

#[test]
fn what_is_more_than_the_next_message_is_refused() {
    let asked = json!([message("user", "Hello")]);
    let says = |text: &str| json!([message("assistant", text)]);
    for odd in [
        json!([message("assistant", "a"), message("user", "b")]),
        json!([message("user", "a")]),
        json!([{"role": "assistant", "content": "a", "tool_calls": []}]),
    ] {
        let row = json!({"prompt": asked, "chosen": says("x"), "rejected": odd});
        let error = Place::new().import(&[row]).expect_err("is refused").to_string();
        assert!(error.contains("rows.jsonl:1"), "{error}");
    }
}

#[test]
fn a_column_of_successes_that_are_good_is_none_of_attacks() {
    let place = Place::new();
    let row = json!({"prompt": "p", "completion": "c", "label": true, "success": 1});
    place.import(&[row]).expect("reads");
    let answers = place.store().answers("rows").expect("reads");
    assert_eq!(answers[0].answer.judgement, Judgement::Thumb { up: true });
}

#[test]
fn margins_stay_where_people_are_of_one_mind() {
    let place = Place::new();
    let row = |prompt: &str, chosen: &str, rejected: &str, margin: f32| json!({"prompt": prompt, "chosen": chosen, "rejected": rejected, "margin": margin});
    let agreed = [row("p", "x", "y", 0.5), row("p", "x", "y", 0.5)];
    let split = [row("q", "x", "y", 0.5), row("q", "y", "x", 0.5)];
    let unlike = [row("r", "x", "y", 0.5), row("r", "x", "y", 1.0)];
    let rows = [agreed, split, unlike].concat();
    place.import(&rows).expect("reads");
    let margins = |rows: Vec<rein_data::example::Example>| -> Vec<Option<f32>> {
        let margin = |row: rein_data::example::Example| match row.body {
            rein_data::example::Body::Preference { margin, .. } => margin,
            _ => panic!("a pair"),
        };
        rows.into_iter().map(margin).collect()
    };
    let store = place.store();
    let together = judged(&store, "rows", Split::Train, Aggregation::Share).expect("reads");
    assert_eq!(margins(together), [Some(0.5), None, None]);
    let weighed = judged(&store, "rows", Split::Train, Aggregation::OneCoin).expect("reads");
    assert_eq!(margins(weighed), [None; 3], "a model may turn a pair round");
    let each = margins(said(&store, "rows", Split::Train).expect("reads"));
    assert_eq!(each, [0.5, 0.5, 0.5, 0.5, 0.5, 1.0].map(Some));
    let again = place.import(&rows).expect("reads again");
    assert_eq!((again.n_new, again.n_known), (0, 6));
}
