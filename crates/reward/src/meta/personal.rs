use rein_data::seed::Seed;

use super::basis::{Basis, leading_directions};
use super::config::{Method, PersonalConfig};
use super::logistic::Normal;
use super::person::{Person, Taste};
use super::start::Start;
use super::{Difference, file};
use crate::RewardError;
use crate::cholesky::{add, add_square, diagonal, dot, quadratic};
use crate::learned::Normalization;

/// What is known of people in general, so that little is needed of the next one. It belongs to one reward model.
#[derive(Clone, Debug, PartialEq)]
pub struct Personal {
    /// What features are divided by, so that a coordinate of differences has the deviation 1; of starts, the
    /// longest direction.
    pub(super) scale: f64,
    /// The model's own head, for divided features.
    pub(super) shared: Vec<f64>,
    pub(super) prior: Prior,
    /// Whom it was learned from.
    pub(super) people: usize,
    pub(super) answers: usize,
    /// The hash of its files.
    pub(super) digest: String,
}

/// What a person is like before they say anything.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Prior {
    /// Coordinates of the population. `reference` says how `[wᵀφ, Bᵀφ]` of divided features is distributed over
    /// completions: scores of every head are normalised by it.
    Basis { basis: Basis, reference: Normal },
    /// A start for heads.
    Start(Start),
}

impl Personal {
    /// Learns from the answers of many people, of which each is the features of what was preferred less those of
    /// what was not. `head` is the model's own, and `references` are the features of completions whose scores shall
    /// have mean 0 and deviation 1 for each person.
    ///
    /// # Errors
    /// Answers of fewer than two people.
    ///
    /// # Panics
    /// Other than one number for each feature.
    pub fn fit(
        people: &[Vec<Difference>],
        head: &[f32],
        references: &[Vec<f64>],
        config: &PersonalConfig,
        seed: Seed,
    ) -> Result<Self, RewardError> {
        let people: Vec<_> = people.iter().filter(|answers| !answers.is_empty()).collect();
        if people.len() < 2 {
            let reason = format!(
                "a personal reward is learned from answers of two people at least, not of {}; say who \
                 gave them in a column `annotator`",
                people.len()
            );
            return Err(RewardError::Invalid(reason));
        }
        let scale = match config.method {
            Method::Basis => deviation(&people),
            Method::Reptile | Method::Fomaml => longest(&people),
        };
        let divided = |x: &Vec<f64>| x.iter().map(|it| it / scale).collect::<Vec<_>>();
        let of_person = |answers: &&Vec<Difference>| answers.iter().map(divided).collect();
        let divided_people: Vec<Vec<Difference>> = people.iter().map(of_person).collect();
        let shared: Vec<f64> = head.iter().map(|w| f64::from(*w) * scale).collect();
        let prior = match config.method {
            Method::Basis => {
                let mut basis = Basis::fit(&divided_people, &shared, config.rank);
                // As it is stored.
                basis.directions.iter_mut().flatten().for_each(|it| *it = f64::from(*it as f32));
                let reference = distribution(&shared, &basis, references.iter().map(divided));
                Prior::Basis { basis, reference }
            }
            Method::Reptile | Method::Fomaml => {
                let mut start = Start::fit(&divided_people, &shared, config, seed);
                start.head.iter_mut().for_each(|it| *it = f64::from(*it as f32));
                Prior::Start(start)
            }
        };
        let answers = people.iter().map(|answers| answers.len()).sum();
        let (people, digest) = (people.len(), String::new());
        let personal = Self { scale, shared, prior, people, answers, digest };
        Ok(Self { digest: file::digest(&personal), ..personal })
    }

    /// A person, as their answers have it. Without answers it is anybody: the population's mean, or the start.
    pub fn adapt(&self, answers: &[Difference]) -> Person {
        let divided: Vec<Difference> =
            answers.iter().map(|x| x.iter().map(|it| it / self.scale).collect()).collect();
        let taste = match &self.prior {
            Prior::Basis { basis, .. } => {
                let Normal { mean, covariance } = basis.coordinates(&divided, &self.shared);
                Taste::Basis { mean, covariance }
            }
            Prior::Start(start) => {
                let head = start.adapt(&divided);
                Taste::Head { head: head.into_iter().map(|it| it / self.scale).collect() }
            }
        };
        Person { answers: answers.len(), taste, personal: self.digest.clone() }
    }

