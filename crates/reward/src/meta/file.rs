//! A personal reward and a person on disk.
//!
//! Beside a reward model, `personal.safetensors` holds `basis` (`[hidden, rank]`) or `start` (`[hidden]`), and
//! `personal.json` the small numbers. A person is one file of JSON. Both may come from somebody else, and
//! are checked.

use std::fs::File;
use std::io::Read;
use std::path::Path;

use rein_data::DataError;
use rein_data::checkpoint::write_atomically;
use safetensors::tensor::TensorView;
use safetensors::{Dtype, SafeTensors};
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use super::basis::Basis;
use super::config::{MAX_RANK, Method};
use super::descent::Descent;
use super::logistic::Normal;
use super::person::{Person, Taste};
use super::personal::{Personal, Prior};
use super::start::Start;
use crate::RewardError;
use crate::cholesky::{Cholesky, Matrix};

pub(crate) const TENSORS: &str = "personal.safetensors";
pub(crate) const NUMBERS: &str = "personal.json";
const BASIS: &str = "basis";
const START: &str = "start";
/// Larger files are refused.
const MAX_BYTES: u64 = 256 << 20;
const MAX_STEPS: usize = 10_000;

/// What `personal.json` holds.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Numbers {
    version: u32,
    method: Method,
    people: usize,
    answers: usize,
    scale: f64,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    population: Option<Normal>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    reference: Option<Normal>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    inner: Option<Descent>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    labels: Option<usize>,
}

impl Personal {
    /// Whether a reward model's folder holds one.
    pub fn is_in(folder: &Path) -> bool {
        folder.join(NUMBERS).exists()
    }

    /// Writes it beside its reward model.
    pub fn save(&self, folder: &Path) -> Result<(), RewardError> {
        let (tensors, numbers) = encoded(self);
        write_atomically(&folder.join(TENSORS), &tensors)?;
        // Last: without it there is none.
        Ok(write_atomically(&folder.join(NUMBERS), numbers.as_bytes())?)
    }

    /// Reads what lies beside a reward model with this head.
    ///
    /// # Errors
    /// No such files, or such that don't fit the model.
    pub fn load(folder: &Path, head: &[f32]) -> Result<Self, RewardError> {
        let path = folder.join(NUMBERS);
        if !path.exists() {
            let reason = "the reward model knows nothing of single people (no personal.json); train \
                          one with `reward.personal`";
            return Err(refuse(folder, reason));
        }
        let text = read(&path)?;
        let numbers: Numbers =
            serde_json::from_slice(&text).map_err(|error| refuse(&path, &error.to_string()))?;
        numbers.check(head.len()).map_err(|reason| refuse(&path, &reason))?;
        let path = folder.join(TENSORS);
        let bytes = read(&path)?;
        let digest = hash(&bytes, &text);
        let prior = numbers.prior(&bytes, head.len()).map_err(|reason| refuse(&path, &reason))?;
        let Numbers { scale, people, answers, .. } = numbers;
        let shared = head.iter().map(|w| f64::from(*w) * scale).collect();
        Ok(Self { scale, shared, prior, people, answers, digest })
    }

    /// Reads a person that was adapted to this personal reward.
    ///
    /// # Errors
    /// A file that can't be read, or that means another one.
    pub fn person(&self, path: &Path) -> Result<Person, RewardError> {
        let person = Person::load(path)?;
        if person.personal != self.digest {
            let reason =
                "was adapted to another reward model; run `rein reward adapt` with this one";
            return Err(refuse(path, reason));
        }
        match (&person.taste, &self.prior) {
            (Taste::Basis { mean, covariance }, Prior::Basis { basis, .. }) => {
                check_normal(mean, covariance, basis.directions.len())
            }
            (Taste::Head { head }, Prior::Start(start))
                if head.len() == start.head.len() && is_finite(head) =>
            {
                Ok(())
            }
            _ => Err("does not fit the reward model".into()),
        }
        .map_err(|reason: String| refuse(path, &reason))?;
        Ok(person)
    }
}

impl Person {
    /// Reads a person, without a look at the reward it was adapted to; [`Personal::person`] compares them.
    ///
    /// # Errors
    /// A file that can't be read, or that holds something else.
    pub fn load(path: &Path) -> Result<Self, RewardError> {
        serde_json::from_slice(&read(path)?)
            .map_err(|error| refuse(path, &format!("is no person: {error}")))
    }

    /// Writes the person to a file.
    pub fn save(&self, path: &Path) -> Result<(), RewardError> {
        let text = serde_json::to_string_pretty(self).expect("a person is plain JSON") + "\n";
        Ok(write_atomically(path, text.as_bytes())?)
    }
}

impl Numbers {
    fn check(&self, n_features: usize) -> Result<(), String> {
        if self.version != 1 {
            return Err(format!("`version` is {}; only 1 is known", self.version));
        }
        if !(self.scale.is_finite() && self.scale > 0.0) {
            return Err(format!("`scale` is {}; it must be above 0", self.scale));
        }
        match (self.method, &self.population, &self.reference, &self.inner) {
            (Method::Basis, Some(population), Some(reference), None) => {
                let rank = population.mean.len();
                if rank > MAX_RANK.min(n_features) {
                    return Err(format!("`population` has {rank} coordinates, too many"));
                }
                check_normal(&population.mean, &population.covariance, rank)
                    .map_err(|reason| format!("`population`: {reason}"))?;
                check_shape(&reference.mean, &reference.covariance, rank + 1)
                    .map_err(|reason| format!("`reference`: {reason}"))
            }
            (Method::Reptile | Method::Fomaml, None, None, Some(inner)) => {
                let is_fine = inner.learning_rate.is_finite() && inner.steps <= MAX_STEPS;
                is_fine.then_some(()).ok_or_else(|| "`inner` can't be taken".into())
            }
            (method, ..) => Err(format!("holds other numbers than `{}` needs", method.name())),
        }
    }

