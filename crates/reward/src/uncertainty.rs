//! An ensemble as a reward, and its uncertainty as what is measured beside it.

use std::cell::RefCell;
use std::rc::Rc;

use rein_data::example::Completion;
use rein_model::backend::LmBackend;

use crate::ensemble::{Pessimism, Spread};
use crate::mixture::Weighted;
use crate::{LearnedReward, Reward, RewardError};

impl<B: LmBackend> LearnedReward<B> {
    /// The parts of a [`Mixture`](crate::Mixture) that is this ensemble: its score, which is pessimistic or the
    /// mean, with this weight; and, only measured, the heads' mean and standard deviation. The model is asked
    /// once for all of them.
    ///
    /// # Errors
    /// A model without heads.
    pub fn into_parts(
        self,
        pessimism: Option<Pessimism>,
        weight: f32,
    ) -> Result<Vec<Weighted>, RewardError> {
        if !self.is_ensemble() {
            return Err(RewardError::Invalid(
                "the reward model has no ensemble of heads to be pessimistic with; train one with \
                 `reward.ensemble = {}`"
                    .into(),
            ));
        }
        let shared = Rc::new(Shared { reward: self, last: RefCell::default() });
        let score = pessimism.map_or(Aspect::Mean, Aspect::Pessimistic);
        let part = |weight, name, aspect| Weighted {
            weight,
            reward: Box::new(Part { name, aspect, shared: shared.clone() }),
        };
        Ok(vec![
            part(weight, "learned", score),
            part(0.0, "learned_mean", Aspect::Mean),
            part(0.0, "learned_std", Aspect::Std),
        ])
    }
}

/// What a part tells of the heads' scores.
#[derive(Clone, Copy)]
enum Aspect {
    Pessimistic(Pessimism),
    Mean,
    Std,
}

impl Aspect {
    fn of(self, heads: &[f32]) -> f32 {
        match self {
            Self::Pessimistic(pessimism) => pessimism.score(heads),
            Self::Mean => Spread::of(heads).mean as f32,
            Self::Std => Spread::of(heads).std as f32,
        }
    }
}

/// A part of an ensemble's reward.
struct Part<B: LmBackend> {
    name: &'static str,
    aspect: Aspect,
    shared: Rc<Shared<B>>,
}

/// The ensemble, and what it said last: parts are asked of the same completions in turn.
struct Shared<B: LmBackend> {
    reward: LearnedReward<B>,
    last: RefCell<Last>,
}

/// The rows that were asked last, and the heads' scores of each.
#[derive(Default)]
struct Last {
    rows: Vec<Vec<u32>>,
    scores: Vec<Vec<f32>>,
}

impl<B: LmBackend> Reward for Part<B> {
    fn name(&self) -> &str {
        self.name
    }

    fn score(&self, completions: &[Completion]) -> Result<Vec<f32>, RewardError> {
        let Shared { reward, last } = &*self.shared;
        let rows = reward.rows(completions);
        if last.borrow().rows != rows {
            let scores = reward.head_scores(&rows).expect("there are heads");
            *last.borrow_mut() = Last { rows, scores };
        }
        Ok(last.borrow().scores.iter().map(|heads| self.aspect.of(heads)).collect())
    }
}
