//! Which tensors of the decoder stand where in a checkpoint.
//!
//! The decoder names its tensors one way (`blocks.0.attention.query.weight`, linear weights as
//! `[in, out]`). Each family stores them under names and layouts of its own; a [`Slot`] is one
//! tensor of a file and the decoder's tensors that are packed in it.

use crate::config::{Family, MlpKind, ModelConfig, NormKind, Positions};

/// One tensor of a checkpoint.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Slot {
    /// Its name in the file, below the backbone's prefix.
    pub(crate) name: String,
    /// Its shape in the file.
    pub(crate) shape: Vec<usize>,
    /// The decoder's tensors in it.
    pub(crate) parts: Vec<String>,
    /// How they are packed.
    pub(crate) layout: Layout,
}

/// How the decoder's tensors lie in a file's tensor.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Layout {
    /// As they are.
    Plain,
    /// Stored as `[out, in]`.
    Transposed,
    /// Side by side along the last axis (GPT-2's `c_attn`, stored as `[in, out]`).
    SideBySide,
    /// Interleaved per head along the first axis (GPT-NeoX's `query_key_value`); weights are stored
    /// as `[out, in]`.
    PerHead {
        /// Number of heads.
        n_heads: usize,
    },
}

/// What the backbone is called in files of a language model or classifier.
pub(crate) fn backbone_prefix(family: Family) -> &'static str {
    match family {
        Family::Gpt2 => "transformer.",
        Family::GptNeox => "gpt_neox.",
        Family::Llama | Family::Mistral | Family::Qwen2 | Family::Qwen3 => "model.",
    }
}

/// What the untied head is called.
pub(crate) fn head_name(family: Family) -> &'static str {
    if family == Family::GptNeox { "embed_out.weight" } else { "lm_head.weight" }
}

/// All tensors of the decoder without any head.
pub(crate) fn decoder_slots(config: &ModelConfig) -> Vec<Slot> {
    let names = Names::of(config.family);
    let mut slots = Slots { config, list: Vec::new() };
    let ModelConfig { vocab_size, hidden_size, max_positions, .. } = *config;
    slots.plain(names.embedding, "embedding", &[vocab_size, hidden_size]);
    if config.positions == Positions::Learned {
        slots.plain("wpe.weight", "positions", &[max_positions, hidden_size]);
    }
    for layer in 0..config.n_layers {
        slots.block(&names, layer);
    }
    slots.norm(names.norm, "norm", hidden_size);
    slots.list
}

/// The names of a family's tensors; `attention` and `mlp` hold the layers' own prefixes.
struct Names {
    embedding: &'static str,
    layers: &'static str,
    attention_norm: &'static str,
    mlp_norm: &'static str,
    output: &'static str,
    up: &'static str,
    down: &'static str,
    norm: &'static str,
}

impl Names {
    fn of(family: Family) -> Self {
        match family {
            Family::Gpt2 => Self {
                embedding: "wte.weight",
                layers: "h",
                attention_norm: "ln_1",
                mlp_norm: "ln_2",
                output: "attn.c_proj",
                up: "mlp.c_fc",
                down: "mlp.c_proj",
                norm: "ln_f",
            },
            Family::GptNeox => Self {
                embedding: "embed_in.weight",
                layers: "layers",
                attention_norm: "input_layernorm",
                mlp_norm: "post_attention_layernorm",
                output: "attention.dense",
                up: "mlp.dense_h_to_4h",
                down: "mlp.dense_4h_to_h",
                norm: "final_layer_norm",
            },
            Family::Llama | Family::Mistral | Family::Qwen2 | Family::Qwen3 => Self {
                embedding: "embed_tokens.weight",
                layers: "layers",
                attention_norm: "input_layernorm",
                mlp_norm: "post_attention_layernorm",
                output: "self_attn.o_proj",
                up: "mlp.up_proj",
                down: "mlp.down_proj",
                norm: "norm",
            },
        }
    }
}

struct Slots<'a> {
    config: &'a ModelConfig,
    list: Vec<Slot>,
}

