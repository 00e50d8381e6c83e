//! Advantages and losses of the on-policy family against TRL's numbers. `REIN_FIXTURES` names another
//! folder of them.

use crate::golden::*;
use burn::backend::Autodiff;
use burn::prelude::*;
use burn_flex::{Flex, FlexDevice};
use rein_model::tokens::host;
use rein_ppo::advantage::{
    Mean, Scale, Variance, group_relative, leave_one_out, returns, standardize, whiten,
};
use rein_ppo::diagnostics::Diagnostics;
use rein_ppo::kl::KlEstimator;
use rein_ppo::loss::{
    LossMean, MinibatchSize, Objective, PolicyLoss, RatioOf, kl_loss, policy_loss,
};
use serde_json::Value;

type AB = Autodiff<Flex>;

const DEVICE: FlexDevice = FlexDevice;

fn narrow(values: &[f64]) -> Vec<f32> {
    values.iter().map(|value| *value as f32).collect()
}

/// Tokens of each row.
fn lengths(mask: &Value) -> Vec<usize> {
    rows(mask).iter().map(|row| row.iter().filter(|it| **it != 0.0).count()).collect()
}

/// The first numbers of each row, as many as it has tokens.
fn real(values: &Value, lengths: &[usize]) -> Vec<f64> {
    let rows = values.as_array().expect("a list of rows").iter().map(numbers);
    rows.zip(lengths).flat_map(|(row, length)| row[..*length].to_vec()).collect()
}

#[test]
fn advantages_of_groups() {
    for (file, case) in rlmath_cases(|it| has(it, &["grpo_scaled_group", "rloo"])) {
        let scores = numbers(&case["rewards"]);
        let size = number(&case["num_generations"]) as usize;
        let mut standardized = leave_one_out(&scores, size);
        standardize(&mut standardized);
        for (key, got) in [
            ("grpo_scaled_group", group_relative(&scores, size, Scale::Group)),
            ("grpo_scaled_batch", group_relative(&scores, size, Scale::Batch)),
            ("grpo_unscaled_dr_grpo", group_relative(&scores, size, Scale::None)),
            ("rloo", leave_one_out(&scores, size)),
            ("rloo_normalized", standardized),
        ] {
            let want = numbers(&case[key]);
            for (got, want) in got.iter().zip(&want) {
                assert!((got - want).abs() < 1e-10 * (1.0 + want.abs()), "{file} {key}");
            }
            assert_eq!(got.len(), want.len());
        }
        let case = &case["reinforce_pp_baseline"];
        let lengths = lengths(&case["mask"]);
        let advantages = group_relative(&scores, size, Scale::None);
        let mut tokens: Vec<Vec<f64>> =
            advantages.iter().zip(&lengths).map(|(it, length)| vec![*it; *length]).collect();
        whiten(&mut tokens, Mean::Removed, Variance::Biased);
        let want = real(&case["advantages"], &lengths);
        assert_close("REINFORCE++ with a baseline", &narrow(&tokens.concat()), &want, 1e-6);
    }
}

#[test]
fn advantages_of_reinforce_plus_plus() {
    for (file, case) in rlmath_cases(|it| has(it, &["scores", "kl", "gamma", "returns"])) {
        let lengths = lengths(&case["mask"]);
        let gamma = number(&case["gamma"]) as f32;
        let rewards = case["rewards"].as_array().expect("rows").iter().map(numbers);
        let rewards = rewards.zip(&lengths).map(|(row, length)| row[..*length].to_vec());
        let mut to_go: Vec<_> = rewards.map(|it| returns(&it, gamma)).collect();
        let want = real(&case["returns"], &lengths);
        assert_close(&file, &narrow(&to_go.concat()), &want, 1e-6);
        whiten(&mut to_go, Mean::Removed, Variance::Biased);
        let want = real(&case["advantages"], &lengths);
        assert_close(&file, &narrow(&to_go.concat()), &want, 1e-5);
    }
}

/// Fixed log-probabilities in place of a model.
struct Tokens<'a> {
    input: &'a Value,
    lengths: Vec<usize>,
}

impl<'a> Tokens<'a> {
    fn new(input: &'a Value) -> Self {
        Self { input, lengths: lengths(&input["mask"]) }
    }

    fn real(&self, key: &str) -> Vec<f32> {
        narrow(&real(&self.input[key], &self.lengths))
    }

    fn advantages(&self) -> Vec<f32> {
        let advantages = numbers(&self.input["advantages"]).into_iter().zip(&self.lengths);
        advantages.flat_map(|(it, length)| vec![it as f32; *length]).collect()
    }

