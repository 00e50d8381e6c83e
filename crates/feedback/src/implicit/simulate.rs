//! Simulated users who look at some places more often than at others.

use std::collections::BTreeMap;

use rand::RngExt;
use rein_data::seed::{Seed, shuffle};

use super::events::{Event, Impression, Item};
use super::log::VERSION;
use super::propensity::Propensities;
use super::tally::Shown;
use super::texts::Texts;

/// Milliseconds between two lists: nobody sees more than thirty a minute.
const APART_MS: u64 = 2000;

/// A world of prompts, each with responses of known worth that somebody put in an order.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Simulation {
    /// Lists shown.
    pub n_sessions: usize,
    /// Users, who take turns at random.
    pub n_users: usize,
    /// Prompts.
    pub n_prompts: usize,
    /// Responses to a prompt, all shown in each list.
    pub n_responses: usize,
    /// Position bias: place `k` is looked at with probability `k^−eta`; 0 at least.
    pub eta: f64,
    /// Part of the lists that are shown in a random order instead of the prompt's own, from 0 to 1.
    pub shuffled: f64,
}

impl Default for Simulation {
    /// 20,000 lists of five responses to one of ten prompts, a tenth of them shuffled, with Zipf's bias.
    fn default() -> Self {
        Self {
            n_sessions: 20_000,
            n_users: 1000,
            n_prompts: 10,
            n_responses: 5,
            eta: 1.0,
            shuffled: 0.1,
        }
    }
}

/// What was simulated.
#[derive(Clone, Debug, PartialEq)]
pub struct Simulated {
    /// The log.
    pub impressions: Vec<Impression>,
    /// The truth: with which probability who looks at a response clicks it.
    pub relevance: BTreeMap<Shown, f64>,
    /// Texts that name the responses.
    pub texts: Texts,
}

impl Simulation {
    /// Draws a log. Responses to a prompt are worth `(i + ½)/n`; their own order has nothing to do with
    /// it. Whoever looks at a response clicks it with that probability, whatever else they clicked, and
    /// stays for one to two minutes.
    pub fn run(&self, seed: Seed) -> Simulated {
        let prompts: Vec<Prompt> = (0..self.n_prompts)
            .map(|number| Prompt::draw(number, self.n_responses, seed.child("prompt")))
            .collect();
        let list = |number: usize| self.list(number, &prompts, seed.child("list"));
        let impressions = if prompts.is_empty() || self.n_responses == 0 {
            Vec::new()
        } else {
            (0..self.n_sessions).map(list).collect()
        };
        let relevance = prompts.iter().flat_map(Prompt::relevance).collect();
        Simulated { impressions, relevance, texts: texts(&prompts) }
    }

    fn list(&self, number: usize, prompts: &[Prompt], seed: Seed) -> Impression {
        let mut rng = seed.index(number as u64).rng();
        let prompt = &prompts[rng.random_range(0..prompts.len())];
        let user = rng.random_range(0..self.n_users.max(1));
        let mut order: Vec<usize> = (0..self.n_responses).collect();
        if rng.random_bool(self.shuffled.clamp(0.0, 1.0)) {
            shuffle(&mut order, &mut rng);
        }
        let looks = Propensities::PowerLaw { eta: self.eta.max(0.0) };
        let mut t_ms = 0;
        let mut events = Vec::new();
        for (pos, response) in (1..).zip(&order) {
            t_ms += rng.random_range(800..3000);
            let clicks = rng.random_bool(looks.at(pos) * prompt.relevance[*response]);
            if clicks {
                let (response_id, visible_ms) =
                    (prompt.response(*response), rng.random_range(60_000..120_000));
                events.push(Event::Click { response_id, t_ms, visible_ms: Some(visible_ms) });
            }
        }
        let item = |(pos, response): (u32, &usize)| Item {
            response_id: prompt.response(*response),
            pos,
            shown_ms: t_ms,
        };
        Impression {
            v: VERSION,
            ts_ms: number as u64 * APART_MS,
            session: format!("session-{number}"),
            user_hash: format!("user-{user}"),
            request_id: format!("request-{number}"),
            prompt_id: prompt.id(),
            items: (1..).zip(&order).map(item).collect(),
            events,
            policy_propensity: Some(self.propensity_of(&order)),
        }
    }

    /// The probability with which an order is drawn.
    fn propensity_of(&self, order: &[usize]) -> f64 {
        let n_orders: f64 = (1..=order.len()).map(|it| it as f64).product();
        let own = if order.is_sorted() { 1.0 - self.shuffled } else { 0.0 };
        own + self.shuffled / n_orders
    }
}

/// A prompt, whose responses are numbered in its own order.
struct Prompt {
    number: usize,
    relevance: Vec<f64>,
}

impl Prompt {
    fn draw(number: usize, n_responses: usize, seed: Seed) -> Self {
        let mut relevance: Vec<f64> =
            (0..n_responses).map(|it| (it as f64 + 0.5) / n_responses as f64).collect();
        shuffle(&mut relevance, &mut seed.index(number as u64).rng());
        Self { number, relevance }
    }

    fn id(&self) -> String {
        format!("prompt-{}", self.number)
    }

    fn response(&self, number: usize) -> String {
        format!("response-{}-{number}", self.number)
    }

    fn relevance(&self) -> impl Iterator<Item = (Shown, f64)> {
        self.relevance.iter().enumerate().map(|(number, relevance)| {
            (Shown { prompt_id: self.id(), response_id: self.response(number) }, *relevance)
        })
    }
}

fn texts(prompts: &[Prompt]) -> Texts {
    let mut texts = Texts::default();
    for prompt in prompts {
        for (Shown { prompt_id, response_id }, _) in prompt.relevance() {
            let (question, answer) = (prompt_id.replace('-', " "), response_id.replace('-', " "));
            texts
                .add(&prompt_id, question, &response_id, answer)
                .expect("every id stands for one text");
        }
    }
    texts
}
