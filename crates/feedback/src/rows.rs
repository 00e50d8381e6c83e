//! Judgements from files of rows (TRL's preference, ranking, unpaired and scored data) go into a store, and come back out by
//! [`judged`](crate::judged) and [`said`](crate::said).

mod question;

use std::collections::HashMap;
use std::path::Path;

use rein_data::example::{Body, Content, Example};
use rein_data::schema::{Examples, Located, Schema};
use serde_json::Value;

use crate::cleaning::is_held_out;
use crate::error::FeedbackError;
use crate::judged::ANNOTATOR;
use crate::records::{Annotation, Answer, Kind, NewTask, Settings, Shown, Split};
use crate::store::{Change, Role, Store, sha256};

use self::question::{Question, attacked, question};

/// The column of where something was inferred from, such as `implicit`.
const SOURCE: &str = "source";

/// How rows are read.
#[derive(Clone, Debug, PartialEq)]
pub struct Import {
    /// Who said what stands in rows that name nobody: neither an `annotator`, nor a `source`, which counts as one of many.
    pub annotator: String,
    /// The share of prompts that are kept to measure with: those that
    /// [`split_by_prompt`](crate::cleaning::split_by_prompt) holds out with the seed 0.
    pub heldout: f64,
}

/// What became of the rows.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Imported {
    /// Rows of the file, …
    pub n_rows: usize,
    /// … of which brought a new answer, …
    pub n_new: usize,
    /// … were read before, …
    pub n_known: usize,
    /// … or compare equal texts, which says nothing.
    pub n_identical: usize,
    /// Tasks that weren't there.
    pub n_tasks: usize,
}

impl Import {
    /// Reads a file in one transaction, into a project that is made if there is none. Rows that were read before are passed
    /// over, so that a file can be read again when it has grown.
    ///
    /// A row is a task, named by a hash of its texts, and an answer to it. Rows of the same texts are answers to one task:
    /// of those that name nobody, each counts as somebody else's (`name`, `name 2`, …). `chosen_probability` becomes a
    /// [`Leaning`](crate::Judgement::Leaning); `weight` and `margin` are kept, as is which responses were cut
    /// ([`Example::finished`]). Labels with a `success` from 0 to 4 are those of attacks. A prompt may be a conversation, whose
    /// next message the responses are. `told` hears how many rows were read so far.
    ///
    /// # Errors
    /// A file that can't be read, and a row that isn't a judgement or not of the project's kind; then nothing is changed.
    pub fn run(
        &self,
        store: &mut Store,
        project: &str,
        file: &Path,
        mut told: impl FnMut(usize),
    ) -> Result<Imported, FeedbackError> {
        let known = store.projects()?.into_iter().find(|it| it.name == project);
        let is_new = known.is_none();
        let kind = match known {
            Some(known) => known.settings.kind,
            None => kind_of(file)?,
        };
        store.change(|change| {
            if is_new {
                change.set_project(project, &Settings { kind, ..Settings::default() })?;
            }
            let mut reading = Reading {
                import: self,
                project,
                kind,
                times: HashMap::new(),
                numbers: HashMap::new(),
            };
            let mut done = Imported::default();
            for row in Examples::open(file, None)? {
                reading.row(change, &row?, &mut done)?;
                told(done.n_rows);
            }
            Ok(done)
        })
    }

    fn split(&self, prompt: &Content) -> Split {
        if is_held_out(prompt, self.heldout, 0) { Split::Heldout } else { Split::Train }
    }
}

/// What a project must ask so that a file's rows answer it.
fn kind_of(file: &Path) -> Result<Kind, FeedbackError> {
    let mut rows = Examples::open(file, None)?;
    let kind = match rows.schema() {
        Schema::Ranking | Schema::BestOf => Kind::Ranking { ties: true },
        Schema::UnpairedPreference => match rows.next().transpose()? {
            Some(row) if attacked(&row.example).is_some() => Kind::RedTeam,
            _ => Kind::Thumbs,
        },
        Schema::Scored => {
            let mut bounds = (i16::MAX, i16::MIN);
            for row in rows.by_ref() {
                let row = row?;
                let Body::Scored { score, .. } = row.example.body else { continue };
                if score.abs() > f32::from(i16::MAX) {
                    return Err(row.refuse(format!("a score of {score} is too large")).into());
                }
                bounds = (bounds.0.min(score.floor() as i16), bounds.1.max(score.ceil() as i16));
            }
            let (least, most) = bounds;
            // A project grades on a scale, even if all grades are the same.
            Kind::Score { least, most: most.max(least.saturating_add(1)) }
        }
        _ => Kind::PAIR,
    };
    Ok(kind)
}

