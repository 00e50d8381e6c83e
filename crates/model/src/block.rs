use burn::prelude::*;
use rein_kernels::{Gelu, ops};

use crate::ModelError;
use crate::attention::{Attention, Surroundings};
use crate::backend::LmBackend;
use crate::config::{MlpKind, ModelConfig};
use crate::hf::Part;
use crate::kv_cache::LayerCache;
use crate::linear::Linear;
use crate::lora::Adapter;
use crate::norm::Norm;
use crate::weights::WeightSource;

/// Attention and feed-forward, each on a normalised input and added to the residual stream.
#[derive(Module, Debug)]
pub struct Block<B: Backend> {
    /// Before attention.
    pub attention_norm: Norm<B>,
    /// Looks at other tokens.
    pub attention: Attention<B>,
    /// Before the feed-forward layer.
    pub mlp_norm: Norm<B>,
    /// Looks at each token alone.
    pub mlp: Mlp<B>,
    parallel_residual: bool,
}

impl<B: LmBackend> Block<B> {
    pub(crate) fn new(
        config: &ModelConfig,
        source: &mut dyn WeightSource,
        name: &str,
        device: &B::Device,
    ) -> Result<Self, ModelError> {
        let width = config.hidden_size;
        Ok(Self {
            attention_norm: Norm::new(
                config,
                source,
                &format!("{name}.attention_norm"),
                width,
                device,
            )?,
            attention: Attention::new(config, source, &format!("{name}.attention"), device)?,
            mlp_norm: Norm::new(config, source, &format!("{name}.mlp_norm"), width, device)?,
            mlp: Mlp::new(config, source, &format!("{name}.mlp"), device)?,
            parallel_residual: config.parallel_residual,
        })
    }

    /// # Shapes
    /// - `input`, returns: `[batch · time, hidden]`
    pub(crate) fn forward(
        &self,
        input: Tensor<B, 2>,
        around: &Surroundings<B>,
        cache: Option<&mut LayerCache<B>>,
    ) -> Tensor<B, 2> {
        let attended =
            self.attention.forward(self.attention_norm.forward(input.clone()), around, cache);
        let middle = input.clone() + attended;
        let seen = if self.parallel_residual { input } else { middle.clone() };
        middle + self.mlp.forward(self.mlp_norm.forward(seen))
    }

    /// Where an adapter of this layer stands.
    ///
    /// # Panics
    /// A gate where the feed-forward layer has none.
    pub(crate) fn adapter_mut(&mut self, part: Part) -> &mut Option<Adapter<B>> {
        let Self { attention, mlp, .. } = self;
        match part {
            Part::QueryKeyValue => &mut attention.adapter,
            Part::Query => &mut attention.query.adapter,
            Part::Key => &mut attention.key.adapter,
            Part::Value => &mut attention.value.adapter,
            Part::Output => &mut attention.output.adapter,
            Part::Gate => &mut mlp.gate.as_mut().expect("places are the config's").adapter,
            Part::Up => &mut mlp.up.adapter,
            Part::Down => &mut mlp.down.adapter,
        }
    }

    /// The adapter of this layer, if it has one.
    pub(crate) fn adapter(&self, part: Part) -> Option<&Adapter<B>> {
        let Self { attention, mlp, .. } = self;
        match part {
            Part::QueryKeyValue => attention.adapter.as_ref(),
            Part::Query => attention.query.adapter.as_ref(),
            Part::Key => attention.key.adapter.as_ref(),
            Part::Value => attention.value.adapter.as_ref(),
            Part::Output => attention.output.adapter.as_ref(),
            Part::Gate => mlp.gate.as_ref()?.adapter.as_ref(),
            Part::Up => mlp.up.adapter.as_ref(),
            Part::Down => mlp.down.adapter.as_ref(),
        }
    }

    pub(crate) fn has_adapters(&self) -> bool {
        Part::ALL.iter().any(|part| self.adapter(*part).is_some())
    }

    /// Whether some of it drops a part of its input in training.
    pub(crate) fn has_dropout(&self) -> bool {
        Part::ALL.iter().any(|part| self.adapter(*part).is_some_and(Adapter::drops))
    }

    pub(crate) fn drop_adapters(&mut self) {
        let present = Part::ALL.into_iter().filter(|part| self.adapter(*part).is_some());
        present.collect::<Vec<_>>().into_iter().for_each(|part| *self.adapter_mut(part) = None);
    }

    /// Adds `sign` times the adapters to the weights.
    pub(crate) fn merge_adapters(&mut self, sign: f32) {
        let Self { attention, mlp, .. } = self;
        attention.merge_adapters(sign);
        mlp.gate
            .iter_mut()
            .chain([&mut mlp.up, &mut mlp.down])
            .for_each(|it| it.merge_adapter(sign));
    }
}

/// The feed-forward layer.
#[derive(Module, Debug)]
pub struct Mlp<B: Backend> {
    /// `[hidden, mlp]`, for gated layers.
    pub gate: Option<Linear<B>>,
    /// `[hidden, mlp]`
    pub up: Linear<B>,
    /// `[mlp, hidden]`
    pub down: Linear<B>,
    exact_gelu: bool,
}

impl<B: LmBackend> Mlp<B> {
    fn new(
        config: &ModelConfig,
        source: &mut dyn WeightSource,
        name: &str,
        device: &B::Device,
    ) -> Result<Self, ModelError> {
        let ModelConfig { hidden_size, mlp_size, biases, .. } = *config;
        let mut linear = |part: &str, shape| {
            Linear::new(source, &format!("{name}.{part}"), shape, biases.mlp, device)
        };
        let gated = config.mlp == MlpKind::SwiGlu;
        let gate = gated.then(|| linear("gate", [hidden_size, mlp_size])).transpose()?;
        let up = linear("up", [hidden_size, mlp_size])?;
        let down = linear("down", [mlp_size, hidden_size])?;
        Ok(Self { gate, up, down, exact_gelu: config.mlp == MlpKind::GeluErf })
    }

    fn forward(&self, input: Tensor<B, 2>) -> Tensor<B, 2> {
        let inner = match &self.gate {
            Some(gate) => ops::swiglu(gate.forward(input.clone()), self.up.forward(input)),
            None if self.exact_gelu => ops::gelu(self.up.forward(input), Gelu::Erf),
            None => ops::gelu(self.up.forward(input), Gelu::Tanh),
        };
        self.down.forward(inner)
    }
}
