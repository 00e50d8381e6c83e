//! Conversations in several turns: who is learned, what tokens are worth, and what flows back.

use burn::module::AutodiffModule;
use burn::prelude::*;
use burn::tensor::activation::log_softmax;
use rein_data::encoding::TokenRow;
use rein_data::tokenizer::Tokenizer;
use rein_model::flat::FlatParams;
use rein_model::optim::{Gradients, OptimizerConfig};
use rein_model::tokens::{TokenBatch, host};
use rein_ppo::advantage::AdvantageEstimator;
use rein_ppo::config::ScorePlacement;
use rein_ppo::episode::Episode;
use rein_ppo::rollout::appraise;
use rein_ppo::shaping::{Shaping, shape};
use rein_ppo::train::{Ppo, Prompts};

use super::*;

/// Tokens of a conversation: those marked `x` are the policy's.
fn talk(number: usize, who: &str) -> TokenRow {
    let token = |place: usize| (3 + number * 7 + place * 11 + place * place) as u32 % 40;
    let tokens = (0..who.len()).map(token).collect();
    TokenRow::new(tokens, who.chars().map(|it| it == 'x').collect())
}

/// Two prompts of four samples each, of one to three turns; every second one is scored turn by turn.
fn episodes() -> Vec<Episode> {
    let who = ["..xx...xx", "...xxx", "..x..xxx.x", ".xx", "..xx..xx.", "...x", ".x.x.x", "..xxxx"];
    let episode = |(number, who): (usize, &&str)| {
        let (row, finished) = (talk(number, who), number != 3);
        let score = |turn: usize| ((number * 5 + turn * 3) % 7) as f32 / 4.0 - 0.5;
        if number % 2 == 0 {
            let scores = (0..row.turns().len()).map(score).collect();
            Episode::scored_by_turn(row, finished, scores)
        } else {
            Episode::scored_at_end(row, finished, score(9))
        }
    };
    let episodes = who.iter().enumerate().map(episode);
    episodes.collect::<Result<_, _>>().expect("has a score for each turn")
}

fn rows(config: &PpoConfig, episodes: Vec<Episode>) -> Vec<Row> {
    judged(config, |actors, judges| appraise(actors, judges, episodes, config.temperature.at(0)))
}

#[test]
fn gradients_do_not_depend_on_who_shares_a_forward_pass() {
    for algorithm in Algorithm::ALL {
        let config = config(algorithm);
        let experience = prepared(&rows(&config, episodes()), &config, 0.1);
        assert_same_in_parts(algorithm, &config, &experience);
    }
}

/// A row that nobody computed: the policy is as far from the reference as `nats` says.
fn row(who: &str, scores: &[f32], values: &[f32], nats: f32) -> Row {
    let tokens = talk(0, who);
    let n_tokens = tokens.n_learned();
    let is_by_turn = scores.len() > 1;
    Row {
        tokens,
        finished: true,
        logprobs: vec![-1.0; n_tokens],
        sampled_logprobs: None,
        reference_logprobs: vec![-1.0 - nats; n_tokens],
        values: values.to_vec(),
        score: scores.iter().sum(),
        turn_scores: if is_by_turn { scores.to_vec() } else { Vec::new() },
        part_scores: Vec::new(),
        failed_parts: Vec::new(),
    }
}

fn plain(advantage: AdvantageEstimator) -> PpoConfig {
    PpoConfig {
        advantage,
        gamma: 0.5.into(),
        lambda: 0.5.into(),
        whiten_advantages: false,
        max_new_tokens: 3,
        ..PpoConfig::default()
    }
}

