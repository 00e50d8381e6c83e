//! A crowd of which a fifth doesn't care: gates and Dawid-Skene find what the others say.

#![allow(clippy::print_stdout, reason = "a test tells its figures")]

use std::collections::BTreeMap;

use rand::{Rng, RngExt};
use rein_data::seed::Seed;
use rein_feedback::aggregate::{DawidSkene, Vote, Votes, majority};
use rein_feedback::gates::Gates;
use rein_feedback::{
    Asked, Change, Choice, FeedbackError, Judgement, NewTask, Response, Role, Said, Settings,
    Split, Store, Stored, Submission,
};

const TASKS: usize = 1_000;
const GOLDS: usize = 40;
const OVERLAP: u32 = 5;
const PEOPLE: usize = 50;
/// Who doesn't read answers more than who does.
const HASTE: usize = 3;

/// What somebody is like.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Worker {
    /// Right about nine tasks of ten, and about nearly all that are certain.
    Honest,
    /// Presses any key.
    Random,
    /// Presses the left key.
    Left,
    /// Says the opposite of what is right.
    Adversary,
    /// Presses any key at once.
    Hasty,
}

impl Worker {
    /// Every fifth is a spammer, of one kind after the other.
    fn of(number: usize) -> Self {
        match (number % 5, number / 5 % 4) {
            (0, 0) => Self::Random,
            (0, 1) => Self::Left,
            (0, 2) => Self::Adversary,
            (0, _) => Self::Hasty,
            _ => Self::Honest,
        }
    }

    fn says(self, asked: &Asked, truth: Choice, rng: &mut impl Rng) -> (Choice, i64) {
        let any = if rng.random() { Choice::First } else { Choice::Second };
        let choice = match self {
            Self::Honest => {
                let accuracy = if asked.task.gold.is_some() { 0.97 } else { 0.90 };
                if rng.random_bool(accuracy) { truth } else { truth.other() }
            }
            Self::Random | Self::Hasty => any,
            Self::Left if asked.shown.0[0] == 0 => Choice::First,
            Self::Left => Choice::Second,
            Self::Adversary => truth.other(),
        };
        let time = if self == Self::Hasty { 300..1_200 } else { 3_000..20_000 };
        (choice, rng.random_range(time))
    }
}

fn truth(name: &str) -> Choice {
    let number: usize = name.rsplit('-').next().and_then(|it| it.parse().ok()).expect("a number");
    if number.is_multiple_of(3) { Choice::First } else { Choice::Second }
}

fn task(name: String, is_gold: bool) -> NewTask {
    let response = |number: usize| Response {
        text: format!("response {number} to {name}"),
        finished: true,
        source: "m".into(),
    };
    NewTask {
        prompt: format!("prompt {name}").into(),
        split: Split::Train,
        responses: vec![response(0), response(1)],
        overlap: OVERLAP,
        priority: 0.0,
        gold: is_gold.then(|| Judgement::preferred(truth(&name))),
        external_id: name,
    }
}

/// Tasks and people.
fn prepare(change: &Change<'_>) -> Result<(), FeedbackError> {
    let tasks: Vec<NewTask> = (0..TASKS)
        .map(|number| task(format!("task-{number}"), false))
        .chain((0..GOLDS).map(|number| task(format!("gold-{number}"), true)))
        .collect();
    change.set_project("p", &Settings { gold_share: 0.25, ..Settings::default() })?;
    change.add_tasks("p", &tasks)?;
    (0..PEOPLE)
        .try_for_each(|number| change.add_annotator(&format!("w{number}"), Role::Person).map(drop))
}

