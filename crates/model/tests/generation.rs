//! Generation by its rules, on small models with random weights.

use std::ops::ControlFlow;
use std::thread;

use burn_flex::{Flex, FlexDevice};
use rein_data::encoding::TokenRow;
use rein_data::seed::Seed;
use rein_model::config::{LlamaShape, ModelConfig};
use rein_model::logprobs::row_logprobs;
use rein_model::sampling::{Choice, Filters};
use rein_model::weights::RandomWeights;
use rein_model::{
    CausalLm, Finish, Generated, ModelError, Monitor, Sampler, Sampling, Session, generate,
};

const DEVICE: FlexDevice = FlexDevice;
const VOCAB: u32 = 40;

fn model() -> CausalLm<Flex> {
    let config = ModelConfig::llama(LlamaShape {
        vocab_size: VOCAB as usize,
        hidden_size: 32,
        mlp_size: 64,
        n_layers: 2,
        n_heads: 4,
        n_kv_heads: 2,
        max_positions: 64,
        tied_head: false,
    });
    // Large weights, so that the model has opinions.
    let config = ModelConfig { init_std: 0.3, ..config.expect("a valid shape") };
    let mut weights = RandomWeights::new(&config, Seed::new(5));
    CausalLm::new(&config, &mut weights, &DEVICE).expect("random weights fit")
}

/// Prompts of different lengths; every third is like the first.
fn prompts(n_prompts: u32) -> Vec<Vec<u32>> {
    let prompt = |row: u32| match row % 3 {
        0 => vec![3, 1, 4, 1, 5],
        _ => (0..1 + row % 7).map(|column| (row * 11 + column * 5) % VOCAB).collect(),
    };
    (0..n_prompts).map(prompt).collect()
}

fn random() -> Sampling {
    let filters = Filters { top_p: 0.95, ..Filters::none(0.9) };
    Sampling {
        max_new_tokens: 12,
        choice: Choice::Random(filters),
        repetition_penalty: 1.1,
        ..Sampling::greedy()
    }
}

/// As [`random`], and often by chance.
fn exploring() -> Sampling {
    Sampling { epsilon: 0.3, ..random() }
}

fn sample(prompts: &[Vec<u32>], sampling: &Sampling) -> Vec<Generated> {
    generate(&model(), prompts, sampling, Seed::new(1), &DEVICE).expect("generates")
}

fn assert_same(rows: &[Generated], others: &[Generated]) {
    assert_eq!(rows.len(), others.len());
    for (row, other) in rows.iter().zip(others) {
        assert_eq!((&row.tokens, row.finish), (&other.tokens, other.finish));
        for (one, other) in row.logprobs.iter().zip(&other.logprobs) {
            assert!((one - other).abs() < 1e-4, "{one} and {other}");
        }
    }
}

/// A batch shares equal prompts and takes rows out that ended; a row alone does neither.
#[test]
fn a_row_is_the_same_in_any_batch() {
    let prompts = prompts(11);
    let greedy = Sampling { max_new_tokens: 12, ..Sampling::greedy() };
    let explorer = Sampling { epsilon: 0.3, ..greedy.clone() };
    for sampling in [random(), exploring(), greedy, explorer] {
        // Many tokens end a row, so that rows end at different times.
        let sampling = Sampling { ends: (0..VOCAB / 8).collect(), ..sampling };
        let in_batches =
            |batch_rows| sample(&prompts, &Sampling { batch_rows, ..sampling.clone() });
        let alone = in_batches(1);
        let lengths: Vec<usize> = alone.iter().map(|row| row.tokens.len()).collect();
        assert!(lengths.iter().any(|n| *n < 6) && lengths.iter().any(|n| *n > 6), "{lengths:?}");
        for batch_rows in [2, 5, 11] {
            assert_same(&in_batches(batch_rows), &alone);
        }
    }
}

