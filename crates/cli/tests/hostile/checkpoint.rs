//! A small honest checkpoint, and the program run on what has become of it.

use std::fs;
use std::os::unix::process::ExitStatusExt;
use std::path::Path;
use std::process::{Command, Stdio};

use serde_json::{Map, Value, json};

use crate::program::wait_until;

const FILE: &str = "model.safetensors";
const INDEX: &str = "model.safetensors.index.json";

/// A whole model, in parts that can be damaged.
pub(crate) struct Checkpoint {
    pub(crate) config: Value,
    /// Name, shape and values of each tensor.
    pub(crate) tensors: Vec<(String, Vec<usize>, Vec<f32>)>,
}

impl Checkpoint {
    /// A Llama of one layer.
    pub(crate) fn honest() -> Self {
        let config = json!({
            "architectures": ["LlamaForCausalLM"], "model_type": "llama", "vocab_size": 32,
            "hidden_size": 8, "intermediate_size": 16, "num_hidden_layers": 1,
            "num_attention_heads": 2, "num_key_value_heads": 1, "hidden_act": "silu",
            "max_position_embeddings": 16, "rms_norm_eps": 1e-5, "rope_theta": 10000.0,
            "tie_word_embeddings": false, "torch_dtype": "float32", "eos_token_id": 2,
        });
        let shapes: [(&str, &[usize]); 12] = [
            ("lm_head", &[32, 8]),
            ("model.embed_tokens", &[32, 8]),
            ("model.layers.0.input_layernorm", &[8]),
            ("model.layers.0.mlp.down_proj", &[8, 16]),
            ("model.layers.0.mlp.gate_proj", &[16, 8]),
            ("model.layers.0.mlp.up_proj", &[16, 8]),
            ("model.layers.0.post_attention_layernorm", &[8]),
            ("model.layers.0.self_attn.k_proj", &[4, 8]),
            ("model.layers.0.self_attn.o_proj", &[8, 8]),
            ("model.layers.0.self_attn.q_proj", &[8, 8]),
            ("model.layers.0.self_attn.v_proj", &[4, 8]),
            ("model.norm", &[8]),
        ];
        let tensor = |(name, shape): (&str, &[usize])| {
            let n_values: usize = shape.iter().product();
            let values = (0..n_values).map(|i| (i as f32 * 0.7).sin() * 0.1).collect();
            (format!("{name}.weight"), shape.to_vec(), values)
        };
        Self { config, tensors: shapes.map(tensor).to_vec() }
    }

    /// The file's header, whose entries lie one behind the other.
    pub(crate) fn header(&self) -> Map<String, Value> {
        let mut header = Map::from_iter([("__metadata__".to_owned(), json!({ "format": "pt" }))]);
        let mut begin = 0;
        for (name, shape, values) in &self.tensors {
            let end = begin + 4 * values.len();
            let entry = json!({ "dtype": "F32", "shape": shape, "data_offsets": [begin, end] });
            header.insert(name.clone(), entry);
            begin = end;
        }
        header
    }

    pub(crate) fn values(&self) -> Vec<u8> {
        let values = self.tensors.iter().flat_map(|(.., values)| values);
        values.flat_map(|value| value.to_le_bytes()).collect()
    }

    /// The bytes of the one file.
    pub(crate) fn file(&self) -> Vec<u8> {
        safetensors(&Value::Object(self.header()).to_string(), &self.values())
    }

    /// Writes the model into a folder.
    pub(crate) fn write(&self, folder: &Path) {
        fs::create_dir_all(folder).expect("creates");
        write_json(&folder.join("config.json"), &self.config);
        fs::write(folder.join(FILE), self.file()).expect("writes");
    }

    /// Writes the model in two shards and returns the index, not written yet.
    pub(crate) fn write_shards(mut self, folder: &Path) -> Value {
        self.write(folder);
        fs::remove_file(folder.join(FILE)).expect("removes");
        let second = Self { tensors: self.tensors.split_off(6), config: Value::Null };
        let mut weight_map = Map::new();
        for (shard, number) in [self, second].iter().zip(1..) {
            let name = format!("model-{number:05}-of-00002.safetensors");
            fs::write(folder.join(&name), shard.file()).expect("writes");
            weight_map.extend(shard.tensors.iter().map(|it| (it.0.clone(), name.clone().into())));
        }
        json!({ "metadata": { "total_size": 0 }, "weight_map": weight_map })
    }
}

/// A file of this header and these bytes.
pub(crate) fn safetensors(header: &str, values: &[u8]) -> Vec<u8> {
    [&(header.len() as u64).to_le_bytes(), header.as_bytes(), values].concat()
}

pub(crate) fn write_json(path: &Path, value: &Value) {
    fs::write(path, value.to_string()).expect("writes");
}

pub(crate) fn write_index(folder: &Path, index: &Value) {
    write_json(&folder.join(INDEX), index);
}

/// Runs `rein generate` on the folder `model` of `place`, in 256 MiB of address space and 5 seconds of
/// computing; returns the exit code and what was said.
pub(crate) fn generate(place: &Path) -> (Option<i32>, String) {
    generate_from(place, "{\"input_ids\": [3, 4]}\n")
}

/// [`generate`], from these rows.
pub(crate) fn generate_from(place: &Path, rows: &str) -> (Option<i32>, String) {
    fs::write(place.join("rows.jsonl"), rows).expect("writes");
    let limited = "ulimit -v 262144 && ulimit -t 5 && exec \"$@\"";
    let generate = ["generate", "--model", "model", "--input", "rows.jsonl", "--greedy"];
    let mut child = Command::new("sh")
        .args(["-c", limited, "sh", env!("CARGO_BIN_EXE_rein")])
        .args(generate)
        .args(["--output", "out.jsonl"])
        // Threads reserve address space that they never use.
        .envs([("RAYON_NUM_THREADS", "1"), ("MALLOC_ARENA_MAX", "1")])
        .current_dir(place)
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(fs::File::create(place.join("told")).expect("creates"))
        .spawn()
        .expect("starts");
    let mut ended = None;
    wait_until("the program to end", || {
        ended = child.try_wait().expect("is a child");
        ended.is_some()
    });
    let status = ended.expect("ended");
    let told = fs::read_to_string(place.join("told")).expect("reads");
    assert_eq!(status.signal(), None, "ended by a signal: too much time or memory: {told}");
    (status.code(), told)
}
