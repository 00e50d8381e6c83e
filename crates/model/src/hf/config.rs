//! Reads `config.json`, in the keys of transformers 4 and 5.
//!
//! What would change the numbers and isn't supported is refused by name: a model either computes
//! what transformers computes, or isn't loaded.

use serde_json::{Map, Value};

use super::json::{shown, shown_value};
use crate::ModelError;
use crate::config::{
    Biases, Family, Llama3Scaling, MlpKind, ModelConfig, NormKind, Positions, Rotary,
};

/// Upper bounds, checked before anything is allocated.
const MAX_LAYERS: usize = 1024;
const MAX_VOCAB: usize = 1 << 20;
const MAX_WIDTH: usize = 1 << 17;

pub(crate) fn parse_config(raw: Map<String, Value>) -> Result<ModelConfig, ModelError> {
    let keys = Keys(&raw);
    keys.refuse_unless("quantization_config", "quantised weights are", &[])?;
    keys.refuse_unless("auto_map", "code that comes with a model is", &[])?;
    keys.refuse_unless("add_cross_attention", "cross attention is", &[Value::Bool(false)])?;
    let config = match keys.text("model_type")?.as_str() {
        "gpt2" => gpt2(&keys)?,
        "llama" => llama_like(&keys, Family::Llama)?,
        "mistral" => llama_like(&keys, Family::Mistral)?,
        "qwen2" => llama_like(&keys, Family::Qwen2)?,
        "qwen3" => llama_like(&keys, Family::Qwen3)?,
        "gpt_neox" => gpt_neox(&keys)?,
        other => {
            return Err(refusal(format!(
                "`model_type` is `{}`; gpt2, llama, mistral, qwen2, qwen3 and gpt_neox are supported",
                shown(other)
            )));
        }
    };
    check(&config, keys.get("head_dim").is_some())?;
    Ok(ModelConfig { raw, ..config })
}

fn gpt2(keys: &Keys<'_>) -> Result<ModelConfig, ModelError> {
    keys.refuse_unless("scale_attn_weights", "unscaled attention is", &[Value::Bool(true)])?;
    let by_layer = "scale_attn_by_inverse_layer_idx";
    keys.refuse_unless(by_layer, "attention scaled by layer is", &[Value::Bool(false)])?;
    let hidden_size = keys.size("n_embd")?;
    let n_heads = keys.size("n_head")?;
    Ok(ModelConfig {
        family: Family::Gpt2,
        vocab_size: keys.size("vocab_size")?,
        hidden_size,
        n_layers: keys.size("n_layer")?,
        n_heads,
        n_kv_heads: n_heads,
        head_dim: hidden_size / n_heads,
        mlp_size: keys.size_or("n_inner", 4 * hidden_size)?,
        mlp: keys.gelu("activation_function", "gelu_new")?,
        norm: NormKind::Layer,
        norm_eps: keys.number_or("layer_norm_epsilon", 1e-5)?,
        positions: Positions::Learned,
        max_positions: keys.size("n_positions")?,
        biases: Biases { qkv: true, output: true, mlp: true },
        qk_norm: false,
        parallel_residual: false,
        tied_head: keys.flag_or("tie_word_embeddings", true)?,
        init_std: keys.number_or("initializer_range", 0.02)?,
        raw: Map::new(),
        origin: None,
        generation: None,
    })
}

fn llama_like(keys: &Keys<'_>, family: Family) -> Result<ModelConfig, ModelError> {
    keys.refuse_unless("hidden_act", "another activation than silu is", &[Value::from("silu")])?;
    keys.refuse_sliding_window(family)?;
    let hidden_size = keys.size("hidden_size")?;
    let n_heads = keys.size("num_attention_heads")?;
    let qwen2 = family == Family::Qwen2;
    let attention_bias = keys.flag_or("attention_bias", false)?;
    let head_dim = keys.size_or("head_dim", hidden_size / n_heads)?;
    Ok(ModelConfig {
        family,
        vocab_size: keys.size("vocab_size")?,
        hidden_size,
        n_layers: keys.size("num_hidden_layers")?,
        n_heads,
        n_kv_heads: keys.size_or("num_key_value_heads", n_heads)?,
        head_dim,
        mlp_size: keys.size("intermediate_size")?,
        mlp: MlpKind::SwiGlu,
        norm: NormKind::Rms,
        norm_eps: keys.number_or("rms_norm_eps", 1e-6)?,
        positions: Positions::Rotary(keys.rotary(head_dim, 1.0, "rope_theta")?),
        max_positions: keys.size_or("max_position_embeddings", 2048)?,
        biases: Biases {
            qkv: attention_bias || qwen2,
            output: attention_bias && !qwen2,
            mlp: keys.flag_or("mlp_bias", false)?,
        },
        qk_norm: family == Family::Qwen3,
        parallel_residual: false,
        tied_head: keys.flag_or("tie_word_embeddings", false)?,
        init_std: keys.number_or("initializer_range", 0.02)?,
        raw: Map::new(),
        origin: None,
        generation: None,
    })
}

