use burn::backend::Autodiff;
use burn::backend::autodiff::checkpoint::base::Checkpointer;
use burn::backend::autodiff::checkpoint::strategy::CheckpointStrategy;
use burn::backend::autodiff::grads::Gradients;
use burn::backend::autodiff::ops::{Backward, Ops, OpsKind};
use burn::tensor::backend::AutodiffBackend;
use burn::tensor::ops::{FloatTensor, IntTensor};

use super::{give, give_to_sum};
use crate::kernels::{Kernels, StatsSeen, Wanted};
use crate::settings::HeadLayout;

type Tracked<B, C> = FloatTensor<Autodiff<B, C>>;

#[derive(Debug)]
struct TokenStats;

#[derive(Debug)]
struct State<B: Kernels> {
    hidden: FloatTensor<B>,
    head: FloatTensor<B>,
    targets: IntTensor<B>,
    layout: HeadLayout,
    stats: FloatTensor<B>,
    logs: FloatTensor<B>,
}

impl<B: Kernels> Clone for State<B> {
    fn clone(&self) -> Self {
        Self {
            hidden: self.hidden.clone(),
            head: self.head.clone(),
            targets: self.targets.clone(),
            layout: self.layout,
            stats: self.stats.clone(),
            logs: self.logs.clone(),
        }
    }
}

impl<B: Kernels> Backward<B, 2> for TokenStats {
    type State = State<B>;

    fn backward(self, ops: Ops<Self::State, 2>, grads: &mut Gradients, _: &mut Checkpointer) {
        let State { hidden, head, targets, layout, stats, logs } = ops.state;
        let grad = grads.consume::<B>(&ops.node);
        let seen = StatsSeen { stats, logs, grad };
        let [to_hidden, to_head] = ops.parents.map(|it| it.map(|it| it.id));
        let backward =
            |of_head| B::token_stats_backward(hidden, head, targets, layout, seen, of_head);
        if to_head.is_none() {
            return give::<B>(grads, to_hidden, backward(Wanted::Not).0);
        }
        let mut of_hidden = None;
        give_to_sum::<B>(grads, to_head, |sum| {
            let (hidden, head) = backward(sum.map_or(Wanted::New, Wanted::AddedTo));
            of_hidden = Some(hidden);
            head.expect("was asked for")
        });
        give::<B>(grads, to_hidden, of_hidden.expect("was computed beside the head's"));
    }
}

/// Nothing flows back through the logarithms.
pub(super) fn token_stats<B: Kernels, C: CheckpointStrategy>(
    hidden: Tracked<B, C>,
    head: Tracked<B, C>,
    targets: IntTensor<B>,
    layout: HeadLayout,
) -> (Tracked<B, C>, Tracked<B, C>) {
    let (h, w) = (hidden.primitive, head.primitive);
    let (stats, logs) = B::token_stats(h.clone(), w.clone(), targets.clone(), layout);
    let untracked_logs = <Autodiff<B, C> as AutodiffBackend>::from_inner(logs.clone());
    let prepared = TokenStats.prepare::<C>([hidden.node, head.node]).compute_bound();
    let output = match prepared.stateful() {
        OpsKind::Tracked(prep) => {
            let stats_too = stats.clone();
            let state = State { hidden: h, head: w, targets, layout, stats: stats_too, logs };
            prep.finish(state, stats)
        }
        OpsKind::UnTracked(prep) => prep.finish(stats),
    };
    (output, untracked_logs)
}
