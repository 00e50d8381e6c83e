//! What ends completions, and prompts that are more than texts.

use std::sync::{Arc, Mutex};

use burn::backend::Autodiff;
use burn_flex::{Flex, FlexDevice};
use rein_data::example::{Columns, Completion};
use rein_data::log::RunLog;
use rein_data::seed::Seed;
use rein_data::stage::Train;
use rein_data::template::{CHATML, ZEPHYR};
use rein_data::tokenizer::Tokenizer;
use rein_model::config::{LlamaShape, ModelConfig};
use rein_model::weights::RandomWeights;
use rein_model::{CausalLm, Sampler, Sampling};
use rein_ppo::ActorCritic;
use rein_ppo::algorithm::Algorithm;
use rein_ppo::config::PpoConfig;
use rein_ppo::rollout::{Ends, Prompt, Sampled, sample, sample_until};
use rein_ppo::train::{Ppo, Prompts};
use rein_reward::{Reward, RewardError};

const VOCAB: usize = 262;

fn tokenizer() -> Tokenizer {
    Tokenizer::train_bpe(["the letter e"], VOCAB).expect("trains")
}

fn model() -> CausalLm<Autodiff<Flex>> {
    let shape = ModelConfig::llama(LlamaShape {
        vocab_size: VOCAB,
        hidden_size: 16,
        mlp_size: 32,
        n_layers: 1,
        n_heads: 2,
        n_kv_heads: 1,
        max_positions: 64,
        tied_head: true,
    })
    .expect("a valid shape");
    let mut weights = RandomWeights::new(&shape, Seed::new(1));
    CausalLm::new(&shape, &mut weights, &FlexDevice).expect("random weights fit")
}

fn sampled(texts: &[String]) -> Vec<Sampled> {
    let sampling = Sampling {
        max_new_tokens: 30,
        ends: vec![tokenizer().special().eos],
        batch_rows: 3,
        ..Sampling::at_temperature(1.0)
    };
    let model = burn::module::AutodiffModule::valid(&model());
    let sampler = Sampler::new(&model, &sampling, &FlexDevice).expect("fits");
    let prompts = ["the", "letter", "e"].repeat(4);
    let prompts = prompts.iter().map(|it| Prompt::encode(it, &tokenizer())).collect();
    match texts {
        [] => sample(&sampler, prompts, &tokenizer(), Seed::new(2)),
        _ => sample_until(&sampler, prompts, &tokenizer(), texts, Seed::new(2)),
    }
    .expect("samples")
}

/// Completions draw what they would have drawn, up to the text that ends them.
#[test]
fn a_text_ends_a_completion_and_does_not_belong_to_it() {
    let plain = sampled(&[]);
    // Something that one of them says in the middle.
    let said = plain.iter().find_map(|it| it.completion.text.get(8..10)).expect("some speak ASCII");
    let stopped = sampled(&[said.to_owned()]);
    let mut n_stopped = 0;
    for (whole, cut) in plain.iter().zip(&stopped) {
        let (whole, cut) = (&whole.completion, &cut.completion);
        let Some(at) = whole.text.find(said) else {
            assert_eq!(cut, whole);
            continue;
        };
        n_stopped += 1;
        assert_eq!(cut.text, whole.text[..at]);
        assert!(cut.finished && whole.tokens.starts_with(&cut.tokens));
        assert!(cut.tokens.len() < whole.tokens.len(), "{said:?}");
    }
    assert!(
        n_stopped > 0 && stopped.iter().all(|it| it.logprobs.len() == it.completion.tokens.len())
    );
}

#[test]
fn turns_end_where_their_template_says() {
    let tokenizer = tokenizer();
    let ends =
        |source: &str| Ends::of_turns(&tokenizer, &tokenizer.template(source).expect("is safe"));
    let eos = tokenizer.special().eos;
    assert_eq!(ends(ZEPHYR), Ends::of_texts(&tokenizer), "the end of sequence, once");
    let texts = vec!["<|im_end|>".to_owned()];
    assert_eq!(ends(CHATML), Ends { tokens: vec![eos], texts });
}

/// Likes nothing, and keeps what it was shown.
struct Shown(Arc<Mutex<Vec<Completion>>>);

impl Reward for Shown {
    fn name(&self) -> &'static str {
        "nothing"
    }

    fn score(&self, completions: &[Completion]) -> Result<Vec<f32>, RewardError> {
        self.0.lock().expect("nobody panicked").extend_from_slice(completions);
        Ok(vec![0.0; completions.len()])
    }
}

/// Prompts are what they are, whatever their text: here, tokens that no text is encoded as.
#[test]
fn a_step_asks_tokens_and_ends_where_it_is_told() {
    let config = PpoConfig {
        steps: 1,
        prompts_per_step: 6,
        samples_per_prompt: 1,
        max_new_tokens: 12,
        micro_batch_rows: 6,
        overlap: true,
        ..Algorithm::Reinforce.config()
    };
    let shown = Arc::new(Mutex::new(Vec::new()));
    let prompt =
        Prompt { text: "hello".into(), tokens: vec![7, 250, 7], columns: Columns::default() };
    let prompts = Prompts { train: vec![prompt.clone()], heldout: Vec::new() };
    let actors = ActorCritic { policy: model(), value: None };
    let reward = Box::new(Shown(shown.clone()));
    let seed = Seed::new(3);
    let ppo = Ppo::new(config, actors, reward, tokenizer(), prompts, seed, &FlexDevice);
    let is_end = |token: &u32| token.is_multiple_of(4);
    let tokens = (0..VOCAB as u32).filter(is_end).collect();
    let mut ppo = ppo.expect("fits").ending_at(Ends { tokens, texts: Vec::new() });
    ppo.step(0, &mut RunLog::silent()).expect("steps");
    let shown = shown.lock().expect("nobody panicked");
    assert_eq!(shown.len(), 6);
    for completion in shown.iter() {
        assert_eq!((&completion.prompt, &completion.prompt_tokens), (&prompt.text, &prompt.tokens));
        let (last, before) = completion.tokens.split_last().expect("says something");
        assert!(!before.iter().any(is_end) && is_end(last) == completion.finished);
    }
    assert!(shown.iter().any(|it| it.finished));
}
