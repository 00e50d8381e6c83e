//! A checkpoint's config, index and weights: any bytes are a model or an error.
//!
//! An input is a config, a zero byte and a file of weights. Both are read as a folder would be, and each
//! alone as everything that it could be taken for.

#![no_main]

use std::fs;
use std::path::Path;
use std::sync::LazyLock;

use libfuzzer_sys::fuzz_target;
use rein_model::config::ModelConfig;
use rein_model::{ExportOptions, FloatType, Header, export};
use tempfile::TempDir;

/// Where the model lies, whole and in shards, and where it goes to.
static FOLDERS: LazyLock<[TempDir; 3]> =
    LazyLock::new(|| [(); 3].map(|()| tempfile::tempdir().expect("a temporary folder")));

fuzz_target!(|input: &[u8]| {
    let zero = input.iter().position(|byte| *byte == 0).unwrap_or(input.len());
    let (config, weights) = (&input[..zero], input.get(zero + 1..).unwrap_or_default());
    let parsed = ModelConfig::from_json(config);
    let header = Header::read(Path::new("model"), weights, weights.len() as u64);
    if let Ok(header) = &header {
        let n_bytes: u64 =
            header.tensors.values().map(|info| info.bytes.end - info.bytes.start).sum();
        assert!(n_bytes < weights.len() as u64);
    }
    let [whole, sharded, to] = &*FOLDERS;
    // What only looks like an index is one to the second folder.
    write(sharded.path(), "config.json", CONFIG);
    write(sharded.path(), "model.safetensors.index.json", config);
    write(sharded.path(), "model-00001-of-00001.safetensors", weights);
    run(sharded.path(), to.path());
    if parsed.is_ok() {
        write(whole.path(), "config.json", config);
        write(whole.path(), "generation_config.json", config);
        write(whole.path(), "model.safetensors", weights);
        run(whole.path(), to.path());
    }
});

/// The config of the seeds' model.
const CONFIG: &[u8] = include_bytes!("../seeds/config.json");

fn write(folder: &Path, name: &str, bytes: &[u8]) {
    fs::write(folder.join(name), bytes).expect("writes");
}

fn run(from: &Path, to: &Path) {
    let options = ExportOptions { float: Some(FloatType::F16), max_shard_bytes: 1000 };
    let _ = export(from, to, &options, |_, shape, values| {
        assert_eq!(shape.iter().product::<usize>(), values.len());
        assert!(values.iter().all(|value| value.is_finite()));
        Ok(())
    });
}
