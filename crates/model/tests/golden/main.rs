//! Numbers of PyTorch and transformers, reproduced. `REIN_FIXTURES` names another folder of them.

#![allow(clippy::print_stdout, reason = "a test tells what it refused and why")]

mod arithmetic;
mod bf16;
#[path = "../../../../fixtures/golden.rs"]
mod golden;
mod iq_learn;
mod lora;
mod models;
mod moments;
mod packing;
mod recompute;
mod round_trip;
mod sampling;
mod training;

use burn::backend::Autodiff;
use burn_flex::{Flex, FlexDevice};

type B = Flex;
type AB = Autodiff<Flex>;

type Device = FlexDevice;

const DEVICE: Device = FlexDevice;
