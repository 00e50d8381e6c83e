//! The backends that a build can be for.

use anyhow::Result;
use clap::ValueEnum;

use crate::process::{cargo, run};

/// Each is a cargo feature of `rein`; what they stand for is said in its `device.rs`.
#[derive(Clone, Copy, Debug, ValueEnum)]
pub(crate) enum Backend {
    /// CPU, pure Rust
    Flex,
    /// CPU, through the ndarray crate
    Ndarray,
    /// Any GPU, through WebGPU
    Wgpu,
    /// Any GPU with a Vulkan driver
    Vulkan,
    /// Apple GPUs
    Metal,
    /// NVIDIA GPUs
    Cuda,
    /// AMD GPUs
    Rocm,
}

impl Backend {
    /// The cargo features of a build for it.
    pub(crate) fn features(self) -> &'static str {
        match self {
            Self::Flex => "flex",
            Self::Ndarray => "ndarray",
            Self::Wgpu => "wgpu,autotune",
            Self::Vulkan => "vulkan,autotune",
            Self::Metal => "metal,autotune",
            Self::Cuda => "cuda,autotune",
            Self::Rocm => "rocm,autotune",
        }
    }

    /// What the program calls it: `--backend`.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Flex => "flex",
            Self::Ndarray => "ndarray",
            Self::Wgpu | Self::Vulkan | Self::Metal => "wgpu",
            Self::Cuda => "cuda",
            Self::Rocm => "rocm",
        }
    }
}

/// Compiles the program for one backend of each kind.
pub(crate) fn check() -> Result<()> {
    for backend in [Backend::Ndarray, Backend::Wgpu, Backend::Cuda] {
        let features = ["--no-default-features", "--features", backend.features()];
        run(cargo().args(["check", "-p", "rein"]).args(features))?;
    }
    Ok(())
}
