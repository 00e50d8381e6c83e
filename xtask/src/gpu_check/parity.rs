//! The first steps of each stage on both backends, from one starting point.

use std::fs;
use std::path::Path;
use std::process::Command;

use anyhow::{Context, Result, ensure};
use serde_json::{Value, json};

use super::{Check, usable};

/// What each backend writes of its stages.
const PARTS: [&str; 4] = ["sft", "reward", "policy", "value"];

impl Check<'_> {
    /// Prints a line for each part; whether all agree.
    pub(super) fn parity(&self) -> Result<bool> {
        let backend = self.args.backend.name();
        // First, so that the starting point is the one that is taken for right.
        let expected = self.losses(&self.reference, "flex", "reference.json")?;
        let found = self.losses(&self.program, backend, "program.json")?;
        let mut passed = true;
        for part in PARTS {
            let [expected, found] = [&expected, &found].map(|losses| series(losses, part));
            let (expected, found) = (expected?, found?);
            let steps = self.args.steps as usize;
            ensure!(
                expected.len() == steps && found.len() == steps,
                "`{part}` has {} and {} losses instead of {steps}",
                expected.len(),
                found.len()
            );
            let apart = largest_difference(&expected, &found);
            let agrees = apart <= self.args.tolerance;
            passed &= agrees;
            let line = json!({
                "what": "parity",
                "part": part,
                "backend": backend,
                "against": "flex",
                "steps": steps,
                "largest_difference": apart,
                "tolerance": self.args.tolerance,
                "passed": agrees,
            });
            println!("{line}");
        }
        Ok(passed)
    }

    fn losses(&self, program: &Path, backend: &str, name: &str) -> Result<Value> {
        let out = self.folder.join(name);
        let mut parity = Command::new(program);
        parity.args(["parity", "--backend", backend, "--steps", &self.args.steps.to_string()]);
        parity.arg("--folder").arg(self.folder.join("start")).arg("--out").arg(&out);
        eprintln!("{} steps of each stage on `{backend}`", self.args.steps);
        usable(&mut parity)?;
        let text = fs::read_to_string(&out).with_context(|| out.display().to_string())?;
        serde_json::from_str(&text).with_context(|| out.display().to_string())
    }
}

fn series(losses: &Value, part: &str) -> Result<Vec<f64>> {
    let losses = losses[part].as_array().with_context(|| format!("no losses of `{part}`"))?;
    // What isn't finite is null in JSON, and agrees with nothing.
    Ok(losses.iter().map(|it| it.as_f64().unwrap_or(f64::NAN)).collect())
}

/// Infinite if a loss isn't a number.
fn largest_difference(expected: &[f64], found: &[f64]) -> f64 {
    let differences = expected.iter().zip(found).map(|(expected, found)| (expected - found).abs());
    differences.map(|it| if it.is_nan() { f64::INFINITY } else { it }).fold(0.0, f64::max)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn losses_differ_by_their_largest_difference_or_endlessly() {
        let losses = json!({ "sft": [1.0, 2.0, 3.0], "reward": [1.0, null, 3.0] });
        let [sft, reward] = ["sft", "reward"].map(|part| series(&losses, part).expect("a list"));
        assert_eq!(largest_difference(&sft, &[1.0, 2.5, 2.75]), 0.5);
        assert_eq!(largest_difference(&sft, &reward), f64::INFINITY);
        assert!(series(&losses, "policy").is_err());
    }
}
