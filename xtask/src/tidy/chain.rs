//! Who may depend on whom.

use anyhow::{Context, Result};
use serde_json::Value;

use crate::process::cargo;

/// Each crate and the crates of this workspace that it may depend on.
const MAY_USE: [(&str, &[&str]); 9] = [
    ("rein-data", &[]),
    ("rein-feedback", &["rein-data"]),
    ("rein-kernels", &["rein-data"]),
    ("rein-model", &["rein-data", "rein-kernels"]),
    ("rein-reward", &["rein-data", "rein-kernels", "rein-model"]),
    ("rein-ppo", &["rein-data", "rein-kernels", "rein-model", "rein-reward"]),
    ("rein", &ALL),
    ("rein-examples", &ALL),
    ("xtask", &[]),
];
/// What programs may depend on.
const ALL: [&str; 6] =
    ["rein-data", "rein-feedback", "rein-kernels", "rein-model", "rein-reward", "rein-ppo"];
/// These know no tensors.
const WITHOUT_TENSORS: [&str; 2] = ["rein-data", "rein-feedback"];
/// Only these may depend on a backend, but for tests: who embeds a library picks one, too. Kernels
/// extend backends, each behind a feature.
const NAME_BACKENDS: [&str; 3] = ["rein", "rein-examples", "rein-kernels"];
const BACKENDS: [&str; 5] = ["burn-flex", "burn-ndarray", "burn-wgpu", "burn-cuda", "burn-rocm"];

/// Reads the manifests as cargo does.
pub(super) fn check() -> Result<Vec<String>> {
    let output = cargo()
        .args(["metadata", "--format-version", "1", "--no-deps", "--offline"])
        .output()
        .context("cargo metadata")?;
    let metadata: Value = serde_json::from_slice(&output.stdout).context("cargo metadata")?;
    let packages = metadata["packages"].as_array().context("cargo metadata: no packages")?;
    Ok(packages.iter().flat_map(check_package).collect())
}

fn check_package(package: &Value) -> Vec<String> {
    let name = package["name"].as_str().unwrap_or_default();
    let Some((_, may_use)) = MAY_USE.iter().find(|(crate_name, _)| *crate_name == name) else {
        return vec![format!("{name}: a new crate needs its place in the chain (xtask/src/tidy)")];
    };
    let dependencies = package["dependencies"].as_array().map_or(&[][..], Vec::as_slice);
    let normal = dependencies.iter().filter(|it| it["kind"].is_null());
    normal
        .filter_map(|it| it["name"].as_str())
        .filter_map(|used| {
            let is_ours = MAY_USE.iter().any(|(crate_name, _)| *crate_name == used);
            if is_ours && !may_use.contains(&used) {
                Some(format!("{name}: may not depend on {used}"))
            } else if WITHOUT_TENSORS.contains(&name) && used.starts_with("burn") {
                Some(format!("{name}: knows no tensors, but depends on {used}"))
            } else if !NAME_BACKENDS.contains(&name) && BACKENDS.contains(&used) {
                Some(format!("{name}: is generic over backends, but depends on {used}"))
            } else {
                None
            }
        })
        .collect()
}