/// By hand, with `γ = λ = ½` and values 1, 2, 4, 8 before the four tokens.
///
/// Scored by turn, 1 and 2: `δ = (0 + 2/2 − 1, 1 + 4/2 − 2, 0 + 8/2 − 4, 2 − 8) = (0, 1, 0, −6)`, and
/// `A = δ_t + A_{t+1} / 4`. Scored 3 at the end: `δ = (0, 0, 0, −5)`. The three tokens between the turns
/// appear nowhere.
#[test]
fn advantages_of_two_turns_by_hand() {
    let values = [1.0, 2.0, 4.0, 8.0, 16.0];
    let config = plain(AdvantageEstimator::Gae);
    for (scores, want) in [
        (&[1.0, 2.0][..], [0.156_25, 0.625, -1.5, -6.0]),
        (&[3.0], [-0.078_125, -0.312_5, -1.25, -5.0]),
    ] {
        let experience = prepared(&[row(".xx...xx", scores, &values, 0.0)], &config, 0.1);
        assert_eq!(experience[0].advantages, want);
        let returns: Vec<f32> = want.iter().zip(values).map(|(gain, value)| gain + value).collect();
        assert_eq!(experience[0].returns, returns);
        assert_eq!(experience[0].old_values, values[..4]);
    }
}

/// With numpy: the learned tokens picked out of the whole row, and `(I − γλ N) A = r + γ N V − V` solved, where
/// `N` shifts by one.
#[test]
fn advantages_of_three_turns_by_a_linear_system() {
    let rewards = [0.64, 0.105, 0.947, -0.704, -1.265, 0.041];
    let values = [-1.246, -0.732, 1.043, -0.129, 1.366, 0.352];
    let mut row = row("..xx...xxx.x", &[0.0], &values, 0.0);
    row.reference_logprobs.iter_mut().zip(rewards).for_each(|(it, reward)| *it += reward);
    let config =
        PpoConfig { gamma: 0.9.into(), lambda: 0.8.into(), ..plain(AdvantageEstimator::Gae) };
    let experience = prepared(&[row], &config, 1.0);
    let want = [1.957_914_1, 1.014_880_7, -1.056_693_4, -1.173_046_4, -2.538_12, -0.311];
    let off = distance(&want, &experience[0].advantages);
    assert!(off < 1e-6, "{:?}", experience[0].advantages);
}

/// By hand: with `γ = ½` the last turn's 2 is worth 1, ½ and ¼ before it, and the first one's 1 is worth ½;
/// a group compares 3 in all with another row's 1.
#[test]
fn returns_and_groups_see_all_turns() {
    let two = row(".xx.xx", &[1.0, 2.0], &[], 0.0);
    let gains = |advantage: AdvantageEstimator, rows: &[Row]| {
        let config = PpoConfig { samples_per_prompt: 2, ..plain(advantage) };
        let experience = prepared(rows, &config, 0.1);
        experience.into_iter().map(|it| it.advantages).collect::<Vec<_>>()
    };
    let alone = gains(AdvantageEstimator::Returns, std::slice::from_ref(&two));
    assert_eq!(alone, [[0.75, 1.5, 1.0, 2.0]]);
    let pair = [two, row("..x", &[1.0], &[], 0.0)];
    let others = gains(AdvantageEstimator::LeaveOneOut { standardized: false }, &pair);
    assert_eq!(others, [vec![2.0; 4], vec![-2.0]]);
}

/// By hand: a nat from the reference costs 0.1 at each token, a missing end 1, and turns of 2, 1 and 3 tokens
/// earn 4, 5 and 6.
#[test]
fn turns_are_paid_where_they_end() {
    let mut row = row("..xx.x..xxx", &[4.0, 5.0, 6.0], &[], 1.0);
    row.finished = false;
    let config = PpoConfig { missing_eos_penalty: 1.0, ..plain(AdvantageEstimator::Gae) };
    let near = |got: &[f64], want: &[f64]| {
        assert_eq!(got.len(), want.len(), "{got:?}");
        got.iter().zip(want).for_each(|(a, b)| assert!((a - b).abs() < 1e-6, "{got:?}"));
    };
    let shaped = shape(&row, &Shaping::new(&config, 0.1));
    near(&shaped.rewards, &[-0.1, 3.9, 4.9, -0.1, -0.1, 4.9]);
    near(&[shaped.score], &[14.0]);

    // Behind the end there is a slot where the last turn is shorter than its limit.
    let config =
        PpoConfig { score_at: ScorePlacement::PostEos, max_new_tokens: 4, ..config.clone() };
    let shaped = shape(&row, &Shaping::new(&config, 0.1));
    near(&shaped.rewards, &[-0.1, 3.9, 4.9, -0.1, -0.1, -0.1, 5.0]);
    let config = PpoConfig { max_new_tokens: 3, ..config };
    near(&shape(&row, &Shaping::new(&config, 0.1)).rewards, &[-0.1, 3.9, 4.9, -0.1, -0.1, 4.9]);

    // The same in all, at the end.
    row.turn_scores.clear();
    near(&shape(&row, &Shaping::new(&config, 0.1)).rewards, &[-0.1, -0.1, -0.1, -0.1, -0.1, 13.9]);
}