    /// The head that scores completions for a person of this personal reward, `[features]`.
    pub fn head(&self, person: &Person) -> Vec<f64> {
        match (&person.taste, &self.prior) {
            (Taste::Basis { mean, .. }, Prior::Basis { basis, .. }) => {
                let head = basis.head(&self.shared, mean);
                head.into_iter().map(|it| it / self.scale).collect()
            }
            (Taste::Head { head }, _) => head.clone(),
            (Taste::Basis { .. }, Prior::Start(_)) => unreachable!("persons are checked when read"),
        }
    }

    /// What makes a person's scores have mean 0 and deviation 1 over the references; `None` where nothing is
    /// known of them but the model's own scores.
    pub fn normalization(&self, person: &Person) -> Option<Normalization> {
        let (Taste::Basis { mean: z, .. }, Prior::Basis { reference, .. }) =
            (&person.taste, &self.prior)
        else {
            return None;
        };
        let weights = [&[1.0], &z[..]].concat();
        let std = quadratic(&reference.covariance, &weights).max(0.0).sqrt();
        let std = if std > 1e-6 { std as f32 } else { 1.0 };
        Some(Normalization { mean: dot(&reference.mean, &weights) as f32, std })
    }

    /// The standard deviation of a completion's score, less the mean score, by what isn't known of the person:
    /// `√ bᵀ S b` with `b = Bᵀ (φ − mean φ)`; in units of raw scores. `None` where no uncertainty is known.
    pub fn deviation(&self, person: &Person, features: &[f64]) -> Option<f64> {
        let (Taste::Basis { covariance, .. }, Prior::Basis { basis, reference }) =
            (&person.taste, &self.prior)
        else {
            return None;
        };
        let divided: Vec<f64> = features.iter().map(|it| it / self.scale).collect();
        let mut b = basis.project(&divided);
        add(&mut b, -1.0, &reference.mean[1..]);
        Some(quadratic(covariance, &b).max(0.0).sqrt())
    }

    /// How many people it was learned from, and how many answers they gave.
    pub fn learned_from(&self) -> (usize, usize) {
        (self.people, self.answers)
    }

    /// Whether people are told apart by coordinates in a basis.
    pub fn is_basis(&self) -> bool {
        matches!(self.prior, Prior::Basis { .. })
    }

    /// How many coordinates a person has; features for methods without a basis.
    pub fn n_coordinates(&self) -> usize {
        match &self.prior {
            Prior::Basis { basis, .. } => basis.directions.len(),
            Prior::Start(start) => start.head.len(),
        }
    }
}

/// The deviation of a coordinate of all differences around 0; 1 where all are 0.
fn deviation(people: &[&Vec<Difference>]) -> f64 {
    let all = || people.iter().flat_map(|answers| answers.iter());
    let squares: f64 = all().map(|x| dot(x, x)).sum();
    let n_values: usize = all().map(Vec::len).sum();
    let deviation = (squares / n_values as f64).sqrt();
    if deviation > 0.0 { deviation } else { 1.0 }
}

/// The deviation of differences in the direction in which it is largest, by some of them; 1 where all are 0. Steps
/// of one size suit features in this unit, whichever direction outweighs the others.
fn longest(people: &[&Vec<Difference>]) -> f64 {
    const MOST: usize = 2048;
    let all = people.iter().flat_map(|answers| answers.iter());
    let some: Vec<Difference> = all.take(MOST).cloned().collect();
    let direction = leading_directions(&some, 1);
    let squares =
        |direction: &Vec<f64>| some.iter().map(|x| dot(x, direction).powi(2)).sum::<f64>();
    direction.first().map_or(1.0, |it| (squares(it) / some.len() as f64).sqrt())
}

/// How `[wᵀφ, Bᵀφ]` is distributed.
fn distribution(
    shared: &[f64],
    basis: &Basis,
    references: impl Iterator<Item = Vec<f64>>,
) -> Normal {
    let rows: Vec<Vec<f64>> =
        references.map(|it| [vec![dot(&it, shared)], basis.project(&it)].concat()).collect();
    let size = basis.directions.len() + 1;
    if rows.is_empty() {
        return Normal::around_zero(size, 1.0);
    }
    let share = 1.0 / rows.len() as f64;
    let mut mean = vec![0.0; size];
    rows.iter().for_each(|row| add(&mut mean, share, row));
    let mut covariance = diagonal(size, 0.0);
    for mut row in rows {
        add(&mut row, -1.0, &mean);
        add_square(&mut covariance, share, &row);
    }
    Normal { mean, covariance }
}
