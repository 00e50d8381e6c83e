//! What answers that count teach of the items of pairs.

use rein_data::example::Content;
use rusqlite::params;

use super::Store;
use super::read::json;
use super::tasks::prompt;
use crate::error::FeedbackError;
use crate::records::{Answer, Choice, Judgement};

/// That one answer was preferred to another.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Lesson {
    /// What both answer.
    pub prompt: Content,
    /// The preferred one.
    pub chosen: Reply,
    /// The other one.
    pub rejected: Reply,
}

/// An answer as a model gave it.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Reply {
    /// What it says.
    pub text: String,
    /// Whether it ended by itself; one that was cut at the length limit didn't.
    pub finished: bool,
}

/// The newest preferences that count, of tasks whose names begin so, the oldest of them first. Texts are looked up for these
/// alone.
const PREFERRED: &str = "
    WITH newest AS (
        SELECT a.id, a.task_id, a.payload_json FROM counted AS a
        JOIN task ON task.id = a.task_id
        WHERE task.project_id = (SELECT id FROM project WHERE name = ?1)
          AND substr(task.external_id, 1, length(?2)) = ?2
          AND json_extract(a.payload_json, '$.kind') = 'preferred'
        ORDER BY a.id DESC LIMIT ?3)
    SELECT newest.id, payload_json, prompt.text, messages_json,
           first.text, first.finished, second.text, second.finished FROM newest
    JOIN task ON task.id = newest.task_id
    JOIN prompt ON prompt.id = task.prompt_id
    JOIN task_item AS one ON one.task_id = task.id AND one.ord = 0
    JOIN task_item AS other ON other.task_id = task.id AND other.ord = 1
    JOIN response AS first ON first.id = one.response_id
    JOIN response AS second ON second.id = other.response_id
    ORDER BY newest.id";

impl Store {
    /// Which item of a pair was preferred, of the tasks of a project whose names begin with `prefix`: what counts now, so
    /// neither what was taken back or changed nor what a rule threw out. The newest `most`, in the order they came.
    pub fn lessons(
        &self,
        project: &str,
        prefix: &str,
        most: usize,
    ) -> Result<Vec<Lesson>, FeedbackError> {
        self.query(|connection| {
            let mut statement = connection.prepare_cached(PREFERRED)?;
            let mut rows = statement.query(params![project, prefix, most as i64])?;
            let mut lessons = Vec::new();
            while let Some(row) = rows.next()? {
                let id = row.get(0)?;
                let answer: Answer = json("annotation", id, &row.get::<_, String>(1)?)?;
                let prompt = prompt(id, row.get(2)?, row.get(3)?)?;
                let reply = |column: usize| -> Result<Reply, rusqlite::Error> {
                    Ok(Reply { text: row.get(column)?, finished: row.get(column + 1)? })
                };
                lessons.extend(lesson(&answer.judgement, prompt, [reply(4)?, reply(6)?]));
            }
            Ok(lessons)
        })
    }
}

fn lesson(judgement: &Judgement, prompt: Content, replies: [Reply; 2]) -> Option<Lesson> {
    let Judgement::Preferred { choice, .. } = judgement else { return None };
    let [first, second] = replies;
    let (chosen, rejected) = match choice {
        Choice::First => (first, second),
        Choice::Second => (second, first),
    };
    Some(Lesson { prompt, chosen, rejected })
}
