//! Who should be paid, by how they did on golden tasks.

use std::collections::BTreeMap;
use std::io::Write;
use std::path::Path;

use csv::{QuoteStyle, Writer};
use rein_data::DataError;
use serde_json::{Map, Value};

use super::cells;
use super::results::{Assignment, AssignmentStatus, Results};
use crate::crowd::given::given;
use crate::crowd::import::asked;
use crate::error::FeedbackError;
use crate::gates::is_right;
use crate::records::{Settings, Task};
use crate::store::Store;
use crate::win_rate::WinRate;

/// Whom to reject. The figures are ours and come from no source.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Review {
    /// Golden tasks somebody must have answered in the file before they can be rejected.
    pub min_golds: u64,
    /// Whoever's share of right ones is surely below this is rejected: the upper end of its 95 % Wilson interval is. Leaving
    /// an answer out costs a label, rejecting it costs somebody money and standing: the gates in [`crate::gates`] are stricter.
    pub accuracy: f64,
}

/// What was written.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Reviewed {
    /// Assignments to approve.
    pub n_approved: usize,
    /// Assignments to reject.
    pub n_rejected: usize,
    /// Assignments that somebody decided already, or should look at: their answer doesn't fit the question.
    pub n_left: usize,
}

impl Default for Review {
    fn default() -> Self {
        Self { min_golds: 10, accuracy: 0.6 }
    }
}

const APPROVE: &str = "Approve";
const REJECT: &str = "Reject";

impl Review {
    /// Writes a table of results again, with `Approve` (an `x`) or `Reject` (a reason, which the worker reads) filled in
    /// for those that wait, to be uploaded under "Upload CSV". All other cells stay as they are, but for those that a
    /// spreadsheet would take for formulas.
    ///
    /// # Errors
    /// A file that can't be read, a row of another batch, and what can't be written.
    pub fn write(
        &self,
        store: &Store,
        project: &str,
        file: &Path,
        into: impl Write,
    ) -> Result<Reviewed, FeedbackError> {
        let (settings, tasks) = asked(store, project)?;
        let golds = golds(file, &settings, &tasks)?;
        let mut table = Table::new(file, into);
        for assignment in Results::open(file)? {
            let assignment = assignment?;
            let is_answer = given(&assignment.inputs, &assignment.answers, &settings, &tasks)
                .is_ok_and(|given| given.answer.is_ok());
            let rejected = golds.get(&assignment.worker).and_then(|it| self.reason(it));
            table.write(assignment, is_answer, rejected.as_deref())?;
        }
        table.end()
    }

    /// Why somebody with so many right and wrong golden answers isn't paid, if they aren't.
    fn reason(&self, golds: &WinRate) -> Option<String> {
        let n_golds = golds.wins + golds.losses;
        let [_, most] = golds.wilson(0.95);
        (n_golds >= self.min_golds && most < self.accuracy).then(|| {
            format!(
                "Of {n_golds} questions whose answer is known, {} were answered rightly.",
                golds.wins
            )
        })
    }
}

/// Right and wrong golden answers of each worker in a file.
fn golds(
    file: &Path,
    settings: &Settings,
    tasks: &BTreeMap<String, Task>,
) -> Result<BTreeMap<String, WinRate>, FeedbackError> {
    let mut golds: BTreeMap<String, WinRate> = BTreeMap::new();
    for assignment in Results::open(file)? {
        let assignment = assignment?;
        let given = given(&assignment.inputs, &assignment.answers, settings, tasks)
            .map_err(|reason| assignment.place.refuse(file, reason))?;
        let rate = golds.entry(assignment.worker).or_default();
        let right = given.answer.ok().and_then(|it| is_right(given.task, &it.judgement));
        rate.wins += u64::from(right == Some(true));
        rate.losses += u64::from(right == Some(false));
    }
    Ok(golds)
}

struct Table<'a, W: Write> {
    file: &'a Path,
    writer: Writer<W>,
    header: Vec<String>,
    done: Reviewed,
}

impl<'a, W: Write> Table<'a, W> {
    fn new(file: &'a Path, into: W) -> Self {
        let writer = csv::WriterBuilder::new().quote_style(QuoteStyle::Always).from_writer(into);
        Self { file, writer, header: Vec::new(), done: Reviewed::default() }
    }

    fn write(
        &mut self,
        assignment: Assignment,
        is_answer: bool,
        rejected: Option<&str>,
    ) -> Result<(), FeedbackError> {
        let Assignment { status, mut columns, .. } = assignment;
        let is_blank = |name: &str| {
            let cell = columns.get(name).and_then(Value::as_str);
            cell.is_none_or(|it| it.trim().is_empty())
        };
        let waits = status == AssignmentStatus::Submitted && is_blank(APPROVE) && is_blank(REJECT);
        for name in [APPROVE, REJECT] {
            columns.entry(name).or_insert_with(|| "".into());
        }
        match rejected {
            _ if !waits || !is_answer => self.done.n_left += 1,
            Some(reason) => {
                self.done.n_rejected += 1;
                columns.insert(REJECT.into(), reason.into());
            }
            None => {
                self.done.n_approved += 1;
                columns.insert(APPROVE.into(), "x".into());
            }
        }
        self.record(&columns)
    }

    fn record(&mut self, columns: &Map<String, Value>) -> Result<(), FeedbackError> {
        let failed = |error: csv::Error| FeedbackError::Invalid(format!("the table: {error}"));
        if self.header.is_empty() {
            self.header = columns.keys().cloned().collect();
            self.writer.write_record(&self.header).map_err(failed)?;
        }
        let cells = columns.values().map(|cell| cells::guard(cell.as_str().unwrap_or_default()));
        self.writer.write_record(cells.map(|it| it.into_owned())).map_err(failed)
    }

    fn end(mut self) -> Result<Reviewed, FeedbackError> {
        if self.header.is_empty() {
            let path = self.file.to_path_buf();
            return Err(DataError::File { path, reason: "holds no answers yet".into() }.into());
        }
        let failed = |error| FeedbackError::Invalid(format!("the table: {error}"));
        self.writer.flush().map_err(failed)?;
        Ok(self.done)
    }
}
