//! AdamW with moments in bf16.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use burn_ndarray::NdArray;
use half::bf16;
use rand::RngExt;
use rein_data::encoding::TokenRow;
use rein_data::seed::Seed;
use rein_data::stage::Train;
use rein_data::store::TokenStore;
use rein_model::optim::OptimizerConfig;
use rein_model::sft::{Sft, SftConfig, SftRows};
use rein_model::{CausalLm, Precision, load_causal_lm, moments_obstacle};
use safetensors::tensor::TensorView;
use safetensors::{Dtype, SafeTensors};

use crate::golden::own_root;
use crate::{AB, B, DEVICE};

const OPTIMIZER: &str = "optimizer.safetensors";

fn begin(moments: Precision) -> Sft<AB> {
    let optimizer = OptimizerConfig { learning_rate: 5e-4, moments, ..OptimizerConfig::default() };
    let config = SftConfig { epochs: 100.0, batch_rows: 8, optimizer, ..SftConfig::default() };
    let model: CausalLm<AB> =
        load_causal_lm(&own_root().join("models/llama"), &DEVICE).expect("loads");
    let (train, heldout) = (TokenStore::in_memory(some_rows(0)), TokenStore::in_memory(vec![]));
    Sft::new(config, model, None, SftRows { train, heldout }, Seed::new(3), &DEVICE)
        .expect("begins")
}

/// A step's rows, with something to learn: three tokens of four follow from the one before.
fn some_rows(step: usize) -> Vec<TokenRow> {
    let row = |row: usize| {
        let mut rng = Seed::new(5).index(step as u64).index(row as u64).rng();
        let mut token = rng.random_range(0..50);
        let mut next = || {
            let is_any = rng.random_range(0..4) == 0;
            token = if is_any { rng.random_range(0..50) } else { (token * 5 + 7) % 50 };
            token
        };
        TokenRow::new((0..12).map(|_| next()).collect(), vec![true; 12])
    };
    (0..8).map(row).collect()
}

/// The losses of these steps.
fn losses(sft: &mut Sft<AB>, steps: std::ops::Range<usize>) -> Vec<f64> {
    let step = |step| {
        let rows = some_rows(step);
        let rows: Vec<&TokenRow> = rows.iter().collect();
        sft.update(step, &rows).expect("updates").get("loss").expect("is measured")
    };
    steps.map(step).collect()
}

/// The tensors of an optimiser's file.
fn moments(folder: &Path) -> BTreeMap<String, (Dtype, Vec<f32>)> {
    let bytes = fs::read(folder.join(OPTIMIZER)).expect("was saved");
    let file = SafeTensors::deserialize(&bytes).expect("is one");
    let values = |view: &TensorView<'_>| match view.dtype() {
        Dtype::F32 => view.data().as_chunks().0.iter().map(|it| f32::from_le_bytes(*it)).collect(),
        _ => view.data().as_chunks().0.iter().map(|it| bf16::from_le_bytes(*it).to_f32()).collect(),
    };
    let tensors = file.tensors();
    tensors.into_iter().map(|(name, view)| (name, (view.dtype(), values(&view)))).collect()
}

fn files(folder: &Path) -> [Vec<u8>; 2] {
    ["model/model.safetensors", OPTIMIZER].map(|it| fs::read(folder.join(it)).expect("was saved"))
}

/// What rounding does to a run. A second moment wanders by a few per cent, its root by half of that, and a
/// first moment is off by 0.4 %: each weight's steps are a few per cent longer or shorter, by chance and each
/// by itself, and on the whole of the weights that nearly cancels. Losses were seen to differ by 0.00002 of
/// the first one; fifty times that would be no chance.
#[test]
fn losses_are_near_those_of_moments_in_f32() {
    let [full, rounded] =
        [Precision::F32, Precision::Bf16].map(|it| losses(&mut begin(it), 0..120));
    assert_eq!(full[0], rounded[0], "nothing was rounded yet");
    assert!(full[119] < 0.6 * full[0], "something is learned: {full:?}");
    assert!(full != rounded, "something is rounded");
    for (step, (full_at, rounded_at)) in full.iter().zip(&rounded).enumerate() {
        let off = (full_at - rounded_at).abs() / full[0];
        println!("step {step}: {full_at:.4} {rounded_at:.4} {off:.5}");
        assert!(off < 0.001, "step {step}: {rounded_at} and not {full_at}");
    }
}