/// Rows end at different times, so that later prompts take their places; prompts share beginnings. None
/// of it, nor the number of threads, changes a bit.
#[test]
fn a_row_is_the_same_to_the_last_bit() {
    let config = ModelConfig::llama(LlamaShape {
        vocab_size: 300,
        hidden_size: 96,
        mlp_size: 250,
        n_layers: 3,
        n_heads: 6,
        n_kv_heads: 3,
        max_positions: 256,
        tied_head: true,
    });
    let config = ModelConfig { init_std: 0.2, ..config.expect("a valid shape") };
    let beginning: Vec<u32> = (0..40).map(|it| it * 7 % 300).collect();
    let prompt = |row: u32| match row % 4 {
        0 => beginning.clone(),
        1 => beginning.iter().copied().chain(row..row + 9).collect(),
        2 => (0..1 + row * 5).map(|column| (row * 11 + column * 5) % 300).collect(),
        _ => vec![row % 3, 5],
    };
    let prompts: Vec<Vec<u32>> = (0..27).map(prompt).collect();
    let sampling = Sampling { max_new_tokens: 24, ends: (0..15).collect(), ..random() };
    let sample = |sampling: &Sampling, n_threads, batch_rows| {
        let pool = rayon::ThreadPoolBuilder::new().num_threads(n_threads).build();
        pool.expect("starts").install(|| {
            let mut weights = RandomWeights::new(&config, Seed::new(5));
            let model: CausalLm<Flex> =
                CausalLm::new(&config, &mut weights, &DEVICE).expect("random weights fit");
            let sampling = Sampling { batch_rows, ..sampling.clone() };
            generate(&model, &prompts, &sampling, Seed::new(1), &DEVICE).expect("generates")
        })
    };
    for sampling in [sampling.clone(), Sampling { epsilon: 0.3, ..sampling }] {
        let alone = sample(&sampling, 1, 1);
        let lengths: Vec<usize> = alone.iter().map(|row| row.tokens.len()).collect();
        assert!(lengths.iter().any(|n| *n < 8) && lengths.iter().any(|n| *n > 16), "{lengths:?}");
        for (n_threads, batch_rows) in [(1, 27), (2, 27), (3, 8), (5, 4), (4, 1)] {
            let rows = sample(&sampling, n_threads, batch_rows);
            assert!(rows == alone, "{n_threads} threads, {batch_rows} rows");
        }
    }
}

#[test]
fn samples_of_one_prompt_differ_and_are_those_of_the_model() {
    let prompts = vec![vec![3, 1, 4, 1, 5]; 6];
    let rows = sample(&prompts, &Sampling { max_new_tokens: 12, ..Sampling::at_temperature(0.8) });
    assert!(rows.iter().any(|row| row.tokens != rows[0].tokens));
    for (prompt, row) in prompts.iter().zip(&rows) {
        assert_logprobs(prompt, row, 0.8);
    }
}

/// With exploration, what was told is the mixture's, and the model alone says something else.
#[test]
fn logprobs_of_an_explorer_are_those_of_the_mixture() {
    let prompts = prompts(9);
    let sampling = Sampling { max_new_tokens: 12, epsilon: 0.25, ..Sampling::at_temperature(0.8) };
    let mut n_improbable = 0;
    for (prompt, row) in prompts.iter().zip(sample(&prompts, &sampling)) {
        let whole = TokenRow::completion(prompt.clone(), &row.tokens);
        let model = row_logprobs(&model(), &[&whole], 0.8, 1, &DEVICE).remove(0);
        assert_eq!(row.logprobs.len(), model.len());
        for (got, model) in row.logprobs.iter().zip(model) {
            let want = (0.75 * f64::from(model).exp() + 0.25 / f64::from(VOCAB)).ln();
            assert!((f64::from(*got) - want).abs() < 1e-4, "{got} and {want}");
            n_improbable += usize::from(f64::from(model) < want);
        }
    }
    assert!(n_improbable > 9, "tokens that the model wouldn't have said: {n_improbable}");
}

/// What was told while sampling is what a pass over the whole row computes.
fn assert_logprobs(prompt: &[u32], row: &Generated, temperature: f32) {
    let whole = TokenRow::completion(prompt.to_vec(), &row.tokens);
    let want = row_logprobs(&model(), &[&whole], temperature, 1, &DEVICE).remove(0);
    assert_eq!(row.logprobs.len(), want.len());
    for (got, want) in row.logprobs.iter().zip(want) {
        assert!((got - want).abs() < 1e-4, "{got} and {want}");
    }
}

