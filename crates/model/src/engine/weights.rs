use rein_kernels::Precision;
use rein_kernels::cpu::bf16;
use rein_kernels::cpu::decode::CacheHeads;
use rein_kernels::cpu::norm::{self, Affine};
use rein_kernels::cpu::packed::{Packed, Source};

use crate::attention::Attention;
use crate::backend::LmBackend;
use crate::block::Block;
use crate::config::{ModelConfig, Positions};
use crate::decoder::Decoder;
use crate::linear::Linear;
use crate::norm::Norm;
use crate::rotary::frequencies;
use crate::tokens::host;
use crate::{CausalLm, ScalarModel};

/// A model's weights as decoding reads them. A snapshot: it doesn't follow the model's training.
#[derive(Debug)]
pub(crate) struct Engine {
    pub(super) config: ModelConfig,
    pub(super) embedding: Embedding,
    /// `[positions, hidden]`, where positions are learned.
    pub(super) positions: Option<Vec<f32>>,
    /// What a position's rotation is by, where heads are rotated.
    pub(super) frequencies: Option<Vec<f64>>,
    pub(super) layers: Vec<Layer>,
    pub(super) norm: HostNorm,
    pub(super) head: Packed,
    /// Bytes that a step reads.
    pub(super) n_bytes: usize,
}

/// Where the tokens' first hidden states come from.
#[derive(Debug)]
pub(super) enum Embedding {
    /// `[vocab, hidden]`
    F32(Vec<f32>),
    /// The upper halves of the same.
    Bf16(Vec<u16>),
    /// The outputs of the head: nothing is kept twice.
    Head,
}

/// The weights of one block.
#[derive(Debug)]
pub(super) struct Layer {
    pub(super) attention_norm: HostNorm,
    /// Queries, keys and values side by side.
    pub(super) qkv: Packed,
    pub(super) query_norm: Option<HostNorm>,
    pub(super) key_norm: Option<HostNorm>,
    pub(super) output: Packed,
    pub(super) mlp_norm: HostNorm,
    /// The gate, where there is one, and beside it what it lets through.
    pub(super) up: Packed,
    pub(super) down: Packed,
}

impl Engine {
    /// A copy of the weights in this precision, with adapters merged into it.
    pub(crate) fn new<B: LmBackend>(model: &CausalLm<B>, precision: Precision) -> Self {
        let merged = model.decoder.has_lora().then(|| model.clone().merged());
        let CausalLm { decoder, head, .. } = merged.as_ref().unwrap_or(model);
        let values = host(decoder.embedding.val());
        let (packed, embedding) = match head {
            Some(head) => (pack(&[head], precision), Embedding::new(values, precision)),
            None => {
                let tied = Source { values: &values, transposed: true, bias: None };
                let packed = Packed::new(decoder.config().hidden_size, &[tied], precision);
                let embedding = match precision {
                    Precision::F32 => Embedding::F32(values),
                    Precision::Bf16 => Embedding::Head,
                };
                (packed, embedding)
            }
        };
        Self::with_head(decoder, embedding, packed, precision)
    }

    /// The same of a model with one number to a token, which is its only output.
    pub(crate) fn of_scalar<B: LmBackend>(model: &ScalarModel<B>, precision: Precision) -> Self {
        let merged = model.decoder.has_lora().then(|| model.clone().merged());
        let ScalarModel { decoder, score, .. } = merged.as_ref().unwrap_or(model);
        let embedding = Embedding::new(host(decoder.embedding.val()), precision);
        Self::with_head(decoder, embedding, pack(&[score], Precision::F32), precision)
    }

