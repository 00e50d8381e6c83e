//! `θ_u = w + B z_u`: heads that differ in a few directions.
//!
//! Each person's own head, by ridge regression around `w`, is noisy; what the heads have in common is not. `B`
//! begins as the directions in which they vary most. Then expectation-maximisation goes on: what is known of each
//! `z_u` (a normal distribution, by Laplace), the population's `N(μ, Σ)` that fits all of it (empirical Bayes),
//! and a few steps of `B` up the expected likelihood. How many directions there are is tried on other people than
//! those who taught them.

use super::logistic::{Normal, posterior, ridge_head};
use crate::cholesky::{Matrix, add, add_square, diagonal, dot, times};
use crate::logistic::{log_loss, sigmoid};

/// Prior precision of a person's own head, where features have deviation 1.
const RIDGE: f64 = 1.0;
/// Rounds of expectation-maximisation, and steps of `B` in each.
const ROUNDS: usize = 20;
const STEPS_OF_A_ROUND: usize = 5;
/// Rounds in which only the population is fitted: a variance that is nearly 0 is found slowly.
const SETTLING_ROUNDS: usize = 100;
/// Adam's, in units of directions of length 1.
const LEARNING_RATE: f64 = 0.02;
/// Products with the heads' covariance that find a direction.
const POWER_STEPS: usize = 100;
/// Variance that a population keeps in each direction, so that its covariance can be inverted.
const LEAST_VARIANCE: f64 = 1e-6;

/// In which directions people differ, and how far.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Basis {
    /// `Bᵀ`, `[rank][features]`
    pub(super) directions: Matrix,
    /// `N(μ, Σ)` of the population.
    pub(super) population: Normal,
}

impl Basis {
    /// Learns from the differences of each person, with the head `shared` that all have in common. Fewer
    /// directions than `rank` come of it where people don't differ in as many.
    pub(super) fn fit(people: &[Vec<Vec<f64>>], shared: &[f64], rank: usize) -> Self {
        let people: Vec<&[Vec<f64>]> = people.iter().map(Vec::as_slice).collect();
        let mut basis = Self::begin(&people, shared, useful_rank(&people, shared, rank));
        let mut adam = Adam::new(&basis.directions);
        for _ in 0..ROUNDS {
            let known = basis.all_coordinates(&people, shared);
            for _ in 0..STEPS_OF_A_ROUND {
                let slope = basis.slope(&people, shared, &known);
                adam.step(&mut basis.directions, &slope);
            }
            basis.population = population_of(&known);
        }
        basis.settled(&people, shared)
    }

    /// The directions in which people's own heads differ most.
    fn begin(people: &[&[Vec<f64>]], shared: &[f64], rank: usize) -> Self {
        let own = |answers: &&[Vec<f64>]| {
            let mut head = ridge_head(answers, shared, RIDGE);
            add(&mut head, -1.0, shared);
            head
        };
        let heads: Vec<Vec<f64>> = people.iter().map(own).collect();
        let directions = leading_directions(&heads, rank);
        let population = Normal::around_zero(directions.len(), 1.0);
        Self { directions, population }
    }

    /// The basis with the population that fits these people.
    fn settled(mut self, people: &[&[Vec<f64>]], shared: &[f64]) -> Self {
        let seen: Vec<_> = people.iter().map(|answers| self.seen(answers, shared)).collect();
        for _ in 0..SETTLING_ROUNDS {
            let known = seen.iter().map(|it| posterior(it, &self.population));
            self.population = population_of(&known.collect::<Vec<_>>());
        }
        self
    }

    fn all_coordinates(&self, people: &[&[Vec<f64>]], shared: &[f64]) -> Vec<Normal> {
        people.iter().map(|answers| self.coordinates(answers, shared)).collect()
    }

    /// How surprising each second answer of these people is when the others are known, in nats all told.
    fn surprise(&self, people: &[&[Vec<f64>]], shared: &[f64]) -> f64 {
        let of_person = |answers: &&[Vec<f64>]| {
            let (seen, asked) = halves(answers);
            let head = self.head(shared, &self.coordinates(&seen, shared).mean);
            asked.iter().map(|x| log_loss(dot(x, &head))).sum::<f64>()
        };
        people.iter().map(of_person).sum()
    }

    /// What a person's answers say of their coordinates.
    pub(super) fn coordinates(&self, answers: &[Vec<f64>], shared: &[f64]) -> Normal {
        posterior(&self.seen(answers, shared), &self.population)
    }