    /// Value and gradient of a loss: the objective's, `coefficient` times the distance to the reference,
    /// averaged as `mean` says.
    fn check(
        &self,
        what: &str,
        case: &Value,
        objective: &Objective,
        mean: LossMean,
        coefficient: f64,
    ) {
        let tensor = |values: Vec<f32>| Tensor::<AB, 1>::from_data(&values[..], &DEVICE);
        let new = tensor(self.real("logps")).require_grad();
        let (old, advantages) = (tensor(self.real("old_logps")), tensor(self.advantages()));
        let mut losses = policy_loss(objective, new.clone(), old, advantages, &self.lengths);
        if coefficient > 0.0 {
            let reference = tensor(self.real("ref_logps"));
            losses = losses + kl_loss(KlEstimator::K3, new.clone(), reference) * coefficient;
        }
        let size = MinibatchSize {
            n_tokens: self.lengths.iter().sum(),
            n_completions: self.lengths.len(),
            limit: self.input["max_completion_length"].as_u64().unwrap_or(1) as usize,
        };
        let weights = self.lengths.iter();
        let weights = weights.flat_map(|it| vec![mean.weight(*it, &size) as f32; *it]).collect();
        let loss = (losses * tensor(weights)).sum();
        assert_near(what, f64::from(host(loss.clone())[0]), &case["loss"], 1e-5);
        let gradients = loss.backward();
        let gradient = host(new.grad(&gradients).expect("a leaf"));
        assert_close(what, &gradient, &real(&case["grad_logps"], &self.lengths), 1e-5);
    }
}

#[test]
fn losses_of_grpo_and_its_kin() {
    let files = rlmath_cases(|it| has(it, &["inputs", "cases"]));
    for (file, data) in files {
        for (index, case) in data["cases"].as_array().expect("cases").iter().enumerate() {
            let kind = case["loss_type"].as_str().expect("a name");
            let what = format!("{file} {index} {kind}");
            let tokens = Tokens::new(&data["inputs"][number(&case["input"]) as usize]);
            let number_of = |key: &str| case[key].as_f64().map(|it| it as f32);
            let is_cispo = kind == "cispo";
            let objective = Objective {
                loss: match kind {
                    "cispo" => PolicyLoss::Cispo,
                    "sapo" => PolicyLoss::Sapo,
                    _ => PolicyLoss::Clip,
                },
                ratio_of: match case["importance_sampling_level"].as_str() {
                    Some("sequence") => RatioOf::CompletionMean,
                    _ => RatioOf::Token,
                },
                clip: ["epsilon_low", "epsilon_high"].map(|key| number_of(key).expect("a number")),
                dual_clip: None,
                ratio_cap: number_of(if is_cispo { "epsilon_high" } else { "delta" }),
            };
            let mean = match kind {
                "grpo" | "sapo" => LossMean::Completions,
                "dr_grpo" => LossMean::Limit,
                _ => LossMean::Tokens,
            };
            tokens.check(&what, case, &objective, mean, number(&case["beta"]));
            let is_of_tokens = objective.ratio_of == RatioOf::Token;
            if let Some(share) = case["clip_ratio_region_mean"].as_f64().filter(|_| is_of_tokens) {
                let mut seen = Diagnostics::default();
                let [new, old] = ["logps", "old_logps"].map(|key| tokens.real(key));
                seen.see_policy(&new, &old, &tokens.advantages(), objective.clip);
                assert!((seen.n_clipped / seen.n_tokens - share).abs() < 1e-5, "{what}");
            }
        }
    }
}

#[test]
fn the_loss_of_rloo() {
    for (file, case) in rlmath_cases(|it| has(it, &["logps", "old_logps", "epsilon_low", "loss"])) {
        let objective = Objective {
            loss: PolicyLoss::Clip,
            ratio_of: RatioOf::Completion,
            clip: ["epsilon_low", "epsilon_high"].map(|key| number(&case[key]) as f32),
            dual_clip: None,
            ratio_cap: None,
        };
        Tokens::new(&case).check(&file, &case, &objective, LossMean::Completions, 0.0);
    }
}

/// By hand: `ρ = 4`, `ε = 0.2`, `A = −1`: 4 without a bound, 3 with `c = 3`; `A = 1`: −1.2 either way.
#[test]
fn a_dual_clip_bounds_what_bad_luck_costs() {
    let tensor = |values: [f32; 2]| Tensor::<AB, 1>::from_data(values, &DEVICE);
    let loss = |dual_clip| {
        let objective = Objective {
            loss: PolicyLoss::Clip,
            ratio_of: RatioOf::Token,
            clip: [0.2, 0.2],
            dual_clip,
            ratio_cap: None,
        };
        let new = tensor([4.0_f32.ln(); 2]);
        host(policy_loss(&objective, new, tensor([0.0; 2]), tensor([-1.0, 1.0]), &[2]).inner())
    };
    for (dual_clip, want) in [(None, [4.0, -1.2]), (Some(3.0), [3.0, -1.2])] {
        assert_close("dual clip", &loss(dual_clip), &want, 1e-6);
    }
}

/// By hand: `−A log π` and its gradient `−A`, whatever the ratio.
#[test]
fn a_policy_gradient_has_no_ratio() {
    let tensor = |values: [f32; 2]| Tensor::<AB, 1>::from_data(values, &DEVICE);
    let objective = Objective {
        loss: PolicyLoss::PolicyGradient,
        ratio_of: RatioOf::Token,
        clip: [0.2, 0.2],
        dual_clip: None,
        ratio_cap: None,
    };
    let new = tensor([-1.0, -2.0]).require_grad();
    let old = tensor([-3.0, -0.5]);
    let losses = policy_loss(&objective, new.clone(), old, tensor([2.0, -3.0]), &[1, 1]);
    assert_close("losses", &host(losses.clone()), &[2.0, -6.0], 1e-6);
    let gradients = losses.sum().backward();
    assert_close("gradient", &host(new.grad(&gradients).expect("a leaf")), &[-2.0, 3.0], 1e-6);
}
