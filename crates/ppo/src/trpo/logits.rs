//! Logits over a vocabulary, a few entries of it at a time: no tensor of `[tokens, entries]` is ever held.

use burn::prelude::*;
use rein_model::backend::{LmAutodiffBackend, LmBackend};

/// Numbers of a tensor of some entries' logits, about.
const CHUNK: usize = 1 << 20;
/// The most entries at a time.
const MOST_ENTRIES: usize = 2048;

/// What logits are computed of: `z = h W / temperature`.
#[derive(Clone, Debug)]
pub struct Logits<B: Backend> {
    /// `h`, `[tokens, width]`
    pub hidden: Tensor<B, 2>,
    /// `W`, `[width, entries]`; `[entries, width]` where it is the embedding.
    pub head: Tensor<B, 2>,
    /// Whether the head is the embedding.
    pub tied: bool,
    /// Whether anything shall flow back into the head.
    pub trains_head: bool,
    /// Divides the scores.
    pub temperature: f32,
}

/// Some entries of a vocabulary: the first of them, and how many.
type Entries = (usize, usize);

impl<B: LmBackend> Logits<B> {
    /// All entries, a few at a time.
    fn chunks(&self) -> impl Iterator<Item = Entries> + use<B> {
        let n_tokens = self.hidden.dims()[0];
        let n_entries = self.head.dims()[usize::from(!self.tied)];
        let size = (CHUNK / n_tokens.max(1)).next_multiple_of(64).clamp(64, MOST_ENTRIES);
        (0..n_entries).step_by(size).map(move |first| (first, size.min(n_entries - first)))
    }

    /// A part of the head, `[width, entries]`.
    fn part(&self, (first, count): Entries) -> Tensor<B, 2> {
        if self.tied {
            self.head.clone().narrow(0, first, count).transpose()
        } else {
            self.head.clone().narrow(1, first, count)
        }
    }

    /// `[tokens, entries]`
    fn of(&self, entries: Entries) -> Tensor<B, 2> {
        self.hidden.clone().matmul(self.part(entries)) / self.temperature
    }

    /// `log Σ e^z` of each token, `[tokens, 1]`.
    fn log_totals(&self) -> Tensor<B, 2> {
        let mut sums = Sums(None);
        self.chunks().for_each(|entries| sums.add(self.of(entries), None));
        sums.log_totals()
    }

    /// Log-probabilities of one entry for each token, `[tokens]`, in nats.
    fn logprobs(&self, entries: Tensor<B, 1, Int>, log_totals: Tensor<B, 2>) -> Tensor<B, 1> {
        let chosen = match self.tied {
            true => self.head.clone().select(0, entries),
            false => self.head.clone().select(1, entries).transpose(),
        };
        let logits = (self.hidden.clone() * chosen).sum_dim(1) / self.temperature;
        (logits - log_totals).squeeze_dim(1)
    }
}

impl<B: LmAutodiffBackend> Logits<B> {
    /// The same without a tape.
    fn valid(&self) -> Logits<B::InnerBackend> {
        let Self { hidden, head, tied, trains_head, temperature } = self.clone();
        let (hidden, head) = (hidden.inner(), head.inner());
        Logits { hidden, head, tied, trains_head, temperature }
    }

    /// `Σ u z`, or rather what has its gradients: `u` is held fixed, and so only what flows back into `h` and
    /// `W` is needed of it.
    pub(super) fn times(&self, pulled: Pulled<B::InnerBackend>) -> Tensor<B, 1> {
        let flows = |into: &Tensor<B, 2>, it| (into.clone() * Tensor::from_inner(it)).sum();
        let into_hidden = flows(&self.hidden, pulled.of_hidden);
        match pulled.of_head {
            Some(it) => into_hidden + flows(&self.head, it),
            None => into_hidden,
        }
    }

    /// [`pulled`] by what these logits are without a tape.
    pub(super) fn pulled(&self, tangent: &Tangent<B::InnerBackend>) -> Pulled<B::InnerBackend> {
        pulled(&self.valid(), tangent)
    }
}

/// A direction of logits: how they differ between two places, divided by how far those are apart.
#[derive(Clone, Debug)]
pub(super) struct Tangent<B: Backend> {
    pub(super) ahead: Logits<B>,
    pub(super) behind: Logits<B>,
    /// From one to the other.
    pub(super) distance: f64,
}

impl<B: LmBackend> Tangent<B> {
    /// `[tokens, entries]`
    fn of(&self, entries: Entries) -> Tensor<B, 2> {
        (self.ahead.of(entries) - self.behind.of(entries)) / self.distance
    }

