//! Pairs of a policy's own replies, and what people say of them.

mod choosing;
mod gather;
mod waiting;

use anyhow::{Result, bail};
use rein_data::stage::{Cadence, Outcome, drive};
use rein_feedback::simulate::agreement;
use rein_feedback::{Split, Store, preferences};
use rein_model::backend::LmAutodiffBackend;

use self::gather::Gather;
use super::Session;
use crate::config::{Answers, Stage};
use crate::world::{Judgements, Parts, Question};

/// The project of a run in its store.
pub(crate) const PROJECT: &str = "replies";

impl<B: LmAutodiffBackend> Session<B> {
    /// The store of what people said in this run.
    pub(super) fn store(&self) -> Result<Store> {
        Ok(Store::open(&self.root().join("feedback.sqlite"))?)
    }

    /// Who is asked.
    pub(super) fn answers_by(&self) -> Answers {
        self.setup.config.rounds.as_ref().map_or(Answers::Simulated, |it| it.answers)
    }

    /// Lets people compare pairs of the policy's own replies.
    pub(super) fn feedback(&mut self) -> Result<Outcome> {
        let is_simulated = matches!(self.setup.world.judgements, Judgements::Simulated);
        if self.answers_by() == Answers::Simulated && !is_simulated {
            bail!(
                "only the help-desk world has simulated people; these data bring their judgements, or `loop.answers` \
                 = \"people\" waits for some"
            );
        }
        let Parts { train, heldout } = &self.setup.world.prompts;
        if train.iter().chain(heldout).any(Question::is_more_than_said) {
            bail!(
                "people are asked about what is said alone, and some of these conversations have `tools` or \
                 `chat_template_kwargs`; leave those out"
            );
        }
        let mut stage = Gather::new(self)?;
        let n_steps = stage.n_steps();
        // What people said lies in the store; a checkpoint only counts the steps, and keeps what may be asked.
        let cadence =
            Cadence { evaluate_every: 0, save_every: 1, keep_last: 1, ..Cadence::default() };
        let outcome =
            drive(&mut self.context(), Stage::Feedback.name(), &mut stage, n_steps, &cadence)?;
        drop(stage);
        match (self.answers_by(), &outcome) {
            (_, Outcome::Interrupted) => Ok(outcome),
            (Answers::People, _) => {
                Ok(if self.wait_for_people()? { outcome } else { Outcome::Interrupted })
            }
            (Answers::Simulated, _) => {
                self.tell_agreement()?;
                Ok(outcome)
            }
        }
    }

    fn tell_agreement(&mut self) -> Result<()> {
        if self.workers.leads() {
            let answers = preferences(&self.store()?, PROJECT, Split::Train)?;
            let agree = match self.setup.world.has_gold() {
                true => {
                    format!(
                        ", who agree with gold on {:.1} % of pairs",
                        100.0 * agreement(&answers)
                    )
                }
                false => String::new(),
            };
            let n_people = self.setup.config.feedback.annotators;
            let n_answers = answers.len();
            self.log.note(format!("feedback: {n_answers} judgements by {n_people} people{agree}"));
        }
        Ok(())
    }
}
