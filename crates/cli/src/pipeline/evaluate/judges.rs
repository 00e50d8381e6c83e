//! All who score replies.

use std::path::Path;

use anyhow::Result;
use rein_data::example::Completion;
use rein_data::workers::Workers;
use rein_model::backend::{LmAutodiffBackend, LmBackend};
use rein_reward::{LearnedReward, Reward, scores};

use crate::config::{JudgeSource, REWARD};
use crate::http::HttpClient;
use crate::pipeline::Session;

/// The run's reward model, and the judges that the config names.
pub(super) struct Judges<B: LmBackend> {
    /// The run's own, if it has one.
    pub(super) reward: Option<LearnedReward<B>>,
    /// The others with their names.
    named: Vec<(String, Box<dyn Reward>)>,
}

/// What a judge says of replies.
#[derive(Clone, Debug, PartialEq)]
pub(in crate::pipeline) struct Scores {
    /// Its name.
    pub(in crate::pipeline) by: String,
    /// A score for each reply.
    pub(in crate::pipeline) of: Vec<f64>,
    /// Replies that it couldn't judge.
    pub(in crate::pipeline) n_failed: usize,
}

impl Scores {
    pub(in crate::pipeline) fn new(by: &str, of: impl IntoIterator<Item = f32>) -> Self {
        Self { by: by.to_owned(), of: of.into_iter().map(f64::from).collect(), n_failed: 0 }
    }
}

impl<B: LmAutodiffBackend> Session<B> {
    /// All who score replies in an evaluation of this run.
    pub(super) fn judges(&self) -> Result<Judges<B::InnerBackend>> {
        let rows = self.setup.config.reward.micro_batch_rows;
        let load = |folder: &Path| -> Result<_> {
            let reward = LearnedReward::<B::InnerBackend>::load(folder, rows, &self.device)?;
            Ok(reward.behind_replies(self.setup.behind_replies()))
        };
        let mut folders = self.setup.folders.judges.iter();
        let client = HttpClient::shared();
        let named = self.setup.config.evaluate.judges.iter().map(|source| -> Result<_> {
            let judge: Box<dyn Reward> = match source {
                JudgeSource::Model(_) => {
                    Box::new(load(folders.next().expect("setup found a folder for each"))?)
                }
                JudgeSource::Rule(rule) => Box::new(rule.build(&client)?),
            };
            Ok((source.name().to_owned(), judge))
        });
        let named = named.collect::<Result<_>>()?;
        let reward = self.reward_folder()?.map(|it| load(&it)).transpose()?;
        Ok(Judges { reward, named })
    }
}

impl<B: LmBackend> Judges<B> {
    /// What the run's reward model says.
    pub(super) fn rewards(&self, completions: &[Completion]) -> Result<Option<Scores>> {
        let score = |it: &LearnedReward<B>| -> Result<_> {
            Ok(Scores::new(REWARD, it.score(completions)?))
        };
        self.reward.as_ref().map(score).transpose()
    }

    /// What the others say. The first worker asks, so that programs and endpoints are asked once.
    pub(super) fn named_scores(
        &self,
        completions: &[Completion],
        workers: &Workers,
    ) -> Result<Vec<Scores>> {
        let ask = |(name, judge): &(String, Box<dyn Reward>)| -> Result<Scores> {
            let (scores, n_failed) = workers.from_first(|| -> Result<(Vec<f32>, usize)> {
                let judged = scores(&**judge, completions)?;
                Ok((judged.total, judged.failures.len()))
            })?;
            Ok(Scores { n_failed, ..Scores::new(name, scores) })
        };
        self.named.iter().map(ask).collect()
    }
}
