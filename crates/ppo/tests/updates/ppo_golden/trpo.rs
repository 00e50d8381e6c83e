//! Natural-gradient steps of a small network, by independent code in double precision.

use std::fs;

use burn::backend::Autodiff;
use burn::module::{AutodiffModule, Param};
use burn::prelude::*;
use burn::tensor::activation::softmax;
use burn_flex::Flex;
use rein_model::backend::LmBackend;
use rein_model::flat::FlatParams;
use rein_model::optim::Gradients;
use rein_model::tokens::{host, matrix, scalar};
use rein_ppo::trpo::fisher::{difference_step, product};
use rein_ppo::trpo::logits::{Logits, divergence};
use rein_ppo::trpo::{Outlook, Search, Solution, backtrack, conjugate_gradient, step_length};
use serde_json::Value;

use crate::golden::*;

type AB = Autodiff<Flex>;

/// `logits = tanh(X first + offset) second`; in the order of their names, the tensors are the file's `theta`.
#[derive(Module, Debug)]
struct Network<B: Backend> {
    first: Param<Tensor<B, 2>>,
    offset: Param<Tensor<B, 1>>,
    second: Param<Tensor<B, 2>>,
}

impl<B: LmBackend> Network<B> {
    fn zeros([d_in, d_hidden, d_out]: [usize; 3]) -> Self {
        let device = Default::default();
        Self {
            first: Param::from_tensor(Tensor::zeros([d_in, d_hidden], &device)),
            offset: Param::from_tensor(Tensor::zeros([d_hidden], &device)),
            second: Param::from_tensor(Tensor::zeros([d_hidden, d_out], &device)),
        }
    }

    fn logits(&self, states: &[Vec<f32>]) -> Logits<B> {
        let states = matrix(states, &self.offset.device());
        let hidden = (states.matmul(self.first.val()) + self.offset.val().unsqueeze()).tanh();
        let head = self.second.val();
        Logits { hidden, head, tied: false, trains_head: true, temperature: 1.0 }
    }

    fn probs(&self, states: &[Vec<f32>]) -> Tensor<B, 2> {
        let Logits { hidden, head, .. } = self.logits(states);
        softmax(hidden.matmul(head), 1)
    }
}

/// A file's network, and what it says about it.
struct Case {
    file: Value,
    states: Vec<Vec<f32>>,
    advantages: Vec<Vec<f32>>,
    network: Network<AB>,
    params: FlatParams,
}

impl Case {
    fn new(file: Value) -> Self {
        let [states, advantages] = [rows(&file["X"]), rows(&file["advantage"])];
        let theta = narrow(&file["theta"]);
        let (d_in, d_out) = (states[0].len(), advantages[0].len());
        let d_hidden = theta.len() / (d_in + 1 + d_out);
        let network = Network::<AB>::zeros([d_in, d_hidden, d_out]);
        let params = FlatParams::of(&network, |_| true);
        let network = params.with_values(network, &theta);
        Self { file, states, advantages, network, params }
    }

    /// `F v`, the states taken a few at a time.
    fn fisher(&self, v: &[f32]) -> Vec<f32> {
        let parts: Vec<&[Vec<f32>]> = self.states.chunks(5).collect();
        let logits = |network: &Network<AB>, states: &&[Vec<f32>]| network.logits(states);
        let valid = |network: &Network<Flex>, states: &&[Vec<f32>]| network.logits(states);
        let step = difference_step(&self.network.valid(), &self.params, v, &parts, valid);
        let product = product(&self.network, &self.params, v, step, &parts, logits, valid);
        scaled(&self.params.gradient(&product), 1.0 / self.states.len() as f64)
    }

    fn damped(&self, v: &[f32]) -> Vec<f32> {
        let damping = number(&self.file["damping"]);
        let fisher = self.fisher(v).into_iter();
        fisher.zip(v).map(|(it, v)| it + damping as f32 * v).collect()
    }

    fn surrogate<B: LmBackend>(&self, network: &Network<B>) -> Tensor<B, 1> {
        let advantages = matrix(&self.advantages, &network.offset.device());
        (network.probs(&self.states) * advantages).sum() / self.states.len() as f64
    }

    fn gradient(&self) -> Vec<f32> {
        let gradients = Gradients::of(&self.network, [()], |network, ()| self.surrogate(network));
        self.params.gradient(&gradients)
    }

    /// What comes of adding `step` to `theta`.
    fn outlook(&self, step: &[f32]) -> Outlook {
        let old = self.network.valid();
        let theta: Vec<f32> =
            self.params.values(&old).iter().zip(step).map(|(a, b)| a + b).collect();
        let new = self.params.with_values(old.clone(), &theta);
        let any = Tensor::zeros([self.states.len()], &old.offset.device());
        let [kl, _] = divergence(&old.logits(&self.states), &new.logits(&self.states), any);
        Outlook { surrogate: scalar(self.surrogate(&new)), kl: scalar(kl.mean()) }
    }
}