#[test]
fn a_resumed_run_is_the_uninterrupted_one() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let [whole, half, resumed] = ["whole", "half", "resumed"].map(|it| folder.path().join(it));
    let mut sft = begin(Precision::Bf16);
    let all = losses(&mut sft, 0..8);
    sft.save(&whole).expect("saves");

    let mut sft = begin(Precision::Bf16);
    losses(&mut sft, 0..4);
    sft.save(&half).expect("saves");
    let mut sft = begin(Precision::Bf16);
    sft.restore(&half).expect("restores");
    assert_eq!(losses(&mut sft, 4..8), all[4..]);
    sft.save(&resumed).expect("saves");
    assert!(files(&whole) == files(&resumed));
    assert!(files(&whole) != files(&half));
    assert!(moments(&half).values().all(|(dtype, _)| *dtype == Dtype::BF16));
}

#[test]
fn moments_of_the_other_precision_are_converted() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let [full, rounded, back] = ["full", "rounded", "back"].map(|it| folder.path().join(it));
    let mut sft = begin(Precision::F32);
    losses(&mut sft, 0..4);
    sft.save(&full).expect("saves");

    let mut sft = begin(Precision::Bf16);
    sft.restore(&full).expect("restores");
    sft.save(&rounded).expect("saves");
    let nearest = |(_, values): &(Dtype, Vec<f32>)| -> Vec<f32> {
        values.iter().map(|it| bf16::from_f32(*it).to_f32()).collect()
    };
    let [full, halves] = [&full, &rounded].map(|it| moments(it));
    assert_eq!(full.len(), halves.len());
    for (name, (dtype, values)) in &halves {
        assert_eq!((dtype, values), (&Dtype::BF16, &nearest(&full[name])), "{name}");
    }

    let mut sft = begin(Precision::F32);
    sft.restore(&rounded).expect("restores");
    sft.save(&back).expect("saves");
    for (name, (dtype, values)) in moments(&back) {
        assert_eq!((dtype, &values), (Dtype::F32, &halves[&name].1), "{name}");
    }
    let [mut of_full, mut of_halves] = [Precision::F32, Precision::Bf16].map(begin);
    of_full.restore(&back).expect("restores");
    of_halves.restore(&rounded).expect("restores");
    let [a, b] = [&mut of_full, &mut of_halves].map(|sft| losses(sft, 4..6));
    assert_eq!(a[0], b[0], "both go on from the same");
    assert!((a[1] - b[1]).abs() < 0.01 * a[1], "{a:?} {b:?}");
}

#[test]
fn moments_of_another_type_are_refused() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let mut sft = begin(Precision::Bf16);
    losses(&mut sft, 0..1);
    sft.save(folder.path()).expect("saves");
    let path = folder.path().join(OPTIMIZER);
    let text = fs::read(&path).expect("was saved");
    // Both types have 16 bits.
    let at = text.windows(6).position(|it| it == b"\"BF16\"").expect("tells its types");
    let text = [&text[..at], b" \"F16\"", &text[at + 6..]].concat();
    fs::write(&path, text).expect("writes");
    let error = sft.restore(folder.path()).expect_err("is refused").to_string();
    assert!(error.contains("is F16, not F32 or BF16"), "{error}");
}

#[test]
fn backends_without_such_tensors_say_so() {
    let device = Default::default();
    assert_eq!(moments_obstacle::<NdArray>(Precision::F32, &device), None);
    let obstacle = moments_obstacle::<NdArray>(Precision::Bf16, &device);
    assert!(obstacle.is_some_and(|it| it.contains("backend")));
    assert_eq!(moments_obstacle::<B>(Precision::Bf16, &DEVICE), None, "on any processor");
    assert_eq!(moments_obstacle::<AB>(Precision::Bf16, &DEVICE), None);
}
