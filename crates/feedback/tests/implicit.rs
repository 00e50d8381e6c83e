//! Worth from clicks: numbers of independent code, and simulated logs whose truth is known.
//! `REIN_FIXTURES` names another folder of numbers.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use rein_data::example::{Body, Content};
use rein_data::jsonl;
use rein_data::schema::Examples;
use rein_data::seed::{Seed, shuffle};
use rein_feedback::implicit::{
    Cascade, Cell, ClickPairs, Continuation, DEFAULT_CLIP, Harvest, HarvestConfig, Impression,
    PositionBased, Propensities, Reason, Shown, Simulated, Simulation, Tally, click_rates, harvest,
    ips, read_log, snips,
};
use serde_json::Value;

const SEEDS: [u64; 5] = [1, 2, 3, 4, 5];

fn fixture() -> Value {
    let own = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../fixtures");
    let root = std::env::var_os("REIN_FIXTURES").map_or(own, PathBuf::from);
    let path = root.join("feedback/implicit_ips.json");
    let text = fs::read(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    serde_json::from_slice(&text).expect("JSON")
}

fn numbers(value: &Value) -> Vec<f64> {
    let values = value.as_array().expect("a list of numbers");
    values.iter().map(|it| it.as_f64().expect("a number")).collect()
}

fn shown(response: usize) -> Shown {
    Shown { prompt_id: "p".into(), response_id: response.to_string() }
}

/// Expected clicks if the first response stands first and the others in all orders equally often.
fn expected_clicks(propensity: &[f64], relevance: &[f64]) -> Tally {
    let n_places = propensity.len();
    let mut tally = Tally::default();
    let mut add = |response: usize, place: usize, views: f64| {
        let clicks = views * propensity[place] * relevance[response];
        tally.add(shown(response), place as u32 + 1, Cell { views, clicks });
    };
    add(0, 0, 24.0);
    for response in 1..n_places {
        (1..n_places).for_each(|place| add(response, place, 24.0 / (n_places - 1) as f64));
    }
    tally
}

fn assert_close(what: &str, got: &BTreeMap<Shown, f64>, want: &[f64]) {
    assert_eq!(got.len(), want.len(), "{what}");
    for (got, want) in got.values().zip(want) {
        assert!((got - want).abs() <= 1e-12, "{what}: got {got}, want {want}");
    }
}

#[test]
fn golden_worth_in_expectation() {
    let fixture = fixture();
    let relevance = numbers(&fixture["relevance"]);
    let propensity = numbers(&fixture["propensity"]);
    let tally = expected_clicks(&propensity, &relevance);
    let given = Propensities::given(&propensity).expect("probabilities");

    let naive = click_rates(&tally);
    assert_close("click rates", &naive, &numbers(&fixture["expected_ctr_naive"]));
    let unclipped = ips(&tally, &given, f64::MIN_POSITIVE);
    assert_close("ips", &unclipped, &numbers(&fixture["expected_ips"]));
    assert_close("ips is worth", &unclipped, &relevance);
    let tau = fixture["clip"]["tau"].as_f64().expect("a number");
    assert_close("clipped", &ips(&tally, &given, tau), &numbers(&fixture["clip"]["clipped"]));
    assert_close("self-normalised", &snips(&tally, &given, tau), &relevance);

    let pairs = &fixture["pairs"];
    let over =
        |values: &BTreeMap<Shown, f64>, a, b| Value::from(values[&shown(a)] > values[&shown(b)]);
    assert_eq!(over(&naive, 0, 2), pairs["naive_says_0_over_2"]);
    assert_eq!(over(&unclipped, 2, 0), pairs["ips_says_2_over_0"]);
}

/// Kendall's tau between estimates and truth, the mean over prompts.
fn tau(estimates: &BTreeMap<Shown, f64>, truth: &BTreeMap<Shown, f64>) -> f64 {
    let mut prompts: BTreeMap<&str, Vec<(f64, f64)>> = BTreeMap::new();
    for (shown, truth) in truth {
        prompts.entry(&shown.prompt_id).or_default().push((estimates[shown], *truth));
    }
    let of_prompt = |values: &Vec<(f64, f64)>| {
        let pairs = (0..values.len()).flat_map(|b| (0..b).map(move |a| (values[a], values[b])));
        let signs: Vec<f64> = pairs.map(|(a, b)| sign(a.0 - b.0) * sign(a.1 - b.1)).collect();
        signs.iter().sum::<f64>() / signs.len() as f64
    };
    prompts.values().map(of_prompt).sum::<f64>() / prompts.len() as f64
}

fn sign(it: f64) -> f64 {
    if it == 0.0 { 0.0 } else { it.signum() }
}

fn randomised(log: &[Impression]) -> Tally {
    Tally::of(log.iter().filter(|it| it.is_randomised()))
}

#[test]
fn worth_is_recovered_from_biased_clicks() {
    for seed in SEEDS {
        let Simulated { impressions, relevance, .. } = Simulation::default().run(Seed::new(seed));
        let tally = Tally::of(&impressions);
        let measured = Propensities::measured(&randomised(&impressions)).expect("is measured");
        let model = PositionBased::fit(&tally);
        for position in 1..=5 {
            let want = 1.0 / f64::from(position);
            for got in [measured.at(position), model.propensities().at(position)] {
                assert!(
                    (got - want).abs() <= 0.05,
                    "seed {seed}, place {position}: {got} for {want}"
                );
            }
        }
        let naive = tau(&click_rates(&tally), &relevance);
        let estimates =
            [ips, snips].map(|estimate| estimate(&tally, &measured, DEFAULT_CLIP)).into_iter();
        for estimate in estimates.chain([model.attractiveness]) {
            let tau = tau(&estimate, &relevance);
            assert!(tau >= 0.95 && tau >= naive + 0.2, "seed {seed}: {tau}, naive {naive}");
        }
        let lls = &model.log_likelihoods;
        assert!(lls.windows(2).all(|it| it[1] >= it[0] - 1e-9 * it[0].abs()), "{lls:?}");
    }
}

#[test]
fn the_exponent_of_the_bias_is_found() {
    for (seed, eta) in SEEDS.into_iter().zip([0.0, 0.5, 1.0, 1.5, 2.0]) {
        let log = Simulation { eta, ..Simulation::default() }.run(Seed::new(seed)).impressions;
        let fitted = Propensities::fitted_power_law(&randomised(&log));
        let Some(Propensities::PowerLaw { eta: got }) = fitted else { panic!("is fitted") };
        assert!((got - eta).abs() < 0.05, "{got} for {eta}");
    }
}

#[test]
fn without_position_bias_all_agree() {
    for seed in SEEDS {
        let simulation = Simulation { eta: 0.0, ..Simulation::default() };
        let Simulated { impressions, relevance, .. } = simulation.run(Seed::new(seed));
        let tally = Tally::of(&impressions);
        let level = Propensities::PowerLaw { eta: 0.0 };
        assert_eq!(ips(&tally, &level, DEFAULT_CLIP), click_rates(&tally));
        let measured = Propensities::measured(&randomised(&impressions)).expect("is measured");
        let [naive, weighted] = [click_rates(&tally), ips(&tally, &measured, DEFAULT_CLIP)];
        for (naive, weighted) in naive.values().zip(weighted.values()) {
            assert!((naive - weighted).abs() <= 0.05, "seed {seed}: {naive} and {weighted}");
        }
        assert_eq!((tau(&naive, &relevance), tau(&weighted, &relevance)), (1.0, 1.0));
    }
}

/// How much more often a pair says what is true than what isn't, by weight: 1 if always.
fn net_truth(found: &Harvest, reason: Reason, simulated: &Simulated) -> f64 {
    let worth: BTreeMap<&str, f64> = simulated
        .relevance
        .iter()
        .map(|(it, worth)| (simulated.texts.response(&it.response_id).expect("has a text"), *worth))
        .collect();
    let mut nets: BTreeMap<[String; 2], f64> = BTreeMap::new();
    for pair in found.pairs.iter().filter(|it| it.reason == reason) {
        let (chosen, rejected) = (pair.chosen.to_text(), pair.rejected.to_text());
        if worth[chosen.as_str()] > worth[rejected.as_str()] {
            *nets.entry([chosen, rejected]).or_default() += pair.weight;
        } else {
            *nets.entry([rejected, chosen]).or_default() -= pair.weight;
        }
    }
    nets.values().map(|net| sign(*net)).sum::<f64>() / nets.len() as f64
}

#[test]
fn weighted_pairs_follow_worth_where_skipping_follows_the_order() {
    for seed in SEEDS {
        let simulated = Simulation::default().run(Seed::new(seed));
        let Simulated { impressions, texts, .. } = &simulated;
        let propensities = Propensities::measured(&randomised(impressions)).expect("is measured");
        let clicks = ClickPairs::InversePropensity { propensities, clip: DEFAULT_CLIP };
        let config = HarvestConfig { clicks, ..HarvestConfig::default() };
        let weighted = harvest(impressions, texts, &config).expect("is harvested");
        let skipped = harvest(impressions, texts, &HarvestConfig::default()).expect("is harvested");
        let weighted = net_truth(&weighted, Reason::InversePropensity, &simulated);
        let skipped = net_truth(&skipped, Reason::SkipAbove, &simulated);
        assert!(weighted >= 0.95, "seed {seed}: {weighted}");
        assert!(skipped <= weighted - 0.2, "seed {seed}: {skipped}, weighted {weighted}");
    }
}

#[test]
fn reward_models_read_the_pairs_with_their_weights() {
    let simulation = Simulation { n_sessions: 300, ..Simulation::default() };
    let Simulated { impressions, texts, .. } = simulation.run(Seed::new(1));
    let found = harvest(&impressions, &texts, &HarvestConfig::default()).expect("is harvested");
    let file = tempfile::NamedTempFile::new().expect("a temporary file");
    fs::write(file.path(), found.pairs.iter().map(jsonl::line).collect::<String>())
        .expect("writes");
    let rows = Examples::open(file.path(), None).expect("recognises them");
    let rows: Vec<_> = rows.map(|it| it.expect("is a row").example).collect();
    assert_eq!(rows.len(), found.pairs.len());
    for (row, pair) in rows.iter().zip(&found.pairs) {
        assert_eq!(row.weight(), Some(pair.weight as f32));
        assert_eq!(row.extra["source"], "implicit");
        let Body::Preference { prompt, chosen, rejected, .. } = &row.body else {
            panic!("{row:?}");
        };
        let texts = [prompt, chosen, rejected].map(Content::to_text);
        assert_eq!(texts, [&pair.prompt, &pair.chosen, &pair.rejected].map(Content::to_text));
    }
}

#[test]
fn nothing_depends_on_the_order_of_lines() {
    let simulation = Simulation { n_sessions: 500, n_users: 7, ..Simulation::default() };
    let Simulated { mut impressions, texts, .. } = simulation.run(Seed::new(1));
    let propensities = Propensities::PowerLaw { eta: 1.0 };
    let clicks = ClickPairs::InversePropensity { propensities, clip: DEFAULT_CLIP };
    let config = HarvestConfig { clicks, ..HarvestConfig::default() };
    let all = |log: &[Impression]| {
        let tally = Tally::of(log);
        (
            harvest(log, &texts, &config).expect("is harvested"),
            PositionBased::fit(&tally),
            Cascade::fit(log, Continuation::Fitted),
        )
    };
    let before = all(&impressions);
    shuffle(&mut impressions, &mut Seed::new(2).rng());
    assert_eq!(all(&impressions), before);
}

#[test]
fn a_simulated_log_survives_the_file() {
    let simulation = Simulation { n_sessions: 200, ..Simulation::default() };
    let Simulated { impressions, .. } = simulation.run(Seed::new(3));
    let file = tempfile::NamedTempFile::new().expect("a temporary file");
    let lines: String = impressions.iter().map(jsonl::line).collect();
    fs::write(file.path(), lines).expect("writes");
    assert_eq!(read_log(file.path()).expect("reads"), impressions);
}

#[test]
fn empty_logs_and_logs_without_clicks_are_no_trouble() {
    let file = tempfile::NamedTempFile::new().expect("a temporary file");
    let empty = read_log(file.path()).expect("an empty log is a log");
    let one = Simulation { n_sessions: 1, ..Simulation::default() }.run(Seed::new(1));
    let mut unclicked =
        Simulation { n_sessions: 50, ..Simulation::default() }.run(Seed::new(1)).impressions;
    unclicked.iter_mut().for_each(|it| it.events.clear());
    for log in [&empty, &one.impressions, &unclicked] {
        let (tally, randomised) = (Tally::of(log), randomised(log));
        let propensities =
            Propensities::measured(&randomised).unwrap_or(Propensities::PowerLaw { eta: 1.0 });
        let [model, cascade] = [
            PositionBased::fit(&tally).attractiveness,
            Cascade::fit(log, Continuation::Fitted).attractiveness,
        ];
        let estimates = [
            click_rates(&tally),
            ips(&tally, &propensities, DEFAULT_CLIP),
            snips(&tally, &propensities, DEFAULT_CLIP),
            model,
            cascade,
        ];
        assert!(estimates.iter().flat_map(BTreeMap::values).all(|it| it.is_finite()));
        let found = harvest(log, &one.texts, &HarvestConfig::default()).expect("is harvested");
        assert!(found.pairs.iter().all(|it| it.weight.is_finite() && it.weight > 0.0));
    }
}
