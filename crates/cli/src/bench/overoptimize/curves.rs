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

    /// Where the truth had fallen, seed by seed.
    pub(super) fn falls(&self, arm: Arm) -> Vec<Option<&Point>> {
        self.of(arm).into_iter().map(fall).collect()
    }

    /// By how much the truth in the end is below its best, the mean over seeds.
    pub(super) fn loss(&self, arm: Arm) -> f64 {
        let losses: Vec<f64> = self.of(arm).into_iter().filter_map(loss).collect();
        losses.iter().sum::<f64>() / losses.len() as f64
    }

    /// The curve of Gao et al. through all points of an arm.
    pub(super) fn fit(&self, arm: Arm) -> Option<Curve> {
        let points = self.of(arm).into_iter().flatten().map(|it| (it.kl.sqrt(), it.gain));
        Curve::fit(Optimization::Rl, &points.collect::<Vec<_>>())
    }
}

/// How far the truth must be below what it was.
pub(super) const FALL: f64 = 1.0;

/// The first point at which the truth is [`FALL`] below the best before it.
fn fall(points: &[Point]) -> Option<&Point> {
    let mut best = f64::NEG_INFINITY;
    let has_fallen = |point: &&Point| {
        best = best.max(point.gold);
        best - point.gold >= FALL
    };
    points.iter().find(has_fallen)
}

fn loss(points: &[Point]) -> Option<f64> {
    let best = points.iter().map(|it| it.gold).max_by(f64::total_cmp)?;
    Some(best - points.last()?.gold)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_fall_is_measured_from_the_best_before_it() {
        let points = |gold: &[f64]| -> Vec<Point> {
            let point = |(number, gold): (usize, &f64)| Point {
                arm: "mean",
                seed: 1,
                step: 10 * number,
                kl: 0.0,
                proxy: 0.0,
                gold: *gold,
                gain: 0.0,
            };
            gold.iter().enumerate().map(point).collect()
        };
        let mut curves = Curves::default();
        for (seed, gold) in
            [[0.0, 2.0, 1.5, 1.0, 1.2], [0.0, -0.9, 3.0, 2.1, 3.0]].iter().enumerate()
        {
            curves.add(Arm::Mean, seed as u64, points(gold));
        }
        let falls: Vec<_> = curves.falls(Arm::Mean).iter().map(|it| it.map(|it| it.step)).collect();
        assert_eq!(falls, [Some(30), None]);
        assert!((curves.loss(Arm::Mean) - 0.4).abs() < 1e-12, "0.8 and 0");
    }
}
