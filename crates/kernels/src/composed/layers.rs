use burn::prelude::*;
use burn::tensor::activation::sigmoid;
use burn::tensor::ops::FloatTensor;

use super::{primitive, tensor};
use crate::settings::Gelu;

/// [`Kernels::norm`](crate::Kernels::norm)
pub fn norm<B: Backend>(
    input: FloatTensor<B>,
    weight: FloatTensor<B>,
    bias: Option<FloatTensor<B>>,
    eps: f32,
) -> FloatTensor<B> {
    let (normal, _) = normalized(tensor::<B, 2>(input), bias.is_some(), eps);
    let scaled = normal * tensor::<B, 1>(weight).unsqueeze();
    primitive(match bias {
        Some(bias) => scaled + tensor::<B, 1>(bias).unsqueeze(),
        None => scaled,
    })
}

/// [`Kernels::norm_backward`](crate::Kernels::norm_backward)
///
/// With `x̂ = (x − mean) · scale`: `dx = scale · (g w − mean(g w) − x̂ · mean(g w x̂))`.
pub fn norm_backward<B: Backend>(
    input: FloatTensor<B>,
    weight: FloatTensor<B>,
    with_bias: bool,
    eps: f32,
    grad: FloatTensor<B>,
) -> (FloatTensor<B>, FloatTensor<B>, Option<FloatTensor<B>>) {
    let (normal, root) = normalized(tensor::<B, 2>(input), with_bias, eps);
    let grad = tensor::<B, 2>(grad);
    let of_weight = primitive((grad.clone() * normal.clone()).sum_dim(0).squeeze_dim::<1>(0));
    let of_bias = with_bias.then(|| primitive(grad.clone().sum_dim(0).squeeze_dim::<1>(0)));
    let grad = grad * tensor::<B, 1>(weight).unsqueeze();
    let along = (grad.clone() * normal.clone()).mean_dim(1);
    let mut of_input = grad.clone() - normal * along;
    if with_bias {
        of_input = of_input - grad.mean_dim(1);
    }
    (primitive(of_input / root), of_weight, of_bias)
}

/// `x̂`, and what the input was divided by. Some backends' reciprocals are good for 12 bits only.
fn normalized<B: Backend>(
    input: Tensor<B, 2>,
    centered: bool,
    eps: f32,
) -> (Tensor<B, 2>, Tensor<B, 2>) {
    let input = if centered { input.clone() - input.mean_dim(1) } else { input };
    let root = (input.clone().square().mean_dim(1) + eps).sqrt();
    (input / root.clone(), root)
}

/// [`Kernels::rotate`](crate::Kernels::rotate)
pub fn rotate<B: Backend>(
    heads: FloatTensor<B>,
    [cos, sin]: [FloatTensor<B>; 2],
    head_dim: usize,
    back: bool,
) -> FloatTensor<B> {
    let (heads, cos, sin) = (tensor::<B, 2>(heads), tensor::<B, 2>(cos), tensor::<B, 2>(sin));
    let ([n_tokens, width], n_pairs) = (heads.dims(), cos.dims()[1]);
    let sin = if back { sin.neg() } else { sin };
    let angles = |it: Tensor<B, 2>| it.reshape([n_tokens, 1, n_pairs]);
    let (cos, sin) = (angles(cos), angles(sin));
    let heads = heads.reshape([n_tokens, width / head_dim, head_dim]);
    let low = heads.clone().narrow(2, 0, n_pairs);
    let high = heads.clone().narrow(2, n_pairs, n_pairs);
    let mut parts =
        vec![low.clone() * cos.clone() - high.clone() * sin.clone(), high * cos + low * sin];
    if 2 * n_pairs < head_dim {
        parts.push(heads.narrow(2, 2 * n_pairs, head_dim - 2 * n_pairs));
    }
    primitive(Tensor::cat(parts, 2).reshape([n_tokens, width]))
}

/// [`Kernels::swiglu`](crate::Kernels::swiglu)
pub fn swiglu<B: Backend>(gate: FloatTensor<B>, up: FloatTensor<B>) -> FloatTensor<B> {
    let gate = tensor::<B, 2>(gate);
    primitive(gate.clone() * sigmoid(gate) * tensor::<B, 2>(up))
}

