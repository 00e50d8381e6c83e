//! What steers a run: schedules, controllers, averages, demonstrations.

mod guards;

use crate::run::{DEVICE, Run, tokenizer};
use burn::module::{Module, ModuleVisitor, Param};
use burn::tensor::Tensor;
use burn_flex::Flex;
use rein_data::encoding::TokenRow;
use rein_data::stage::Train;
use rein_model::checkpoint::MODEL;
use rein_model::{CausalLm, EmaConfig, load_causal_lm};
use rein_ppo::config::PpoConfig;
use rein_ppo::demonstrations::PtxConfig;
use rein_ppo::exploration::{AdaptiveEntropy, EntropyConfig};
use rein_ppo::scheduled::{Ramp, RampKind, Scheduled};
use rein_ppo::scores::{Normalization, ScoreConfig};
use rein_ppo::stability::{EarlyStopConfig, KlRateConfig};

fn config() -> PpoConfig {
    crate::run::config(false)
}

/// All numbers of a model.
fn numbers(model: &CausalLm<Flex>) -> Vec<f32> {
    let mut all = All(Vec::new());
    model.visit(&mut all);
    all.0
}

struct All(Vec<f32>);

impl ModuleVisitor<Flex> for All {
    fn visit_float<const D: usize>(&mut self, param: &Param<Tensor<Flex, D>>) {
        self.0.extend(param.val().into_data().iter::<f32>());
    }
}

/// The policy after so many steps.
fn policy_after(config: &PpoConfig, n_steps: usize) -> Vec<f32> {
    let mut run = Run::new(config.clone());
    run.steps(0..n_steps);
    numbers(&run.ppo.actors().policy)
}

fn demonstrations() -> Vec<TokenRow> {
    let tokenizer = tokenizer();
    let encode = |text: &str| tokenizer.encode_prompt(text);
    let texts = ["xxxx", "xx", "xxx", "x"];
    texts.map(|text| TokenRow::completion(encode("the"), &encode(text))).to_vec()
}

/// Everything that adapts, at once.
fn all() -> PpoConfig {
    let ramp = |from, to| Scheduled::Ramp(Ramp { kind: RampKind::Linear, from, to, steps: 3 });
    PpoConfig {
        temperature: ramp(1.2, 0.8),
        gamma: ramp(0.9, 1.0),
        lambda: ramp(1.0, 0.9),
        entropy_coefficient: EntropyConfig::Adaptive(AdaptiveEntropy {
            coefficient: 0.01,
            target_nats_per_token: 5.4,
            change: 0.005,
            min: 0.0,
            max: 0.1,
        }),
        scores: ScoreConfig {
            normalization: Normalization::Standardize,
            length_penalty: 0.01,
            ..ScoreConfig::default()
        },
        ptx: Some(PtxConfig { coefficient: 0.1, rows: 3 }),
        ema: Some(EmaConfig { decay: 0.5, warmup: true }),
        kl_rate: Some(KlRateConfig { target_nats_per_token: 1e-4, ..KlRateConfig::default() }),
        value_warmup_steps: 1,
        ..config()
    }
}

fn with_demonstrations(config: PpoConfig) -> Run {
    let Run { ppo, shown } = Run::new(config);
    Run { ppo: ppo.with_demonstrations(demonstrations()).expect("there are some"), shown }
}

#[test]
fn a_run_that_adapts_resumes_to_the_last_bit() {
    let n_steps = all().steps;
    let mut whole = with_demonstrations(all());
    let told = whole.steps(0..n_steps);
    for stop in 0..=n_steps {
        let mut first = with_demonstrations(all());
        assert_eq!(first.steps(0..stop), told[..stop]);
        let folder = tempfile::tempdir().expect("a temporary folder");
        first.ppo.save(folder.path()).expect("saves");
        let mut second = with_demonstrations(all());
        second.ppo.restore(folder.path()).expect("restores");
        assert_eq!(second.steps(stop..n_steps), told[stop..], "after step {stop}");
        assert!(second.saved() == whole.saved(), "stopped after step {stop}");
    }
    // It did adapt.
    let series = |name: &str| told.iter().filter_map(|it| it.get(name)).collect::<Vec<_>>();
    for name in ["lr", "entropy_coef", "scores/running_mean", "loss/ptx_avg"] {
        let values = series(name);
        assert!(
            values.len() > 2 && values.windows(2).any(|it| it[0] != it[1]),
            "{name}: {values:?}"
        );
    }
}

#[test]
fn an_average_is_that_of_the_policies_and_is_what_the_stage_leaves() {
    let ema = EmaConfig { decay: 0.75, warmup: false };
    let config = PpoConfig { epochs: 1, minibatches: 1, ema: Some(ema), ..config() };
    let plain = PpoConfig { ema: None, ..config.clone() };
    let mut run = Run::new(config.clone());
    let mut want = policy_after(&plain, 0);
    for step in 0..3 {
        run.step(step).expect("steps");
        let policy = policy_after(&plain, step + 1);
        assert_eq!(numbers(&run.ppo.actors().policy), policy, "averaging changes nothing");
        for (average, weight) in want.iter_mut().zip(policy) {
            *average = 0.75 * *average + 0.25 * weight;
        }
    }
    let folder = tempfile::tempdir().expect("a temporary folder");
    run.ppo.save(folder.path()).expect("saves");
    let left: CausalLm<Flex> = load_causal_lm(&folder.path().join(MODEL), &DEVICE).expect("loads");
    assert_eq!(numbers(&left), numbers(&run.ppo.result()));
    let off = numbers(&left).iter().zip(&want).map(|(a, b)| (a - b).abs()).fold(0.0, f32::max);
    assert!(off < 1e-6, "off by {off}");
    assert!(numbers(&left) != numbers(&run.ppo.actors().policy));
}

