//! Simulated annotators of the help-desk world, through the same store as real ones.

use rand::{Rng, RngExt};
use rein_data::helpdesk::gold;
use rein_data::helpdesk::people::{Person, Seen};
use rein_data::helpdesk::tastes::Taste;
use rein_data::seed::Seed;

use crate::error::FeedbackError;
use crate::preferences::Answered;
use crate::records::{Annotation, Choice, Judgement, Response, Shown, Task};
use crate::store::{Role, Store};

/// Somebody simulated who compares two responses to a task.
pub trait Annotator {
    /// How the store knows them.
    fn name(&self) -> &str;

    /// Whether they prefer the response shown first, this time.
    fn prefers_first(&self, task: &Task, shown: [&Response; 2], rng: &mut dyn Rng) -> bool;
}

/// Lets each task be judged by as many of the crowd as its overlap asks for. Who they are, which
/// side they see first and what they say follows from `seed` and the task's name: judging a task
/// again stores nothing new.
pub fn judge<A: Annotator>(
    store: &mut Store,
    tasks: &[Task],
    crowd: &[A],
    seed: Seed,
) -> Result<(), FeedbackError> {
    for person in crowd {
        store.add_annotator(person.name(), Role::Simulated)?;
    }
    let answers: Vec<Annotation> = tasks
        .iter()
        .flat_map(|task| judge_task(task, crowd, seed.child(&task.external_id)))
        .collect();
    store.annotate(&answers)
}

fn judge_task<A: Annotator>(task: &Task, crowd: &[A], seed: Seed) -> Vec<Annotation> {
    let mut rng = seed.rng();
    let first = rng.random_range(0..crowd.len());
    let n_answers = (task.overlap as usize).min(crowd.len());
    let people = (0..n_answers).map(|number| &crowd[(first + number) % crowd.len()]);
    people
        .map(|person| {
            let shown_first = if rng.random() { Choice::First } else { Choice::Second };
            let shown =
                [shown_first, shown_first.other()].map(|choice| &task.responses[choice.index()]);
            let prefers_first = person.prefers_first(task, shown, &mut rng);
            let choice = if prefers_first { shown_first } else { shown_first.other() };
            Annotation {
                task: task.id,
                annotator: person.name().to_owned(),
                answer: Judgement::preferred(choice).into(),
                shown: Shown::first(shown_first),
                idem_key: format!("{}/{}", task.external_id, person.name()),
                active_ms: None,
            }
        })
        .collect()
}

/// The gold reward of a response to a task.
pub fn gold_reward(task: &Task, response: &Response) -> f32 {
    gold::judge(&task.prompt.to_text(), &response.text, response.finished).total()
}

impl Annotator for Person {
    fn name(&self) -> &str {
        &self.name
    }

    fn prefers_first(&self, task: &Task, shown: [&Response; 2], mut rng: &mut dyn Rng) -> bool {
        let [first, second] = shown.map(|it| see(task, it));
        Self::prefers_first(self, first, second, &mut rng)
    }
}

impl Annotator for Taste {
    fn name(&self) -> &str {
        &self.name
    }

    fn prefers_first(&self, task: &Task, shown: [&Response; 2], mut rng: &mut dyn Rng) -> bool {
        let [first, second] =
            shown.map(|it| gold::judge(&task.prompt.to_text(), &it.text, it.finished));
        Self::prefers_first(self, &first, &second, &mut rng)
    }
}

impl<A: Annotator + ?Sized> Annotator for Box<A> {
    fn name(&self) -> &str {
        (**self).name()
    }

    fn prefers_first(&self, task: &Task, shown: [&Response; 2], rng: &mut dyn Rng) -> bool {
        (**self).prefers_first(task, shown, rng)
    }
}

fn see<'a>(task: &Task, response: &'a Response) -> Seen<'a> {
    Seen { gold: gold_reward(task, response), text: &response.text }
}

/// How often answers agree with the gold reward, over pairs that it doesn't hold equal.
pub fn agreement(answers: &[Answered]) -> f64 {
    let agrees: Vec<bool> = answers
        .iter()
        .filter_map(|answer| {
            let (choice, task) = (answer.choice()?, &answer.task);
            let gold = |choice: Choice| gold_reward(task, &task.responses[choice.index()]);
            let difference = gold(choice) - gold(choice.other());
            (difference != 0.0).then_some(difference > 0.0)
        })
        .collect();
    agrees.iter().filter(|agrees| **agrees).count() as f64 / agrees.len() as f64
}
