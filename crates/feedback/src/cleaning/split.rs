//! Prompts that are held out.

use rein_data::example::{Body, Content, Example};
use sha2::{Digest, Sha256};

use super::text::{folded, text_of};

/// The rows to learn from, and the rows held out, in their order. About `share` of all prompts are held out.
///
/// A prompt is held out if SHA-256 of the seed and its folded text, as a number from 0 to 1, is below `share`. So
/// a prompt is never on both sides, and its side depends neither on other rows nor on their order. Rows without a prompt
/// are split by their text.
pub fn split_by_prompt(rows: &[Example], share: f64, seed: u64) -> (Vec<usize>, Vec<usize>) {
    (0..rows.len()).partition(|row| place(&rows[*row].body, seed) >= share)
}

/// Whether [`split_by_prompt`] holds a prompt out.
pub(crate) fn is_held_out(prompt: &Content, share: f64, seed: u64) -> bool {
    place_of(&text_of(prompt), seed) < share
}

/// Where between 0 and 1 a row's prompt stands.
fn place(body: &Body, seed: u64) -> f64 {
    let prompt = match body {
        Body::LanguageModeling(text) => text_of(text),
        body => body.prompt().map(text_of).unwrap_or_default(),
    };
    place_of(&prompt, seed)
}

fn place_of(prompt: &str, seed: u64) -> f64 {
    let hash: [u8; 32] = Sha256::new()
        .chain_update(seed.to_le_bytes())
        .chain_update(folded(prompt))
        .finalize()
        .into();
    let first: [u8; 8] = std::array::from_fn(|byte| hash[byte]);
    u64::from_le_bytes(first) as f64 / 2f64.powi(64)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use proptest::prelude::*;
    use serde_json::Map;

    use super::*;

    fn row(prompt: &str) -> Example {
        Example {
            body: Body::PromptOnly(Content::Text(prompt.into())),
            tools: None,
            template_arguments: Map::new(),
            extra: Map::new(),
        }
    }

    #[test]
    fn a_share_of_the_prompts_is_held_out_each_on_one_side() {
        let rows: Vec<Example> =
            (0..20_000).map(|number| row(&format!("p{}", number / 2))).collect();
        for (seed, share) in [(0, 0.1), (1, 0.1), (1, 0.5)] {
            let (train, heldout) = split_by_prompt(&rows, share, seed);
            assert_eq!(train.len() + heldout.len(), rows.len());
            let n_prompts = heldout.len() as f64 / 2.0;
            // Five standard deviations.
            let most = 5.0 * (10_000.0 * share * (1.0 - share)).sqrt();
            assert!((n_prompts - 10_000.0 * share).abs() < most, "{n_prompts}");
            assert!(heldout.chunks(2).all(|pair| pair[0] + 1 == pair[1] && pair[0] % 2 == 0));
        }
        let heldout = |seed| split_by_prompt(&rows, 0.1, seed).1;
        assert_ne!(heldout(0), heldout(1));
        assert!(split_by_prompt(&rows, 0.0, 0).1.is_empty());
        assert!(split_by_prompt(&rows, 1.0, 0).0.is_empty());
    }

    #[test]
    fn a_prompts_place_never_changes() {
        // Else who continues a run would learn from what was held out.
        // int.from_bytes(hashlib.sha256((7).to_bytes(8, "little") + b"p3").digest()[:8], "little") / 2**64
        let place = place(&row(" p3\n").body, 7);
        assert!((place - 0.7018060521841382).abs() < 1e-15, "{place}");
    }

    proptest! {
        #[test]
        fn a_prompts_side_depends_on_nothing_else(
            prompts in prop::collection::vec(".{0,8}", 1..20),
            seed in any::<u64>(),
        ) {
            let rows: Vec<Example> = prompts.iter().map(|it| row(it)).collect();
            let (_, heldout) = split_by_prompt(&rows, 0.5, seed);
            let heldout: BTreeSet<usize> = heldout.into_iter().collect();
            for (place, row) in rows.iter().enumerate() {
                let alone = split_by_prompt(std::slice::from_ref(row), 0.5, seed).1.len() == 1;
                prop_assert_eq!(alone, heldout.contains(&place));
            }
        }
    }
}
