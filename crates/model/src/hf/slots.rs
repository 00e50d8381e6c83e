//! Which tensors of the decoder stand where in a checkpoint.
//!
//! The decoder names its tensors one way (`blocks.0.attention.query.weight`, linear weights as
//! `[in, out]`). Each family stores them under names and layouts of its own; a [`Slot`] is one
//! tensor of a file and the decoder's tensors that are packed in it.

use super::layout::Layout;
use crate::causal_lm::HEAD;
use crate::config::{Family, MlpKind, ModelConfig, NormKind, Positions};
use crate::weights::SCORE;

const LM_HEAD: &str = "lm_head.weight";
const NEOX_HEAD: &str = "embed_out.weight";

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

/// What the backbone is called in files of a language model or classifier.
pub(crate) fn backbone_prefix(family: Family) -> &'static str {
    match family {
        Family::Gpt2 => "transformer.",
        Family::GptNeox => "gpt_neox.",
        Family::Llama | Family::Mistral | Family::Qwen2 | Family::Qwen3 => "model.",
    }
}

/// What the untied head is called.
fn head_name(family: Family) -> &'static str {
    if family == Family::GptNeox { NEOX_HEAD } else { LM_HEAD }
}

/// What stands on the decoder.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Head {
    /// Logits over the vocabulary: a tensor of its own, unless the embedding serves.
    Vocabulary,
    /// One number.
    Score,
}

/// All tensors of a model in the files of a checkpoint that has this backbone prefix.
pub(crate) fn model_slots(config: &ModelConfig, head: Head, prefix: &str) -> Vec<Slot> {
    let mut slots = decoder_slots(config);
    slots.iter_mut().for_each(|slot| slot.name.insert_str(0, prefix));
    let ModelConfig { hidden_size, vocab_size, .. } = *config;
    match head {
        Head::Vocabulary if config.tied_head => {}
        Head::Vocabulary => {
            slots.push(head_slot(head_name(config.family), HEAD, [hidden_size, vocab_size]));
        }
        Head::Score => slots.push(head_slot(SCORE, SCORE, [hidden_size, 1])),
    }
    slots
}

/// A head, stored as `[out, in]`.
fn head_slot(name: &str, own: &str, [d_in, d_out]: [usize; 2]) -> Slot {
    Slot {
        name: name.to_owned(),
        shape: vec![d_out, d_in],
        parts: vec![own.to_owned()],
        layout: Layout::Transposed,
    }
}

/// Whether a checkpoint calls a head of any model so.
pub(crate) fn is_head(name: &str) -> bool {
    [LM_HEAD, NEOX_HEAD, SCORE].contains(&name)
}

/// Constants that old checkpoints store beside the weights.
pub(crate) fn is_buffer(name: &str) -> bool {
    let buffers = [".attn.bias", ".attn.masked_bias", ".attention.bias", ".attention.masked_bias"];
    buffers.iter().any(|buffer| name.ends_with(buffer)) || name.ends_with("rotary_emb.inv_freq")
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
