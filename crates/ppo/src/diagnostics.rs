//! What an update saw.

use rein_data::workers::Workers;

/// What a minibatch's ratios and values say about an update; sums over its tokens, so that
/// micro-batches can be added up.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Diagnostics {
    /// Tokens seen.
    pub n_tokens: f64,
    /// Sum of `ρ`.
    pub ratio: f64,
    /// Sum of `ρ²`.
    pub ratio_square: f64,
    /// The largest `|ρ − 1|`.
    pub ratio_error: f64,
    /// Sum of `½ (log ρ)²`, the estimate of the KL divergence from the sampling policy.
    pub approx_kl: f64,
    /// Tokens where the clipped loss is the larger one.
    pub n_clipped: f64,
    /// Value slots seen.
    pub n_values: f64,
    /// Slots where the clipped value loss is the larger one.
    pub n_values_clipped: f64,
    /// Sum of the entropies, in nats.
    pub entropy: f64,
    /// Sum of the policy losses.
    pub policy_loss: f64,
    /// Sum of the value losses.
    pub value_loss: f64,
    /// Tokens of demonstrations seen.
    pub n_imitated: f64,
    /// Sum of their losses.
    pub imitation_loss: f64,
}

impl Diagnostics {
    /// Looks at the ratios of some tokens.
    pub fn see_policy(&mut self, new: &[f32], old: &[f32], advantages: &[f32], clip: [f32; 2]) {
        let [low, high] = clip.map(f64::from);
        for ((new, old), advantage) in new.iter().zip(old).zip(advantages) {
            let log_ratio = f64::from(new - old);
            let ratio = log_ratio.exp();
            let gain = -f64::from(*advantage);
            let clipped = gain * ratio.clamp(1.0 - low, 1.0 + high);
            self.n_tokens += 1.0;
            self.ratio += ratio;
            self.ratio_square += ratio * ratio;
            self.ratio_error = self.ratio_error.max((ratio - 1.0).abs());
            self.approx_kl += 0.5 * log_ratio * log_ratio;
            self.n_clipped += f64::from(u8::from(clipped > gain * ratio));
        }
    }

    /// Looks at the values of some slots.
    pub fn see_values(&mut self, new: &[f32], old: &[f32], returns: &[f32], clip_range: f32) {
        for ((new, old), wanted) in new.iter().zip(old).zip(returns) {
            let clipped = new.clamp(old - clip_range, old + clip_range);
            self.n_values += 1.0;
            let is_clipped = (clipped - wanted).powi(2) > (new - wanted).powi(2);
            self.n_values_clipped += f64::from(u8::from(is_clipped));
        }
    }

    /// The variance of the ratios.
    pub fn ratio_variance(&self) -> f64 {
        let mean = self.ratio / self.n_tokens;
        (self.ratio_square / self.n_tokens - mean * mean).max(0.0)
    }

    /// Adds what the other workers saw of the same minibatch.
    pub fn sum_over(&mut self, workers: &Workers) {
        let mut sums = self.sums().map(|it| *it);
        workers.sum_f64(&mut sums);
        self.sums().into_iter().zip(sums).for_each(|(own, sum)| *own = sum);
        self.ratio_error = workers.largest(self.ratio_error);
    }

    /// Adds another minibatch.
    pub fn add(&mut self, mut other: Self) {
        self.sums().into_iter().zip(other.sums()).for_each(|(own, it)| *own += *it);
        self.ratio_error = self.ratio_error.max(other.ratio_error);
    }

    /// All but the largest error, which doesn't add up.
    fn sums(&mut self) -> [&mut f64; 12] {
        let Self {
            n_tokens,
            ratio,
            ratio_square,
            ratio_error: _,
            approx_kl,
            n_clipped,
            n_values,
            n_values_clipped,
            entropy,
            policy_loss,
            value_loss,
            n_imitated,
            imitation_loss,
        } = self;
        [
            n_tokens,
            ratio,
            ratio_square,
            approx_kl,
            n_clipped,
            n_values,
            n_values_clipped,
            entropy,
            policy_loss,
            value_loss,
            n_imitated,
            imitation_loss,
        ]
    }
}
