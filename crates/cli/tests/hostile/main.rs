//! Damaged and hostile checkpoints: each is refused with an error that names the culprit, within small
//! limits of time and memory.

#![cfg(target_os = "linux")]
#![allow(dead_code, reason = "each test program uses a part of what they share")]

mod checkpoint;
#[path = "../../../../fixtures/golden.rs"]
mod golden;
#[path = "../program/mod.rs"]
mod program;
mod templates;

use std::fs;
use std::os::unix::fs::symlink;
use std::path::Path;

use checkpoint::{Checkpoint, generate, safetensors, write_index, write_json};
use serde_json::{Map, Value, json};

/// What `make` puts into the folder `model` is refused, and the error begins so.
fn refused(told: &str, make: impl FnOnce(&Path)) {
    let place = tempfile::tempdir().expect("a temporary folder");
    make(&place.path().join("model"));
    let (code, error) = generate(place.path());
    assert_eq!(code, Some(2), "{told}: {error}");
    let error = error.strip_prefix("error: ").expect("is an error");
    assert!(error.starts_with(told), "got:  {error}want: {told}");
    assert_eq!(error.lines().count(), 1, "one line: {error}");
    assert!(error.len() < 600 && !error.contains("panicked"), "{error}");
    assert!(!place.path().join("out.jsonl").exists(), "something was written");
}

#[test]
fn the_honest_checkpoint_is_taken() {
    for shards in [false, true] {
        let place = tempfile::tempdir().expect("a temporary folder");
        let (model, honest) = (place.path().join("model"), Checkpoint::honest());
        if shards {
            let index = honest.write_shards(&model);
            write_index(&model, &index);
        } else {
            honest.write(&model);
        }
        assert_eq!(generate(place.path()).0, Some(0));
    }
}

/// A checkpoint with this file in place of its weights.
fn weights(bytes: &[u8], told: &str) {
    refused(&format!("model/model.safetensors: {told}"), |model| {
        Checkpoint::honest().write(model);
        fs::write(model.join("model.safetensors"), bytes).expect("writes");
    });
}

#[test]
fn files_that_are_cut_off_or_too_long() {
    let file = Checkpoint::honest().file();
    let n_header = u64::from_le_bytes(file[..8].try_into().expect("8 bytes")) as usize;
    weights(&[], "ends within its header");
    weights(&file[..5], "ends within its header");
    weights(&file[..100], "its header has ");
    weights(&file[..8 + n_header], "`lm_head.weight` ends at byte ");
    weights(&file[..file.len() - 1], "`model.norm.weight` ends at byte ");
    weights(&[&file[..], b"abc"].concat(), "3 bytes after its last tensor belong to none");
    let with_length = |length: u64| [&length.to_le_bytes(), &file[8..]].concat();
    weights(&with_length(1 << 63), "its header has 9223372036854775808 bytes; at most 16777216");
    weights(&with_length(u64::MAX), "its header has 18446744073709551615 bytes; at most 16777216");
    weights(&with_length(16 << 20), "its header has 16777216 bytes, but the file has ");
    weights(&with_length(0), "in its header: EOF while parsing a value");
    weights(&with_length(n_header as u64 - 1), "in its header: EOF while parsing an object");
}