#[test]
fn no_row_ends_before_its_least_length() {
    let prompts = prompts(9);
    let ends: Vec<u32> = (0..VOCAB - 1).collect();
    for sampling in [random(), Sampling { max_new_tokens: 12, ..Sampling::greedy() }] {
        let after = |min_new_tokens| {
            sample(&prompts, &Sampling { ends: ends.clone(), min_new_tokens, ..sampling.clone() })
        };
        assert!(after(0).iter().all(|row| row.finished() && row.tokens.len() <= 2));
        for (prompt, row) in prompts.iter().zip(after(4)) {
            let (early, late) = row.tokens.split_at(4);
            assert!(early.iter().all(|token| !ends.contains(token)), "{:?}", row.tokens);
            assert!(row.finished() && ends.contains(&late[late.len() - 1]));
            // The model's own numbers, as if nothing had been excluded.
            assert_logprobs(
                prompt,
                &row,
                if sampling.choice == Choice::Greedy { 1.0 } else { 0.9 },
            );
        }
    }
}

#[test]
fn a_banned_sequence_is_never_completed() {
    let prompts = prompts(6);
    let free = Sampling { max_new_tokens: 12, ..Sampling::greedy() };
    let rows = sample(&prompts, &free);
    // What the model wants to say: first and second token, and what it says right after the prompt.
    let [first, second] = [rows[0].tokens[0], rows[0].tokens[1]];
    let last = *prompts[1].last().expect("a prompt");
    let banned = vec![vec![first, second], vec![last, rows[1].tokens[0]]];
    let rows = sample(&prompts, &Sampling { banned: banned.clone(), ..free.clone() });
    assert_eq!(rows[0].tokens[0], first, "the beginning of a sequence is allowed");
    for (prompt, row) in prompts.iter().zip(&rows) {
        let from = prompt.len() - 1;
        let whole = [prompt, &row.tokens[..]].concat();
        assert!(whole[from..].windows(2).all(|pair| !banned.iter().any(|it| it == pair)));
        assert_logprobs(prompt, row, 1.0);
    }
}

#[test]
fn nothing_is_chosen_where_everything_is_banned() {
    let all = (0..VOCAB).map(|token| vec![token]).collect();
    let rows = sample(&prompts(3), &Sampling { banned: all, ..random() });
    assert!(rows.iter().all(|row| row.tokens.is_empty() && row.finish == Finish::Guard));
}

#[test]
fn what_lacks_a_required_sequence_is_sampled_again() {
    let prompts = prompts(8);
    let once = random();
    let required = vec![vec![7]];
    let has = |row: &Generated| row.tokens.contains(&7);
    let first = sample(&prompts, &once);
    let often = Sampling { required: required.clone(), attempts: 40, ..once.clone() };
    let rows = sample(&prompts, &often);
    assert!(first.iter().any(has) && !first.iter().all(has), "both kinds must be there");
    for (row, first) in rows.iter().zip(&first) {
        assert!(has(row) && row.finish != Finish::Guard);
        // Rows that were right at once are left alone.
        assert_eq!(row.n_attempts == 1, has(first));
        assert!(!has(first) || row.tokens == first.tokens);
    }
    assert_same(&sample(&prompts, &Sampling { batch_rows: 1, ..often }), &rows);
    let refused =
        sample(&prompts, &Sampling { required: vec![vec![7, 7, 7]], attempts: 3, ..once });
    assert!(refused.iter().all(|row| row.finish == Finish::Guard && row.n_attempts == 3));
}

/// Ends rows after `limit` tokens, refuses a row's first attempt, and remembers what it saw.
struct Strict {
    limit: usize,
    seen: Vec<Vec<Vec<u32>>>,
}

impl Monitor for Strict {
    fn begin(&mut self, row: usize) {
        self.seen[row].push(Vec::new());
    }