/// Values, and log-probabilities of the policy, one cell for each token of a row, in a pass of its own.
fn alone(config: &PpoConfig, row: &TokenRow) -> (Vec<f32>, Vec<f32>) {
    let actors = actors(config);
    let batch = TokenBatch::right_padded(&[&row.tokens], &FlexDevice);
    let policy = actors.policy.valid();
    let logprobs = log_softmax(policy.logits(policy.hidden(&batch).squeeze_dim(0)), 1);
    let values = host(actors.value.expect("gae asks for one").valid().values(&batch));
    let chosen = row.tokens.iter().skip(1).enumerate().map(|(before, token)| {
        let token = *token as usize;
        host(logprobs.clone().slice([before..before + 1, token..token + 1]))[0]
    });
    (values, chosen.collect())
}

#[test]
fn what_is_expected_of_a_turn_follows_from_all_that_was_said_before_it() {
    let config = PpoConfig { temperature: 1.0.into(), ..config(Algorithm::Ppo) };
    let look = |tokens: &TokenRow| {
        let episode = Episode::scored_at_end(tokens.clone(), true, 0.0).expect("has tokens");
        rows(&config, vec![episode]).remove(0)
    };
    let near = |got: &[f32], want: &[f32]| {
        assert_eq!(got.len(), want.len());
        got.iter().zip(want).for_each(|(a, b)| assert!((a - b).abs() < 1e-5, "{got:?}, {want:?}"));
    };
    let who = "..xx...xx.";
    let seen = look(&talk(1, who));
    let (values, logprobs) = alone(&config, &talk(1, who));
    // The tokens stand in cells 2, 3, 7 and 8: each is expected in the cell before, and 6 is the last one
    // that another has said. The slot behind the end is the last token's own.
    near(&seen.values, &[1, 2, 6, 7, 8].map(|cell| values[cell]));
    near(&seen.logprobs, &[1, 2, 6, 7].map(|cell| logprobs[cell]));

    let changed = |cell: usize| {
        let mut row = talk(1, who);
        row.tokens[cell] = (row.tokens[cell] + 1) % 40;
        let other = look(&row);
        let differs = |(a, b): (&f32, &f32)| (a - b).abs() > 1e-6;
        seen.values.iter().zip(&other.values).map(differs).collect::<Vec<_>>()
    };
    assert_eq!(changed(6), [false, false, true, true, true], "what a user says counts at once");
    assert_eq!(changed(7), [false, false, false, true, true], "what is yet to be said doesn't");
}