fn gpt_neox(keys: &Keys<'_>) -> Result<ModelConfig, ModelError> {
    let hidden_size = keys.size("hidden_size")?;
    let n_heads = keys.size("num_attention_heads")?;
    let head_dim = hidden_size / n_heads;
    let share = keys.number_or("rotary_pct", keys.number_or("partial_rotary_factor", 0.25)?)?;
    let bias = keys.flag_or("attention_bias", true)?;
    Ok(ModelConfig {
        family: Family::GptNeox,
        vocab_size: keys.size("vocab_size")?,
        hidden_size,
        n_layers: keys.size("num_hidden_layers")?,
        n_heads,
        n_kv_heads: n_heads,
        head_dim,
        mlp_size: keys.size("intermediate_size")?,
        mlp: keys.gelu("hidden_act", "gelu")?,
        norm: NormKind::Layer,
        norm_eps: keys.number_or("layer_norm_eps", 1e-5)?,
        positions: Positions::Rotary(keys.rotary(head_dim, share, "rotary_emb_base")?),
        max_positions: keys.size_or("max_position_embeddings", 2048)?,
        biases: Biases { qkv: bias, output: bias, mlp: true },
        qk_norm: false,
        parallel_residual: keys.flag_or("use_parallel_residual", true)?,
        tied_head: keys.flag_or("tie_word_embeddings", false)?,
        init_std: keys.number_or("initializer_range", 0.02)?,
        raw: Map::new(),
        origin: None,
        generation: None,
    })
}

/// Sizes that divide and stay within bounds.
fn check(config: &ModelConfig, has_head_dim: bool) -> Result<(), ModelError> {
    let bounded = [
        ("number of layers", config.n_layers, MAX_LAYERS),
        ("vocab_size", config.vocab_size, MAX_VOCAB),
        ("hidden size", config.hidden_size, MAX_WIDTH),
        ("intermediate size", config.mlp_size, MAX_WIDTH),
        ("number of heads", config.n_heads, MAX_WIDTH),
        ("head_dim", config.head_dim, MAX_WIDTH),
        ("number of positions", config.max_positions, 1 << 24),
    ];
    for (name, size, most) in bounded {
        if size == 0 || size > most {
            return Err(refusal(format!("{name} is {size}; it must lie within 1..={most}")));
        }
    }
    if config.n_kv_heads == 0 || !config.n_heads.is_multiple_of(config.n_kv_heads) {
        let (heads, kv) = (config.n_heads, config.n_kv_heads);
        return Err(refusal(format!("{heads} heads can't share {kv} key-value heads evenly")));
    }
    let is_free = has_head_dim && !matches!(config.family, Family::Gpt2 | Family::GptNeox);
    if !is_free && config.n_heads * config.head_dim != config.hidden_size {
        let (hidden, heads) = (config.hidden_size, config.n_heads);
        return Err(refusal(format!("hidden size {hidden} is not a multiple of {heads} heads")));
    }
    check_numbers(config)
}

/// Numbers that keep everything computed with them finite.
fn check_numbers(config: &ModelConfig) -> Result<(), ModelError> {
    if config.norm_eps < 0.0 || config.init_std < 0.0 {
        return Err(refusal("the norms' epsilon or `initializer_range` is below 0".into()));
    }
    let Positions::Rotary(Rotary { theta, dims, llama3 }) = config.positions else { return Ok(()) };
    if dims == 0 || dims % 2 != 0 || dims > config.head_dim {
        return Err(refusal(format!(
            "rotary embedding on {dims} of {} dimensions",
            config.head_dim
        )));
    }
    if theta <= 0.0 {
        return Err(refusal(format!("`rope_theta` is {theta}; it must be above 0")));
    }
    match llama3 {
        Some(Llama3Scaling {
            factor,
            low_freq_factor: low,
            high_freq_factor: high,
            original_positions,
        }) if !(factor > 0.0 && low > 0.0 && high > low && original_positions > 0.0) => {
            Err(refusal("the factors of the llama3 rope scaling contradict each other".into()))
        }
        _ => Ok(()),
    }
}

fn refusal(reason: String) -> ModelError {
    ModelError::Config(reason)
}

/// The keys of a config file.
struct Keys<'a>(&'a Map<String, Value>);