    /// How far the logits of a token are from the mean of their differences at most, with the whole distance.
    pub(super) fn largest_move(&self) -> Tensor<B, 1> {
        let mut n_entries = 0;
        let seen = self.ahead.chunks().map(|entries| {
            let difference = self.ahead.of(entries) - self.behind.of(entries);
            n_entries += entries.1;
            [difference.clone().max_dim(1), difference.clone().min_dim(1), difference.sum_dim(1)]
        });
        let [most, least, total] = seen
            .reduce(|[most, least, total], [high, low, sum]| {
                [most.max_pair(high), least.min_pair(low), total + sum]
            })
            .expect("a vocabulary has entries");
        let mean = total / n_entries as f64;
        (most - mean.clone()).max_pair(mean - least).max()
    }
}

/// What flows back from logits.
#[derive(Clone, Debug)]
pub(super) struct Pulled<B: Backend> {
    /// `[tokens, width]`
    of_hidden: Tensor<B, 2>,
    /// As the head, if that is trained.
    of_head: Option<Tensor<B, 2>>,
}

/// What flows back into `h` and `W` from `u = (diag p − p pᵀ) t = p (t − Σ p t)`, with `p = softmax(z)`:
/// `u Wᵀ` and `hᵀ u`, over the temperature. A first look at all entries gives `Σ p t`, and a second one `u`.
fn pulled<B: LmBackend>(logits: &Logits<B>, tangent: &Tangent<B>) -> Pulled<B> {
    let mut sums = Sums(None);
    for entries in logits.chunks() {
        sums.add(logits.of(entries), Some(tangent.of(entries)));
    }
    let (mean, log_totals) = (sums.mean(), sums.log_totals());
    let Logits { hidden, tied, temperature, .. } = logits;
    let mut of_hidden: Option<Tensor<B, 2>> = None;
    let mut of_head = Vec::new();
    for entries in logits.chunks() {
        let probs = (logits.of(entries) - log_totals.clone()).exp();
        let pulled = probs * (tangent.of(entries) - mean.clone()) / *temperature;
        let more = pulled.clone().matmul(logits.part(entries).transpose());
        of_hidden = Some(of_hidden.map_or(more.clone(), |it| it + more));
        if logits.trains_head {
            of_head.push(match tied {
                true => pulled.transpose().matmul(hidden.clone()),
                false => hidden.clone().transpose().matmul(pulled),
            });
        }
    }
    let of_head = logits.trains_head.then(|| Tensor::cat(of_head, usize::from(!*tied)));
    Pulled { of_hidden: of_hidden.expect("a vocabulary has entries"), of_head }
}

/// `KL(old ‖ new) = Σ p_old (log p_old − log p_new)` over all entries, `[tokens]`, in nats, and the new
/// log-probabilities of `targets`, `[tokens]`.
pub fn divergence<B: LmBackend>(
    old: &Logits<B>,
    new: &Logits<B>,
    targets: Tensor<B, 1, Int>,
) -> [Tensor<B, 1>; 2] {
    let [of_old, of_new] = [old, new].map(Logits::log_totals);
    let parts = old.chunks().map(|entries| {
        let old = old.of(entries) - of_old.clone();
        let new = new.of(entries) - of_new.clone();
        (old.clone().exp() * (old - new)).sum_dim(1)
    });
    let nats = parts.reduce(|sum, part| sum + part).expect("a vocabulary has entries");
    [nats.squeeze_dim(1), new.logprobs(targets, of_new)]
}

/// Sums over the entries that were seen, without the largest logit, each `[tokens, 1]`.
#[derive(Debug)]
struct Sums<B: Backend>(Option<Seen<B>>);

#[derive(Debug)]
struct Seen<B: Backend> {
    largest: Tensor<B, 2>,
    /// `Σ e^(z − largest)`
    total: Tensor<B, 2>,
    /// `Σ e^(z − largest) t`
    moment: Option<Tensor<B, 2>>,
}

impl<B: LmBackend> Sums<B> {
    /// Looks at some more logits, and at what stands beside them.
    fn add(&mut self, logits: Tensor<B, 2>, beside: Option<Tensor<B, 2>>) {
        let mut largest = logits.clone().max_dim(1);
        if let Some(seen) = &self.0 {
            largest = largest.max_pair(seen.largest.clone());
        }
        let weights = (logits - largest.clone()).exp();
        let moment = beside.map(|it| (weights.clone() * it).sum_dim(1));
        let total = weights.sum_dim(1);
        self.0 = Some(match self.0.take() {
            None => Seen { largest, total, moment },
            Some(seen) => {
                let shrink = (seen.largest - largest.clone()).exp();
                let moment = moment.zip(seen.moment).map(|(new, old)| old * shrink.clone() + new);
                Seen { largest, total: seen.total * shrink + total, moment }
            }
        });
    }

    fn seen(&self) -> &Seen<B> {
        self.0.as_ref().expect("a vocabulary has entries")
    }

    /// `log Σ e^z`
    fn log_totals(&self) -> Tensor<B, 2> {
        let Seen { largest, total, .. } = self.seen();
        total.clone().log() + largest.clone()
    }

    /// `Σ p t`
    fn mean(&self) -> Tensor<B, 2> {
        let Seen { total, moment, .. } = self.seen();
        moment.clone().expect("something stood beside the logits") / total.clone()
    }
}
