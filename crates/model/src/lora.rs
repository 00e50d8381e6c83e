//! Low-rank adaptation: a frozen model and small matrices that learn beside its linear layers.
//!
//! `h = x W + b + s · (x A) B` with `s = α / r`, or `α / √r` if stabilised (Hu et al., 2021;
//! Kalajdzievski, 2023). `A` is `[in, r]` and `B` is `[r, out]`, so a row costs `r (in + out)` more
//! multiplications, and neither `A B` nor a gradient of `W` is ever computed.

use std::fmt;

use burn::module::Param;
use burn::prelude::*;
use burn::tensor::Distribution;
use rand::RngExt;
use rein_data::seed::Seed;
use serde::de::value::SeqAccessDeserializer;
use serde::de::{self, SeqAccess, Visitor};
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::backend::LmBackend;
use crate::block::Block;
use crate::config::ModelConfig;
use crate::decoder::Decoder;
use crate::hf::{Place, linear_places};
use crate::linear::Linear;
use crate::{CausalLm, ModelError, ScalarModel};

/// Which adapters a model gets. The names are PEFT's but for `rank` (its `r`) and `targets` (its
/// `target_modules`).
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct LoraConfig {
    /// Columns of `A`: how much can be learned.
    pub rank: usize,
    /// What the adapters' output is multiplied by, times the rank.
    pub alpha: f64,
    /// The share of an adapter's inputs that is dropped in training.
    pub dropout: f64,
    /// Divides `alpha` by the root of the rank instead of the rank, so that high ranks learn as fast.
    pub use_rslora: bool,
    /// The linear layers that are adapted.
    pub targets: Targets,
}

impl Default for LoraConfig {
    /// TRL's rank and alpha, on all linear layers, without dropout.
    fn default() -> Self {
        Self { rank: 16, alpha: 32.0, dropout: 0.0, use_rslora: false, targets: Targets::default() }
    }
}

/// The linear layers that are adapted; heads never are.
#[derive(Clone, Debug, Default, PartialEq)]
pub enum Targets {
    /// `"all-linear"`
    #[default]
    AllLinear,
    /// By the names of the model's family in checkpoints, whole or their ends: `["q_proj", "v_proj"]`.
    Modules(Vec<String>),
}

impl Targets {
    fn hit(&self, place: &Place) -> bool {
        match self {
            Self::AllLinear => true,
            Self::Modules(names) => names.iter().any(|name| place.is_called(name)),
        }
    }
}

impl LoraConfig {
    /// What is wrong with these settings, each with its key below `section`.
    pub fn problems(&self, section: &str) -> Vec<String> {
        let rules = [
            (self.rank > 0, "rank", "above 0"),
            (self.alpha > 0.0 && self.alpha.is_finite(), "alpha", "above 0"),
            ((0.0..1.0).contains(&self.dropout), "dropout", "within 0..1"),
        ];
        let broken = rules.into_iter().filter(|(fine, ..)| !fine);
        broken.map(|(_, key, rule)| format!("`{section}.{key}` must be {rule}")).collect()
    }

    /// `α / r`, or `α / √r`
    pub(crate) fn scale(&self) -> f64 {
        let rank = self.rank as f64;
        self.alpha / if self.use_rslora { rank.sqrt() } else { rank }
    }

    /// How many weights these adapters have on a model of this shape.
    ///
    /// # Errors
    /// Those of [`CausalLm::with_lora`].
    pub fn n_params(&self, model: &ModelConfig) -> Result<usize, ModelError> {
        let places = self.places(model)?;
        Ok(places.iter().map(|place| self.rank * place.shape.iter().sum::<usize>()).sum())
    }

    /// The layers that these settings adapt.
    pub(crate) fn places(&self, model: &ModelConfig) -> Result<Vec<Place>, ModelError> {
        if let Some(problem) = self.problems("lora").into_iter().next() {
            return Err(ModelError::Invalid(problem));
        }
        let all = linear_places(model);
        if let Targets::Modules(names) = &self.targets {
            let missed = |name: &&String| !all.iter().any(|place| place.is_called(name));
            if let Some(name) = names.iter().find(missed) {
                let mut known: Vec<&str> = all.iter().map(Place::short_name).collect();
                known.sort_unstable();
                known.dedup();
                return Err(ModelError::Invalid(format!(
                    "`targets` names `{name}`, but the model's linear layers are `{}`",
                    known.join("`, `")
                )));
            }
            if names.is_empty() {
                return Err(ModelError::Invalid("`targets` names no layer to adapt".into()));
            }
        }
        Ok(all.into_iter().filter(|place| self.targets.hit(place)).collect())
    }
}

