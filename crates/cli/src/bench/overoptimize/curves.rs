//! What was measured.

use std::collections::BTreeMap;

use rein_reward::overoptimization::{Curve, Optimization};
use serde::Serialize;

use super::arm::Arm;

/// A point of a curve.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub(super) struct Point {
    pub(super) arm: &'static str,
    pub(super) seed: u64,
    pub(super) step: usize,
    /// Nats a reply from the fine-tuned model.
    pub(super) kl: f64,
    /// The heads' mean score, whatever is made of them.
    pub(super) proxy: f64,
    /// The truth.
    pub(super) gold: f64,
    /// By how much it exceeds the fine-tuned model's.
    pub(super) gain: f64,
}

/// The curves of all arms, one a seed.
#[derive(Debug, Default)]
pub(super) struct Curves(Vec<(Arm, u64, Vec<Point>)>);

/// The mean over seeds after some steps.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Mean {
    pub(super) step: usize,
    /// `√KL`
    pub(super) d: f64,
    pub(super) proxy: f64,
    pub(super) gold: f64,
}

impl Curves {
    pub(super) fn add(&mut self, arm: Arm, seed: u64, points: Vec<Point>) {
        self.0.push((arm, seed, points));
    }

    pub(super) fn points(&self) -> impl Iterator<Item = &Point> {
        self.0.iter().flat_map(|(.., points)| points)
    }

    /// The curves of an arm, in the order of their seeds.
    pub(super) fn of(&self, arm: Arm) -> Vec<&[Point]> {
        self.0.iter().filter(|it| it.0 == arm).map(|(.., points)| points.as_slice()).collect()
    }

    /// The mean over seeds, after the steps that all of them have.
    pub(super) fn mean(&self, arm: Arm) -> Vec<Mean> {
        let curves = self.of(arm);
        let mut by_step = BTreeMap::<usize, Vec<&Point>>::new();
        for point in curves.iter().copied().flatten() {
            by_step.entry(point.step).or_default().push(point);
        }
        let of_all = by_step.into_iter().filter(|(_, points)| points.len() == curves.len());
        of_all
            .map(|(step, points)| {
                let mean = |value: fn(&Point) -> f64| {
                    points.iter().map(|it| value(it)).sum::<f64>() / points.len() as f64
                };
                Mean {
                    step,
                    d: mean(|it| it.kl.sqrt()),
                    proxy: mean(|it| it.proxy),
                    gold: mean(|it| it.gold),
                }
            })
            .collect()
    }

    /// The curve of Gao et al. through all points of an arm.
    pub(super) fn fit(&self, arm: Arm) -> Option<Curve> {
        let points = self.of(arm).into_iter().flatten().map(|it| (it.kl.sqrt(), it.gain));
        Curve::fit(Optimization::Rl, &points.collect::<Vec<_>>())
    }
}
