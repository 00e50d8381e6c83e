//! Sequences of tokens that a completion must not hold, or must.

/// The tokens that would complete one of the `banned` sequences if they came next. The part before may
/// have begun in the prompt, as in transformers' `bad_words_ids`.
pub fn completing<'a>(
    banned: &'a [Vec<u32>],
    history: &'a [u32],
) -> impl Iterator<Item = u32> + 'a {
    banned.iter().filter_map(|sequence| {
        let (last, before) = sequence.split_last()?;
        history.ends_with(before).then_some(*last)
    })
}

/// Whether `tokens` hold each of the `required` sequences somewhere.
pub fn hold_all(tokens: &[u32], required: &[Vec<u32>]) -> bool {
    let holds = |sequence: &[u32]| tokens.windows(sequence.len()).any(|window| window == sequence);
    required.iter().all(|sequence| sequence.is_empty() || holds(sequence))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_token_of_a_sequence_is_banned_after_the_others() {
        let banned = [vec![7], vec![1, 2, 3], vec![2, 4], vec![9, 2, 5]];
        let next = |history: &[u32]| completing(&banned, history).collect::<Vec<_>>();
        assert_eq!(next(&[]), [7]);
        assert_eq!(next(&[1, 2]), [7, 3, 4]);
        assert_eq!(next(&[2]), [7, 4], "a sequence longer than the row is not complete");
        assert_eq!(next(&[1, 2, 6]), [7]);
    }

    #[test]
    fn required_sequences_stand_anywhere_but_in_one_piece() {
        let holds = |tokens: &[u32]| hold_all(tokens, &[vec![1, 2], vec![3]]);
        assert!(holds(&[3, 0, 1, 2]));
        assert!(!holds(&[1, 2]));
        assert!(!holds(&[1, 3, 2]));
        assert!(!holds(&[]));
        assert!(hold_all(&[], &[]));
    }
}
