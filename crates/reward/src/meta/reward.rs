use std::path::Path;

use burn::prelude::*;
use rein_data::tokenizer::Tokenizer;
use rein_model::backend::LmBackend;
use rein_model::checkpoint::save_with_tokenizer;
use rein_model::{ScalarModel, load_scalar_model, save_scalar_model};

use super::{Person, Personal, features};
use crate::{LearnedReward, Normalization, RewardError};

/// A reward model that scores for one person.
#[derive(Debug)]
pub struct PersonalReward<B: Backend> {
    model: ScalarModel<B>,
    personal: Personal,
    person: Person,
    normalization: Normalization,
    batch_rows: usize,
    device: B::Device,
}

/// A score and how far it is known.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct PersonalScore {
    /// What the person would give; over the reward model's references, mean 0 and deviation 1.
    pub score: f32,
    /// Its standard deviation by what isn't known of the person, in the same units; `None` where the method
    /// knows of no uncertainty.
    pub std: Option<f32>,
}

impl<B: LmBackend> PersonalReward<B> {
    /// Loads the reward model in `folder`, and a person that was adapted to it.
    ///
    /// # Errors
    /// Files that can't be read or don't belong together.
    pub fn load(
        folder: &Path,
        person: &Path,
        batch_rows: usize,
        device: &B::Device,
    ) -> Result<Self, RewardError> {
        let model = load_scalar_model::<B>(folder, device)?;
        let personal = Personal::load(folder, &model.head())?;
        let person = personal.person(person)?;
        let own = Normalization::load(folder)?;
        Ok(Self::new(model, personal, person, own, batch_rows, device))
    }

    /// A reward of a model and what is known of people and one person. `own` normalises the model's own scores, and
    /// a person's where nothing better is known.
    pub fn new(
        model: ScalarModel<B>,
        personal: Personal,
        person: Person,
        own: Normalization,
        batch_rows: usize,
        device: &B::Device,
    ) -> Self {
        let normalization = personal.normalization(&person).unwrap_or(own);
        Self { model, personal, person, normalization, batch_rows, device: device.clone() }
    }

    /// Scores of rows of tokens, and how sure they are.
    pub fn score_rows(&self, rows: &[impl AsRef<[u32]>]) -> Vec<PersonalScore> {
        let head = self.personal.head(&self.person);
        let Normalization { mean, std } = self.normalization;
        let features = features(&self.model, rows, self.batch_rows, &self.device);
        let score = |features: &Vec<f64>| {
            let raw: f64 = features.iter().zip(&head).map(|(phi, w)| phi * w).sum();
            let deviation = self.personal.deviation(&self.person, features);
            PersonalScore {
                score: ((raw - f64::from(mean)) / f64::from(std)) as f32,
                std: deviation.map(|it| (it / f64::from(std)) as f32),
            }
        };
        features.iter().map(score).collect()
    }

    /// Writes the model with the person's head, and its tokenizer if it has one: a reward model as any other.
    ///
    /// # Errors
    /// A folder that can't be written.
    pub fn save(&self, tokenizer: Option<&Tokenizer>, folder: &Path) -> Result<(), RewardError> {
        let model = self.model.clone().with_head(self.head(), &self.device);
        Ok(save_with_tokenizer(folder, tokenizer, |folder| {
            save_scalar_model(&model, &self.normalization.to_json(), folder)
        })?)
    }

    fn head(&self) -> Vec<f32> {
        self.personal.head(&self.person).iter().map(|it| *it as f32).collect()
    }

    /// The same scores by the model itself, whose head becomes the person's: for whatever takes a reward model.
    pub fn into_reward(self) -> LearnedReward<B> {
        let head = self.head();
        let model = self.model.with_head(head, &self.device);
        LearnedReward::new(model, self.normalization, self.batch_rows, &self.device)
    }
}