/// The matrices beside one linear layer.
#[derive(Module, Debug)]
pub struct Adapter<B: Backend> {
    /// `[in, rank]`
    pub a: Param<Tensor<B, 2>>,
    /// `[rank, out]`
    pub b: Param<Tensor<B, 2>>,
    scale: f64,
    dropout: f64,
}

impl<B: LmBackend> Adapter<B> {
    /// An adapter with these values, row-major.
    pub(crate) fn with_values(
        config: &LoraConfig,
        [d_in, d_out]: [usize; 2],
        [a, b]: [Vec<f32>; 2],
        device: &B::Device,
    ) -> Self {
        let matrix = |values, shape: [usize; 2]| {
            Param::from_tensor(Tensor::from_data(TensorData::new(values, shape), device))
        };
        Self {
            a: matrix(a, [d_in, config.rank]),
            b: matrix(b, [config.rank, d_out]),
            scale: config.scale(),
            dropout: config.dropout,
        }
    }

    /// A new adapter, which changes nothing yet: `B` is 0, and `A` is uniform within `±1 / √in`, as
    /// PEFT draws it.
    fn new(config: &LoraConfig, place: &Place, seed: Seed, device: &B::Device) -> Self {
        let [d_in, d_out] = place.shape;
        let mut rng = seed.child(&place.own()).rng();
        let bound = 1.0 / (d_in as f64).sqrt();
        let mut draw = || ((2.0 * rng.random::<f64>() - 1.0) * bound) as f32;
        let a = (0..d_in * config.rank).map(|_| draw()).collect();
        Self::with_values(config, place.shape, [a, vec![0.0; config.rank * d_out]], device)
    }

    /// `s · (x A) B`; in training, a part of `x` is dropped before.
    ///
    /// # Shapes
    /// - `input`: `[rows, in]`
    /// - returns: `[rows, out]`
    pub(crate) fn forward(&self, input: Tensor<B, 2>) -> Tensor<B, 2> {
        let input = self.drop(input);
        (input.matmul(self.a.val()) * self.scale).matmul(self.b.val())
    }

    /// Whether something is dropped in training.
    pub(crate) fn drops(&self) -> bool {
        self.dropout > 0.0
    }

    fn drop(&self, input: Tensor<B, 2>) -> Tensor<B, 2> {
        let device = input.device();
        if self.dropout == 0.0 || !B::ad_enabled(&device) {
            return input;
        }
        let kept = 1.0 - self.dropout;
        let mask = Tensor::random(input.shape(), Distribution::Bernoulli(kept), &device);
        input * mask / kept
    }

    /// `s · A B`, `[in, out]`, off the tape.
    pub(crate) fn product(&self) -> Tensor<B, 2> {
        self.a.val().detach().matmul(self.b.val().detach()) * self.scale
    }
}

/// Makes what dropout draws next follow from `seed`.
pub fn seed_dropout<B: LmBackend>(config: Option<&LoraConfig>, seed: Seed, device: &B::Device) {
    if config.is_some_and(|config| config.dropout > 0.0) {
        B::seed(device, seed.rng().random());
    }
}

impl<B: LmBackend> Decoder<B> {
    fn with_lora(
        self,
        config: &LoraConfig,
        seed: Seed,
        device: &B::Device,
    ) -> Result<Self, ModelError> {
        let places = config.places(&self.config)?;
        let new = |place: Place| (Adapter::new(config, &place, seed, device), place);
        self.with_adapters(places.into_iter().map(new))
    }

    /// The decoder, frozen, with these adapters beside its linear layers.
    pub(crate) fn with_adapters(
        self,
        adapters: impl Iterator<Item = (Adapter<B>, Place)>,
    ) -> Result<Self, ModelError> {
        if self.has_lora() {
            return Err(ModelError::Invalid(
                "the model has adapters already; merge them before it gets others".into(),
            ));
        }
        let mut frozen = self.no_grad();
        for (adapter, place) in adapters {
            *frozen.blocks[place.layer].adapter_mut(place.part) = Some(adapter);
        }
        Ok(frozen)
    }