/// All of these people answer, by turns of chance, until nothing is left.
fn answer_all(change: &Change<'_>, people: &[usize], seed: Seed) -> Result<(), FeedbackError> {
    let haste = |number| if Worker::of(number) == Worker::Honest { 1 } else { HASTE };
    let mut turns: Vec<usize> =
        people.iter().flat_map(|it| std::iter::repeat_n(*it, haste(*it))).collect();
    let mut rng = seed.rng();
    while !turns.is_empty() {
        let turn = rng.random_range(0..turns.len());
        let number = turns[turn];
        let name = format!("w{number}");
        let Some(asked) = change.next("p", &name)? else {
            turns.retain(|it| *it != number);
            continue;
        };
        let (choice, active) =
            Worker::of(number).says(&asked, truth(&asked.task.external_id), &mut rng);
        let sent = Submission {
            task: asked.task.id,
            said: Said::Answer(Judgement::preferred(choice).into()),
            idem_key: format!("{name}/{}", asked.task.id),
            opened_at: None,
            active_ms: Some(active),
        };
        change.submit(&name, &sent)?;
    }
    Ok(())
}

fn votes(answers: &[Stored], names: &BTreeMap<i64, String>) -> Vec<Vote<String, String, usize>> {
    answers
        .iter()
        .filter(|it| names.contains_key(&it.task))
        .map(|it| {
            let Judgement::Preferred { choice, .. } = it.answer.judgement else {
                panic!("only sides were chosen")
            };
            let task = names[&it.task].clone();
            Vote { task, worker: it.annotator.clone(), label: choice.index() }
        })
        .collect()
}

/// The share of tasks whose label is right; one that is undecided is half right.
fn accuracy(tasks: &[String], labels: &[Option<usize>]) -> f64 {
    let right = |(task, label): (&String, &Option<usize>)| match label {
        Some(label) => f64::from(u8::from(*label == truth(task).index())),
        None => 0.5,
    };
    tasks.iter().zip(labels).map(right).sum::<f64>() / TASKS as f64
}

#[test]
fn gates_and_dawid_skene_recover_what_majority_loses() {
    for seed in 1..=3 {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let mut store = Store::open(&folder.path().join("f.sqlite")).expect("opens");
        let everybody: Vec<usize> = (0..PEOPLE).collect();
        let answer = |store: &mut Store, people: &[usize], name: &str| {
            let seed = Seed::new(seed).child(name);
            store.change(|change| answer_all(change, people, seed)).expect("answers");
        };
        store.change(prepare).expect("prepares");
        answer(&mut store, &everybody, "first");
        let names: BTreeMap<i64, String> = store
            .tasks("p", Split::Train)
            .expect("reads")
            .into_iter()
            .filter(|task| task.gold.is_none())
            .map(|task| (task.id, task.external_id))
            .collect();
        let all = votes(&store.answers("p").expect("reads"), &names);
        let (counted, keys) = Votes::new(&all).expect("are votes");
        let by_majority = accuracy(&keys.tasks, &majority(&counted).labels());

        let rulings = Gates::default().apply(&mut store, "p").expect("rules");
        assert!(
            Gates::default().apply(&mut store, "p").expect("rules").is_empty(),
            "once is enough"
        );
        let suspended: Vec<usize> = store
            .annotators()
            .expect("reads")
            .iter()
            .filter(|it| it.is_suspended)
            .map(|it| it.name[1..].parse().expect("a number"))
            .collect();
        // What was thrown out is asked again.
        let rest: Vec<usize> = everybody.into_iter().filter(|it| !suspended.contains(it)).collect();
        answer(&mut store, &rest, "second");
        let kept = votes(&store.answers("p").expect("reads"), &names);
        let (counted, keys) = Votes::new(&kept).expect("are votes");
        let fit = DawidSkene::default().fit(&counted);
        let recovered = accuracy(&keys.tasks, &fit.consensus.labels());

        let is_honest = |number: &&usize| Worker::of(**number) == Worker::Honest;
        let n_honest = suspended.iter().filter(is_honest).count();
        println!(
            "seed {seed}: majority {by_majority:.3}, recovered {recovered:.3}, suspended {} of {PEOPLE}, {n_honest} honest; {} rulings",
            suspended.len(),
            rulings.len()
        );
        assert!(by_majority <= 0.85, "{by_majority}");
        assert!(recovered >= 0.93, "{recovered}");
        assert!(n_honest * 50 <= PEOPLE * 4 / 5, "{n_honest} of {} honest people", PEOPLE * 4 / 5);
    }
}