#[test]
fn headers_that_are_no_headers() {
    let file = |header: &[u8]| [&(header.len() as u64).to_le_bytes(), header, &[0; 64]].concat();
    let long = "a".repeat(15 << 20);
    weights(&file(b"\x80\x04 a pickle"), "its header is not UTF-8: ");
    weights(&file(b"not JSON"), "in its header: expected ident at line 1 column 2");
    weights(&file(b"[]"), "in its header: invalid type: sequence, expected an object");
    weights(&file("[".repeat(1 << 20).as_bytes()), "in its header: invalid type: sequence");
    weights(&file("{\"a\":".repeat(1 << 20).as_bytes()), "in its header: `a`: unknown field `a`");
    let deep = format!("{{\"a\":{{\"shape\":{}", "[".repeat(1 << 20));
    weights(&file(deep.as_bytes()), "in its header: `a`: invalid type: sequence");
    weights(&file(format!("{{\"{long}\":{{}}}}").as_bytes()), "in its header: `aaaa");
    let dtype = format!("{{\"a\":{{\"dtype\":\"{long}\"}}}}");
    weights(&file(dtype.as_bytes()), "in its header: `a`: unknown variant `aaaa");
    let notes = format!("{{\"__metadata__\":{{{}\"a\":\"\"}}}}", "\"a\":\"\",".repeat(2 << 20));
    weights(&file(notes.as_bytes()), "in its header: invalid length 1000");
    let entry = |number: usize| {
        let end = number + 1;
        format!("\"{number}\":{{\"dtype\":\"U8\",\"shape\":[1],\"data_offsets\":[{number},{end}]}}")
    };
    let many: Vec<String> = (0..100_000).map(entry).collect();
    let many = safetensors(&format!("{{{}}}", many.join(",")), &[0; 100_000]);
    weights(&many, "in its header: more than 20000 tensors");
    let same = |number: usize| {
        format!("\"{number}\":{{\"dtype\":\"F32\",\"shape\":[0],\"data_offsets\":[0,0]}}")
    };
    let same: Vec<String> = (0..20_000).map(same).collect();
    weights(&file(format!("{{{}}}", same.join(",")).as_bytes()), "`0` has the shape [0] and hence");
}

/// An honest file but for one change of its header.
fn header(change: impl FnOnce(&mut Map<String, Value>), told: &str) {
    let honest = Checkpoint::honest();
    let mut header = honest.header();
    change(&mut header);
    weights(&safetensors(&Value::Object(header).to_string(), &honest.values()), told);
}

const NORM: &str = "model.norm.weight";

#[test]
fn headers_that_lie() {
    let offsets = |name: &'static str, begin: u64, end: u64| {
        move |header: &mut Map<String, Value>| header[name]["data_offsets"] = json!([begin, end])
    };
    let shape =
        |shape: Value| move |header: &mut Map<String, Value>| header[NORM]["shape"] = shape.clone();
    let dtype = |dtype: &'static str| {
        move |header: &mut Map<String, Value>| header[NORM]["dtype"] = dtype.into()
    };
    header(
        offsets("lm_head.weight", 4, 1028),
        "4 bytes before `lm_head.weight` belong to no tensor",
    );
    header(
        offsets("model.embed_tokens.weight", 1020, 2044),
        "`model.embed_tokens.weight` overlaps",
    );
    header(offsets(NORM, 0, 32), "`model.norm.weight` overlaps the tensor before it");
    header(offsets(NORM, 1 << 40, (1 << 40) + 32), "`model.norm.weight` ends at byte 10995116");
    header(
        offsets(NORM, u64::MAX - 32, u64::MAX),
        "`model.norm.weight` ends at 184467440737095516",
    );
    header(offsets(NORM, 32, 0), "`model.norm.weight` lies at 32..0, but [8] values of type F32");
    header(
        shape(json!([4194305, 4194305, 211106198978564_u64])),
        "`model.norm.weight` has the shape",
    );
    header(shape(json!([0])), "`model.norm.weight` has the shape [0] and hence no values");
    header(shape(json!([-8])), "in its header: `model.norm.weight`: invalid value: integer `-8`");
    header(shape(json!([8.0])), "in its header: `model.norm.weight`: invalid type: floating point");
    header(shape(json!([9])), "`model.norm.weight` lies at ");
    header(shape(json!([2, 4])), "`model.norm.weight` has the shape [2, 4], but config.json asks");
    header(dtype("F16"), "`model.norm.weight` lies at ");
    header(dtype("F128"), "in its header: `model.norm.weight`: unknown variant `F128`");
    header(dtype("I32"), "`model.norm.weight` is I32; f32, f16 and bf16 are supported");
    let extra = |header: &mut Map<String, Value>| header[NORM]["code"] = "exec()".into();
    header(extra, "in its header: `model.norm.weight`: unknown field `code`");
    let rename = |to: &'static str| {
        move |header: &mut Map<String, Value>| {
            let entry = header.remove(NORM).expect("is there");
            header.insert(to.into(), entry);
        }
    };
    header(rename("model.norm"), "`model.norm.weight` is missing");
    header(rename("\u{1b}[2J\n"), "`model.norm.weight` is missing");
    let honest = Checkpoint::honest();
    let text = Value::Object(honest.header()).to_string();
    let twice = text.replace("model.layers.0.self_attn.v_proj", "model.layers.0.self_attn.k_proj");
    let told = "in its header: `model.layers.0.self_attn.k_proj.weight` stands there twice";
    weights(&safetensors(&twice, &honest.values()), told);
    weights(
        &safetensors("{}", &[]),
        "`model.embed_tokens.weight` and 11 other tensors are missing",
    );
}