    /// Whether adapters stand beside some layers.
    pub fn has_lora(&self) -> bool {
        self.blocks.iter().any(Block::has_adapters)
    }

    /// The decoder without its adapters: what it was before it got them. Its tensors are shared, so it
    /// costs no memory.
    #[must_use]
    pub fn without_lora(mut self) -> Self {
        self.blocks.iter_mut().for_each(Block::drop_adapters);
        self
    }

    /// The decoder with its adapters added to its weights, `W + s · A B`, and none beside them.
    #[must_use]
    pub fn merged(mut self) -> Self {
        self.blocks.iter_mut().for_each(|block| block.merge_adapters(1.0));
        self
    }

    /// The decoder with its adapters taken off its weights, `W − s · A B`, and none beside them: what
    /// [`merged`](Self::merged) was made of, but for rounding.
    #[must_use]
    pub fn unmerged(mut self) -> Self {
        self.blocks.iter_mut().for_each(|block| block.merge_adapters(-1.0));
        self
    }
}

impl<B: LmBackend> CausalLm<B> {
    /// The model, frozen, with new adapters, which change nothing yet.
    ///
    /// # Errors
    /// Targets that the model doesn't have, settings that mean nothing, or a model with adapters.
    pub fn with_lora(
        self,
        config: &LoraConfig,
        seed: Seed,
        device: &B::Device,
    ) -> Result<Self, ModelError> {
        let Self { decoder, head, value_head } = self;
        let decoder = decoder.with_lora(config, seed, device)?;
        Ok(Self { decoder, head: head.map(Linear::no_grad), value_head })
    }

    /// The model without its adapters: the reference that a policy with adapters is measured from. Its
    /// tensors are shared, so it costs no memory.
    #[must_use]
    pub fn without_lora(self) -> Self {
        Self { decoder: self.decoder.without_lora(), ..self }
    }

    /// The model with its adapters within its weights; see [`Decoder::merged`].
    #[must_use]
    pub fn merged(self) -> Self {
        Self { decoder: self.decoder.merged(), ..self }
    }
}

impl<B: LmBackend> ScalarModel<B> {
    /// The model with a frozen backbone and new adapters, which change nothing yet. The score head
    /// stays trainable.
    ///
    /// # Errors
    /// Those of [`CausalLm::with_lora`].
    pub fn with_lora(
        mut self,
        config: &LoraConfig,
        seed: Seed,
        device: &B::Device,
    ) -> Result<Self, ModelError> {
        self.decoder = self.decoder.with_lora(config, seed, device)?;
        Ok(self)
    }

    /// The model without its adapters, but with the score head that it has now.
    #[must_use]
    pub fn without_lora(self) -> Self {
        Self { decoder: self.decoder.without_lora(), ..self }
    }

    /// The model with its adapters within its weights; see [`Decoder::merged`].
    #[must_use]
    pub fn merged(self) -> Self {
        Self { decoder: self.decoder.merged(), ..self }
    }
}

const ALL_LINEAR: &str = "all-linear";

impl Serialize for Targets {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            Self::AllLinear => serializer.serialize_str(ALL_LINEAR),
            Self::Modules(names) => names.serialize(serializer),
        }
    }
}

impl<'de> Deserialize<'de> for Targets {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(TargetsVisitor)
    }
}

struct TargetsVisitor;

impl<'de> Visitor<'de> for TargetsVisitor {
    type Value = Targets;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "\"{ALL_LINEAR}\" or a list of layers' names")
    }

    fn visit_str<E: de::Error>(self, text: &str) -> Result<Targets, E> {
        if text == ALL_LINEAR {
            Ok(Targets::AllLinear)
        } else {
            Err(E::invalid_value(de::Unexpected::Str(text), &self))
        }
    }

    fn visit_seq<A: SeqAccess<'de>>(self, sequence: A) -> Result<Targets, A::Error> {
        Vec::deserialize(SeqAccessDeserializer::new(sequence)).map(Targets::Modules)
    }
}
