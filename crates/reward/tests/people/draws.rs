//! Vectors, and how they are drawn.

use rand::{Rng, RngExt};

/// How often a head holds for better what is truly better.
pub(crate) fn accuracy(head: &[f64], truth: &[f64], pairs: &[Vec<f64>]) -> f64 {
    let right = pairs.iter().filter(|x| (dot(x, head) > 0.0) == (dot(x, truth) > 0.0));
    right.count() as f64 / pairs.len() as f64
}

pub(crate) fn dot(a: &[f64], b: &[f64]) -> f64 {
    a.iter().zip(b).map(|(a, b)| a * b).sum()
}

pub(crate) fn unit(x: Vec<f64>) -> Vec<f64> {
    let length = dot(&x, &x).sqrt();
    x.into_iter().map(|it| it / length).collect()
}

/// Draws of the standard normal distribution (Box and Muller, 1958).
pub(crate) fn normals(count: usize, rng: &mut impl Rng) -> Vec<f64> {
    let draw = |_| {
        let (radius, angle): (f64, f64) = (rng.random(), rng.random());
        (-2.0 * (1.0 - radius).ln()).sqrt() * (std::f64::consts::TAU * angle).cos()
    };
    (0..count).map(draw).collect()
}