    /// Answers as coordinates see them: what the shared head says, and `Bᵀ x`.
    fn seen(&self, answers: &[Vec<f64>], shared: &[f64]) -> Vec<(f64, Vec<f64>)> {
        answers.iter().map(|x| (dot(x, shared), self.project(x))).collect()
    }

    /// `Bᵀ φ`
    pub(super) fn project(&self, features: &[f64]) -> Vec<f64> {
        times(&self.directions, features)
    }

    /// `w + B z`
    pub(super) fn head(&self, shared: &[f64], z: &[f64]) -> Vec<f64> {
        let mut head = shared.to_vec();
        self.directions.iter().zip(z).for_each(|(direction, z)| add(&mut head, *z, direction));
        head
    }

    /// The gradient by `Bᵀ` of the mean expected loss, `E ln(1 + e^−a)` with `a ~ N(xᵀ(w + B ẑ), bᵀ S b)` and
    /// `b = Bᵀ x`, to second order: `x (−σ(−a) ẑ + σ(a) σ(−a) S b)ᵀ`.
    fn slope(&self, people: &[&[Vec<f64>]], shared: &[f64], known: &[Normal]) -> Matrix {
        let mut slope = vec![vec![0.0; shared.len()]; self.directions.len()];
        let share = 1.0 / people.iter().map(|it| it.len()).sum::<usize>() as f64;
        for (answers, Normal { mean, covariance }) in people.iter().zip(known) {
            for x in *answers {
                let b = self.project(x);
                let surprise = sigmoid(-dot(x, shared) - dot(&b, mean));
                let spread = times(covariance, &b);
                for ((row, z), spread) in slope.iter_mut().zip(mean).zip(spread) {
                    add(row, share * surprise * ((1.0 - surprise) * spread - z), x);
                }
            }
        }
        slope
    }
}

/// In how many directions people differ, at most `rank`: so many as make other people's answers least surprising,
/// each half of the people having taught what is asked of the other half. Directions that noise alone has made are
/// of no use there, and people who are alike have none.
fn useful_rank(people: &[&[Vec<f64>]], shared: &[f64], rank: usize) -> usize {
    const LEAST_PEOPLE: usize = 4;
    if people.len() < LEAST_PEOPLE {
        return rank;
    }
    let (one, other) = halves(people);
    let surprise = |rank: usize| {
        let taught = |by: &[&[Vec<f64>]], asked: &[&[Vec<f64>]]| {
            Basis::begin(by, shared, rank).settled(by, shared).surprise(asked, shared)
        };
        taught(&one, &other) + taught(&other, &one)
    };
    let each = (0..=rank).map(|rank| (rank, surprise(rank)));
    let best = each.reduce(|best, next| if next.1 < best.1 { next } else { best });
    best.map_or(rank, |(rank, _)| rank)
}

/// Every second item, and the others.
fn halves<T: Clone>(items: &[T]) -> (Vec<T>, Vec<T>) {
    let every = |from: usize| items.iter().skip(from).step_by(2).cloned().collect();
    (every(0), every(1))
}

/// `N(μ, Σ)`, of which the coordinates are draws that are known as well as this:
/// `μ = mean ẑ`, `Σ = mean S + (ẑ − μ)(ẑ − μ)ᵀ`.
fn population_of(known: &[Normal]) -> Normal {
    let rank = known.first().map_or(0, |it| it.mean.len());
    let share = 1.0 / known.len() as f64;
    let mut mean = vec![0.0; rank];
    known.iter().for_each(|it| add(&mut mean, share, &it.mean));
    let mut covariance = diagonal(rank, LEAST_VARIANCE);
    for Normal { mean: z, covariance: spread } in known {
        let from_mean: Vec<f64> = z.iter().zip(&mean).map(|(z, mean)| z - mean).collect();
        add_square(&mut covariance, share, &from_mean);
        covariance.iter_mut().zip(spread).for_each(|(row, spread)| add(row, share, spread));
    }
    Normal { mean, covariance }
}