/// An honest checkpoint but for some of its tensors.
fn tensors(change: impl FnOnce(&mut Checkpoint), told: &str) {
    refused(&format!("model/model.safetensors: {told}"), |model| {
        let mut checkpoint = Checkpoint::honest();
        change(&mut checkpoint);
        checkpoint.write(model);
    });
}

#[test]
fn tensors_that_are_missing_unknown_or_no_numbers() {
    tensors(|it| drop(it.tensors.remove(0)), "`lm_head.weight` is missing");
    let stranger = |name: &'static str| {
        move |it: &mut Checkpoint| it.tensors.push((name.into(), vec![1], vec![0.0]))
    };
    tensors(
        stranger("model.layers.1.mlp.up_proj.weight"),
        "holds `model.layers.1.mlp.up_proj.weight`, which the model of its config.json does not have",
    );
    tensors(stranger("evil\u{1b}]0;\u{7}\n"), "holds `evil\\u{1b}]0;\\u{7}\\n`, which the model");
    for value in [f32::NAN, f32::INFINITY, f32::NEG_INFINITY] {
        let told = "`model.layers.0.self_attn.k_proj.weight` holds values that are not finite";
        tensors(|it| it.tensors[7].2[5] = value, told);
    }
}

/// An honest checkpoint but for one key of its config.
fn config(key: &str, value: Value, told: &str) {
    refused(&format!("model/config.json: {told}"), |model| {
        let mut checkpoint = Checkpoint::honest();
        checkpoint.config[key] = value;
        checkpoint.write(model);
    });
}

#[test]
fn configs_that_ask_for_too_much_or_nonsense() {
    config("vocab_size", json!(1_u64 << 40), "`vocab_size` is 1099511627776, not a size");
    config(
        "vocab_size",
        json!(1 << 30),
        "vocab_size is 1073741824; it must lie within 1..=1048576",
    );
    config(
        "num_hidden_layers",
        json!(1_000_000_000),
        "number of layers is 1000000000; it must lie",
    );
    config("hidden_size", json!(4_000_000_000_u64), "hidden size is 4000000000; it must lie");
    config("hidden_size", json!(-8), "`hidden_size` is -8, not a size");
    config("hidden_size", json!(8.5), "`hidden_size` is 8.5, not a size");
    config("hidden_size", json!("8"), "`hidden_size` is \"8\", not a size");
    config("hidden_size", json!(1e300), "`hidden_size` is 1e+300, not a size");
    config("hidden_size", Value::Null, "`hidden_size` is missing");
    config("num_attention_heads", json!(0), "`num_attention_heads` is 0, not a size");
    config("num_attention_heads", json!(3), "hidden size 8 is not a multiple of 3 heads");
    config("num_key_value_heads", json!(3), "2 heads can't share 3 key-value heads evenly");
    config("head_dim", json!(3), "rotary embedding on 3 of 3 dimensions");
    config("rope_theta", json!(0), "`rope_theta` is 0; it must be above 0");
    config(
        "rope_scaling",
        json!({ "rope_type": "yarn" }),
        "`rope_type` is `yarn`; default and llama3",
    );
    config("model_type", json!("llama5"), "`model_type` is `llama5`; gpt2, llama");
    config("model_type", json!("x".repeat(500_000)), "`model_type` is `xxxx");
    config(
        "hidden_act",
        json!("relu"),
        "another activation than silu is not supported (`hidden_act`",
    );
    config("quantization_config", json!({ "bits": 4 }), "quantised weights are not supported");
    config("auto_map", json!({ "AutoModel": "evil.Model" }), "code that comes with a model is not");
    // Within bounds, it must still be what the file holds, and nothing is allocated for it before.
    let grow = |sizes: &'static [(&str, u64)]| {
        move |it: &mut Checkpoint| {
            sizes.iter().for_each(|(key, size)| it.config[*key] = json!(size));
        }
    };
    tensors(
        grow(&[("vocab_size", 1 << 20), ("hidden_size", 1 << 17)]),
        "`model.embed_tokens.weight` has the shape [32, 8], but config.json asks for [1048576, 131072]",
    );
    tensors(
        grow(&[("num_hidden_layers", 1024)]),
        "`model.layers.1.input_layernorm.weight` and 9206 other tensors are missing",
    );
}

