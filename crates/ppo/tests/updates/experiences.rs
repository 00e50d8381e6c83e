//! Made-up experience.

use rein_data::encoding::TokenRow;
use rein_ppo::experience::Experience;

/// Of a completion of so many tokens; another for each number. Its tokens are below 40.
pub(crate) fn numbered(number: usize, n_tokens: usize) -> Experience {
    let values = |scale: f32| (0..n_tokens).map(|it| scale * (it + number) as f32 - 0.3).collect();
    let tokens: Vec<u32> = (0..n_tokens).map(|it| (number * 11 + it * 5) as u32 % 40).collect();
    Experience {
        tokens: TokenRow::completion(vec![1, 2, 3], &tokens),
        old_logprobs: vec![-3.7; n_tokens],
        importance: None,
        penalty: None,
        advantages: values(0.2),
        old_values: values(0.0),
        returns: values(0.1),
    }
}