impl Slots<'_> {
    fn block(&mut self, names: &Names, layer: usize) {
        let config = self.config;
        let (file, own) = (format!("{}.{layer}", names.layers), format!("blocks.{layer}"));
        let ModelConfig { hidden_size, mlp_size, n_heads, head_dim, biases, .. } = *config;
        self.norm(
            &format!("{file}.{}", names.attention_norm),
            &format!("{own}.attention_norm"),
            hidden_size,
        );
        self.query_key_value(&file, &format!("{own}.attention"));
        let output = format!("{file}.{}", names.output);
        let heads = n_heads * head_dim;
        self.linear(
            &output,
            &format!("{own}.attention.output"),
            [heads, hidden_size],
            biases.output,
        );
        self.norm(&format!("{file}.{}", names.mlp_norm), &format!("{own}.mlp_norm"), hidden_size);
        if config.mlp == MlpKind::SwiGlu {
            let gate = format!("{file}.mlp.gate_proj");
            self.linear(&gate, &format!("{own}.mlp.gate"), [hidden_size, mlp_size], biases.mlp);
        }
        let up = format!("{file}.{}", names.up);
        self.linear(&up, &format!("{own}.mlp.up"), [hidden_size, mlp_size], biases.mlp);
        let down = format!("{file}.{}", names.down);
        self.linear(&down, &format!("{own}.mlp.down"), [mlp_size, hidden_size], biases.mlp);
    }

    fn query_key_value(&mut self, file: &str, own: &str) {
        let ModelConfig { family, hidden_size, n_heads, n_kv_heads, head_dim, .. } = *self.config;
        match family {
            Family::Gpt2 => self.fused(&format!("{file}.attn.c_attn"), own, Layout::SideBySide),
            Family::GptNeox => {
                self.fused(
                    &format!("{file}.attention.query_key_value"),
                    own,
                    Layout::PerHead { n_heads },
                );
            }
            Family::Llama | Family::Mistral | Family::Qwen2 | Family::Qwen3 => {
                let parts =
                    [("q", "query", n_heads), ("k", "key", n_kv_heads), ("v", "value", n_kv_heads)];
                for (letter, part, heads) in parts {
                    let name = format!("{file}.self_attn.{letter}_proj");
                    let shape = [hidden_size, heads * head_dim];
                    self.linear(&name, &format!("{own}.{part}"), shape, self.config.biases.qkv);
                }
            }
        }
        if self.config.qk_norm {
            for (letter, part) in [("q", "query_norm"), ("k", "key_norm")] {
                let name = format!("{file}.self_attn.{letter}_norm");
                self.norm(&name, &format!("{own}.{part}"), head_dim);
            }
        }
    }

    /// Queries, keys and values in one tensor.
    fn fused(&mut self, file: &str, own: &str, layout: Layout) {
        let ModelConfig { hidden_size, biases, .. } = *self.config;
        let parts =
            |suffix: &str| ["query", "key", "value"].map(|part| format!("{own}.{part}.{suffix}"));
        let shape = match layout {
            Layout::PerHead { .. } => vec![3 * hidden_size, hidden_size],
            _ => vec![hidden_size, 3 * hidden_size],
        };
        self.push(format!("{file}.weight"), shape, parts("weight").to_vec(), layout);
        if biases.qkv {
            self.push(
                format!("{file}.bias"),
                vec![3 * hidden_size],
                parts("bias").to_vec(),
                layout,
            );
        }
    }

    fn linear(&mut self, file: &str, own: &str, [d_in, d_out]: [usize; 2], bias: bool) {
        let (shape, layout) = match self.config.family {
            Family::Gpt2 => (vec![d_in, d_out], Layout::Plain),
            _ => (vec![d_out, d_in], Layout::Transposed),
        };
        self.push(format!("{file}.weight"), shape, vec![format!("{own}.weight")], layout);
        if bias {
            self.plain(&format!("{file}.bias"), &format!("{own}.bias"), &[d_out]);
        }
    }

    fn norm(&mut self, file: &str, own: &str, size: usize) {
        self.plain(&format!("{file}.weight"), &format!("{own}.weight"), &[size]);
        if self.config.norm == NormKind::Layer {
            self.plain(&format!("{file}.bias"), &format!("{own}.bias"), &[size]);
        }
    }

    fn plain(&mut self, file: &str, own: &str, shape: &[usize]) {
        self.push(file.to_owned(), shape.to_vec(), vec![own.to_owned()], Layout::Plain);
    }

    fn push(&mut self, name: String, shape: Vec<usize>, parts: Vec<String>, layout: Layout) {
        self.list.push(Slot { name, shape, parts, layout });
    }
}