    fn prior(&self, bytes: &[u8], n_features: usize) -> Result<Prior, String> {
        Ok(match (&self.population, &self.reference, &self.inner) {
            (Some(population), Some(reference), _) => {
                let rank = population.mean.len();
                let values = tensor(bytes, BASIS, &[n_features, rank])?;
                let direction =
                    |column: usize| values.iter().skip(column).step_by(rank).copied().collect();
                let directions = (0..rank).map(direction).collect();
                let basis = Basis { directions, population: population.clone() };
                Prior::Basis { basis, reference: reference.clone() }
            }
            (_, _, Some(inner)) => {
                let head = tensor(bytes, START, &[n_features])?;
                let labels = self.labels.unwrap_or(1);
                Prior::Start(Start { method: self.method, head, inner: *inner, labels })
            }
            _ => unreachable!("checked before"),
        })
    }
}

/// A finite tensor in f32 of this shape.
fn tensor(bytes: &[u8], name: &str, shape: &[usize]) -> Result<Vec<f64>, String> {
    let file = SafeTensors::deserialize(bytes).map_err(|error| error.to_string())?;
    let view = file.tensor(name).map_err(|error| error.to_string())?;
    if view.dtype() != Dtype::F32 || view.shape() != shape {
        return Err(format!("`{name}` isn't {shape:?} in f32, as the reward model needs it"));
    }
    let values = view.data().as_chunks::<4>().0.iter();
    let values: Vec<f64> = values.map(|it| f64::from(f32::from_le_bytes(*it))).collect();
    if is_finite(&values) {
        Ok(values)
    } else {
        Err(format!("`{name}` holds values that are not finite"))
    }
}

fn check_normal(mean: &[f64], covariance: &Matrix, size: usize) -> Result<(), String> {
    check_shape(mean, covariance, size)?;
    let is_positive = Cholesky::of(covariance).is_some();
    is_positive.then_some(()).ok_or_else(|| "its covariance isn't positive definite".into())
}

fn check_shape(mean: &[f64], covariance: &Matrix, size: usize) -> Result<(), String> {
    let is_square = covariance.len() == size && covariance.iter().all(|row| row.len() == size);
    if mean.len() != size || !is_square {
        return Err(format!("its mean and covariance aren't of {size} coordinates"));
    }
    let all_finite = is_finite(mean) && covariance.iter().all(|row| is_finite(row));
    all_finite.then_some(()).ok_or_else(|| "it holds values that are not finite".into())
}

fn is_finite(values: &[f64]) -> bool {
    values.iter().all(|it| it.is_finite())
}

/// The files' content.
fn encoded(personal: &Personal) -> (Vec<u8>, String) {
    let Personal { scale, prior, people, answers, .. } = personal;
    let n_features = personal.shared.len();
    let (name, shape, values, numbers) = match prior {
        Prior::Basis { basis: Basis { directions, population }, reference } => {
            let across = (0..n_features).flat_map(|row| directions.iter().map(move |it| it[row]));
            let population = Some(population.clone());
            let reference = Some(reference.clone());
            let (shape, values): (_, Vec<f64>) =
                (vec![n_features, directions.len()], across.collect());
            (BASIS, shape, values, (Method::Basis, population, reference, None))
        }
        Prior::Start(Start { method, head, inner, labels }) => {
            let numbers = (*method, None, None, Some((*inner, *labels)));
            (START, vec![n_features], head.clone(), numbers)
        }
    };
    let bytes: Vec<u8> = values.iter().flat_map(|it| (*it as f32).to_le_bytes()).collect();
    let view = TensorView::new(Dtype::F32, shape, &bytes).expect("a shape of as many values");
    let tensors = safetensors::serialize([(name, view)], None).expect("one small tensor");
    let (method, population, reference, start) = numbers;
    let numbers = Numbers {
        version: 1,
        method,
        people: *people,
        answers: *answers,
        scale: *scale,
        population,
        reference,
        inner: start.map(|(inner, _)| inner),
        labels: start.map(|(_, labels)| labels),
    };
    let numbers = serde_json::to_string_pretty(&numbers).expect("numbers are plain JSON");
    (tensors, numbers + "\n")
}

pub(super) fn digest(personal: &Personal) -> String {
    let (tensors, numbers) = encoded(personal);
    hash(&tensors, numbers.as_bytes())
}

fn hash(tensors: &[u8], numbers: &[u8]) -> String {
    let hash = Sha256::new().chain_update(tensors).chain_update(numbers).finalize();
    hash.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// A file that isn't too large.
fn read(path: &Path) -> Result<Vec<u8>, RewardError> {
    let io = |source| DataError::Io { path: path.to_owned(), source };
    let mut bytes = Vec::new();
    let file = File::open(path).map_err(io)?;
    file.take(MAX_BYTES + 1).read_to_end(&mut bytes).map_err(io)?;
    if bytes.len() as u64 > MAX_BYTES {
        return Err(refuse(path, &format!("is larger than {} MiB", MAX_BYTES >> 20)));
    }
    Ok(bytes)
}

fn refuse(path: &Path, reason: &str) -> RewardError {
    RewardError::Invalid(format!("{}: {reason}", path.display()))
}