    fn with_head<B: LmBackend>(
        decoder: &Decoder<B>,
        embedding: Embedding,
        head: Packed,
        precision: Precision,
    ) -> Self {
        let config = decoder.config().clone();
        let layer = |block| Layer::new(block, &config, precision);
        let layers: Vec<Layer> = decoder.blocks.iter().map(layer).collect();
        let n_bytes = head.n_bytes() + layers.iter().map(Layer::n_bytes).sum::<usize>();
        Self {
            embedding,
            positions: decoder.positions.as_ref().map(|table| host(table.val())),
            frequencies: match &config.positions {
                Positions::Rotary(rotary) => Some(frequencies(rotary)),
                Positions::Learned => None,
            },
            layers,
            norm: HostNorm::new(&decoder.norm, &config),
            head,
            n_bytes,
            config,
        }
    }

    /// Writes a token's embedding.
    pub(super) fn embed(&self, token: usize, output: &mut [f32]) {
        let width = output.len();
        match &self.embedding {
            Embedding::F32(table) => output.copy_from_slice(&table[token * width..][..width]),
            Embedding::Bf16(table) => {
                let numbers = output.iter_mut().zip(&table[token * width..]);
                numbers.for_each(|(to, from)| *to = bf16::widen(*from));
            }
            Embedding::Head => self.head.output(token, output),
        }
    }

    pub(super) fn cache_heads(&self) -> CacheHeads {
        let ModelConfig { n_kv_heads, head_dim, .. } = self.config;
        CacheHeads { n_kv_heads, head_dim }
    }
}

impl Embedding {
    fn new(values: Vec<f32>, precision: Precision) -> Self {
        match precision {
            Precision::F32 => Self::F32(values),
            Precision::Bf16 => Self::Bf16(values.into_iter().map(bf16::round).collect()),
        }
    }
}

impl Layer {
    fn new<B: LmBackend>(block: &Block<B>, config: &ModelConfig, precision: Precision) -> Self {
        let Block { attention_norm, attention, mlp_norm, mlp, .. } = block;
        let Attention { query, key, value, output, query_norm, key_norm, .. } = attention;
        let norm = |norm: &Norm<B>| HostNorm::new(norm, config);
        let pack = |layers: &[&Linear<B>]| pack(layers, precision);
        let up: Vec<&Linear<B>> = mlp.gate.iter().chain([&mlp.up]).collect();
        Self {
            attention_norm: norm(attention_norm),
            qkv: pack(&[query, key, value]),
            query_norm: query_norm.as_ref().map(norm),
            key_norm: key_norm.as_ref().map(norm),
            output: pack(&[output]),
            mlp_norm: norm(mlp_norm),
            up: pack(&up),
            down: pack(&[&mlp.down]),
        }
    }

    fn n_bytes(&self) -> usize {
        [&self.qkv, &self.output, &self.up, &self.down].into_iter().map(Packed::n_bytes).sum()
    }
}

/// Linear layers that read the same input, side by side.
fn pack<B: LmBackend>(layers: &[&Linear<B>], precision: Precision) -> Packed {
    let [n_in, _] = layers[0].weight.dims();
    let numbers: Vec<(Vec<f32>, Option<Vec<f32>>)> = layers
        .iter()
        .map(|layer| (host(layer.weight.val()), layer.bias.as_ref().map(|bias| host(bias.val()))))
        .collect();
    let sources: Vec<Source<'_>> = numbers
        .iter()
        .map(|(values, bias)| Source { values, transposed: false, bias: bias.as_deref() })
        .collect();
    Packed::new(n_in, &sources, precision)
}

/// A normalisation.
#[derive(Debug)]
pub(super) struct HostNorm {
    weight: Vec<f32>,
    bias: Option<Vec<f32>>,
    eps: f32,
}

impl HostNorm {
    fn new<B: LmBackend>(norm: &Norm<B>, config: &ModelConfig) -> Self {
        Self {
            weight: host(norm.weight.val()),
            bias: norm.bias.as_ref().map(|bias| host(bias.val())),
            eps: config.norm_eps as f32,
        }
    }

    /// Normalises rows that stand one after the other.
    pub(super) fn rows(&self, input: &[f32], output: &mut [f32]) {
        let affine = Affine { weight: &self.weight, bias: self.bias.as_deref(), eps: self.eps };
        norm::forward_rows(input, affine, output);
    }
}