#[test]
fn the_value_model_learns_alone_at_first() {
    let config = PpoConfig { value_warmup_steps: 2, ..config() };
    let mut run = Run::new(config.clone());
    let files = |run: &Run| {
        let files = run.saved();
        ["model/model.safetensors", "value_model/model.safetensors"].map(|name| files[name].clone())
    };
    let [policy, mut value] = files(&run);
    for step in 0..2 {
        let told = run.step(step).expect("steps");
        let [policy_now, value_now] = files(&run);
        assert!(policy_now == policy && value_now != value, "step {step}");
        assert_eq!(told.get("policy/approxkl_avg"), None, "nothing is told of the policy");
        value = value_now;
    }
    run.step(2).expect("steps");
    assert!(files(&run)[0] != policy);
}

#[test]
fn epochs_end_where_the_policy_has_gone_far_enough() {
    let stops_at = |target_nats_per_token| {
        let early_stop = Some(EarlyStopConfig { target_nats_per_token, multiple: 1.0 });
        let mut config = config();
        config.minibatches = 1;
        config.guards.early_stop = early_stop;
        config
    };
    let once = PpoConfig { epochs: 1, minibatches: 1, ..config() };
    let twice = PpoConfig { epochs: 2, minibatches: 1, ..config() };
    // The second minibatch is the first that finds the policy elsewhere.
    assert_eq!(policy_after(&stops_at(1e-12), 1), policy_after(&once, 1));
    assert_eq!(policy_after(&stops_at(1e3), 1), policy_after(&twice, 1));
    let told = Run::new(stops_at(1e-12)).steps(0..2);
    let counts: Vec<_> = told.iter().map(|it| it.get("guards/early_stops")).collect();
    assert_eq!(counts, [Some(1.0), Some(2.0)]);
}

#[test]
fn demonstrations_are_imitated_however_they_are_cut() {
    let config = |micro_batch_rows| PpoConfig {
        minibatches: 1,
        epochs: 1,
        micro_batch_rows,
        ptx: Some(PtxConfig { coefficient: 10.0, rows: 3 }),
        ..config()
    };
    let trained = |micro_batch_rows| {
        let mut run = with_demonstrations(config(micro_batch_rows));
        let told = run.steps(0..4);
        let losses = told.iter().map(|it| it.get("loss/ptx_avg").expect("is told"));
        (losses.collect::<Vec<_>>(), numbers(&run.ppo.actors().policy))
    };
    let (losses, whole) = trained(6);
    assert!(losses[3] < losses[0] - 0.1, "{losses:?}");
    for micro_batch_rows in [1, 2] {
        let (_, cut) = trained(micro_batch_rows);
        // AdamW's first steps are signs: a tenth of a step is far more than rounding.
        let off = cut.iter().zip(&whole).map(|(a, b)| (a - b).abs()).fold(0.0, f32::max);
        assert!(off < 1e-3, "{micro_batch_rows} rows: off by {off}");
    }
    let without = PpoConfig { ptx: None, ..config(6) };
    assert!(policy_after(&without, 4) != whole);
    assert!(Run::new(config(6)).ppo.with_demonstrations(Vec::new()).is_err());
}

/// Scores are changed for learning, and told as they were.
#[test]
fn scores_are_centred_by_all_that_came_before() {
    let scores = ScoreConfig { normalization: Normalization::Center, ..ScoreConfig::default() };
    let config =
        |scores| PpoConfig { prompts_per_step: 36, max_new_tokens: 16, scores, ..config() };
    let centred = Run::new(config(scores)).steps(0..1);
    let plain = Run::new(config(ScoreConfig::default())).steps(0..1);
    let raw = "rewards/vowels/mean";
    assert_eq!(centred[0].get(raw), plain[0].get(raw));
    let mean = centred[0].get("objective/scores").expect("is told");
    assert!(mean.abs() < 1e-6 && plain[0].get(raw).is_some_and(|it| it > 0.0), "{mean}");
}

/// One backbone for both: the value loss is a part of the one gradient.
#[test]
fn values_may_come_from_a_head_on_the_policy() {
    // Values begin at 0; without a penalty, there would be nothing to learn at first.
    let config = PpoConfig { value_head: true, missing_eos_penalty: 1.0, ..config() };
    let mut whole = Run::new(config.clone());
    let told = whole.steps(0..3);
    for name in ["loss/value_avg", "critic/vf_explained_var", "policy/approxkl_avg"] {
        assert!(told[2].get(name).is_some_and(f64::is_finite), "{name}");
    }
    assert_eq!(told[2].get("critic/grad_norm"), None, "there is one gradient");
    let files = whole.saved();
    assert!(files.contains_key("value_head.safetensors"));
    assert!(!files.keys().any(|name| name.starts_with("value_model")));

    let mut first = Run::new(config.clone());
    assert_eq!(first.steps(0..1), told[..1]);
    let folder = tempfile::tempdir().expect("a temporary folder");
    first.ppo.save(folder.path()).expect("saves");
    let mut second = Run::new(config.clone());
    second.ppo.restore(folder.path()).expect("restores");
    assert_eq!(second.steps(1..3), told[1..]);
    assert!(second.saved() == files, "resumes to the bit");

    // The backbone hears of the value loss.
    let silent = PpoConfig { value_coefficient: 0.0, ..config };
    assert!(
        policy_after(&silent, 1)
            != policy_after(&PpoConfig { value_coefficient: 1.0, ..silent.clone() }, 1)
    );
}