/// The losses of one row, composed of whole tensors and masks: every cell has scores, log-probabilities and a
/// value, and what isn't the policy's is multiplied by 0.
fn masked_loss(
    policy: &CausalLm<AB>,
    value: &ScalarModel<AB>,
    row: &Experience,
    config: &PpoConfig,
) -> [Tensor<AB, 1>; 2] {
    let tokens = &row.tokens;
    let n_cells = tokens.tokens.len() - 1;
    let mask: Vec<f32> = tokens.learned[1..].iter().map(|it| f32::from(u8::from(*it))).collect();
    let spread = |numbers: &[f32]| {
        let mut numbers = numbers.iter();
        let cell = |mask: &f32| if *mask > 0.0 { *numbers.next().expect("a number") } else { 0.0 };
        Tensor::<AB, 1>::from_data(&mask.iter().map(cell).collect::<Vec<_>>()[..], &FlexDevice)
    };
    let count = row.advantages.len() as f64;
    let batch = TokenBatch::right_padded(&[&tokens.tokens], &FlexDevice);
    let logits = policy.logits(policy.hidden(&batch).squeeze_dim(0)) / config.temperature.at(0);
    let one_hot: Vec<f32> = tokens.tokens[1..]
        .iter()
        .flat_map(|token| (0..40).map(move |it| f32::from(u8::from(it == *token))))
        .collect();
    let one_hot = Tensor::<AB, 2>::from_data(TensorData::new(one_hot, [n_cells, 40]), &FlexDevice);
    let logprobs = log_softmax(logits, 1).narrow(0, 0, n_cells) * one_hot;
    let logprobs: Tensor<AB, 1> = logprobs.sum_dim(1).squeeze_dim(1);
    let learned = spread(&vec![1.0; row.advantages.len()]);
    let ratio = ((logprobs - spread(&row.old_logprobs)) * learned.clone()).exp();
    let gain = spread(&row.advantages);
    let within = ratio.clone().clamp(1.0 - config.clip_range, 1.0 + config.clip_range);
    let surrogate = (ratio * gain.clone()).min_pair(within * gain);
    let values: Tensor<AB, 1> = value.values(&batch).squeeze_dim::<1>(0).narrow(0, 0, n_cells);
    let miss = (values - spread(&row.returns)) * learned;
    let of_value = miss.square().sum() * (0.5 * f64::from(config.value_coefficient) / count);
    [surrogate.sum() / -count, of_value]
}

#[test]
fn what_flows_back_is_what_flows_through_a_mask() {
    let config = PpoConfig {
        optimizer: OptimizerConfig { max_grad_norm: 0.0, ..OptimizerConfig::default() },
        entropy_coefficient: EntropyConfig::Fixed(0.0),
        clip_range_value: 1e6,
        micro_batch_rows: 1,
        whiten_advantages: false,
        ..config(Algorithm::Ppo)
    };
    let row = talk(1, "..xxx....xx.xx.");
    let scores = vec![0.5, -1.0, 2.0];
    let episode = Episode::scored_by_turn(row, true, scores).expect("three turns");
    let mut experience = prepared(&rows(&config, vec![episode]), &config, 0.1).remove(0);
    // As if the policy had moved since: some ratios are clipped, up and down.
    let moved = [0.3, -0.3, 0.05, -0.05, 0.25, 0.1, -0.4];
    experience.old_logprobs.iter_mut().zip(moved).for_each(|(it, by)| *it += by);

    let (_, tenths) = gradient(&config, &[&experience]);
    let actors = actors(&config);
    let value = actors.value.expect("gae asks for one");
    let [of_policy, of_value] = {
        let of_policy = Gradients::of(&actors.policy, [()], |policy: &CausalLm<AB>, ()| {
            let [loss, _] = masked_loss(policy, &value, &experience, &config);
            loss
        });
        let of_value = Gradients::of(&value, [()], |value: &ScalarModel<AB>, ()| {
            let [_, loss] = masked_loss(&actors.policy, value, &experience, &config);
            loss
        });
        let all = FlatParams::of(&actors.policy, |_| true);
        [all.gradient(&of_policy), FlatParams::of(&value, |_| true).gradient(&of_value)]
    };
    let want: Vec<f32> = of_policy.iter().chain(&of_value).map(|it| it / 10.0).collect();
    let [policy, whole] = [of_policy.len(), want.len()];
    for part in [0..policy, policy..whole] {
        let off = distance(&want[part.clone()], &tenths[part.clone()]);
        assert!(off < 1e-5, "{part:?}: off by {off}");
    }
    assert!(want[..policy].iter().chain(&want[policy..]).any(|it| it.abs() > 1e-4));
}

