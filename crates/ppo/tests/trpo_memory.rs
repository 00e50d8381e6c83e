//! What a step within a trust region takes in memory.

use std::alloc::{GlobalAlloc, Layout, System};
use std::sync::atomic::{AtomicUsize, Ordering};

use burn::backend::Autodiff;
use burn::module::AutodiffModule;
use burn::tensor::activation::softmax;
use burn_flex::{Flex, FlexDevice};
use rein_data::encoding::TokenRow;
use rein_data::seed::Seed;
use rein_model::config::{LlamaShape, ModelConfig};
use rein_model::logprobs::{learned_logits, row_logprobs};
use rein_model::optim::OptimizerConfig;
use rein_model::tokens::LearnedTokens;
use rein_model::weights::RandomWeights;
use rein_model::{CausalLm, Learner};
use rein_ppo::experience::Experience;
use rein_ppo::trpo::{Batch, TrpoConfig, update};

const VOCAB: usize = 1 << 15;
const ROWS: usize = 16;
/// Learned tokens of a row.
const TOKENS: usize = 32;

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

/// The most bytes that exist at a time while something is done, beyond those that existed before.
fn most_bytes<T>(work: impl FnOnce() -> T) -> (T, usize) {
    let before = LIVE.load(Ordering::SeqCst);
    MOST.store(before, Ordering::SeqCst);
    let done = work();
    (done, MOST.load(Ordering::SeqCst) - before)
}

/// The only test of its program: others would be counted with it.
#[test]
fn no_step_holds_the_logits_of_its_tokens() {
    let shape = LlamaShape {
        vocab_size: VOCAB,
        hidden_size: 8,
        mlp_size: 16,
        n_layers: 1,
        n_heads: 2,
        n_kv_heads: 1,
        max_positions: TOKENS + 1,
        tied_head: true,
    };
    let config = ModelConfig::llama(shape).expect("a valid shape");
    let mut weights = RandomWeights::new(&config, Seed::new(1));
    let model = CausalLm::<Autodiff<Flex>>::new(&config, &mut weights, &FlexDevice).expect("fits");
    let mut policy = Learner::new(model, OptimizerConfig::default());
    let row = |row: usize| {
        let token = |place: usize| ((row * 7919 + place * 104_729) % VOCAB) as u32;
        TokenRow::completion(vec![token(0)], &(1..=TOKENS).map(token).collect::<Vec<_>>())
    };
    let rows: Vec<TokenRow> = (0..ROWS).map(row).collect();
    let rows: Vec<&TokenRow> = rows.iter().collect();
    let inner = policy.module().valid();
    let logprobs = row_logprobs(&inner, &rows, 1.0, ROWS, &FlexDevice);
    let experience = rows.iter().zip(logprobs).map(|(tokens, old_logprobs)| Experience {
        tokens: (*tokens).clone(),
        advantages: (0..TOKENS).map(|it| (it as f32 * 2.3).sin()).collect(),
        importance: None,
        penalty: None,
        old_values: Vec::new(),
        returns: Vec::new(),
        old_logprobs,
    });
    let experience: Vec<Experience> = experience.collect();
    let experience: Vec<&Experience> = experience.iter().collect();

    // A product with the Fisher matrix from whole tensors of logits, without its tape.
    let learned = LearnedTokens::new(&rows, &FlexDevice);
    let logits = || learned_logits(&inner, &learned, 1.0);
    let (_, whole) = most_bytes(|| {
        let tangent = logits() - logits();
        let probs = softmax(logits(), 1);
        let mean = (probs.clone() * tangent.clone()).sum_dim(1);
        probs * (tangent - mean)
    });
    let of_logits = VOCAB * ROWS * TOKENS * 4;
    assert!(whole >= 3 * of_logits, "{whole} bytes");
    let batch =
        Batch { rows: &experience, temperature: 1.0, micro_batch_rows: ROWS, device: &FlexDevice };
    let config = TrpoConfig { cg_iterations: 2, ..TrpoConfig::default() };
    let (told, most) = most_bytes(|| update(&mut policy, &batch, &config, 0).expect("updates"));
    assert!(told.accepted, "{told:?}");
    // A few parts of 2^20 numbers, and a few copies of the parameters.
    assert!(most < of_logits && 4 * most < whole, "{most} bytes, and {whole} of whole tensors");
}
