//! Rewards whose cost is limited, in a world of one token: a third of them pays 1 and costs 1, a third pays 0.6, a
//! third nothing.

use rein_model::optim::OptimizerConfig;
use rein_model::schedule::Schedule;
use rein_ppo::advantage::AdvantageEstimator;
use rein_ppo::constraints::ConstraintConfig;
use rein_ppo::kl::KlConfig;

use super::*;

const PAY: PerToken = PerToken("pay", |token| [1.0, 0.6, 0.0][token as usize % 3]);
const COST: PerToken = PerToken("cost", |token| [1.0, 0.0, 0.0][token as usize % 3]);

fn limited(limit: Option<f64>, steps: usize) -> Ppo<Autodiff<Flex>> {
    let limit = limit.map(|limit| ConstraintConfig {
        learning_rate: 0.4,
        ..ConstraintConfig::new("cost", limit)
    });
    let config = PpoConfig {
        steps,
        prompts_per_step: 64,
        max_new_tokens: 1,
        micro_batch_rows: 64,
        epochs: 2,
        advantage: AdvantageEstimator::CenteredReturns,
        missing_eos_penalty: 0.0,
        kl: KlConfig::Fixed { coefficient: 0.05 },
        constraints: limit.into_iter().collect(),
        optimizer: OptimizerConfig {
            learning_rate: 5e-3,
            schedule: Schedule::Constant,
            ..OptimizerConfig::default()
        },
        ..config()
    };
    stage(mixture(&[(1.0, PAY), (0.0, COST)]), config).expect("fits together")
}

fn told(ppo: &mut Ppo<Autodiff<Flex>>, steps: std::ops::Range<usize>, name: &str) -> Vec<f64> {
    let step = |step| ppo.step(step, &mut RunLog::silent()).expect("steps");
    let told: Vec<Metrics> = steps.map(step).collect();
    told.iter().map(|it| it.get(name).expect("is told")).collect()
}

fn mean(values: &[f64]) -> f64 {
    values.iter().sum::<f64>() / values.len() as f64
}

#[test]
fn the_cost_ends_within_its_limit_and_the_multiplier_settles() {
    let n_steps = 160;
    let mut free = limited(None, n_steps);
    let costs = told(&mut free, 0..40, "rewards/cost/mean");
    assert!(mean(&costs[30..]) > 0.8, "without a limit, what pays most is said: {costs:?}");

    let mut held = limited(Some(0.2), n_steps);
    let mut steps = Vec::new();
    for step in 0..n_steps {
        steps.push(held.step(step, &mut RunLog::silent()).expect("steps"));
    }
    let of = |name: &str| -> Vec<f64> {
        steps.iter().map(|it| it.get(name).expect("is told")).collect()
    };
    let (costs, pay) = (of("rewards/cost/mean"), of("rewards/pay/mean"));
    let multipliers = of("constraint/lambda");
    let last = &multipliers[n_steps - 40..];
    let spread = last.iter().copied().fold(f64::MIN, f64::max)
        - last.iter().copied().fold(f64::MAX, f64::min);
    let (cost, pay) = (mean(&costs[n_steps - 40..]), mean(&pay[n_steps - 40..]));
    assert!(cost <= 0.2 + 0.02, "{cost}, with multipliers {last:?}");
    // The rest says what pays without a cost: 0.2 · 1 + 0.8 · 0.6 at best.
    assert!(pay > 0.55, "{pay}, at a cost of {cost}");
    assert!(spread < 0.5 && mean(last) > 0.1, "{last:?}");
}

#[test]
fn a_multiplier_falls_where_the_limit_is_far() {
    let multipliers = told(&mut limited(Some(2.0), 12), 0..12, "constraint/lambda");
    assert_eq!(multipliers[0], 1.0);
    assert!(multipliers.windows(2).all(|pair| pair[1] < pair[0]), "{multipliers:?}");
}

#[test]
fn a_resumed_run_holds_its_limit_as_the_uninterrupted_one_does() {
    let mut whole = limited(Some(0.2), 6);
    told(&mut whole, 0..3, "constraint/lambda");
    let folder = tempfile::tempdir().expect("a temporary folder");
    whole.save(folder.path()).expect("saves");
    let mut resumed = limited(Some(0.2), 6);
    resumed.restore(folder.path()).expect("restores");
    let names = ["constraint/lambda", "constraint/cost", "objective/scores"];
    for step in 3..6 {
        let [one, other] = [&mut whole, &mut resumed]
            .map(|it| it.step(step, &mut RunLog::silent()).expect("steps"));
        assert_eq!(names.map(|name| one.get(name)), names.map(|name| other.get(name)));
        assert!(one.get("constraint/cost").is_some());
    }
    assert!(whole.digest() == resumed.digest(), "to the last bit");
}

#[test]
fn what_nobody_measures_cannot_be_limited() {
    let config = PpoConfig { constraints: vec![ConstraintConfig::new("harm", 0.0)], ..config() };
    let error = stage(mixture(&[(1.0, PAY), (0.0, COST)]), config).expect_err("is refused");
    assert!(error.to_string().contains("\"harm\"") && error.to_string().contains("pay, cost"));
}
