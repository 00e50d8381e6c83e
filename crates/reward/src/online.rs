//! A reward model that learns while people talk: each judgement moves its head at once.
//!
//! The head is the maximum a posteriori of ridge logistic regression around the trained one, on all lessons that count,
//! `min Σ ln(1 + e^−xᵢᵀθ) + λ/2 ‖θ − θ₀‖²`, where `xᵢ` is what the head reads of what was preferred less what it reads of
//! the other. It costs milliseconds and no gradient of the network; a reward model trained on the same judgements later
//! takes its place. Nothing is left of a lesson that is taken back, since the head is always found from the trained one.

use burn::prelude::*;
use rein_model::backend::LmBackend;
use rein_model::guard::row_fits;

use crate::LearnedReward;
use crate::cholesky::dot;
use crate::encoding::Pair;
use crate::meta::{Difference, differences, ridge_head};

/// The prior's precision where nobody says otherwise: a lesson counts as much as a person's in `reward adapt`.
pub const RIDGE: f64 = 1.0;
/// Rows that are read side by side.
const BATCH_ROWS: usize = 8;

/// A reward model and what it was taught since.
#[derive(Debug)]
pub struct OnlineReward<B: Backend> {
    reward: LearnedReward<B>,
    n_lessons: usize,
    /// By how much the head has moved; nothing without lessons.
    moved: Vec<f64>,
    ridge: f64,
    device: B::Device,
}

impl<B: LmBackend> OnlineReward<B> {
    /// A reward model that was taught nothing yet. `None` if it is kept in another precision than f32, where its head
    /// can't be read.
    pub fn new(reward: LearnedReward<B>, ridge: f64, device: &B::Device) -> Option<Self> {
        reward.model()?;
        let device = device.clone();
        Some(Self { reward, n_lessons: 0, moved: Vec::new(), ridge, device })
    }

    /// Whether the model can read a row of tokens.
    pub fn fits(&self, row: &[u32]) -> bool {
        let model = self.reward.model().expect("looked for when this was made");
        row_fits(model.config(), row, 0).is_ok()
    }

    /// What there is to learn of rows that were preferred, each to another one. Whoever keeps it needn't have the rows read
    /// again.
    ///
    /// # Panics
    /// Rows that don't [fit](Self::fits).
    pub fn read(&self, preferred: &[[Vec<u32>; 2]]) -> Vec<Difference> {
        let model = self.reward.model().expect("looked for when this was made");
        let pair = |[chosen, rejected]: &[Vec<u32>; 2]| Pair {
            chosen: chosen.clone(),
            rejected: rejected.clone(),
            margin: None,
            chosen_probability: None,
            weight: None,
        };
        let pairs: Vec<Pair> = preferred.iter().map(pair).collect();
        differences(model, &pairs, BATCH_ROWS, &self.device)
    }

    /// Learns all of these lessons, as they were [read](Self::read), and forgets those that aren't among them.
    pub fn teach(&mut self, lessons: &[Difference]) {
        self.n_lessons = lessons.len();
        let model = self.reward.model().expect("looked for when this was made");
        let head: Vec<f64> = model.head().into_iter().map(f64::from).collect();
        let taught = ridge_head(lessons, &head, self.ridge);
        self.moved = if lessons.is_empty() {
            Vec::new()
        } else {
            taught.iter().zip(&head).map(|(new, old)| new - old).collect()
        };
    }

    /// Normalised scores of rows of tokens, with what was learned since.
    pub fn score_rows(&self, rows: &[impl AsRef<[u32]>]) -> Vec<f32> {
        let scores = self.reward.score_rows(rows);
        if self.moved.is_empty() {
            return scores;
        }
        let model = self.reward.model().expect("looked for when this was made");
        let features = crate::meta::features(model, rows, rows.len().max(1), &self.device);
        let unit = f64::from(self.reward.normalization().std);
        let moved = features.iter().map(|it| dot(it, &self.moved) / unit);
        scores.iter().zip(moved).map(|(score, moved)| score + moved as f32).collect()
    }

    /// By how much the models or heads of an ensemble disagree on how much better the first row is than the second: the
    /// standard deviation of their differences. `None` if the reward is no ensemble.
    pub fn disagreement(&self, rows: [&[u32]; 2]) -> Option<f64> {
        let heads = self.reward.head_scores(&rows)?;
        let gaps: Vec<f64> =
            heads[0].iter().zip(&heads[1]).map(|(a, b)| f64::from(a - b)).collect();
        Some(crate::active::deviation(&gaps))
    }

    /// How many lessons it knows.
    pub fn n_lessons(&self) -> usize {
        self.n_lessons
    }
}
