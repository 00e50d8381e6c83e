use anyhow::Result;
use rein_kernels::{Gelu, Kernels, Precision, composed};

use super::{Load, Operations};

/// Keeps roots from zero.
const EPS: f32 = 1e-5;

impl<B: Kernels> Operations<'_, B> {
    pub(super) fn layers(&self) -> Result<()> {
        self.norm(["norm", "norm_backward"], false)?;
        self.norm(["layer_norm", "layer_norm_backward"], true)?;
        self.rotate()?;
        self.swiglu()?;
        self.gelu()?;
        self.linear()
    }

    fn norm(&self, [what, back]: [&str; 2], with_bias: bool) -> Result<()> {
        let (n_tokens, width) = (self.n_tokens(), self.sizes.model.hidden_size);
        let [x, g] = [(); 2].map(|()| self.primitive([n_tokens, width]));
        let weight = self.primitive([width]);
        let bias = with_bias.then(|| self.primitive([width]));
        let (x, weight, bias) = (|| x.clone(), || weight.clone(), || bias.clone());
        self.compare(
            what,
            Load::Numbers(2 * n_tokens * width),
            || B::norm(x(), weight(), bias(), EPS),
            || composed::norm::<B>(x(), weight(), bias(), EPS),
        )?;
        self.compare(
            back,
            Load::Numbers(3 * n_tokens * width),
            || B::norm_backward(x(), weight(), with_bias, EPS, g.clone()),
            || composed::norm_backward::<B>(x(), weight(), with_bias, EPS, g.clone()),
        )
    }

    fn rotate(&self) -> Result<()> {
        let model = &self.sizes.model;
        let head_dim = model.hidden_size / model.n_heads;
        let (n_tokens, n_pairs) = (self.n_tokens(), head_dim / 2);
        let heads = self.primitive([n_tokens, model.hidden_size]);
        let angles = [(); 2].map(|()| self.primitive([n_tokens, n_pairs]));
        for (what, back) in [("rotate", false), ("rotate_backward", true)] {
            self.compare(
                what,
                Load::Numbers(2 * n_tokens * (model.hidden_size + n_pairs)),
                || B::rotate(heads.clone(), angles.clone(), head_dim, back),
                || composed::rotate::<B>(heads.clone(), angles.clone(), head_dim, back),
            )?;
        }
        Ok(())
    }

    fn swiglu(&self) -> Result<()> {
        let shape = [self.n_tokens(), self.sizes.model.mlp_size];
        let count = shape[0] * shape[1];
        let [gate, up, g] = [(); 3].map(|()| self.primitive(shape));
        let (gate, up, g) = (|| gate.clone(), || up.clone(), || g.clone());
        self.compare(
            "swiglu",
            Load::Numbers(3 * count),
            || B::swiglu(gate(), up()),
            || composed::swiglu::<B>(gate(), up()),
        )?;
        self.compare(
            "swiglu_backward",
            Load::Numbers(5 * count),
            || B::swiglu_backward(gate(), up(), g()),
            || composed::swiglu_backward::<B>(gate(), up(), g()),
        )
    }

    fn gelu(&self) -> Result<()> {
        let shape = [self.n_tokens(), self.sizes.model.mlp_size];
        let count = shape[0] * shape[1];
        let [x, g] = [(); 2].map(|()| self.primitive(shape));
        for (what, back, kind) in
            [("gelu", "gelu_backward", Gelu::Erf), ("gelu_tanh", "gelu_tanh_backward", Gelu::Tanh)]
        {
            self.compare(
                what,
                Load::Numbers(2 * count),
                || B::gelu_unit(x.clone(), kind),
                || composed::gelu::<B>(x.clone(), kind),
            )?;
            self.compare(
                back,
                Load::Numbers(3 * count),
                || B::gelu_unit_backward(x.clone(), kind, g.clone()),
                || composed::gelu_backward::<B>(x.clone(), kind, g.clone()),
            )?;
        }
        Ok(())
    }

    /// Into the feed-forward layer.
    fn linear(&self) -> Result<()> {
        let (n_tokens, n_in) = (self.n_tokens(), self.sizes.model.hidden_size);
        let n_out = self.sizes.model.mlp_size;
        let x = self.primitive([n_tokens, n_in]);
        let (weight, bias) = (self.primitive([n_in, n_out]), self.primitive([n_out]));
        let g = self.primitive([n_tokens, n_out]);
        let (x, weight, g) = (|| x.clone(), || weight.clone(), || g.clone());
        let product = Load::Flops(2 * n_tokens * n_in * n_out);
        for (what, bias) in [("linear", None), ("linear_with_bias", Some(bias))] {
            self.compare(
                what,
                product,
                || B::project(x(), weight(), bias.clone(), Precision::F32),
                || composed::linear::<B>(x(), weight(), bias.clone()),
            )?;
        }
        self.compare(
            "linear_backward_input",
            product,
            || B::project_backward_input(weight(), g(), Precision::F32),
            || composed::linear_backward_input::<B>(weight(), g()),
        )?;
        self.compare(
            "linear_backward_weight",
            product,
            || B::project_backward_weight(x(), g(), None, Precision::F32),
            || composed::linear_backward_weight::<B>(x(), g()),
        )?;
        self.compare(
            "sum_of_rows",
            Load::Numbers(n_tokens * n_out),
            || B::sum_of_rows(g()),
            || composed::sum_of_rows::<B>(g()),
        )
    }
}
