//! Numbers of PyTorch and transformers, reproduced. `REIN_FIXTURES` names another folder of them.

#![allow(clippy::print_stdout, reason = "a test tells what it refused and why")]

mod arithmetic;
#[path = "../../../../fixtures/golden.rs"]
mod golden;
mod models;
mod packing;
mod sampling;
mod training;

use burn::backend::Autodiff;
use burn_flex::{Flex, FlexDevice};

type B = Flex;
type AB = Autodiff<Flex>;

const DEVICE: FlexDevice = FlexDevice;
