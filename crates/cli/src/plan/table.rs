//! Plans for people to read.

use std::fmt::Write;

use super::readable::{bytes, clock, count};
use super::{Plan, StagePlan};
use crate::pace::Pace;

impl Plan {
    /// The plan for people to read.
    pub(crate) fn render(&self, config: &str, pace: Pace) -> String {
        let mut text = format!("{config}\n# The model has {} weights.\n\n", count(self.n_params));
        let _ = writeln!(
            text,
            "{:<9} {:>6} {:>9}   {:<14} {:>9} {:>9} {:>9} {:>9}",
            "stage", "steps", "time", "memory of", "weights", "gradients", "optimiser", "total"
        );
        let render = |stages: &[StagePlan], text: &mut String| -> f64 {
            let mut seconds = 0.0;
            for stage in stages {
                let time = pace.seconds(stage);
                seconds += time;
                stage.render(text, time);
            }
            seconds
        };
        let mut seconds = render(&self.stages, &mut text);
        if let (n_later @ 1.., second) = &self.later {
            let rounds = if *n_later == 1 { "A second round" } else { "Each further round" };
            let _ = writeln!(text, "\n{rounds}, of at most {}:", n_later + 1);
            seconds += *n_later as f64 * render(second, &mut text);
        }
        let most = self.stages.iter().map(StagePlan::memory).max().unwrap_or(0);
        let _ = writeln!(text, "\nAll told about {} and {} at most.", clock(seconds), bytes(most));
        text
    }
}

impl StagePlan {
    fn render(&self, text: &mut String, seconds: f64) {
        let head = format!("{:<9} {:>6} {:>9}", self.stage.name(), self.n_steps, clock(seconds));
        let mut line = |head: &str, what: &str, parts: [u64; 3], total: u64| {
            let [weights, gradients, optimizer] = parts.map(bytes);
            let _ = writeln!(
                text,
                "{head:<26}   {what:<14} {weights:>9} {gradients:>9} {optimizer:>9} {:>9}",
                bytes(total)
            );
        };
        let mut head = head.as_str();
        for network in &self.networks {
            let parts = [network.weights(), network.gradients(), network.optimizer()];
            line(head, network.name, parts, parts.iter().sum());
            head = "";
        }
        line(head, "activations", [0; 3], self.activations);
    }
}