impl Keys<'_> {
    /// A key's value; `null` counts as absent.
    fn get(&self, key: &str) -> Option<&Value> {
        self.0.get(key).filter(|value| !value.is_null())
    }

    fn text(&self, key: &str) -> Result<String, ModelError> {
        let value = self.get(key).and_then(Value::as_str);
        value.map(str::to_owned).ok_or_else(|| refusal(format!("`{key}` is missing or no text")))
    }

    fn size(&self, key: &str) -> Result<usize, ModelError> {
        let value = self.get(key).ok_or_else(|| refusal(format!("`{key}` is missing")))?;
        let size = value.as_u64().filter(|size| (1..=1 << 32).contains(size));
        let size =
            size.ok_or_else(|| refusal(format!("`{key}` is {}, not a size", shown_value(value))))?;
        Ok(size as usize)
    }

    fn size_or(&self, key: &str, default: usize) -> Result<usize, ModelError> {
        if self.get(key).is_some() { self.size(key) } else { Ok(default) }
    }

    fn number_or(&self, key: &str, default: f64) -> Result<f64, ModelError> {
        let Some(value) = self.get(key) else { return Ok(default) };
        let number = value.as_f64().filter(|number| number.is_finite());
        number.ok_or_else(|| refusal(format!("`{key}` is {}, not a number", shown_value(value))))
    }

    fn flag_or(&self, key: &str, default: bool) -> Result<bool, ModelError> {
        let Some(value) = self.get(key) else { return Ok(default) };
        let flag = value.as_bool();
        flag.ok_or_else(|| refusal(format!("`{key}` is {}, not true or false", shown_value(value))))
    }

    fn gelu(&self, key: &str, default: &str) -> Result<MlpKind, ModelError> {
        match self.get(key).and_then(Value::as_str).unwrap_or(default) {
            "gelu_new" | "gelu_pytorch_tanh" => Ok(MlpKind::GeluTanh),
            "gelu" => Ok(MlpKind::GeluErf),
            other => {
                let other = shown(other);
                Err(refusal(format!("`{key}` is `{other}`; gelu and gelu_new are supported")))
            }
        }
    }

    /// Rotary settings: transformers 5 groups them under `rope_parameters`, 4 spreads them.
    fn rotary(&self, head_dim: usize, share: f64, old_key: &str) -> Result<Rotary, ModelError> {
        let empty = Map::new();
        let group = |key| self.get(key).and_then(Value::as_object);
        let nested = Keys(group("rope_parameters").or(group("rope_scaling")).unwrap_or(&empty));
        let theta = self.number_or(old_key, self.number_or("rope_theta", 10_000.0)?)?;
        let kind = nested.get("rope_type").or(nested.get("type")).and_then(Value::as_str);
        let share = nested.number_or("partial_rotary_factor", share)?;
        let llama3 = match kind {
            None | Some("default") => None,
            Some("llama3") => Some(Llama3Scaling {
                factor: nested.number_or("factor", 8.0)?,
                low_freq_factor: nested.number_or("low_freq_factor", 1.0)?,
                high_freq_factor: nested.number_or("high_freq_factor", 4.0)?,
                original_positions: nested.number_or("original_max_position_embeddings", 8192.0)?,
            }),
            Some(other) => {
                let other = shown(other);
                let reason = format!("`rope_type` is `{other}`; default and llama3 are supported");
                return Err(refusal(reason));
            }
        };
        let dims = (head_dim as f64 * share) as usize;
        Ok(Rotary { theta: nested.number_or("rope_theta", theta)?, dims, llama3 })
    }

    /// Refuses a key whose value isn't one of `accepted`; an absent key is fine.
    fn refuse_unless(&self, key: &str, what: &str, accepted: &[Value]) -> Result<(), ModelError> {
        match self.get(key) {
            Some(value) if !accepted.contains(value) => {
                Err(refusal(format!("{what} not supported (`{key}` is {})", shown_value(value))))
            }
            _ => Ok(()),
        }
    }

    /// A window that hides tokens of the past would change the numbers.
    fn refuse_sliding_window(&self, family: Family) -> Result<(), ModelError> {
        let switch = matches!(family, Family::Qwen2 | Family::Qwen3);
        let in_use = if switch { self.flag_or("use_sliding_window", false)? } else { true };
        if in_use {
            self.refuse_unless("sliding_window", "a sliding window is", &[])?;
        }
        let layers = self.get("layer_types").and_then(Value::as_array);
        match layers.into_iter().flatten().find(|kind| *kind != "full_attention") {
            Some(kind) => Err(refusal(format!(
                "`layer_types` holds {}; only full_attention is supported",
                shown_value(kind)
            ))),
            None => Ok(()),
        }
    }
}
