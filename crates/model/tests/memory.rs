//! What an optimiser's state takes in memory, and what saving it takes beside it.

use std::alloc::{GlobalAlloc, Layout, System};
use std::sync::atomic::{AtomicUsize, Ordering};

use burn::backend::Autodiff;
use burn::module::Param;
use burn::prelude::*;
use burn_flex::{Flex, FlexDevice};
use rein_model::Precision;
use rein_model::optim::{AdamW, Gradients, OptimizerConfig};

type AB = Autodiff<Flex>;

const N_TENSORS: usize = 16;
/// Numbers of a tensor: enough that nothing else counts.
const COUNT: usize = 1 << 17;

static LIVE: AtomicUsize = AtomicUsize::new(0);
static MOST: AtomicUsize = AtomicUsize::new(0);

/// The system's allocator, which counts.
struct Counting;

#[global_allocator]
static ALLOCATOR: Counting = Counting;

#[expect(unsafe_code, reason = "what allocators are made of")]
// SAFETY: all calls go to the system's allocator as they come.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        let live = LIVE.fetch_add(layout.size(), Ordering::SeqCst) + layout.size();
        MOST.fetch_max(live, Ordering::SeqCst);
        // SAFETY: as the caller promises.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        LIVE.fetch_sub(layout.size(), Ordering::SeqCst);
        // SAFETY: as the caller promises.
        unsafe { System.dealloc(pointer, layout) }
    }
}

#[derive(Module, Debug)]
struct Weights<B: Backend> {
    tensors: Vec<Param<Tensor<B, 1>>>,
}

/// The only test of its program: others would be counted with it.
#[test]
fn moments_in_bf16_take_half_and_are_saved_one_at_a_time() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let mut taken = Vec::new();
    for (moments, n_bytes) in [(Precision::F32, 4), (Precision::Bf16, 2)] {
        let tensor = || Param::from_tensor(Tensor::<AB, 1>::ones([COUNT], &FlexDevice));
        let module = Weights { tensors: (0..N_TENSORS).map(|_| tensor()).collect() };
        let mut optimizer = AdamW::new(OptimizerConfig { moments, ..OptimizerConfig::default() });
        let before = LIVE.load(Ordering::SeqCst);
        let gradients = Gradients::of(&module, [()], |module: &Weights<AB>, ()| {
            Tensor::cat(module.tensors.iter().map(|it| it.val().sum()).collect(), 0).sum()
        });
        let module = optimizer.update(module, gradients, 0.1);
        let state = LIVE.load(Ordering::SeqCst) - before;
        let expected = 2 * N_TENSORS * COUNT * n_bytes;
        assert!(state.abs_diff(expected) < COUNT, "{state} bytes and not {expected}");

        let before = LIVE.load(Ordering::SeqCst);
        MOST.store(before, Ordering::SeqCst);
        optimizer.save(&folder.path().join("state.safetensors")).expect("saves");
        let beside = MOST.load(Ordering::SeqCst) - before;
        // A copy of its numbers and their bytes.
        assert!(beside < 3 * COUNT * n_bytes, "{beside} bytes for tensors of {}", COUNT * n_bytes);
        drop(module);
        taken.push(state);
    }
    assert!(taken[0] > 19 * taken[1] / 10, "{taken:?}");
}
