//! What is loaded and saved is what was there, to the last bit.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use rein_model::{
    ExportOptions, FloatType, SaveOptions, export, load_causal_lm, load_scalar_model,
    save_causal_lm, save_causal_lm_as, save_scalar_model,
};
use safetensors::{Dtype, SafeTensors};
use serde_json::Map;

use crate::golden::{folders, json};
use crate::{B, DEVICE};

type Tensors = BTreeMap<String, (Dtype, Vec<usize>, Vec<u8>)>;

/// The folders whose models are loaded.
fn models() -> Vec<PathBuf> {
    let all = folders("models", "config.json").into_iter();
    all.filter(|folder| load_causal_lm::<B>(folder, &DEVICE).is_ok()).collect()
}

/// All weights of a folder, in one file or in shards.
fn weights(folder: &Path) -> Tensors {
    let mut tensors = Tensors::new();
    for name in names(folder).iter().filter(|name| name.starts_with("model")) {
        if name.ends_with(".safetensors") {
            let bytes = fs::read(folder.join(name)).expect("reads");
            let file = SafeTensors::deserialize(&bytes).expect("a whole file");
            for (name, view) in file.iter() {
                let tensor = (view.dtype(), view.shape().to_vec(), view.data().to_vec());
                assert_eq!(tensors.insert(name.to_owned(), tensor), None);
            }
        }
    }
    tensors
}

fn names(folder: &Path) -> Vec<String> {
    let entries = fs::read_dir(folder).expect("reads");
    let names = entries.map(|entry| entry.expect("reads").file_name().into_string());
    let mut names: Vec<String> = names.map(|name| name.expect("UTF-8")).collect();
    names.sort();
    names
}

/// The tensors that both have; old layouts lack a prefix and hold constants.
fn assert_same_tensors(saved: &Tensors, original: &Tensors) {
    assert!(!saved.is_empty());
    for (name, tensor) in saved {
        let bare = name.split_once('.').map(|(_, bare)| bare);
        let stored = original.get(name).or_else(|| original.get(bare?));
        assert!(Some(tensor) == stored, "{name} differs");
    }
}

fn assert_same_files(folder: &Path, other: &Path) {
    assert_eq!(names(folder), names(other));
    for name in names(folder) {
        let bytes = |folder: &Path| fs::read(folder.join(&name)).expect("reads");
        assert!(bytes(folder) == bytes(other), "{name} differs");
    }
}

fn float_of(folder: &Path) -> FloatType {
    match weights(folder).values().next().expect("has tensors").0 {
        Dtype::BF16 => FloatType::Bf16,
        Dtype::F16 => FloatType::F16,
        _ => FloatType::F32,
    }
}

#[test]
fn language_models_come_back_as_they_were() {
    for folder in models() {
        println!("{}", folder.display());
        let [first, second, same] = [(); 3].map(|()| tempfile::tempdir().expect("a folder"));
        let original = load_causal_lm::<B>(&folder, &DEVICE).expect("loads");
        save_causal_lm(&original, first.path()).expect("saves");
        let loaded = load_causal_lm::<B>(first.path(), &DEVICE).expect("loads");
        save_causal_lm(&loaded, second.path()).expect("saves");
        assert_same_files(first.path(), second.path());
        // In the type that it was stored in, it has the bytes that transformers wrote.
        let options = SaveOptions { float: float_of(&folder), ..SaveOptions::default() };
        save_causal_lm_as(&original, &options, same.path()).expect("saves");
        assert_same_tensors(&weights(same.path()), &weights(&folder));
        let generation = "generation_config.json";
        if folder.join(generation).exists() {
            let [saved, original] = [first.path(), &folder].map(|it| json(&it.join(generation)));
            assert_eq!(saved, original);
        }
        let (saved, original) = (same.path().join("config.json"), folder.join("config.json"));
        assert_eq!(json(&saved)["dtype"], json(&original)["dtype"]);
    }
}

#[test]
fn reward_models_come_back_as_they_were() {
    for folder in folders("reward", "config.json") {
        let [first, second] = [(); 2].map(|()| tempfile::tempdir().expect("a folder"));
        let original = load_scalar_model::<B>(&folder, &DEVICE).expect("loads");
        save_scalar_model(&original, &Map::new(), first.path()).expect("saves");
        assert_same_tensors(&weights(first.path()), &weights(&folder));
        let loaded = load_scalar_model::<B>(first.path(), &DEVICE).expect("loads");
        save_scalar_model(&loaded, &Map::new(), second.path()).expect("saves");
        assert_same_files(first.path(), second.path());
    }
}

