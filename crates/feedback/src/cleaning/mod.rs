//! Rows cleaned before anyone learns from them.
//!
//! [`Cleaning`] looks at rows by rules. Nothing is changed or deleted: its [`Report`] says which rows are kept, which
//! are set aside, which are kept but worth a look, and why in each case. [`Report::merged`] makes one row with a soft
//! label of rows that judge one pair; [`split_by_prompt`] holds out some prompts; [`LengthBias`] says how much longer
//! responses are preferred.
//!
//! Texts are compared folded: in NFKC and with single spaces between words. Two rows are the same judgement if prompt,
//! responses, verdict and annotator are the same, in whichever order the responses stand.
//!
//! ```
//! use rein_data::example::{Body, Content, Example};
//! use rein_feedback::cleaning::{Cleaning, Rule};
//!
//! let text = |text: &str| Content::Text(text.into());
//! let row = |chosen: &str| Example {
//!     body: Body::Preference {
//!         prompt: text("Where is my parcel?"),
//!         chosen: text(chosen),
//!         rejected: text("No idea."),
//!         margin: None,
//!         chosen_probability: None,
//!     },
//!     tools: None,
//!     template_arguments: Default::default(),
//!     extra: Default::default(),
//! };
//! let rows = [row("On its way."), row("On  its way."), row("I'm ChatGPT, so I can't know.")];
//! let report = Cleaning::default().run(&rows);
//! assert_eq!(report.kept, [0]);
//! assert_eq!(report.set_aside[0].reason, "repeats row 0");
//! assert_eq!(report.set_aside[1].rule, Rule::Identity);
//! ```

mod checksums;
mod duplicates;
mod errors;
mod identity;
mod length;
mod merge;
mod minhash;
mod near;
mod personal;
mod reading;
mod report;
mod rules;
mod shingles;
mod split;
mod text;

use rein_data::example::Example;
use serde::{Deserialize, Serialize};

use self::duplicates::Memory;
use self::length::Sides;
use self::reading::Reading;
use self::report::Draft;
use self::rules::RowRules;
use crate::error::FeedbackError;

pub use self::length::LengthBias;
pub use self::report::{Flag, Report, Rule, SetAside};
pub(crate) use self::split::is_held_out;
pub use self::split::split_by_prompt;

/// What is done with a row for which a rule has a word.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Action {
    /// Nothing: the rule isn't applied.
    Off,
    /// It is kept and told.
    Flag,
    /// It isn't kept.
    SetAside,
}

/// What each rule does, and its thresholds.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Cleaning {
    /// Rows that compare responses which are the same.
    pub identical: Action,
    /// Rows with an empty response, or with nothing at all.
    pub empty: Action,
    /// Judgements that were said before.
    pub duplicate: Action,
    /// Judgements that were said before in almost the same words.
    pub near_duplicate: Action,
    /// From this Jaccard similarity of their 5-grams on, words are almost the same; from 0.7 to 1.
    pub similarity: f64,
    /// Responses that say which model wrote them.
    pub identity: Action,
    /// More phrases by which a response says so; case doesn't matter.
    pub phrases: Vec<String>,
    /// Responses that are an error message of the program that should have answered.
    pub error_text: Action,
    /// Pairs whose better response was cut (`chosen_finished` is false).
    pub unfinished: Action,
    /// Pairs whose worse response was cut (`rejected_finished` is false).
    pub unfinished_rejected: Action,
    /// Rows that judge the same thing differently. If set aside, all of them are.
    pub contradiction: Action,
    /// Rows with personal data in a prompt or a response.
    pub personal_data: Action,
}

impl Default for Cleaning {
    fn default() -> Self {
        Self {
            identical: Action::SetAside,
            empty: Action::SetAside,
            duplicate: Action::SetAside,
            near_duplicate: Action::SetAside,
            similarity: 0.8,
            identity: Action::SetAside,
            phrases: Vec::new(),
            error_text: Action::SetAside,
            unfinished: Action::SetAside,
            unfinished_rejected: Action::Flag,
            contradiction: Action::Flag,
            personal_data: Action::Flag,
        }
    }
}

impl Cleaning {
    /// Whether it can be done.
    ///
    /// # Errors
    /// A similarity below 0.7 or above 1.
    pub fn check(&self) -> Result<(), FeedbackError> {
        if (0.7..=1.0).contains(&self.similarity) {
            return Ok(());
        }
        let found = self.similarity;
        Err(FeedbackError::Invalid(format!(
            "`similarity` is {found}; give a share from 0.7 to 1, such as 0.8"
        )))
    }

    /// Looks at all rows: what each says by itself, then whether a row before it says the same. A row is set aside by
    /// the first rule that does so; what others would have said of it isn't told.
    ///
    /// Takes time in proportion to the texts, and about 1.7 kB of memory for each judgement.
    pub fn run(&self, rows: &[Example]) -> Report {
        let mut draft = Draft::new(rows.len());
        let rules = RowRules::new(self);
        let mut memory = Memory::new(self, rows);
        let mut sides: Vec<(usize, Sides)> = Vec::new();
        for (row, example) in rows.iter().enumerate() {
            let reading = Reading::of(example);
            sides.extend(length::sides(&reading).map(|it| (row, it)));
            rules.look(row, &reading, &mut draft);
            if !draft.is_set_aside(row) && example.body.is_judgement() {
                memory.look(row, &reading, &mut draft);
            }
        }
        let contradictions = memory.contradictions(&mut draft);
        draft.finish(contradictions, &sides)
    }
}

#[cfg(test)]
mod planted;
#[cfg(test)]
mod tests;