fn cases() -> Vec<Case> {
    let named = root().join("feedback");
    let folder = if named.exists() { named } else { own_root().join("feedback") };
    let entries = fs::read_dir(&folder).expect("is readable");
    let mut paths: Vec<_> = entries.map(|it| it.expect("is readable").path()).collect();
    paths.retain(|path| path.extension().is_some_and(|it| it == "json"));
    paths.sort();
    let is_mine = |file: &Value| has(file, &["X", "theta", "v", "Fv", "natural_direction", "step"]);
    let files = paths.iter().map(|path| json(path)).filter(is_mine);
    let cases: Vec<Case> = files.map(Case::new).collect();
    assert!(!cases.is_empty(), "no such case in {}", folder.display());
    cases
}

fn narrow(value: &Value) -> Vec<f32> {
    numbers(value).into_iter().map(|it| it as f32).collect()
}

fn scaled(a: &[f32], factor: f64) -> Vec<f32> {
    a.iter().map(|it| (f64::from(*it) * factor) as f32).collect()
}

fn dot(a: &[f32], b: &[f32]) -> f64 {
    a.iter().zip(b).map(|(a, b)| f64::from(*a) * f64::from(*b)).sum()
}

fn norm(a: &[f32]) -> f64 {
    dot(a, a).sqrt()
}

fn distance(a: &[f32], b: &[f32]) -> f64 {
    let difference: Vec<f32> = a.iter().zip(b).map(|(a, b)| a - b).collect();
    norm(&difference) / norm(b)
}

#[test]
fn fisher_products() {
    for case in cases() {
        let [v, want] = ["v", "Fv"].map(|key| narrow(&case.file[key]));
        let got = case.fisher(&v);
        let error = distance(&got, &want);
        assert!(error <= number(&case.file["gates"]["fvp_rel_err_max"]), "off by {error}");

        let w = narrow(&case.file["natural_direction"]);
        let [there, back] = [dot(&w, &got), dot(&v, &case.fisher(&w))];
        assert!((there - back).abs() <= 1e-3 * dot(&v, &got).abs(), "{there} and {back}");
    }
}

/// The last one adds the same number to all logits, which changes no probability.
#[test]
fn fisher_matrices_are_not_negative() {
    for case in cases() {
        let n_second = host(case.network.second.val()).len();
        let mut shift = vec![0.0; case.params.len()];
        let n_before = shift.len() - n_second;
        shift[n_before..].fill(1.0);
        for v in [narrow(&case.file["v"]), narrow(&case.file["gradient"]), shift] {
            let form = dot(&v, &case.fisher(&v));
            assert!(form >= -1e-6, "{form}");
        }
    }
}

#[test]
fn natural_directions() {
    for case in cases() {
        let gradient = case.gradient();
        assert_close("gradient", &gradient, &numbers(&case.file["gradient"]), 1e-5);
        let solution = conjugate_gradient(|v| case.damped(v), &gradient, 10);
        let want = narrow(&case.file["natural_direction"]);
        let cosine = dot(&solution.x, &want) / (norm(&solution.x) * norm(&want));
        assert!(cosine >= number(&case.file["gates"]["cg10_cosine_min"]), "cosine {cosine}");
    }
}

#[test]
fn steps_to_the_edge_of_the_region() {
    for case in cases() {
        let want = &case.file["step"];
        let max_kl = number(&want["delta"]);
        let Solution { x, curvature, .. } = {
            let gradient = case.gradient();
            conjugate_gradient(|v| case.damped(v), &gradient, 10)
        };
        let length = step_length(max_kl, curvature);
        assert_near("length", length, &want["scale_damped"], 1e-3);
        let undamped = step_length(max_kl, dot(&x, &case.fisher(&x)));
        assert_near("undamped length", undamped, &want["scale_undamped"], 1e-3);

        let before = case.outlook(&scaled(&x, 0.0));
        assert_near("surrogate before", before.surrogate, &want["surrogate_before"], 1e-5);
        assert_eq!(before.kl, 0.0);
        let outlook = case.outlook(&scaled(&x, length));
        assert_near("surrogate", outlook.surrogate, &want["surrogate_after_damped"], 1e-4);
        assert_near("kl", outlook.kl, &want["kl_after_damped"], 1e-5);
        let outlook = case.outlook(&scaled(&x, undamped));
        assert_near("undamped kl", outlook.kl, &want["kl_after_undamped"], 1e-5);
    }
}

/// Without damping, the quadratic model promises too much, and the exact divergence says so.
#[test]
fn a_line_search_ends_within_the_region() {
    for case in cases() {
        let max_kl = number(&case.file["step"]["delta"]);
        let x = narrow(&case.file["natural_direction"]);
        let length = step_length(max_kl, dot(&x, &case.fisher(&x)));
        let beginning = case.outlook(&scaled(&x, 0.0)).surrogate;
        let search = Search { max_kl, max_cuts: 10, backtrack: 0.5 };
        let look = |scale| case.outlook(&scaled(&x, scale * length));
        let accepted = backtrack(beginning, &search, look).expect("the region has better points");
        assert!(accepted.outlook.kl <= max_kl * (1.0 + 1e-3), "{accepted:?}");
        assert!(accepted.outlook.surrogate > beginning, "{accepted:?}");
        let is_needed = number(&case.file["step"]["kl_after_undamped"]) > max_kl;
        assert_eq!(accepted.n_cuts > 0, is_needed, "{accepted:?}");
    }
}