impl Slot {
    /// One of the decoder's tensors out of the file's, both in row-major order.
    pub(crate) fn unpack(&self, part: usize, file: &[f32]) -> Vec<f32> {
        match self.layout {
            Layout::Plain => file.to_vec(),
            Layout::Transposed => transpose(file, self.shape[0], self.shape[1]),
            Layout::SideBySide => {
                let row = *self.shape.last().expect("tensors have axes");
                let width = row / self.parts.len();
                file.chunks_exact(row)
                    .flat_map(|row| &row[part * width..][..width])
                    .copied()
                    .collect()
            }
            Layout::PerHead { n_heads } => {
                let n_parts = self.parts.len();
                let group = file.len() / n_heads / n_parts;
                let heads = file.chunks_exact(group).skip(part).step_by(n_parts);
                let stacked: Vec<f32> = heads.flatten().copied().collect();
                match self.shape[..] {
                    [d_out, d_in] => transpose(&stacked, d_out / n_parts, d_in),
                    _ => stacked,
                }
            }
        }
    }

    /// The file's tensor out of the decoder's, in the order of `parts`.
    pub(crate) fn pack(&self, parts: &[Vec<f32>]) -> Vec<f32> {
        match self.layout {
            Layout::Plain => parts[0].clone(),
            Layout::Transposed => transpose(&parts[0], self.shape[1], self.shape[0]),
            Layout::SideBySide => {
                let width = self.shape.last().expect("tensors have axes") / parts.len();
                let n_rows = parts[0].len() / width;
                let row =
                    |row: usize| parts.iter().flat_map(move |part| &part[row * width..][..width]);
                (0..n_rows).flat_map(row).copied().collect()
            }
            Layout::PerHead { n_heads } => {
                let stored = |part: &Vec<f32>| match self.shape[..] {
                    [d_out, d_in] => transpose(part, d_in, d_out / parts.len()),
                    _ => part.clone(),
                };
                let stored: Vec<Vec<f32>> = parts.iter().map(stored).collect();
                let group = stored[0].len() / n_heads;
                let head = |head: usize| {
                    stored.iter().flat_map(move |part| &part[head * group..][..group])
                };
                (0..n_heads).flat_map(head).copied().collect()
            }
        }
    }
}

/// A row-major `[n_rows, n_columns]` matrix as `[n_columns, n_rows]`.
pub(super) fn transpose(matrix: &[f32], n_rows: usize, n_columns: usize) -> Vec<f32> {
    let column = |column: usize| (0..n_rows).map(move |row| matrix[row * n_columns + column]);
    (0..n_columns).flat_map(column).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn packing_undoes_unpacking() {
        let parts = ["a", "b", "c"].map(String::from).to_vec();
        let slots = [
            (vec![2, 3], parts[..1].to_vec(), Layout::Plain),
            (vec![2, 3], parts[..1].to_vec(), Layout::Transposed),
            (vec![2, 6], parts.clone(), Layout::SideBySide),
            (vec![6], parts.clone(), Layout::SideBySide),
            (vec![12, 4], parts.clone(), Layout::PerHead { n_heads: 2 }),
            (vec![12], parts, Layout::PerHead { n_heads: 2 }),
        ];
        for (shape, parts, layout) in slots {
            let slot = Slot { name: "x".into(), shape, parts, layout };
            let file: Vec<f32> =
                (0..slot.shape.iter().product()).map(|i: usize| i as f32).collect();
            let unpacked: Vec<_> =
                (0..slot.parts.len()).map(|part| slot.unpack(part, &file)).collect();
            assert_eq!(slot.pack(&unpacked), file, "{slot:?}");
        }
    }

    #[test]
    fn heads_are_taken_apart_as_transformers_does() {
        // Two heads of width 1: the rows are q0, k0, v0, q1, k1, v1.
        let slot = Slot {
            name: "x".into(),
            shape: vec![6, 2],
            parts: ["q", "k", "v"].map(String::from).to_vec(),
            layout: Layout::PerHead { n_heads: 2 },
        };
        let file: Vec<f32> = (0..12).map(|i| i as f32).collect();
        // The key rows are [2, 3] and [8, 9]; transposed they are [in, out].
        assert_eq!(slot.unpack(1, &file), [2.0, 8.0, 3.0, 9.0]);
    }
}