#[test]
fn configs_that_are_no_configs() {
    let text = |text: &[u8], told: &str| {
        refused(&format!("model/config.json: {told}"), |model| {
            Checkpoint::honest().write(model);
            fs::write(model.join("config.json"), text).expect("writes");
        });
    };
    text(b"", "EOF while parsing a value");
    text(b"[]", "is a list, not an object");
    text(b"{\"model_type\":\"llama\",\"model_type\":\"gpt2\"}", "`model_type` stands there twice");
    text("{\"a\":".repeat(10_000).as_bytes(), "recursion limit exceeded");
    text(b"{\"model_type\": \"\xff\"}", "invalid unicode code point");
    text(&vec![b' '; 64 << 20], "67108864 bytes; at most 1048576 are read");
    refused("model/config.json: No such file or directory", |model| {
        Checkpoint::honest().write(model);
        fs::remove_file(model.join("config.json")).expect("removes");
    });
    refused(
        "model/generation_config.json: `eos_token_id` is neither a token nor a list",
        |model| {
            Checkpoint::honest().write(model);
            write_json(&model.join("generation_config.json"), &json!({ "eos_token_id": [-1] }));
        },
    );
}

/// Shards of an honest checkpoint and an index that isn't.
fn shards(change: impl FnOnce(&Path, &mut Value), told: &str) {
    refused(&format!("model/{told}"), |model| {
        let mut index = Checkpoint::honest().write_shards(model);
        change(model, &mut index);
        write_index(model, &index);
    });
}

#[test]
fn indices_that_lead_astray() {
    let to = |shard: &'static str| {
        move |_: &Path, index: &mut Value| index["weight_map"][NORM] = shard.into()
    };
    let index = "model.safetensors.index.json:";
    let no_name = "is not the name of a safetensors file in this folder";
    let paths =
        ["../secret.safetensors", "/etc/passwd", "..", "a/b.safetensors", "pytorch_model.bin"];
    for path in paths {
        shards(to(path), &format!("{index} shard `{path}` {no_name}"));
    }
    let missing = "model-00003-of-00002.safetensors";
    shards(to(missing), &format!("{index} names the shard `{missing}`, which is missing"));
    let lies = |_: &Path, index: &mut Value| {
        index["weight_map"][NORM] = "model-00001-of-00002.safetensors".into();
    };
    shards(lies, &format!("{index} `{NORM}` does not lie in `model-00001-of-00002.safetensors`"));
    let unnamed = |_: &Path, index: &mut Value| {
        index["weight_map"].as_object_mut().expect("a map").remove(NORM);
    };
    let told = format!("holds `{NORM}`, which model.safetensors.index.json does not name");
    shards(unnamed, &format!("model-00002-of-00002.safetensors: {told}"));
    let twice = |model: &Path, _: &mut Value| {
        let path = |number| model.join(format!("model-0000{number}-of-00002.safetensors"));
        fs::copy(path(2), path(1)).expect("copies");
    };
    let both = "`model.layers.0.post_attention_layernorm.weight` stands in this shard and in";
    shards(twice, &format!("model-00002-of-00002.safetensors: {both}"));
    shards(|_, index| *index = json!([]), &format!("{index} invalid length 0, expected an object"));
    shards(|_, index| index["weight_map"] = json!({}), &format!("{index} names no shards"));
    shards(|_, index| index["weight_map"] = json!(3), &format!("{index} invalid type: integer"));
    let many = |_: &Path, index: &mut Value| {
        let shard = |number: usize| (number.to_string(), format!("{number}.safetensors").into());
        index["weight_map"] = Value::Object((0..1000).map(shard).collect());
    };
    shards(many, &format!("{index} names 1000 shards; at most 512 are read"));
}

