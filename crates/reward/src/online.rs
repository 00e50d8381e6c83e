//! A reward model that learns while people talk: each judgement moves its head at once.
//!
//! The head is the maximum a posteriori of ridge logistic regression around the trained one, on all lessons so far,
//! `min Σ ln(1 + e^−xᵢᵀθ) + λ/2 ‖θ − θ₀‖²`, where `xᵢ` is what the head reads of what was preferred less what it reads of
//! the other. It costs milliseconds and no gradient of the network; a reward model trained on the same judgements later
//! takes its place.

use burn::prelude::*;
use rein_model::backend::LmBackend;

use crate::LearnedReward;
use crate::cholesky::dot;
use crate::encoding::Pair;
use crate::meta::{Difference, differences, ridge_head};

/// The prior's precision where nobody says otherwise: a lesson counts as much as a person's in `reward adapt`.
pub const RIDGE: f64 = 1.0;
/// Lessons that are remembered; older ones make room.
const REMEMBERED: usize = 1024;

/// A reward model and what it was taught since.
#[derive(Debug)]
pub struct OnlineReward<B: Backend> {
    reward: LearnedReward<B>,
    lessons: Vec<Difference>,
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
        Some(Self { reward, lessons: Vec::new(), moved: Vec::new(), ridge, device })
    }

    /// Learns that one row of tokens was preferred to another.
    pub fn learn(&mut self, chosen: Vec<u32>, rejected: Vec<u32>) {
        let model = self.reward.model().expect("looked for when this was made");
        let pair = Pair { chosen, rejected, margin: None, chosen_probability: None, weight: None };
        self.lessons.extend(differences(model, &[pair], 1, &self.device));
        let n_forgotten = self.lessons.len().saturating_sub(REMEMBERED);
        self.lessons.drain(..n_forgotten);
        let head: Vec<f64> = model.head().into_iter().map(f64::from).collect();
        let taught = ridge_head(&self.lessons, &head, self.ridge);
        self.moved = taught.iter().zip(&head).map(|(new, old)| new - old).collect();
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

    /// How many lessons it had.
    pub fn n_lessons(&self) -> usize {
        self.lessons.len()
    }
}