    fn token(&mut self, row: usize, token: u32) -> ControlFlow<()> {
        let attempt = self.seen[row].last_mut().expect("begun");
        attempt.push(token);
        if attempt.len() == self.limit { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
    }

    fn accept(&mut self, row: usize, generated: &Generated) -> bool {
        assert_eq!(self.seen[row].last(), Some(&generated.tokens));
        self.seen[row].len() > 1
    }
}

#[test]
fn a_monitor_sees_every_token_and_is_obeyed() {
    let (model, prompts) = (model(), prompts(7));
    let sampling = Sampling { attempts: 3, batch_rows: 3, ..random() };
    let sampler = Sampler::new(&model, &sampling, &DEVICE).expect("is valid");
    let mut batches = sampler.batches(&prompts, Seed::new(1)).expect("prompts fit");
    let mut strict = Strict { limit: 5, seen: vec![Vec::new(); prompts.len()] };
    let mut n_rows = 0;
    while let Some(rows) = batches.next(&mut strict) {
        n_rows += rows.len();
        for row in rows {
            assert_eq!((row.tokens.len(), row.finish, row.n_attempts), (5, Finish::Stop, 2));
        }
    }
    assert_eq!(n_rows, prompts.len());
    for attempts in &strict.seen {
        assert!(attempts.len() == 2 && attempts[0] != attempts[1], "fresh draws: {attempts:?}");
    }
}

#[test]
fn a_sampler_is_a_snapshot_that_another_thread_can_take() {
    let mut model = model();
    let (prompts, sampling) = (prompts(7), Sampling { batch_rows: 3, ..random() });
    let of = |model: &CausalLm<Flex>| {
        generate(model, &prompts, &sampling, Seed::new(1), &DEVICE).expect("generates")
    };
    let before = of(&model);
    let sampler = Sampler::new(&model, &sampling, &DEVICE).expect("is valid");
    model.head = None;
    let after = of(&model);
    let rows = thread::scope(|scope| {
        scope.spawn(|| sampler.generate(&prompts, Seed::new(1))).join().expect("no panic")
    });
    assert_eq!(rows.expect("generates"), before);
    assert_ne!(after, before, "another head says something else");
}

/// A conversation whose beginning is known gives what one computed from its beginning gives.
#[test]
fn a_session_goes_on_as_if_it_had_begun_anew() {
    let model = model();
    let mut session = Session::new(&model, &DEVICE);
    let mut row = vec![3, 1, 4];
    for turn in 0..4 {
        let kind = if turn % 2 == 0 { random() } else { exploring() };
        let sampling = Sampling { max_new_tokens: 4 + turn, ..kind };
        let seed = Seed::new(turn as u64);
        let n_known = session.n_known(&row);
        assert_eq!(n_known, if turn == 0 { 0 } else { row.len() - 3 }, "turn {turn}");
        let got = session.reply(&row, &sampling, seed, &mut ()).expect("replies");
        let whole = generate(&model, &[row.clone()], &sampling, seed, &DEVICE).expect("generates");
        assert_same(std::slice::from_ref(&got), &whole);
        row.extend(got.tokens);
        row.extend([turn as u32, 9]);
    }
    // Somebody takes the last turns back.
    row.truncate(6);
    row.push(8);
    assert_eq!(session.n_known(&row), 6);
    let got = session.reply(&row, &random(), Seed::new(1), &mut ()).expect("replies");
    assert_same(&[got], &sample(&[row], &random()));
    // Another conversation altogether; the same one once more; refused attempts.
    for prompt in [vec![2], vec![2], vec![5, 6, 7]] {
        let sampling = Sampling { required: vec![vec![7]], attempts: 5, ..random() };
        let got = session.reply(&prompt, &sampling, Seed::new(1), &mut ()).expect("replies");
        assert_same(&[got], &sample(&[prompt], &sampling));
    }
}

#[test]
fn what_makes_no_sense_is_refused_by_name() {
    let refusal = |prompt: &[u32], sampling: &Sampling| {
        let rows = generate(&model(), &[vec![1], prompt.to_vec()], sampling, Seed::new(1), &DEVICE);
        rows.expect_err("is refused")
    };
    let fine = random();
    let error = refusal(&[VOCAB], &fine);
    assert!(matches!(error, ModelError::Row { row: 1, .. }));
    assert_eq!(error.to_string(), "row 2 holds the token 40, but the model's vocabulary has 40");
    let error = refusal(&[1; 60], &fine).to_string();
    assert_eq!(error, "row 2 has 60 tokens and shall get 12 more, but the model has 64 positions");
    for (name, sampling) in [
        ("epsilon", Sampling { epsilon: 1.5, ..fine.clone() }),
        ("epsilon", Sampling { epsilon: f32::NAN, ..fine.clone() }),
        ("attempts", Sampling { attempts: 0, ..fine.clone() }),
        ("attempts", Sampling { attempts: 2, ..Sampling::greedy() }),
        ("banned", Sampling { banned: vec![vec![VOCAB]], ..fine.clone() }),
        ("banned", Sampling { banned: vec![vec![]], ..fine.clone() }),
        ("required", Sampling { required: vec![vec![1, VOCAB]], ..fine.clone() }),
    ] {
        let error = refusal(&[1], &sampling).to_string();
        assert!(error.starts_with(&format!("`{name}`")), "{error}");
    }
}