#[test]
fn what_is_no_file_of_the_folder() {
    for name in ["model.safetensors", "config.json", "tokenizer.json"] {
        let in_place_of = |make: &dyn Fn(&Path), told: &str| {
            refused(&format!("model/{name}: {told}"), |model| {
                Checkpoint::honest().write(model);
                let _ = fs::remove_file(model.join(name));
                make(&model.join(name));
            });
        };
        in_place_of(&|path| fs::create_dir(path).expect("creates"), "is not a regular file");
        let pipe = |path: &Path| {
            let made = std::process::Command::new("mkfifo").arg(path).status();
            assert!(made.expect("starts").success());
        };
        in_place_of(&pipe, "is not a regular file");
        let outside = "is a link to a place outside the folder; put the file itself there";
        in_place_of(&|path| symlink("/dev/zero", path).expect("links"), outside);
        in_place_of(&|path| symlink("/etc/passwd", path).expect("links"), outside);
        in_place_of(&|path| symlink("../rows.jsonl", path).expect("links"), outside);
    }
    refused("model: holds no model.safetensors (nor an index of shards)", |model| {
        Checkpoint::honest().write(model);
        fs::remove_file(model.join("model.safetensors")).expect("removes");
        symlink("model.safetensors", model.join("model.safetensors")).expect("links");
    });
    refused("model/tokenizer.json: 67108865 bytes; at most 67108864 are read", |model| {
        Checkpoint::honest().write(model);
        let file = fs::File::create(model.join("tokenizer.json")).expect("creates");
        file.set_len((64 << 20) + 1).expect("grows");
    });
    refused("model/tokenizer_config.json: 1048577 bytes; at most 1048576 are read", |model| {
        Checkpoint::honest().write(model);
        fs::write(model.join("tokenizer.json"), "{}").expect("writes");
        fs::write(model.join("tokenizer_config.json"), [b' '; (1 << 20) + 1]).expect("writes");
    });
}

#[test]
fn tokenizers_that_hold_too_much() {
    let tokenizer = |text: &str, told: &str| {
        refused(&format!("model/tokenizer.json: {told}"), |model| {
            Checkpoint::honest().write(model);
            fs::write(model.join("tokenizer.json"), text).expect("writes");
        });
    };
    let many = |item: &str, n_items: usize| format!("[{}0]", item.repeat(n_items));
    tokenizer(
        &format!("{{\"model\":{}}}", many("[],", 20 << 20)),
        "more than 1048576 items in one",
    );
    tokenizer(
        &many(&format!("{},", many("0,", 1000)), 4000),
        "more than 3000000 values; no tokenizer",
    );
    tokenizer(
        &format!("{{\"added_tokens\":{}}}", many("{},", 100_000)),
        "more than 32768 items in one",
    );
    tokenizer(&"[".repeat(60 << 20), "recursion limit exceeded");
    tokenizer("{}", "not a tokenizer that can be read: ");
}
