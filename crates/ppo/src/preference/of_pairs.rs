//! What a policy makes of preference pairs.

use burn::prelude::*;
use rein_data::encoding::TokenRow;
use rein_data::log::Metrics;
use rein_model::CausalLm;
use rein_model::backend::LmBackend;
use rein_model::tokens::host;
use rein_reward::evaluate::pair_accuracy;
use serde::{Deserialize, Serialize};

use crate::preference::config::DpoConfig;
use crate::preference::judgement::{
    CompletionStats, Judged, Judgement, Referred, Whole, completion_stats, mean,
};
use crate::preference::pairs::Pair;

/// What became of one pair, in nats.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
pub struct Measured {
    loss: f32,
    /// Of the preferred completion.
    nll: f32,
    /// Of both sides; per token where the loss takes them so.
    logprobs: [f32; 2],
    /// The same less what the reference gives.
    log_ratios: [f32; 2],
    /// Tokens of both sides' completions, and sums over them.
    n_tokens: [f32; 2],
    entropies: [f32; 2],
    logits: [f32; 2],
}

impl Judgement for Pair {
    const NAME: &'static str = "preference pair";
    const IS_PAIR: bool = true;
    type Measured = Measured;

    fn rows(&self) -> [&TokenRow; 2] {
        self.sides()
    }

    fn learned(&self) -> Vec<&TokenRow> {
        self.sides().to_vec()
    }

    fn judge<B: LmBackend>(
        policy: &CausalLm<B>,
        part: &[Referred<'_, Self>],
        whole: &Whole,
        config: &DpoConfig,
        device: &B::Device,
    ) -> Judged<B, Measured> {
        let sides = Sides::new(policy, part, config.loss_type.is_per_token(), device);
        let [chosen, rejected] = sides.log_ratios.clone();
        let losses = config.pair_loss().losses(chosen, rejected);
        let seen = sides.measured(losses.clone());
        // Divided by the pairs and tokens of the whole batch, so that the sum over micro-batches is the
        // mean over the batch, however it is cut.
        let mut loss = losses.sum() / whole.n_judgements;
        if config.imitation() > 0.0 {
            loss = loss + sides.nll.sum() * (config.imitation() / whole.n_imitated);
        }
        Judged { loss, seen }
    }

    /// Of equal rewards, an accuracy counts half.
    fn describe(seen: &[Measured], whole: &Whole, config: &DpoConfig, prefix: &str) -> Metrics {
        let mut metrics = Metrics::default();
        let mut push = |name: &str, value: f64| metrics.push(format!("{prefix}{name}"), value);
        let (mut loss, weight) = (mean(seen, |it| it.loss), config.imitation());
        let nll = seen.iter().map(|it| f64::from(it.nll)).sum::<f64>() / whole.n_imitated;
        if weight > 0.0 {
            loss += weight * nll;
        }
        push("loss", loss);
        if weight > 0.0 {
            push("nll_loss", nll);
        }
        let rewards = [0, 1].map(|side| config.beta * mean(seen, |it| it.log_ratios[side]));
        let side = |side: usize| seen.iter().map(|it| it.log_ratios[side]).collect::<Vec<f32>>();
        push("rewards/chosen", rewards[0]);
        push("rewards/rejected", rewards[1]);
        push("rewards/accuracies", pair_accuracy(&side(0), &side(1)).value());
        push("rewards/margins", rewards[0] - rewards[1]);
        push("logps/chosen", mean(seen, |it| it.logprobs[0]));
        push("logps/rejected", mean(seen, |it| it.logprobs[1]));
        let sum = |part: fn(&Measured) -> [f32; 2], side: usize| {
            seen.iter().map(|it| f64::from(part(it)[side])).sum::<f64>()
        };
        let n_tokens = [0, 1].map(|side| sum(|it| it.n_tokens, side));
        push("logits/chosen", sum(|it| it.logits, 0) / n_tokens[0]);
        push("logits/rejected", sum(|it| it.logits, 1) / n_tokens[1]);
        let entropy = sum(|it| it.entropies, 0) + sum(|it| it.entropies, 1);
        push("entropy", entropy / (n_tokens[0] + n_tokens[1]));
        metrics
    }
}

/// What a policy gives to both sides of some pairs, `[pairs]` each.
struct Sides<B: Backend> {
    /// The preferred completions' negative log-probabilities.
    nll: Tensor<B, 1>,
    logprobs: [Tensor<B, 1>; 2],
    log_ratios: [Tensor<B, 1>; 2],
    n_tokens: [Tensor<B, 1>; 2],
    entropies: [Tensor<B, 1>; 2],
    logits: [Tensor<B, 1>; 2],
}

impl<B: LmBackend> Sides<B> {
    /// Asks about both sides in one forward pass.
    fn new(
        policy: &CausalLm<B>,
        pairs: &[Referred<'_, Pair>],
        is_per_token: bool,
        device: &B::Device,
    ) -> Self {
        let side = |side: usize| pairs.iter().map(move |it| it.judgement.sides()[side]);
        let rows: Vec<&TokenRow> = side(0).chain(side(1)).collect();
        let reference = |side: usize| pairs.iter().map(move |it| it.reference[side]);
        let reference: Vec<f32> = reference(0).chain(reference(1)).collect();
        let lengths: Vec<f32> = rows.iter().map(|row| row.n_learned() as f32).collect();
        let n_tokens: Tensor<B, 1> = Tensor::from_data(lengths.as_slice(), device);
        let CompletionStats { logprobs: given, entropies, logits } =
            completion_stats(policy, &rows, device);
        let mut logprobs = given.clone();
        let mut log_ratios = given.clone() - Tensor::from_data(reference.as_slice(), device);
        if is_per_token {
            logprobs = logprobs / n_tokens.clone();
            log_ratios = log_ratios / n_tokens.clone();
        }
        let sides = |of_all: Tensor<B, 1>| {
            [0, 1].map(|side| of_all.clone().narrow(0, side * pairs.len(), pairs.len()))
        };
        let [nll, _] = sides(given.neg());
        let [logprobs, log_ratios] = [logprobs, log_ratios].map(sides);
        let [n_tokens, entropies, logits] = [n_tokens, entropies, logits].map(sides);
        Self { nll, logprobs, log_ratios, n_tokens, entropies, logits }
    }

    /// The numbers of each pair on the host.
    fn measured(&self, losses: Tensor<B, 1>) -> Vec<Measured> {
        let [losses, nll] = [losses, self.nll.clone()].map(host);
        let both = |sides: &[Tensor<B, 1>; 2]| sides.each_ref().map(|it| host(it.clone()));
        let [logprobs, log_ratios] = [both(&self.logprobs), both(&self.log_ratios)];
        let [n_tokens, entropies, logits] =
            [both(&self.n_tokens), both(&self.entropies), both(&self.logits)];
        let measure = |pair: usize| {
            let of = |sides: &[Vec<f32>; 2]| sides.each_ref().map(|side| side[pair]);
            Measured {
                loss: losses[pair],
                nll: nll[pair],
                logprobs: of(&logprobs),
                log_ratios: of(&log_ratios),
                n_tokens: of(&n_tokens),
                entropies: of(&entropies),
                logits: of(&logits),
            }
        };
        (0..losses.len()).map(measure).collect()
    }
}
