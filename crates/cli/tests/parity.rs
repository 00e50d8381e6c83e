//! Each backend gives the losses that flex gives, from one starting point.

#![cfg(all(feature = "flex", any(feature = "ndarray", feature = "wgpu")))]
#![allow(dead_code, reason = "each test program uses a part of what they share")]
#![allow(clippy::print_stdout, clippy::print_stderr, reason = "a test tells what it skipped")]

mod program;

use std::fs;
use std::path::Path;

use program::Workplace;
use serde_json::Value;

/// Losses differ by rounding alone.
const TOLERANCE: f64 = 1e-3;
/// The driver that Debian's chromium package brings: Vulkan without a GPU.
const SWIFTSHADER: &str = "/usr/lib/chromium/vk_swiftshader_icd.json";

/// Runs the first steps of each stage on a backend, or says why it can't.
fn losses(place: &Workplace, backend: &str) -> Result<Value, String> {
    let out = format!("{backend}.json");
    let args = ["parity", "--folder", "start", "--out", &out, "--backend", backend];
    let mut rein = place.rein(&args);
    if backend == "wgpu" && Path::new(SWIFTSHADER).exists() {
        let folder = place.path("xdg");
        fs::create_dir_all(&folder).expect("creates");
        rein.env("VK_ICD_FILENAMES", SWIFTSHADER).env("XDG_RUNTIME_DIR", folder);
    }
    let output = rein.output().expect("starts");
    let told = String::from_utf8_lossy(&output.stderr).into_owned();
    if output.status.code() == Some(2) && told.contains("no GPU") {
        return Err(told);
    }
    assert!(output.status.success(), "{backend}: {}: {told}", output.status);
    let text = fs::read_to_string(place.path(&out)).expect("reads the losses");
    Ok(serde_json::from_str(&text).expect("is JSON"))
}

fn check(backend: &str) {
    let place = Workplace::new();
    let expected = losses(&place, "flex").expect("flex runs everywhere");
    let found = match losses(&place, backend) {
        Ok(found) => found,
        Err(reason) => {
            eprintln!("skipped {backend}: {reason}");
            return;
        }
    };
    let mut largest: f64 = 0.0;
    for part in ["sft", "reward", "policy", "value"] {
        let series = |losses: &Value| -> Vec<f64> {
            let losses = losses[part].as_array().expect("is a list");
            losses.iter().map(|it| it.as_f64().expect("is a number")).collect()
        };
        let (expected, found) = (series(&expected), series(&found));
        assert_eq!((expected.len(), found.len()), (20, 20));
        for (step, (expected, found)) in expected.iter().zip(&found).enumerate() {
            let difference = (expected - found).abs();
            largest = largest.max(difference);
            let what = format!("{backend}, {part}, step {}", step + 1);
            assert!(difference <= TOLERANCE, "{what}: {found} instead of {expected}");
        }
    }
    println!("{backend}: losses differ from flex by {largest:.1e} at most");
}

#[cfg(feature = "ndarray")]
#[test]
fn ndarray_gives_the_losses_of_flex() {
    check("ndarray");
}

#[cfg(feature = "wgpu")]
#[test]
fn wgpu_gives_the_losses_of_flex() {
    check("wgpu");
}
