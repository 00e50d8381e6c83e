//! Why something somebody said isn't used. Nothing is deleted, and each decision can be taken back.

use rusqlite::params;

use super::{Change, Store};
use crate::error::FeedbackError;

/// What a rule decides.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// An answer isn't used.
    Drop,
    /// Somebody should look at it.
    Flag,
    /// None of an annotator's answers are used, and they aren't asked any more.
    Suspend,
    /// Whatever was decided before doesn't hold.
    Keep,
}

/// What a rule decides about.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Subject {
    /// An answer, by its row.
    Annotation(i64),
    /// Somebody, by name.
    Annotator(String),
}

/// A decision and its reason.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Ruling {
    /// About what.
    pub subject: Subject,
    /// By which rule.
    pub rule: String,
    /// What is decided.
    pub verdict: Verdict,
    /// Why, in words and figures.
    pub reason: String,
}

impl Verdict {
    /// As it stands in the store.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Drop => "drop",
            Self::Flag => "flag",
            Self::Suspend => "suspend",
            Self::Keep => "keep",
        }
    }

    fn parse(text: &str) -> Option<Self> {
        [Self::Drop, Self::Flag, Self::Suspend, Self::Keep]
            .into_iter()
            .find(|it| it.as_str() == text)
    }
}

impl Change<'_> {
    /// Writes decisions down; what they throw out is asked again. Of what one rule says of one subject, the newest holds; one that says what holds already isn't
    /// written again.
    pub fn rule(&self, rulings: &[Ruling]) -> Result<usize, FeedbackError> {
        let mut n_new = 0;
        for Ruling { subject, rule, verdict, reason } in rulings {
            let (annotation, annotator) = match subject {
                Subject::Annotation(id) => (Some(*id), None),
                Subject::Annotator(name) => (None, Some(self.annotator(name)?.id)),
            };
            n_new += self
                .connection
                .prepare_cached(
                    "INSERT INTO ruling (annotation_id, annotator_id, rule, verdict, reason, ruled_at)
                     SELECT ?1, ?2, ?3, ?4, ?5, ?6
                     WHERE NOT EXISTS (SELECT 1 FROM ruling_in_force
                                       WHERE annotation_id IS ?1 AND annotator_id IS ?2
                                         AND rule = ?3 AND verdict = ?4 AND reason = ?5)",
                )?
                .execute(params![annotation, annotator, rule, verdict.as_str(), reason, self.now])?;
            if let Subject::Annotator(name) = subject {
                self.suspend(name, self.is_ruled_out(name)?)?;
            }
            self.recount_all(annotation, annotator)?;
        }
        Ok(n_new)
    }

    /// Tasks whose answers don't count any more are asked again, and those that have enough again aren't.
    fn recount_all(
        &self,
        annotation: Option<i64>,
        annotator: Option<i64>,
    ) -> Result<(), FeedbackError> {
        let query = "SELECT DISTINCT task_id FROM annotation WHERE id = ?1 OR annotator_id = ?2";
        let mut statement = self.connection.prepare_cached(query)?;
        let rows = statement.query_map(params![annotation, annotator], |row| row.get(0))?;
        let tasks = rows.collect::<rusqlite::Result<Vec<i64>>>()?;
        tasks.into_iter().try_for_each(|task| self.recount(task))
    }

    fn is_ruled_out(&self, annotator: &str) -> Result<bool, FeedbackError> {
        let query = "SELECT 1 FROM ruling_in_force JOIN annotator ON annotator.id = annotator_id
                     WHERE external_id = ?1 AND verdict = 'suspend'";
        Ok(self.connection.prepare_cached(query)?.exists([annotator])?)
    }
}

impl Store {
    /// The decisions that hold, in the order they were made.
    pub fn rulings(&self) -> Result<Vec<Ruling>, FeedbackError> {
        self.query(|connection| {
            let mut statement = connection.prepare_cached(
                "SELECT r.id, annotation_id, annotator.external_id, rule, verdict, reason
                 FROM ruling_in_force AS r LEFT JOIN annotator ON annotator.id = annotator_id
                 ORDER BY r.id",
            )?;
            let mut rows = statement.query([])?;
            let mut rulings = Vec::new();
            while let Some(row) = rows.next()? {
                let (id, verdict): (i64, String) = (row.get(0)?, row.get(4)?);
                let bad = |reason: String| FeedbackError::BadRow { what: "ruling", id, reason };
                let subject = match (row.get(1)?, row.get(2)?) {
                    (Some(annotation), _) => Subject::Annotation(annotation),
                    (None, Some(name)) => Subject::Annotator(name),
                    (None, None) => return Err(bad("it is about nothing".into())),
                };
                let verdict =
                    Verdict::parse(&verdict).ok_or_else(|| bad(format!("verdict `{verdict}`")))?;
                rulings.push(Ruling { subject, rule: row.get(3)?, verdict, reason: row.get(5)? });
            }
            Ok(rulings)
        })
    }
}
