//! How well a run's reward model judges.

use anyhow::Result;
use rein_data::example::{Labeled, Preference};
use rein_feedback::simulate::gold_reward;
use rein_feedback::{Split, Task};
use rein_model::backend::LmAutodiffBackend;
use rein_reward::LearnedReward;
use rein_reward::bag_of_words::BagOfWords;
use rein_reward::encoding::{Encoded, encode_labels, encode_preferences};
use rein_reward::evaluate::{Share, label_accuracy, pair_accuracy};
use rein_reward::train::accuracy;
use serde::{Deserialize, Serialize};

use super::Session;
use super::feedback::PROJECT;
use crate::config::Stage;
use crate::world::Judgements;

/// How well the reward model judges held-out pairs, beside a judge that counts words.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct JudgeReport {
    /// `gold`: against the truth; `people`: against held-out judgements.
    pub(crate) against: String,
    /// On all pairs.
    pub(crate) all: Agreement,
    /// On pairs whose gold rewards differ by more than the median difference.
    pub(crate) far: Option<Agreement>,
}

/// How often two judges are right, on the same pairs.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct Agreement {
    pub(crate) n_pairs: usize,
    pub(crate) accuracy: f64,
    /// 95 % Wilson interval of the accuracy.
    pub(crate) interval: (f64, f64),
    pub(crate) bag_of_words: Option<f64>,
}

impl<B: LmAutodiffBackend> Session<B> {
    /// How well the reward model judges pairs it hasn't seen; `None` without any.
    pub(super) fn judge_report(
        &self,
        reward: &LearnedReward<B::InnerBackend>,
    ) -> Result<Option<JudgeReport>> {
        match &self.setup.world.judgements {
            Judgements::Simulated => self.judge_simulated(reward),
            Judgements::Pairs(parts) if !parts.heldout.is_empty() => {
                let words = BagOfWords::fit(&parts.train);
                let all = self.agreement(reward, &words, &parts.heldout);
                Ok(Some(JudgeReport::by_people(all)))
            }
            Judgements::Labels(parts) if !parts.heldout.is_empty() => {
                let all = self.label_agreement(reward, &parts.heldout);
                Ok(Some(JudgeReport::by_people(all)))
            }
            Judgements::Examples(all) if !all.heldout.is_empty() => {
                let rows = self.heldout_examples(all)?;
                let batch_rows = self.setup.config.reward.micro_batch_rows;
                let model = reward.model().expect("evaluations keep models as they are");
                let share = accuracy(model, &rows, batch_rows, &self.workers, &self.device)?;
                let all = Agreement::new(share, None);
                Ok(Some(JudgeReport::by_people(all)))
            }
            _ => Ok(None),
        }
    }

    /// Against the truth where it is known, else against what most people say of held-out pairs.
    fn judge_simulated(
        &self,
        reward: &LearnedReward<B::InnerBackend>,
    ) -> Result<Option<JudgeReport>> {
        if self.run.finished(Stage::Feedback.name())?.is_none() {
            return Ok(None);
        }
        if self.setup.world.has_gold() {
            return self.judge_against_gold(reward);
        }
        let words = BagOfWords::fit(&self.answers(Split::Train)?);
        let heldout = self.answers(Split::Heldout)?;
        Ok((!heldout.is_empty())
            .then(|| JudgeReport::by_people(self.agreement(reward, &words, &heldout))))
    }

    /// Against the truth, on all held-out pairs and on those that differ much.
    fn judge_against_gold(
        &self,
        reward: &LearnedReward<B::InnerBackend>,
    ) -> Result<Option<JudgeReport>> {
        let words = BagOfWords::fit(&self.answers(Split::Train)?);
        let mut tasks = self.store()?.tasks(PROJECT, Split::Heldout)?;
        if let Some(round) = self.past.name() {
            // Of what the round's policy said.
            tasks.retain(|task| task.external_id.starts_with(&format!("{round}/")));
        }
        let mut pairs: Vec<(f32, Preference)> = tasks.iter().filter_map(by_gold).collect();
        pairs.sort_by(|a, b| a.0.total_cmp(&b.0));
        let median = pairs.get(pairs.len() / 2).map_or(0.0, |(difference, _)| *difference);
        let far = pairs.iter().filter(|(difference, _)| *difference > median);
        let far: Vec<Preference> = far.map(|(_, pair)| pair.clone()).collect();
        let all: Vec<Preference> = pairs.into_iter().map(|(_, pair)| pair).collect();
        if all.is_empty() {
            return Ok(None);
        }
        Ok(Some(JudgeReport {
            against: "gold".into(),
            all: self.agreement(reward, &words, &all),
            far: (!far.is_empty()).then(|| self.agreement(reward, &words, &far)),
        }))
    }

    fn label_agreement(
        &self,
        reward: &LearnedReward<B::InnerBackend>,
        rows: &[Labeled],
    ) -> Agreement {
        let max_tokens = self.setup.config.reward.max_tokens;
        let Encoded { judgements, .. } = encode_labels(rows, &self.setup.tokenizer, max_tokens);
        let is_good: Vec<bool> = rows.iter().map(|row| row.label).collect();
        let scores = reward.score_rows(&judgements.rows());
        Agreement::new(label_accuracy(&scores, &is_good), None)
    }

    fn agreement(
        &self,
        reward: &LearnedReward<B::InnerBackend>,
        words: &BagOfWords,
        pairs: &[Preference],
    ) -> Agreement {
        let max_tokens = self.setup.config.reward.max_tokens;
        let encoded = encode_preferences(pairs, &self.setup.tokenizer, max_tokens);
        let rows = encoded.judgements.into_pairs().expect("pairs were encoded");
        let scores = |side: Vec<Vec<u32>>| reward.score_rows(&side);
        let chosen = scores(rows.iter().map(|pair| pair.chosen.clone()).collect());
        let rejected = scores(rows.iter().map(|pair| pair.rejected.clone()).collect());
        let count = |text: fn(&Preference) -> &String| -> Vec<f32> {
            pairs.iter().map(|pair| words.score(text(pair))).collect()
        };
        let baseline = pair_accuracy(&count(|pair| &pair.chosen), &count(|pair| &pair.rejected));
        Agreement::new(pair_accuracy(&chosen, &rejected), Some(baseline.value()))
    }
}

impl JudgeReport {
    fn by_people(all: Agreement) -> Self {
        Self { against: "people".into(), all, far: None }
    }
}

/// A pair as gold would have it, and by how much; `None` if gold holds both equal.
fn by_gold(task: &Task) -> Option<(f32, Preference)> {
    let [first, second] = [0, 1].map(|place| gold_reward(task, &task.responses[place]));
    let (better, worse) = if first > second { (0, 1) } else { (1, 0) };
    let [chosen, rejected] = [better, worse].map(|place| task.responses[place].clone());
    (first != second).then(|| {
        let preference = Preference {
            prompt: task.prompt.to_text(),
            chosen: chosen.text,
            rejected: rejected.text,
            margin: None,
            chosen_finished: chosen.finished,
            rejected_finished: rejected.finished,
        };
        ((first - second).abs(), preference)
    })
}

impl Agreement {
    pub(super) fn new(share: Share, bag_of_words: Option<f64>) -> Self {
        Self {
            n_pairs: share.n_cases,
            accuracy: share.value(),
            interval: share.interval(),
            bag_of_words,
        }
    }
}