/// A file that is being read.
struct Reading<'a> {
    import: &'a Import,
    project: &'a str,
    kind: Kind,
    /// How often each row that names nobody was there.
    times: HashMap<String, usize>,
    /// The next number of those who stand for nobody, by whose they are and task.
    numbers: HashMap<(String, i64), usize>,
}

impl Reading<'_> {
    fn row(
        &mut self,
        change: &Change<'_>,
        row: &Located,
        done: &mut Imported,
    ) -> Result<(), FeedbackError> {
        done.n_rows += 1;
        let refuse = |reason: String| row.refuse(reason);
        let Some(question) = question(&row.example, &self.kind).map_err(refuse)? else {
            done.n_identical += 1;
            return Ok(());
        };
        let task = NewTask {
            external_id: format!("row:{}", question.name()),
            prompt: question.prompt.clone(),
            split: self.import.split(&question.prompt),
            responses: question.responses.clone(),
            overlap: 1,
            priority: 0.0,
            gold: None,
        };
        let answer = answer(&row.example, &question);
        let n_items = task.responses.len();
        if let Some(reason) = answer.refusal(&self.kind, n_items) {
            return Err(row.refuse(reason).into());
        }
        let add = || change.add_tasks(self.project, std::slice::from_ref(&task));
        done.n_tasks += add().map_err(|error| located(error, row))?;
        let id = change.task_id(self.project, &task.external_id)?;
        let (annotator, idem_key) = self.said_by(&row.example, &task.external_id, &answer);
        if change.knows(&idem_key)? {
            done.n_known += 1;
            return Ok(());
        }
        let annotator = match annotator {
            Some(name) => name,
            None => self.nobody(change, self.base(&row.example).to_owned(), id)?,
        };
        change.add_annotator(&annotator, Role::Person).map_err(|error| located(error, row))?;
        let annotation = Annotation {
            task: id,
            annotator,
            answer,
            shown: Shown((0..n_items).collect()),
            idem_key,
            active_ms: None,
        };
        done.n_new += change.annotate(&[annotation]).map_err(|error| located(error, row))?;
        Ok(())
    }

    /// By whom an answer is, if its row says so, and its key.
    fn said_by(&mut self, row: &Example, task: &str, answer: &Answer) -> (Option<String>, String) {
        // How to train says nothing of what was said.
        let said = Answer { margin: None, ..answer.clone() };
        let said = serde_json::to_string(&said).expect("plain JSON");
        if let Some(name) = row.extra.get(ANNOTATOR).and_then(Value::as_str) {
            return (Some(name.to_owned()), key(&[self.project, task, name, &said]));
        }
        let base = self.base(row).to_owned();
        let times = self.times.entry(key(&[task, &said])).or_default();
        *times += 1;
        (None, key(&[self.project, task, &base, &said, &times.to_string()]))
    }

    /// What those who stand for nobody in a row are called.
    fn base<'a>(&'a self, row: &'a Example) -> &'a str {
        row.extra.get(SOURCE).and_then(Value::as_str).unwrap_or(&self.import.annotator)
    }

    /// The first name of those that stand for nobody which hasn't said anything of a task.
    fn nobody(
        &mut self,
        change: &Change<'_>,
        base: String,
        task: i64,
    ) -> Result<String, FeedbackError> {
        let number = self.numbers.entry((base.clone(), task)).or_insert(1);
        loop {
            let name = if *number == 1 { base.clone() } else { format!("{base} {number}") };
            *number += 1;
            if !change.has_said(&name, task)? {
                return Ok(name);
            }
        }
    }
}

fn answer(row: &Example, question: &Question) -> Answer {
    let weight = row.weight().map_or(1.0, f64::from);
    let margin = match row.body {
        Body::Preference { margin, .. } => margin,
        _ => None,
    };
    Answer { weight, margin, ..question.judgement.clone().into() }
}

fn key(parts: &[&str]) -> String {
    format!("row:{}", sha256(&serde_json::to_string(parts).expect("plain JSON")))
}

/// Says on which row somebody was refused.
fn located(error: FeedbackError, row: &Located) -> FeedbackError {
    match error {
        FeedbackError::Refused(refusal) => row.refuse(refusal.to_string()).into(),
        other => other,
    }
}