/// [`Kernels::swiglu_backward`](crate::Kernels::swiglu_backward)
pub fn swiglu_backward<B: Backend>(
    gate: FloatTensor<B>,
    up: FloatTensor<B>,
    grad: FloatTensor<B>,
) -> (FloatTensor<B>, FloatTensor<B>) {
    let (gate, grad) = (tensor::<B, 2>(gate), tensor::<B, 2>(grad));
    let open = sigmoid(gate.clone());
    let of_up = grad.clone() * gate.clone() * open.clone();
    let slope = open.clone() * (gate * (open.neg() + 1.0) + 1.0);
    (primitive(grad * tensor::<B, 2>(up) * slope), primitive(of_up))
}

/// [`Kernels::gelu_unit`](crate::Kernels::gelu_unit)
pub fn gelu<B: Backend>(input: FloatTensor<B>, kind: Gelu) -> FloatTensor<B> {
    let x = tensor::<B, 2>(input);
    primitive(x.clone() * share(x, kind))
}

/// The share of the input that passes.
fn share<B: Backend>(x: Tensor<B, 2>, kind: Gelu) -> Tensor<B, 2> {
    match kind {
        Gelu::Erf => ((x / std::f64::consts::SQRT_2).erf() + 1.0) * 0.5,
        Gelu::Tanh => (inner(x).tanh() + 1.0) * 0.5,
    }
}

fn inner<B: Backend>(x: Tensor<B, 2>) -> Tensor<B, 2> {
    let cubed = x.clone() * x.clone() * x.clone();
    (x + cubed * CUBIC) * root_2_over_pi()
}

const CUBIC: f64 = 0.044715;

fn root_2_over_pi() -> f64 {
    (2.0 / std::f64::consts::PI).sqrt()
}

/// [`Kernels::gelu_unit_backward`](crate::Kernels::gelu_unit_backward)
pub fn gelu_backward<B: Backend>(
    input: FloatTensor<B>,
    kind: Gelu,
    grad: FloatTensor<B>,
) -> FloatTensor<B> {
    let x = tensor::<B, 2>(input);
    let slope = match kind {
        Gelu::Erf => {
            let density = (x.clone().square() * -0.5).exp() * (root_2_over_pi() / 2.0);
            share(x.clone(), kind) + x * density
        }
        Gelu::Tanh => {
            let t = inner(x.clone()).tanh();
            let rise = (x.clone().square() * (3.0 * CUBIC) + 1.0) * root_2_over_pi();
            (t.clone() + 1.0 + x * (t.square().neg() + 1.0) * rise) * 0.5
        }
    };
    primitive(tensor::<B, 2>(grad) * slope)
}

/// [`Kernels::project`](crate::Kernels::project)
pub fn linear<B: Backend>(
    input: FloatTensor<B>,
    weight: FloatTensor<B>,
    bias: Option<FloatTensor<B>>,
) -> FloatTensor<B> {
    let product = tensor::<B, 2>(input).matmul(tensor(weight));
    primitive(match bias {
        Some(bias) => product + tensor::<B, 1>(bias).unsqueeze(),
        None => product,
    })
}

/// [`Kernels::project_backward_input`](crate::Kernels::project_backward_input)
pub fn linear_backward_input<B: Backend>(
    weight: FloatTensor<B>,
    grad: FloatTensor<B>,
) -> FloatTensor<B> {
    primitive(tensor::<B, 2>(grad).matmul(tensor::<B, 2>(weight).transpose()))
}

/// [`Kernels::project_backward_weight`](crate::Kernels::project_backward_weight)
pub fn linear_backward_weight<B: Backend>(
    input: FloatTensor<B>,
    grad: FloatTensor<B>,
) -> FloatTensor<B> {
    primitive(tensor::<B, 2>(input).transpose().matmul(tensor(grad)))
}

/// [`Kernels::sum_of_rows`](crate::Kernels::sum_of_rows)
pub fn sum_of_rows<B: Backend>(rows: FloatTensor<B>) -> FloatTensor<B> {
    primitive(tensor::<B, 2>(rows).sum_dim(0).squeeze_dim::<1>(0))
}