/// A step may learn from conversations that came from elsewhere; the first ratio is checked there as
/// everywhere.
#[test]
fn a_step_learns_from_conversations() {
    let config = PpoConfig { epochs: 1, ..config(Algorithm::Ppo) };
    let [policy, value] = [1, 2].map(|seed| model_of(262, seed));
    let value = ScalarModel::from_causal_lm(value, Seed::new(3), &FlexDevice).expect("fits");
    let actors = ActorCritic { policy, value: Some(value) };
    let tokenizer = Tokenizer::train_bpe(["the letter e"], 262).expect("trains");
    let prompts = Prompts::of_texts(&["the".into()], &[], &tokenizer);
    let (reward, seed) = (Box::new(Even), Seed::new(5));
    let ppo = Ppo::new(config.clone(), actors, reward, tokenizer, prompts, seed, &FlexDevice);
    let mut ppo = ppo.expect("fits together");
    let actors = ppo.actors();
    let reference = Frozen::new(actors.policy.clone(), Precision::F32);
    let judges = Judges { reference: &reference, micro_batch_rows: 3, device: &FlexDevice };
    let rows = appraise(&actors, &judges, episodes(), config.temperature.at(0)).expect("fit");
    let told = ppo.learn(0, &rows).expect("learns");
    let of = |name: &str| told.get(name).expect("is told");
    let mean = |of: &dyn Fn(&Episode) -> f64| episodes().iter().map(of).sum::<f64>() / 8.0;
    // One of them has no end.
    let penalty = f64::from(config.missing_eos_penalty) / 8.0;
    assert!((of("objective/scores") - mean(&|it| f64::from(it.score)) + penalty).abs() < 1e-6);
    assert_eq!(of("completions/mean_turns"), mean(&|it| it.tokens.turns().len() as f64));
    assert_eq!(of("completions/mean_length"), mean(&|it| it.tokens.n_learned() as f64));
    assert!((of("val/ratio") - 1.0).abs() < 1e-5 && of("policy/grad_norm") > 0.0, "{told:?}");
}

/// Rows as they were saved before there were turns.
#[test]
fn saved_rows_of_one_turn_are_what_they_were() {
    let saved = r#"{"tokens":{"tokens":[1,2],"learned":[false,true]},"finished":true,"logprobs":[-1.0],"sampled_logprobs":null,"reference_logprobs":[-2.0],"values":[],"score":0.5}"#;
    let row: Row = serde_json::from_str(saved).expect("is a row");
    assert!(row.turn_scores.is_empty() && row.part_scores.is_empty());
    assert_eq!(serde_json::to_string(&row).expect("writes"), saved);
}

#[test]
fn conversations_that_mean_nothing_are_refused() {
    let refusal = |it: Result<Episode, PpoError>| it.expect_err("is refused").to_string();
    let wrong = Episode::scored_by_turn(talk(0, ".xx..x"), true, vec![1.0]);
    assert_eq!(refusal(wrong), "a conversation has 2 turns and 1 scores");
    let silent = "the policy says nothing in a conversation";
    assert_eq!(refusal(Episode::scored_at_end(talk(0, "..."), true, 1.0)), silent);
    assert_eq!(refusal(Episode::scored_by_turn(talk(0, "..."), true, Vec::new())), silent);

    let config = config(Algorithm::Ppo);
    let long = Episode::scored_at_end(talk(0, &format!("{}x", ".".repeat(32))), true, 1.0);
    let judge = |episode: Episode| {
        let mut told = String::new();
        judged(&config, |actors, judges| {
            let error = appraise(actors, judges, vec![episode], 1.0).expect_err("has no room");
            told = error.to_string();
            Ok(Vec::new())
        });
        told
    };
    assert!(judge(long.expect("says something")).contains("33 tokens, but the model has 32"));
}
