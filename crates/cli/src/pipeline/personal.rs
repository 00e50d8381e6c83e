use anyhow::{Result, bail};
use rein_data::stage::{Outcome, drive};
use rein_feedback::Split;
use rein_model::backend::LmAutodiffBackend;
use rein_model::{ScalarModel, load_scalar_model};
use rein_reward::encoding::Pair;
use rein_reward::meta::{Annotated, Difference, JointTraining, Personal, differences, features};

use super::Session;
use super::feedback::PROJECT;
use crate::annotated::{Reading, numbered, read_pairs, stored_pairs};
use crate::config::{Answers, DataConfig, Stage};
use crate::world::place;

/// Judged completions by which a person's scores are normalised, at most.
const N_REFERENCES: usize = 512;

impl<B: LmAutodiffBackend> Session<B> {
    /// Fits a reward model together with everybody's tastes.
    pub(super) fn train_jointly(
        &mut self,
        model: ScalarModel<B>,
        reference: Vec<Vec<u32>>,
    ) -> Result<Outcome> {
        if self.workers.count() > 1 {
            bail!(
                "`reward.personal.joint` is trained by one process; start the run without `mpirun`"
            );
        }
        let config = self.setup.config.reward.clone();
        let cadence = config.checkpoints.clone();
        let tokenizer = Some(self.setup.tokenizer.clone());
        let (rows, seed) = (self.annotated()?, self.seed(Stage::Reward));
        let mut stage =
            JointTraining::<B>::new(config, model, tokenizer, rows, seed, &self.device)?
                .with_reference(reference);
        let n_steps = stage.n_steps();
        Ok(drive(&mut self.context(), Stage::Reward.name(), &mut stage, n_steps, &cadence)?)
    }

    /// Learns in which ways people differ, by the reward model's features, and saves it beside the model. Scores of a
    /// person are normalised by `reference`, or by what was judged.
    pub(super) fn learn_people(&mut self, reference: &[Vec<u32>]) -> Result<()> {
        let Some(config) = self.setup.config.reward.personal else { return Ok(()) };
        let folder = self.result(Stage::Reward)?.expect("the stage is done");
        if Personal::is_in(&folder) || !self.workers.leads() {
            return Ok(());
        }
        if self.heard_one_alone()? {
            let note = "reward: fewer than two people preferred anything, so nobody can be told apart: `reward.personal` learns nothing";
            self.log.note(note);
            return Ok(());
        }
        let rows = self.annotated()?;
        let model = load_scalar_model::<B::InnerBackend>(&folder, &self.device)?;
        let batch_rows = 2 * self.setup.config.reward.micro_batch_rows;
        let pairs: Vec<Pair> = rows.iter().map(|it| it.pair.clone()).collect();
        self.log.note(format!("reward: {} answers, by who gave them", rows.len()));
        let said = differences(&model, &pairs, batch_rows, &self.device);
        let n_people = rows.iter().map(|it| it.person + 1).max().unwrap_or(0);
        let mut people: Vec<Vec<Difference>> = vec![Vec::new(); n_people];
        rows.iter().zip(said).for_each(|(row, said)| people[row.person].push(said));
        let judged = pairs.iter().flat_map(|pair| [pair.chosen.as_slice(), &pair.rejected]);
        let rows: Vec<&[u32]> = match reference {
            [] => judged.take(N_REFERENCES).collect(),
            rows => rows.iter().map(Vec::as_slice).collect(),
        };
        let references = features(&model, &rows, batch_rows, &self.device);
        let seed = self.seed(Stage::Reward).child("people");
        let personal = Personal::fit(&people, &model.head(), &references, &config, seed)?;
        personal.save(&folder)?;
        self.log.note(told(&personal));
        Ok(())
    }

    /// Whether a run that waited for people heard one alone. What they said is worth no less for it.
    pub(crate) fn heard_one_alone(&self) -> Result<bool> {
        if self.answers_by() != Answers::People {
            return Ok(false);
        }
        let said = self.said_by_each(Split::Train)?;
        Ok(said.windows(2).all(|two| two[0].0 == two[1].0))
    }

    /// The pairs that people compared in this run, each with the name of who did.
    pub(super) fn said_by_each(&self, split: Split) -> Result<Vec<(String, Pair)>> {
        stored_pairs(&self.store()?, PROJECT, split, &self.reading())
    }

    fn reading(&self) -> Reading<'_> {
        let max_tokens = self.setup.config.reward.max_tokens;
        Reading { encoder: &self.setup.encoder, max_tokens }
    }

    /// Who judged what, of the rows to train on.
    fn annotated(&self) -> Result<Vec<Annotated>> {
        match &self.setup.config.data {
            _ if self.asks() => {
                let pairs = self.said_by_each(Split::Train)?;
                if pairs.is_empty() {
                    return Err(self.missing(Stage::Feedback, "judgements"));
                }
                let path = self.run.file("feedback.sqlite");
                numbered(&path, pairs.into_iter().map(|(name, pair)| (Some(name), pair)).collect())
            }
            DataConfig::Files(files) if files.preferences.is_some() => {
                let path = files.preferences.as_deref().expect("there is one");
                let share = files.heldout_share;
                numbered(path, read_pairs(path, &self.reading(), |prompt| place(prompt) >= share)?)
            }
            _ => bail!("`reward.personal` needs pairs that say who judged them"),
        }
    }
}

fn told(personal: &Personal) -> String {
    let (n_people, n_answers) = personal.learned_from();
    let what = match (personal.is_basis(), personal.n_coordinates()) {
        (true, 0) => "who are too much alike to tell them apart".to_owned(),
        (true, 1) => "who differ in one direction".to_owned(),
        (true, rank) => format!("who differ in {rank} directions"),
        (false, _) => "whose heads have a common start".to_owned(),
    };
    format!("reward: {n_answers} answers of {n_people} people, {what}")
}
