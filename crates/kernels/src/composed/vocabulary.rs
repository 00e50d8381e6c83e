use burn::prelude::*;
use burn::tensor::ops::{FloatTensor, IntTensor};

use super::{primitive, tensor};
use crate::kernels::StatsSeen;
use crate::settings::HeadLayout;

/// [`Kernels::token_stats`](crate::Kernels::token_stats)
pub fn token_stats<B: Backend>(
    hidden: FloatTensor<B>,
    head: FloatTensor<B>,
    targets: IntTensor<B>,
    layout: HeadLayout,
) -> (FloatTensor<B>, FloatTensor<B>) {
    let logits = logits::<B>(tensor(hidden), tensor(head), layout);
    let n_tokens = logits.dims()[0];
    let largest = logits.clone().max_dim(1);
    let shifted = logits.clone() - largest.clone();
    let exponentials = shifted.clone().exp();
    let total = exponentials.clone().sum_dim(1);
    let log = total.clone().log();
    let targets = Tensor::<B, 1, Int>::from_primitive(targets).reshape([n_tokens, 1]);
    let chosen = shifted.clone().gather(1, targets) - log.clone();
    let entropy = log.clone() - (exponentials * shifted.clone()).sum_dim(1) / total;
    let mean = shifted.mean_dim(1) - log.clone();
    let best = logits.argmax(1).float();
    let logs = (log + largest).reshape([n_tokens]);
    (primitive(Tensor::cat(vec![chosen, entropy, mean, best], 1)), primitive(logs))
}

/// [`Kernels::token_stats_backward`](crate::Kernels::token_stats_backward)
///
/// With `p = softmax(z)` and gradients `a` of `log p_t`, `b` of the entropy `H`, `c` of the mean of
/// `log p`: `dz = a (1_t − p) − b p (log p + H) + c (1/V − p)`.
pub fn token_stats_backward<B: Backend>(
    hidden: FloatTensor<B>,
    head: FloatTensor<B>,
    targets: IntTensor<B>,
    layout: HeadLayout,
    seen: StatsSeen<B>,
    of_head_too: bool,
) -> (FloatTensor<B>, Option<FloatTensor<B>>) {
    let (hidden, head) = (tensor::<B, 2>(hidden), tensor::<B, 2>(head));
    let logits = logits(hidden.clone(), head.clone(), layout);
    let [n_tokens, n_entries] = logits.dims();
    let (stats, grad) = (tensor::<B, 2>(seen.stats), tensor::<B, 2>(seen.grad));
    let column = |it: &Tensor<B, 2>, column| it.clone().narrow(1, column, 1);
    let (of_target, of_entropy, of_mean) = (column(&grad, 0), column(&grad, 1), column(&grad, 2));
    let logp = logits - tensor::<B, 1>(seen.logs).reshape([n_tokens, 1]);
    let p = logp.clone().exp();
    let of_all = (logp + column(&stats, 1)) * of_entropy + of_target.clone() + of_mean.clone();
    let slopes = p.neg() * of_all + of_mean / n_entries as f64;
    let targets = Tensor::<B, 1, Int>::from_primitive(targets).reshape([n_tokens, 1]);
    let slopes = slopes.scatter(1, targets, of_target, burn::tensor::IndexingUpdateOp::Add)
        / layout.temperature;
    let of_head = of_head_too.then(|| {
        primitive(if layout.tied {
            slopes.clone().transpose().matmul(hidden)
        } else {
            hidden.transpose().matmul(slopes.clone())
        })
    });
    let back = if layout.tied { head } else { head.transpose() };
    (primitive(slopes.matmul(back)), of_head)
}

fn logits<B: Backend>(
    hidden: Tensor<B, 2>,
    head: Tensor<B, 2>,
    layout: HeadLayout,
) -> Tensor<B, 2> {
    let head = if layout.tied { head.transpose() } else { head };
    let logits = hidden.matmul(head);
    if layout.temperature == 1.0 { logits } else { logits / layout.temperature }
}
