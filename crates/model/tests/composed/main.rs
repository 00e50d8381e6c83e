//! The golden numbers again, on a backend without kernels of its own: every operation is composed of
//! ordinary ones. `tests/golden` runs the same tests on Flex's kernels.

#![allow(clippy::print_stdout, reason = "a test tells what it refused and why")]

#[path = "../golden/arithmetic.rs"]
mod arithmetic;
#[path = "../../../../fixtures/golden.rs"]
mod golden;
#[path = "../golden/lora.rs"]
mod lora;
#[path = "../golden/models.rs"]
mod models;
#[path = "../golden/packing.rs"]
mod packing;
#[path = "../golden/recompute.rs"]
mod recompute;
#[path = "../golden/training.rs"]
mod training;

use burn::backend::Autodiff;
use burn_ndarray::{NdArray, NdArrayDevice};

type B = NdArray;
type AB = Autodiff<NdArray>;
type Device = NdArrayDevice;

const DEVICE: Device = NdArrayDevice::Cpu;
