//! The arms side by side.

use super::arm::Arm;
use super::curves::{Curves, FALL, Mean, Point};

/// What is told of each arm: where the truth was highest, what it is in the end, and the fitted curve.
pub(super) fn render(curves: &Curves) -> String {
    let mut text = format!(
        "{:<12} {:>10} {:>8} {:>8} {:>10} {:>10} {:>10}   {}\n",
        "scores",
        "best gold",
        "at step",
        "at √KL",
        "last gold",
        "last proxy",
        "last √KL",
        "gain = d (α − β ln d)"
    );
    for arm in Arm::ALL {
        let mean = curves.mean(arm);
        let Some(last) = mean.last() else { continue };
        let best = mean.iter().max_by(|a, b| a.gold.total_cmp(&b.gold)).expect("has a last");
        text += &line(arm, best, last, &fitted(curves, arm));
    }
    for arm in Arm::ALL {
        text += &falls(curves, arm);
    }
    for arm in Arm::ALL.into_iter().filter(|arm| *arm != Arm::Mean) {
        text += &compare(curves, arm);
    }
    text
}

fn line(arm: Arm, best: &Mean, last: &Mean, fitted: &str) -> String {
    format!(
        "{:<12} {:>10.2} {:>8} {:>8.2} {:>10.2} {:>10.2} {:>10.2}   {fitted}\n",
        arm.name(),
        best.gold,
        best.step,
        best.d,
        last.gold,
        last.proxy,
        last.d
    )
}

fn fitted(curves: &Curves, arm: Arm) -> String {
    let Some(curve) = curves.fit(arm) else { return "isn't determined".into() };
    let peak = curve.peak().map_or("no peak".into(), |d| format!("peak at d = {d:.2}"));
    format!("α {:.3}, β {:.3}, {peak}", curve.alpha, curve.beta)
}

/// When the truth turned, seed by seed.
fn falls(curves: &Curves, arm: Arm) -> String {
    let point = |it: &Option<&Point>| {
        it.map_or("never".into(), |it| format!("{} (√KL {:.2})", it.step, it.kl.sqrt()))
    };
    let steps: Vec<String> = curves.falls(arm).iter().map(point).collect();
    format!(
        "{}: gold fell {FALL} below its best after steps {}; in the end it is {:.2} below\n",
        arm.name(),
        steps.join(", "),
        curves.loss(arm)
    )
}

/// The gains of an arm over the mean in the end, seed by seed.
fn compare(curves: &Curves, arm: Arm) -> String {
    let last = |arm: Arm| -> Vec<f64> {
        let of_seed = |points: &[Point]| points.last().map(|it| it.gold);
        curves.of(arm).into_iter().filter_map(of_seed).collect()
    };
    let gains: Vec<f64> = last(arm).iter().zip(last(Arm::Mean)).map(|(a, b)| a - b).collect();
    let count = gains.len() as f64;
    let mean = gains.iter().sum::<f64>() / count;
    let squares: f64 = gains.iter().map(|it| (it - mean).powi(2)).sum();
    let error = (squares / (count - 1.0).max(1.0) / count).sqrt();
    let each: Vec<String> = gains.iter().map(|it| format!("{it:+.2}")).collect();
    format!(
        "{} over mean, last gold: {mean:+.2} ± {error:.2} (mean and standard error of {} seeds: {})\n",
        arm.name(),
        gains.len(),
        each.join(", ")
    )
}
