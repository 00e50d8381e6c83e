//! The one file that names backends.
//!
//! A build holds the backends of its features; `--backend` picks one of them, and the rest of the
//! program is generic.

use anyhow::{Context, Result};
use clap::ValueEnum;
use rein_model::backend::LmAutodiffBackend;

/// The backends of this build, the default first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum BackendName {
    /// CPU, pure Rust
    #[cfg(feature = "flex")]
    Flex,
    /// CPU, through the ndarray crate
    #[cfg(feature = "ndarray")]
    Ndarray,
    /// Any GPU, through WebGPU (Vulkan or Metal where the build has them)
    #[cfg(feature = "wgpu")]
    Wgpu,
    /// NVIDIA GPUs
    #[cfg(feature = "cuda")]
    Cuda,
    /// AMD GPUs
    #[cfg(feature = "rocm")]
    Rocm,
}

impl BackendName {
    /// The backend that a build runs on when nobody asks for another.
    pub(crate) fn default_of_build() -> Self {
        *Self::value_variants().first().expect("a build has a backend; see below")
    }

    /// The name on the command line.
    pub(crate) fn name(self) -> String {
        let value = self.to_possible_value().expect("no backend is skipped");
        value.get_name().to_owned()
    }

    /// Whether tensors live in the machine's main memory.
    pub(crate) fn is_cpu(self) -> bool {
        match self {
            #[cfg(feature = "flex")]
            Self::Flex => true,
            #[cfg(feature = "ndarray")]
            Self::Ndarray => true,
            #[cfg(any(feature = "wgpu", feature = "cuda", feature = "rocm"))]
            _ => false,
        }
    }
}

#[cfg(not(any(
    feature = "flex",
    feature = "ndarray",
    feature = "wgpu",
    feature = "cuda",
    feature = "rocm"
)))]
compile_error!(
    "rein needs a backend: enable one of flex, ndarray, wgpu, vulkan, metal, cuda, rocm"
);

/// Work that runs on any backend.
pub(crate) trait Work {
    /// What it gives.
    type Output;

    /// Does it on the backend `B`.
    fn run<B: LmAutodiffBackend>(self, device: B::Device) -> Result<Self::Output>;
}

/// Does `work` on a backend, after a look whether the machine can run it at all.
pub(crate) fn run_on<W: Work>(backend: BackendName, work: W) -> Result<W::Output> {
    use burn::backend::Autodiff;
    match backend {
        #[cfg(feature = "flex")]
        BackendName::Flex => finish::<_, Autodiff<burn_flex::Flex>>(work, burn_flex::FlexDevice),
        #[cfg(feature = "ndarray")]
        BackendName::Ndarray => {
            finish::<_, Autodiff<burn_ndarray::NdArray>>(work, burn_ndarray::NdArrayDevice::Cpu)
        }
        #[cfg(feature = "wgpu")]
        BackendName::Wgpu => {
            let device = burn_wgpu::WgpuDevice::default();
            preflight::wgpu(&device)?;
            finish::<_, Autodiff<burn_wgpu::Wgpu>>(work, device)
        }
        #[cfg(feature = "cuda")]
        BackendName::Cuda => {
            preflight::cuda()?;
            finish::<_, Autodiff<burn_cuda::Cuda>>(work, burn_cuda::CudaDevice::default())
        }
        #[cfg(feature = "rocm")]
        BackendName::Rocm => {
            finish::<_, Autodiff<burn_rocm::Rocm>>(work, burn_rocm::RocmDevice::default())
        }
    }
}

/// Does `work` and lets the device finish what it was given. A driver that is still computing while
/// the program exits, for a result that nobody reads, crashes it.
fn finish<W: Work, B: LmAutodiffBackend>(work: W, device: B::Device) -> Result<W::Output> {
    #[cfg(not(test))]
    let output = work.run::<B>(device.clone());
    // This program's unit tests compute nothing. For each backend, what they don't use would take minutes to compile.
    #[cfg(test)]
    let output = {
        let _ = (work, W::run::<B>);
        Err(anyhow::anyhow!("unit tests run on no backend"))
    };
    let idle = B::sync(&device);
    let output = output?;
    idle.context("the device failed")?;
    Ok(output)
}