#[test]
fn shards_hold_what_one_file_holds_and_leave_nothing_behind() {
    let model = load_causal_lm::<B>(&models()[0], &DEVICE).expect("loads");
    let [single, shards] = [(); 2].map(|()| tempfile::tempdir().expect("a folder"));
    save_causal_lm(&model, single.path()).expect("saves");
    let max_shard_bytes = model.config().n_params() as u64;
    let options = SaveOptions { max_shard_bytes, ..SaveOptions::default() };
    save_causal_lm_as(&model, &options, shards.path()).expect("saves");
    let index = json(&shards.path().join("model.safetensors.index.json"));
    let weights_of_single = weights(single.path());
    assert_eq!(weights(shards.path()), weights_of_single);
    assert_eq!(index["weight_map"].as_object().expect("a map").len(), weights_of_single.len());
    let n_bytes: usize = weights_of_single.values().map(|(.., bytes)| bytes.len()).sum();
    assert_eq!(index["metadata"]["total_size"], n_bytes);
    assert_eq!(index["metadata"]["total_parameters"], n_bytes / 4);
    let n_shards = names(shards.path()).iter().filter(|it| it.starts_with("model-")).count();
    assert!(n_shards > 2, "{n_shards} shards");
    assert!(shards.path().join(format!("model-00001-of-{n_shards:05}.safetensors")).exists());
    let loaded = load_causal_lm::<B>(shards.path(), &DEVICE).expect("loads");
    save_causal_lm(&loaded, shards.path()).expect("saves over the shards");
    assert_same_files(shards.path(), single.path());
}

fn exported(folder: &Path, float: Option<FloatType>) -> tempfile::TempDir {
    let to = tempfile::tempdir().expect("a folder");
    let options = ExportOptions { float, max_shard_bytes: 200_000 };
    export(folder, to.path(), &options, |_, _, _| Ok(())).expect("exports");
    to
}

#[test]
fn an_export_keeps_the_bytes_or_casts_each_value() {
    for folder in [models(), folders("reward", "config.json")].concat() {
        println!("{}", folder.display());
        let kept = exported(&folder, None);
        assert_same_tensors(&weights(kept.path()), &weights(&folder));
        assert_eq!(json(&kept.path().join("config.json")), json(&folder.join("config.json")));
        let floats = exported(&folder, Some(FloatType::F32));
        let halves = exported(&folder, Some(FloatType::Bf16));
        let config = json(&halves.path().join("config.json"));
        assert!(config["dtype"] == "bfloat16" || config["torch_dtype"] == "bfloat16");
        let halves = weights(halves.path());
        for (name, (_, shape, bytes)) in weights(floats.path()) {
            let value = |it: &[u8]| f32::from_le_bytes(it.try_into().expect("4 bytes"));
            let cast = bytes.chunks(4).flat_map(|it| half::bf16::from_f32(value(it)).to_le_bytes());
            assert_eq!(halves[&name], (Dtype::BF16, shape, cast.collect()), "{name}");
        }
    }
}

#[test]
fn values_can_be_edited_on_their_way_and_must_fit() {
    let (folder, to) = (&models()[0], tempfile::tempdir().expect("a folder"));
    let chosen = weights(folder).keys().next().expect("has tensors").clone();
    let run = |float, value: f32| {
        let options = ExportOptions { float, max_shard_bytes: u64::MAX };
        export(folder, to.path(), &options, |name, shape, values| {
            assert_eq!(shape.iter().product::<usize>(), values.len());
            if name == chosen {
                values[0] = value;
            }
            Ok(())
        })
    };
    run(Some(FloatType::F32), 7.0).expect("exports");
    let (.., bytes) = &weights(to.path())[&chosen];
    assert_eq!(bytes[..4], 7_f32.to_le_bytes());
    let error = run(Some(FloatType::F16), 65520.0).expect_err("is refused").to_string();
    assert!(
        error.contains(&format!("`{chosen}` holds 65520, which f16 has no room for")),
        "{error}"
    );
}
