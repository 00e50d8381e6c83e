//! A bandit whose arms are tokens.

use super::*;

/// What an action is worth after a prompt of one token: 1 for the best one, 0.5 at most for others.
fn reward(prompt: usize, action: usize) -> f32 {
    match (action + 3 * prompt) % VOCAB {
        0 => 1.0,
        other => 0.5 * other as f32 / VOCAB as f32,
    }
}

const PROMPTS: usize = 4;

/// `[prompts, actions]`
fn probs(policy: &Policy) -> Vec<Vec<f32>> {
    let prompts: Vec<TokenRow> =
        (0..PROMPTS).map(|prompt| TokenRow::completion(vec![prompt as u32], &[0])).collect();
    let probs = host(softmax(separate_logits(&policy.module().valid(), &prompts), 1));
    probs.chunks(VOCAB).map(<[f32]>::to_vec).collect()
}

fn expected_reward(prompt: usize, probs: &[f32]) -> f32 {
    probs.iter().enumerate().map(|(action, p)| p * reward(prompt, action)).sum()
}

/// Completions at the quantiles of what the policy gives to them, with their exact advantages.
fn pulls(policy: &Policy) -> Vec<Experience> {
    const N: usize = 32;
    let mut rows = Vec::new();
    let mut advantages = Vec::new();
    for (prompt, probs) in probs(policy).iter().enumerate() {
        for pull in 0..N {
            let mut left = (pull as f32 + 0.5) / N as f32;
            let drawn = probs.iter().position(|p| {
                left -= p;
                left < 0.0
            });
            let action = drawn.unwrap_or(VOCAB - 1);
            rows.push(TokenRow::completion(vec![prompt as u32], &[action as u32]));
            advantages.push(reward(prompt, action) - expected_reward(prompt, probs));
        }
    }
    experience(policy, rows, |number| advantages[number])
}

#[test]
fn a_bandit_is_solved_within_fifty_steps() {
    let mut policy = policy(7);
    let mean = |policy: &Policy| {
        let rewards = probs(policy);
        let rewards = rewards.iter().enumerate().map(|(prompt, it)| expected_reward(prompt, it));
        rewards.sum::<f32>() / PROMPTS as f32
    };
    assert!(mean(&policy) < 0.6, "{}", mean(&policy));
    for number in 0..50 {
        let rows = pulls(&policy);
        let told = step(&mut policy, &rows, 64, &TrpoConfig::default()).expect("updates");
        assert!(told.surrogate_after >= told.surrogate_before, "step {number}: {told:?}");
    }
    assert!(mean(&policy) >= 0.99, "{}", mean(&policy));
}