/// GPU runtimes panic in a thread of their own where there is no GPU; these look first.
#[cfg(any(feature = "wgpu", feature = "cuda"))]
mod preflight {
    #[cfg(feature = "cuda")]
    use std::path::Path;

    use anyhow::{Result, bail};
    #[cfg(feature = "cuda")]
    use libloading::Library;

    #[cfg(feature = "wgpu")]
    pub(super) fn wgpu(device: &burn_wgpu::WgpuDevice) -> Result<()> {
        use std::panic;

        use burn_wgpu::graphics::AutoGraphicsApi;

        // The runtime has no fallible way to ask for an adapter, so its panic is caught and hushed.
        let hook = panic::take_hook();
        panic::set_hook(Box::new(|_| {}));
        let found = panic::catch_unwind(|| {
            burn_wgpu::init_setup::<AutoGraphicsApi>(device, burn_wgpu::RuntimeOptions::default())
        });
        panic::set_hook(hook);
        if found.is_err() {
            bail!(
                "no GPU that WebGPU, Vulkan or Metal could use was found; install its driver, or \
                 build for the CPU: `--backend flex`"
            );
        }
        Ok(())
    }

    #[cfg(feature = "cuda")]
    pub(super) fn cuda() -> Result<()> {
        let wanted = [
            ("the NVIDIA driver", ["libcuda.so.1", "libcuda.so", "nvcuda.dll"].as_slice()),
            (
                "NVRTC of the CUDA toolkit",
                &[
                    "libnvrtc.so",
                    "libnvrtc.so.13",
                    "libnvrtc.so.12",
                    "libnvrtc.so.11",
                    "nvrtc64_120_0.dll",
                ],
            ),
        ];
        for (what, names) in wanted {
            if !names.iter().any(|name| load(name).is_some()) {
                bail!(
                    "{what} was not found (looked for {}); install it, or build for the CPU: \
                     `--backend flex`",
                    names.join(", ")
                );
            }
        }
        let drivers = wanted[0].1;
        if drivers.iter().find_map(|name| load(name)).and_then(|it| n_devices(&it)) == Some(0) {
            bail!("the NVIDIA driver finds no GPU; build for the CPU: `--backend flex`");
        }
        // Kernels are compiled against the toolkit's headers when they are first needed.
        if cfg!(target_os = "linux")
            && std::env::var_os("CUDA_PATH").is_none()
            && !TOOLKITS.iter().any(|path| Path::new(path).exists())
        {
            bail!(
                "the CUDA toolkit was not found (looked for {}); install it, or let `CUDA_PATH` \
                 name the folder that holds its `include`",
                TOOLKITS.join(", ")
            );
        }
        Ok(())
    }

    /// Where the backend looks for the toolkit if `CUDA_PATH` doesn't say.
    #[cfg(feature = "cuda")]
    const TOOLKITS: [&str; 3] = ["/usr/local/cuda", "/opt/cuda", "/usr/bin/nvcc"];

    #[cfg(feature = "cuda")]
    #[expect(unsafe_code, reason = "opening a shared library runs its initialisers")]
    fn load(name: &str) -> Option<Library> {
        // SAFETY: these are the system's own driver libraries, which the backend opens next anyway.
        unsafe { Library::new(name) }.ok()
    }

    /// How many GPUs the driver finds; 0 where it can't begin, `None` where it isn't one.
    #[cfg(feature = "cuda")]
    #[expect(unsafe_code, reason = "the driver is asked through C")]
    fn n_devices(driver: &Library) -> Option<usize> {
        type Init = unsafe extern "C" fn(u32) -> i32;
        type GetCount = unsafe extern "C" fn(*mut i32) -> i32;
        let mut count = 0;
        // SAFETY: these are the signatures of the driver's interface, which has kept them since CUDA 2,
        // and the count lives until the call is over.
        let failed = unsafe {
            let init = driver.get::<Init>(b"cuInit\0").ok()?;
            let get_count = driver.get::<GetCount>(b"cuDeviceGetCount\0").ok()?;
            init(0) != 0 || get_count(&raw mut count) != 0
        };
        Some(if failed { 0 } else { usize::try_from(count).unwrap_or(0) })
    }
}
