//! Pairs that come a second time.

use rand::{Rng, RngExt};
use rusqlite::params;

use super::annotators::Annotator;
use super::answers::UNDOABLE;
use super::projects::Project;
use super::{Change, Store};
use crate::error::FeedbackError;
use crate::records::{Kind, Shown, Task};

/// What annotator `?2` answered in project `?1` and wasn't asked a second time, the first first.
const ANSWERED: &str = "
    SELECT task.id, shown_json FROM standing
    JOIN task ON task.id = task_id
    WHERE project_id = ?1 AND annotator_id = ?2 AND status = 'submitted'
      AND gold_json IS NULL AND repeats IS NULL
      AND NOT EXISTS (SELECT 1 FROM task AS again
                      WHERE again.project_id = ?1
                        AND again.external_id = 'repeat:' || task.id || ':' || ?2)
    ORDER BY standing.id";

impl Change<'_> {
    /// With the probability that the project wants: one of the pairs that somebody answered, as a task of its own that nobody
    /// else is asked, and its sides the other way round. What can still be undone isn't asked again.
    pub(super) fn again(
        &self,
        project: &Project,
        annotator: &Annotator,
        rng: &mut impl Rng,
    ) -> Result<Option<(i64, Shown)>, FeedbackError> {
        let share = project.settings.repeat_share;
        let is_pair = matches!(project.settings.kind, Kind::Pair { .. });
        if !is_pair || share == 0.0 || !rng.random_bool(share) {
            return Ok(None);
        }
        let mut statement = self.connection.prepare_cached(ANSWERED)?;
        let rows = statement
            .query_map([project.id, annotator.id], |row| Ok((row.get(0)?, row.get(1)?)))?;
        let mut answered = rows.collect::<rusqlite::Result<Vec<(i64, String)>>>()?;
        answered.truncate(answered.len().saturating_sub(UNDOABLE));
        if answered.is_empty() {
            return Ok(None);
        }
        let (task, shown) = &answered[rng.random_range(0..answered.len())];
        let Shown(mut shown) = super::read::shown(*task, shown)?;
        shown.reverse();
        Ok(Some((self.repeat(*task, annotator)?, Shown(shown))))
    }

    /// A task that asks what another one asked.
    fn repeat(&self, task: i64, annotator: &Annotator) -> Result<i64, FeedbackError> {
        let name = format!("repeat:{task}:{}", annotator.id);
        self.connection
            .prepare_cached(
                "INSERT INTO task (project_id, prompt_id, external_id, overlap, created_at, repeats)
                 SELECT project_id, prompt_id, ?2, 1, ?3, id FROM task WHERE id = ?1",
            )?
            .execute(params![task, name, self.now])?;
        let id = self.connection.last_insert_rowid();
        self.connection
            .prepare_cached(
                "INSERT INTO task_item (task_id, response_id, ord)
                 SELECT ?2, response_id, ord FROM task_item WHERE task_id = ?1",
            )?
            .execute([task, id])?;
        Ok(id)
    }
}

impl Store {
    /// The tasks of a project that asked somebody a second time what they had answered; [`Store::tasks`] gives the others.
    pub fn repeats(&self, project: &str) -> Result<Vec<Task>, FeedbackError> {
        self.tasks_where(project, "task.repeats IS NOT NULL")
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::gates::Gates;
    use crate::records::{Choice, Judgement, NewTask, Response, Settings, Split};
    use crate::store::{Asked, Role, Said, Submission};

    const N_TASKS: usize = 60;

    fn store() -> (tempfile::TempDir, Store) {
        let folder = tempfile::tempdir().expect("a folder");
        let mut store = Store::open(&folder.path().join("s.sqlite")).expect("opens");
        let response =
            |text: &str| Response { text: text.into(), finished: true, source: String::new() };
        let task = |number: usize| NewTask {
            external_id: number.to_string(),
            prompt: format!("p{number}").into(),
            split: Split::Train,
            responses: vec![response("a"), response("b")],
            overlap: 1,
            priority: 0.0,
            gold: None,
        };
        let settings = Settings { repeat_share: 0.3, ..Settings::default() };
        store.change(|it| it.set_project("p", &settings).map(drop)).expect("makes");
        store.add_tasks("p", &(0..N_TASKS).map(task).collect::<Vec<_>>()).expect("adds");
        store.add_annotator("ann", Role::Person).expect("makes known");
        (folder, store)
    }

    /// Lets somebody answer all there is; gives what they were asked.
    fn answer_all(store: &mut Store, say: impl Fn(&Asked) -> Choice) -> Vec<Asked> {
        let mut asked = Vec::new();
        while let Some(next) = store.change(|it| it.next("p", "ann")).expect("asks") {
            let sent = Submission {
                task: next.task.id,
                said: Said::Answer(Judgement::preferred(say(&next)).into()),
                idem_key: asked.len().to_string(),
                opened_at: None,
                active_ms: None,
            };
            store.change(|it| it.submit("ann", &sent)).expect("stores");
            asked.push(next);
        }
        asked
    }

    #[test]
    fn pairs_come_again_with_their_sides_exchanged_and_count_once() {
        let (_folder, mut store) = store();
        let asked = answer_all(&mut store, |_| Choice::First);
        let again: Vec<&Asked> =
            asked.iter().filter(|it| it.task.external_id.starts_with("repeat:")).collect();
        assert!((8..=30).contains(&again.len()), "{} again", again.len());
        for it in &again {
            let same = |other: &&Asked| other.task.prompt == it.task.prompt;
            let times: Vec<&Asked> = asked.iter().filter(same).collect();
            assert_eq!(times.len(), 2, "nothing comes a third time");
            let [Shown(first), Shown(second)] = [&times[0].shown, &times[1].shown];
            assert_eq!(*second, first.iter().rev().copied().collect::<Vec<_>>());
        }
        let tasks = store.tasks("p", Split::Train).expect("reads");
        assert_eq!((tasks.len(), store.repeats("p").expect("reads").len()), (N_TASKS, again.len()));
        let rows = crate::judged(&store, "p", Split::Train, Default::default()).expect("reads");
        assert_eq!(rows.len(), N_TASKS);
        let progress = store.progress("p").expect("reads");
        assert_eq!((progress.n_tasks, progress.n_done), (N_TASKS as u64, N_TASKS as u64));
    }

    #[test]
    fn whoever_looks_at_sides_alone_is_found_by_them() {
        let flagged = |say: fn(&Asked) -> Choice| {
            let (_folder, mut store) = store();
            answer_all(&mut store, say);
            let rulings = Gates::default().look(&store, "p").expect("looks");
            rulings.iter().any(|it| it.rule == "repeats")
        };
        assert!(!flagged(|_| Choice::First));
        let left = |it: &Asked| if it.shown.0[0] == 0 { Choice::First } else { Choice::Second };
        assert!(flagged(left));
    }
}
