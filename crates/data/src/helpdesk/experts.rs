use rand::RngExt;
use rand::seq::IndexedRandom;

use super::gold;
use super::grammar::{Ticket, reply};
use crate::example::Demonstration;
use crate::seed::Seed;

/// Replies of the mixture that an expert chooses from.
const N_CANDIDATES: usize = 64;

/// Somebody who knows what is good and mostly acts so: replies come with the probability
/// `p_mixture(y|x) exp(gold(x, y) / temperature) / Z(x)`, up to the number of candidates that one is drawn from
/// (sampling and resampling; Rubin, 1988).
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Expert {
    /// Gold reward that makes a reply e times as probable as it is in the mixture.
    temperature: f64,
}

impl Expert {
    /// An expert of this temperature.
    ///
    /// # Panics
    /// A temperature that isn't above 0.
    pub fn new(temperature: f64) -> Self {
        assert!(temperature > 0.0, "a temperature is above 0, not {temperature}");
        Self { temperature }
    }

    /// The `number`-th demonstration that `seed` draws on `prompts`.
    pub fn demonstration(self, prompts: &[String], seed: Seed, number: u64) -> Demonstration {
        let mut rng = seed.index(number).rng();
        let prompt = prompts.choose(&mut rng).expect("a world has prompts").clone();
        let ticket = Ticket::of_prompt(&prompt).expect("each prompt names its ticket");
        let mut candidates: Vec<String> =
            (0..N_CANDIDATES).map(|_| reply(ticket, &mut rng)).collect();
        let worth: Vec<f64> = candidates
            .iter()
            .map(|it| f64::from(gold::judge(&prompt, it, true).total()) / self.temperature)
            .collect();
        let most = worth.iter().copied().fold(f64::NEG_INFINITY, f64::max);
        let weights: Vec<f64> = worth.iter().map(|it| (it - most).exp()).collect();
        let mut rest = rng.random::<f64>() * weights.iter().sum::<f64>();
        let chosen = weights.iter().position(|weight| {
            rest -= weight;
            rest < 0.0
        });
        // Rounding may leave a little behind the last one.
        let completion = candidates.swap_remove(chosen.unwrap_or(N_CANDIDATES - 1));
        Demonstration { prompt, completion }
    }

    /// `count` demonstrations.
    pub fn demonstrations(
        self,
        prompts: &[String],
        seed: Seed,
        count: usize,
    ) -> Vec<Demonstration> {
        (0..count as u64).map(|number| self.demonstration(prompts, seed, number)).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::helpdesk::Helpdesk;

    /// `E_E[gold] = E_mix[gold e^(gold/t)] / E_mix[e^(gold/t)]`, prompt by prompt.
    #[test]
    fn experts_are_the_mixture_tilted_by_what_is_good() {
        let prompts = Helpdesk::new().train[..1].to_vec();
        let gold =
            |it: &Demonstration| f64::from(gold::judge(&it.prompt, &it.completion, true).total());
        let mixture = Helpdesk::demonstrations(&prompts, Seed::new(1), 20_000);
        for temperature in [1.0, 3.0] {
            let tilt = |it: &Demonstration| (gold(it) / temperature).exp();
            let total: f64 = mixture.iter().map(tilt).sum();
            let want = mixture.iter().map(|it| tilt(it) * gold(it)).sum::<f64>() / total;
            let experts = Expert::new(temperature).demonstrations(&prompts, Seed::new(2), 2_000);
            let got = experts.iter().map(gold).sum::<f64>() / 2_000.0;
            // The mean of 2,000 golds, whose deviation is below 2.5, and what 64 candidates lack.
            assert!((got - want).abs() < 0.15, "{got}, not {want}, at {temperature}");
        }
    }
}
