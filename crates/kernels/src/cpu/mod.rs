//! The arithmetic itself, on slices: what the Flex backend runs and what decoding on CPUs is made of.
//!
//! Matrices are row-major. Work is cut into pieces of a fixed size and given to rayon's threads, so
//! that no result depends on their number. Functions are compiled for AVX-512, for AVX2 and for the
//! least that the target has, and choose when they are called.

pub mod activation;
pub mod attention;
pub mod bf16;
pub mod decode;
pub mod draw;
pub mod math;
pub mod matmul;
pub mod norm;
pub mod optimizer;
pub mod packed;
pub mod packed_head;
pub mod pieces;
pub mod rotary;
mod strips;
mod tile;
mod vectors;
pub mod vocabulary;

mod small_heads;
