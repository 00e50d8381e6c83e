//! Epsilon-greedy exploration: now and then, all tokens that may be chosen are as probable as each other.

use crate::drawing::best;
use crate::sampling::Candidate;

/// The mixture that is drawn from, `b = (1 − ε) q + ε / n`, where `q` is the choice without exploration
/// and `n` counts the candidates. With `ε = 0`, every bit stays.
pub(crate) fn explored(mut candidates: Vec<Candidate>, epsilon: f32) -> Vec<Candidate> {
    if epsilon > 0.0 {
        let epsilon = f64::from(epsilon);
        let uniform = epsilon / candidates.len() as f64;
        for it in &mut candidates {
            it.probability = (1.0 - epsilon) * it.probability + uniform;
        }
    }
    candidates
}

/// All possible tokens, of which greed takes the best for certain.
pub(crate) fn greedy(logits: &[f32]) -> Vec<Candidate> {
    let best = best(logits);
    (0..)
        .zip(logits)
        .filter(|(_, logit)| **logit > f32::NEG_INFINITY)
        .map(|(token, _)| {
            let probability = if Some(token) == best { 1.0 } else { 0.0 };
            Candidate { token, probability }
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use rein_data::seed::Seed;

    use crate::Sampling;
    use crate::sampling::{Choice, Drawn, Filters};

    /// softmax = [8, 4, 2, 1, 1] / 16.
    fn logits() -> Vec<f32> {
        [8.0_f32, 4.0, 2.0, 1.0, 1.0].map(f32::ln).to_vec()
    }

    fn sampling(choice: Choice) -> Sampling {
        Sampling { choice, epsilon: 0.2, ..Sampling::greedy() }
    }

    fn top_k(k: usize) -> Choice {
        Choice::Random(Filters { top_k: Some(k), ..Filters::none(1.0) })
    }

    /// What the mixture gives to each of the five tokens, by hand.
    fn cases() -> [(Sampling, [f64; 5]); 4] {
        let all = Choice::Random(Filters::none(1.0));
        [
            // 0.8 q + 0.2 / 5
            (sampling(all), [0.44, 0.24, 0.14, 0.09, 0.09]),
            // q = [2/3, 1/3]; 0.8 q + 0.2 / 2
            (sampling(top_k(2)), [0.8 * 2.0 / 3.0 + 0.1, 0.8 / 3.0 + 0.1, 0.0, 0.0, 0.0]),
            // q = [1, 0, 0, 0, 0]
            (sampling(Choice::Greedy), [0.84, 0.04, 0.04, 0.04, 0.04]),
            // The best token is excluded: q = [0, 1/2, 1/4, 1/8, 1/8]; 0.8 q + 0.2 / 4
            (
                Sampling { ends: vec![0], min_new_tokens: 9, ..sampling(all) },
                [0.0, 0.45, 0.25, 0.15, 0.15],
            ),
        ]
    }

    /// The statistic of Pearson's test stays below the 99.9 % quantile for its degrees of freedom.
    #[test]
    fn tokens_are_drawn_as_often_as_the_mixture_says() {
        const N_DRAWS: usize = 50_000;
        for (sampling, mixture) in cases() {
            let mut rng = Seed::new(2).rng();
            let mut counts = [0_u32; 5];
            for _ in 0..N_DRAWS {
                let drawn = sampling.draw(&logits(), &[], 0, &mut rng).expect("some are possible");
                counts[drawn.token as usize] += 1;
                let want = mixture[drawn.token as usize].ln();
                assert!((f64::from(drawn.logprob) - want).abs() < 1e-6, "{drawn:?}, {want}");
            }
            let possible = counts.iter().zip(mixture).filter(|(_, share)| *share > 0.0);
            let statistic: f64 = possible
                .map(|(count, share)| {
                    let expected = share * N_DRAWS as f64;
                    (f64::from(*count) - expected).powi(2) / expected
                })
                .sum();
            // For one, three and four degrees: 10.8, 16.3 and 18.5.
            let n_possible = mixture.iter().filter(|share| **share > 0.0).count();
            let quantile = [0.0, 10.8, 13.8, 16.3, 18.5][n_possible - 1];
            assert!(statistic < quantile, "{statistic} of {n_possible} tokens: {counts:?}");
            assert_eq!(counts.iter().filter(|count| **count > 0).count(), n_possible);
        }
    }

    #[test]
    fn candidates_are_those_of_the_mixture() {
        let (sampling, mixture) = &cases()[0];
        let candidates = sampling.candidates(&logits(), &[]);
        assert_eq!(candidates.len(), 5);
        for (candidate, want) in candidates.iter().zip(mixture) {
            assert!((candidate.probability - want).abs() < 1e-6, "{candidate:?}, {want}");
        }
    }

    /// A token that the model all but excludes is drawn by exploration, and the weight is finite.
    #[test]
    fn what_the_policy_never_says_has_a_finite_logprob() {
        let sampling = Sampling { epsilon: 1.0, ..sampling(Choice::Random(Filters::none(1.0))) };
        let mut rng = Seed::new(1).rng();
        let draws: Vec<Drawn> = (0..50)
            .filter_map(|_| sampling.draw(&[0.0, -1e4, f32::NEG_INFINITY], &[], 0, &mut rng))
            .collect();
        assert!(draws.iter().any(|it| it.token == 1) && draws.iter().all(|it| it.token < 2));
        assert!(draws.iter().all(|it| (it.logprob + 2.0_f32.ln()).abs() < 1e-6));
    }

    /// Tokens and bits as they were drawn before there was an `epsilon`.
    #[test]
    fn without_exploration_the_same_is_drawn_as_ever() {
        let logits: Vec<f32> = (0..40).map(|i| ((i * 17) % 23) as f32 * 0.2).collect();
        let filtered = Filters { top_p: 0.9, ..Filters::none(0.8) };
        for (filters, tokens, first) in [
            (Filters::none(1.0), [8, 4, 39, 31, 32, 38, 39, 20, 4, 35, 33, 27], 3_223_361_431),
            (filtered, [8, 4, 39, 31, 31, 39, 39, 20, 4, 35, 32, 27], 3_222_817_080_u32),
        ] {
            let sampling = Sampling { epsilon: 0.0, ..sampling(Choice::Random(filters)) };
            let mut rng = Seed::new(3).rng();
            let draws = (0..12).filter_map(|_| sampling.draw(&logits, &[], 0, &mut rng));
            let draws: Vec<Drawn> = draws.collect();
            assert!(draws.iter().map(|it| it.token).eq(tokens), "{draws:?}");
            // Processors may differ in the last bit.
            assert!(draws[0].logprob.to_bits().abs_diff(first) <= 2, "{draws:?}");
        }
    }
}