/// The directions in which vectors are longest, each of length 1 and at right angles to those before it, by power
/// iteration; no more than there are.
pub(super) fn leading_directions(vectors: &[Vec<f64>], count: usize) -> Matrix {
    let norm = |v: &[f64]| dot(v, v).sqrt();
    let longest = vectors.iter().map(|it| norm(it)).fold(0.0, f64::max);
    let mut directions: Matrix = Vec::new();
    let across = |mut v: Vec<f64>, directions: &Matrix| {
        for direction in directions {
            let along = dot(&v, direction);
            add(&mut v, -along, direction);
        }
        v
    };
    while directions.len() < count {
        let rests = vectors.iter().map(|it| across(it.clone(), &directions));
        let start = rests.max_by(|a, b| norm(a).total_cmp(&norm(b)));
        // What is left is rounding.
        let Some(mut v) = start.filter(|it| norm(it) > 1e-9 * longest) else { break };
        for _ in 0..POWER_STEPS {
            let length = norm(&v);
            v.iter_mut().for_each(|it| *it /= length);
            let mut next = vec![0.0; v.len()];
            vectors.iter().for_each(|it| add(&mut next, dot(it, &v), it));
            v = across(next, &directions);
        }
        let v = across(v, &directions);
        let length = norm(&v);
        directions.push(v.iter().map(|it| it / length).collect());
    }
    directions
}

/// Adam (Kingma and Ba, 2015) for a few vectors.
struct Adam {
    moments: [Matrix; 2],
    n_steps: i32,
}

impl Adam {
    const BETAS: [f64; 2] = [0.9, 0.999];

    fn new(like: &Matrix) -> Self {
        let zeros: Matrix = like.iter().map(|row| vec![0.0; row.len()]).collect();
        Self { moments: [zeros.clone(), zeros], n_steps: 0 }
    }

    fn step(&mut self, values: &mut Matrix, slope: &Matrix) {
        self.n_steps += 1;
        let [first, second] = &mut self.moments;
        let [of_first, of_second] = Self::BETAS.map(|beta| 1.0 - beta.powi(self.n_steps));
        for (row, slope) in slope.iter().enumerate() {
            for (column, slope) in slope.iter().enumerate() {
                let (m, v) = (&mut first[row][column], &mut second[row][column]);
                *m += (1.0 - Self::BETAS[0]) * (slope - *m);
                *v += (1.0 - Self::BETAS[1]) * (slope * slope - *v);
                let length = (*m / of_first) / ((*v / of_second).sqrt() + 1e-12);
                values[row][column] -= LEARNING_RATE * length;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_longest_directions_come_first_and_no_more_than_there_are() {
        let vectors = [vec![3.0, 3.0, 0.0], vec![-4.0, -4.0, 0.0], vec![1.0, -1.0, 0.0]];
        let directions = leading_directions(&vectors, 3);
        assert_eq!(directions.len(), 2);
        let root = 0.5_f64.sqrt();
        for (direction, want) in directions.iter().zip([[root, root, 0.0], [root, -root, 0.0]]) {
            assert!((dot(direction, &want).abs() - 1.0).abs() < 1e-9, "{direction:?}");
        }
        assert!(leading_directions(&[vec![0.0; 3]], 2).is_empty());
    }

    #[test]
    fn the_slope_is_the_derivative_of_the_expected_loss() {
        let known = vec![Normal { mean: vec![0.8], covariance: vec![vec![1e-12]] }];
        let people = [vec![vec![1.0, 2.0], vec![-0.5, 0.3]]];
        let shared = [0.2, -0.1];
        let population = Normal::around_zero(1, 1.0);
        let basis = Basis { directions: vec![vec![0.3, 0.4]], population };
        let slope = basis.slope(&[&people[0]], &shared, &known);
        let loss = |directions: [f64; 2]| {
            let head = Basis { directions: vec![directions.to_vec()], ..basis.clone() };
            let head = head.head(&shared, &known[0].mean);
            let losses = people[0].iter().map(|x| crate::logistic::log_loss(dot(x, &head)));
            losses.sum::<f64>() / 2.0
        };
        for (column, step) in [[1e-5, 0.0], [0.0, 1e-5]].into_iter().enumerate() {
            let [up, down] =
                [1.0, -1.0].map(|sign| loss([0.3 + sign * step[0], 0.4 + sign * step[1]]));
            let want = (up - down) / 2e-5;
            assert!((slope[0][column] - want).abs() < 1e-8, "{} not {want}", slope[0][column]);
        }
    }

    #[test]
    fn a_population_is_as_wide_as_its_people_and_what_is_not_known_of_them() {
        let known = [-1.0, 3.0].map(|z| Normal { mean: vec![z], covariance: vec![vec![0.5]] });
        let Normal { mean, covariance } = population_of(&known);
        assert_eq!(mean, [1.0]);
        assert!((covariance[0][0] - 4.5).abs() < 1e-5);
    }
}
