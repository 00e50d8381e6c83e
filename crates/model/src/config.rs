//! What a decoder is made of.

use std::path::PathBuf;

use serde_json::{Map, Value, json};

use crate::ModelError;
use crate::hf;

/// The shape of a decoder and the choices that tell model families apart.
///
/// It is read off a Hugging Face `config.json`, also for new models ([`ModelConfig::llama`]): the
/// file is the one description, and what it says that isn't understood is kept for saving.
#[derive(Clone, Debug, PartialEq)]
pub struct ModelConfig {
    /// Decides names and layouts of the tensors on disk.
    pub family: Family,
    /// Rows of the embedding.
    pub vocab_size: usize,
    /// Width of the residual stream.
    pub hidden_size: usize,
    /// Blocks.
    pub n_layers: usize,
    /// Query heads.
    pub n_heads: usize,
    /// Key and value heads; divides `n_heads`.
    pub n_kv_heads: usize,
    /// Width of a head.
    pub head_dim: usize,
    /// Width of the feed-forward layer.
    pub mlp_size: usize,
    /// The feed-forward layer.
    pub mlp: MlpKind,
    /// The normalisation.
    pub norm: NormKind,
    /// Added to the variance under the root.
    pub norm_eps: f64,
    /// How tokens know where they stand.
    pub positions: Positions,
    /// Positions the model was made for.
    pub max_positions: usize,
    /// Which linear layers have a bias.
    pub biases: Biases,
    /// Whether queries and keys are normalised per head (Qwen 3).
    pub qk_norm: bool,
    /// Whether attention and feed-forward read the same input (GPT-NeoX).
    pub parallel_residual: bool,
    /// Whether the head is the embedding.
    pub tied_head: bool,
    /// Standard deviation of new weights.
    pub init_std: f64,
    /// The `config.json` it was read from.
    pub raw: Map<String, Value>,
    /// The folder that it was read from; new models have none.
    pub origin: Option<PathBuf>,
    /// The `generation_config.json` beside it, which is saved as it is.
    pub generation: Option<Map<String, Value>>,
}

/// The model families whose checkpoints can be read and written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[expect(missing_docs, reason = "names of model families")]
pub enum Family {
    Gpt2,
    Llama,
    Mistral,
    Qwen2,
    Qwen3,
    GptNeox,
}

/// The feed-forward layer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MlpKind {
    /// `down(silu(gate x) · up x)`, SwiGLU (Shazeer, 2020).
    SwiGlu,
    /// `down(gelu(up x))` with the tanh approximation.
    GeluTanh,
    /// `down(gelu(up x))` with the error function.
    GeluErf,
}

/// The normalisation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NormKind {
    /// `x / rms(x) · w` (Zhang and Sennrich, 2019).
    Rms,
    /// `(x − mean) / std · w + b` (Ba et al., 2016).
    Layer,
}

/// How tokens know where they stand.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Positions {
    /// A learned vector for each position.
    Learned,
    /// Rotated queries and keys.
    Rotary(Rotary),
}

/// Rotary position embedding (Su et al., 2021).
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Rotary {
    /// Base of the wavelengths.
    pub theta: f64,
    /// How many of a head's dimensions are rotated.
    pub dims: usize,
    /// The stretching of long wavelengths of Llama 3.
    pub llama3: Option<Llama3Scaling>,
}

/// Llama 3's stretching of long wavelengths.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Llama3Scaling {
    /// By how much the longest are stretched.
    pub factor: f64,
    /// Wavelengths above `original_positions / low_freq_factor` are stretched fully.
    pub low_freq_factor: f64,
    /// Wavelengths below `original_positions / high_freq_factor` are left alone.
    pub high_freq_factor: f64,
    /// The context before it was stretched.
    pub original_positions: f64,
}

/// Which linear layers have a bias.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Biases {
    /// Queries, keys and values.
    pub qkv: bool,
    /// The output of attention.
    pub output: bool,
    /// The feed-forward layer.
    pub mlp: bool,
}

/// The shape of a new Llama-style model: what a config file says to train one from scratch.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct LlamaShape {
    /// Rows of the embedding.
    pub vocab_size: usize,
    /// Width of the residual stream.
    pub hidden_size: usize,
    /// Width of the feed-forward layer.
    pub mlp_size: usize,
    /// Blocks.
    pub n_layers: usize,
    /// Query heads.
    pub n_heads: usize,
    /// Key and value heads.
    pub n_kv_heads: usize,
    /// The longest sequence.
    pub max_positions: usize,
    /// Whether the head is the embedding.
    pub tied_head: bool,
}

impl ModelConfig {
    /// The config that the bytes of a `config.json` describe.
    ///
    /// # Errors
    /// What is no JSON object with each key once, and what would change the numbers and isn't
    /// supported.
    pub fn from_json(bytes: &[u8]) -> Result<Self, ModelError> {
        hf::parse_config(hf::parse_object(bytes).map_err(ModelError::Config)?)
    }

    /// A Llama-style decoder. Special ids go into its `config.json` with
    /// [`with_special_ids`](Self::with_special_ids).
    pub fn llama(shape: LlamaShape) -> Result<Self, ModelError> {
        if shape.n_heads == 0 || !shape.hidden_size.is_multiple_of(shape.n_heads) {
            let LlamaShape { hidden_size, n_heads, .. } = shape;
            let reason =
                format!("hidden_size {hidden_size} is not a multiple of n_heads {n_heads}");
            return Err(ModelError::Config(reason));
        }
        let raw = json!({
            "architectures": ["LlamaForCausalLM"],
            "model_type": "llama",
            "vocab_size": shape.vocab_size,
            "hidden_size": shape.hidden_size,
            "intermediate_size": shape.mlp_size,
            "num_hidden_layers": shape.n_layers,
            "num_attention_heads": shape.n_heads,
            "num_key_value_heads": shape.n_kv_heads,
            "head_dim": shape.hidden_size / shape.n_heads,
            "hidden_act": "silu",
            "max_position_embeddings": shape.max_positions,
            "rms_norm_eps": 1e-5,
            "rope_theta": 10000.0,
            "rope_parameters": { "rope_theta": 10000.0, "rope_type": "default" },
            "attention_bias": false,
            "mlp_bias": false,
            "tie_word_embeddings": shape.tied_head,
            "initializer_range": 0.02,
            "torch_dtype": "float32",
            "dtype": "float32",
            "use_cache": true,
        });
        let Value::Object(raw) = raw else { unreachable!("written above as an object") };
        hf::parse_config(raw)
    }

    /// Names the special tokens, for whoever generates from the saved model.
    #[must_use]
    pub fn with_special_ids(mut self, pad: u32, bos: Option<u32>, eos: u32) -> Self {
        self.raw.insert("pad_token_id".into(), pad.into());
        self.raw.insert("bos_token_id".into(), bos.into());
        self.raw.insert("eos_token_id".into(), eos.into());
        self
    }

    /// The number of weights of the language model.
    pub fn n_params(&self) -> usize {
        let head = if self.tied_head { 0 } else { self.vocab_size * self.hidden_size };
        self.n_decoder_params() + head
    }

    /// The number of weights without any head.
    pub fn n_decoder_params(&self) -> usize {
        hf::decoder_slots(self).iter().map(|slot| slot.shape.iter().product::<usize>()).sum()
    }
}
