//! The loss of single completions with a thumb up or down: KTO (Ethayarajh et al., 2024).

use burn::prelude::*;
use burn::tensor::activation::sigmoid;
use rein_model::backend::LmBackend;

/// What KTO's losses are weighed with.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct KtoLoss {
    /// How far the policy is held from leaving the reference, `β`.
    pub beta: f64,
    /// The weight of desirable completions, `λ_D`.
    pub desirable_weight: f64,
    /// The weight of undesirable ones, `λ_U`.
    pub undesirable_weight: f64,
}

impl KtoLoss {
    /// `λ_D (1 − σ(β(r − z)))` of a desirable completion and `λ_U (1 − σ(β(z − r)))` of another one, with
    /// `r = log π(y|x) − log π_ref(y|x)` in nats and the reference point `z` of [`reference_point`]
    /// (Ethayarajh et al., 2024, eq. 8).
    ///
    /// # Shapes
    /// - `log_ratios`, `is_desirable`, returns: `[rows]`
    pub fn losses<B: LmBackend>(
        &self,
        log_ratios: Tensor<B, 1>,
        is_desirable: &[bool],
        reference_point: f64,
    ) -> Tensor<B, 1> {
        let device = log_ratios.device();
        let by_label = |good: f64, bad: f64| -> Tensor<B, 1> {
            let pick = |is_good: &bool| if *is_good { good as f32 } else { bad as f32 };
            let values: Vec<f32> = is_desirable.iter().map(pick).collect();
            Tensor::from_data(values.as_slice(), &device)
        };
        let losses = sigmoid((log_ratios - reference_point) * by_label(-self.beta, self.beta));
        losses * by_label(self.desirable_weight, self.undesirable_weight)
    }
}

/// `z = max(0, mean(log π(y'|x) − log π_ref(y'|x)))`, the estimate of the KL divergence of the policy from
/// the reference by completions `y'` of other prompts of the batch, in nats. Nothing flows back through it;
/// without rows it is 0.
pub fn reference_point(policy_logprobs: &[f32], reference_logprobs: &[f32]) -> f64 {
    let difference = |(policy, reference): (&f32, &f32)| f64::from(*policy) - f64::from(*reference);
    let total: f64 = policy_logprobs.iter().zip(reference_logprobs).map(difference).sum();
    (total / policy_logprobs.len().max(1) as f64).max(0.0)
}
