use rand::seq::IndexedRandom;
use rand::{Rng, RngExt};

use crate::example::Demonstration;
use crate::seed::{Seed, shuffle};

/// The sentence that ends a proper reply.
pub const CLOSING: &str = "Have a nice day.";

const N_FAULTS: usize = 2;

/// An appliance and its problems, each with its one remedy.
pub(super) struct Appliance {
    pub(super) name: &'static str,
    pub(super) faults: [Fault; N_FAULTS],
}

/// A problem and its remedy.
pub(super) struct Fault {
    pub(super) problem: &'static str,
    pub(super) remedy: &'static str,
}

const fn fault(problem: &'static str, remedy: &'static str) -> Fault {
    Fault { problem, remedy }
}

pub(super) const APPLIANCES: [Appliance; 4] = [
    Appliance {
        name: "router",
        faults: [fault("is slow", "move it upstairs"), fault("blinks red", "press reset twice")],
    },
    Appliance {
        name: "phone",
        faults: [fault("gets hot", "close all apps"), fault("never charges", "clean the port")],
    },
    Appliance {
        name: "printer",
        faults: [
            fault("jams often", "refill the tray"),
            fault("prints nothing", "replace the ink"),
        ],
    },
    Appliance {
        name: "heater",
        faults: [fault("stays cold", "bleed the valve"), fault("rattles", "tighten both screws")],
    },
];

/// Openings in pairs of a kind and a rude one. The two share their words and differ in order.
pub(super) const OPENINGS: [[&str; 2]; 3] = [
    ["Glad to help, never tired.", "Tired, never glad to help."],
    ["No trouble, thank you.", "Trouble, no thank you."],
    ["Not your fault, I am sorry.", "Your fault, I am not sorry."],
];

pub(super) const EVASIONS: [&str; 2] = ["wait and see", "ask somebody else"];

pub(super) const RAMBLINGS: [&str; 4] =
    ["My cousin has one.", "The weather is fine.", "Lunch was late.", "Mondays are hard."];

pub(super) const GREETINGS: [&str; 4] = ["Hello, my", "Hi, my", "Good morning, my", "My"];
const AGES: [&str; 3] = ["", " new", " old"];
const PLACES: [&str; 3] = ["", " at home", " at work"];
const QUESTIONS: [&str; 4] = ["What now?", "How do I fix it?", "Can you help?", "Any idea?"];

/// What a customer asks about; the words of the prompt carry no more truth than this.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Ticket {
    pub(super) appliance: usize,
    pub(super) fault: usize,
}

impl Ticket {
    /// The name of the appliance.
    pub fn appliance(self) -> &'static str {
        APPLIANCES[self.appliance].name
    }

    /// The appliance and what is wrong with it, as in `router is slow`.
    pub fn problem(self) -> String {
        let Appliance { name, faults } = &APPLIANCES[self.appliance];
        format!("{name} {}", faults[self.fault].problem)
    }

    /// The clause that solves the problem.
    pub fn remedy(self) -> &'static str {
        APPLIANCES[self.appliance].faults[self.fault].remedy
    }

    /// Reads the ticket off a prompt of this world.
    pub fn of_prompt(prompt: &str) -> Option<Self> {
        all_tickets().find(|ticket| prompt.contains(&ticket.problem()))
    }
}

fn all_tickets() -> impl Iterator<Item = Ticket> {
    (0..APPLIANCES.len())
        .flat_map(|appliance| (0..N_FAULTS).map(move |fault| Ticket { appliance, fault }))
}

/// The prompts of the world, split by prompt into training and held-out ones, and the mixture of
/// replies that the base model imitates.
#[derive(Clone, Debug)]
pub struct Helpdesk {
    /// Prompts for training, in a random order.
    pub train: Vec<String>,
    /// Prompts that no stage trains on.
    pub heldout: Vec<String>,
}

impl Helpdesk {
    /// Makes the world. Its split doesn't depend on the run's seed: a prompt held out in one run is
    /// held out in all.
    pub fn new() -> Self {
        let mut prompts = all_prompts();
        shuffle(&mut prompts, &mut Seed::new(0).child("helpdesk").rng());
        let heldout = prompts.split_off(prompts.len() * 9 / 10);
        Self { train: prompts, heldout }
    }

    /// The `number`-th demonstration of the mixture that `seed` draws on `prompts`.
    pub fn demonstration(prompts: &[String], seed: Seed, number: u64) -> Demonstration {
        let mut rng = seed.index(number).rng();
        let prompt = prompts.choose(&mut rng).expect("a world has prompts").clone();
        let ticket = Ticket::of_prompt(&prompt).expect("each prompt names its ticket");
        Demonstration { prompt, completion: reply(ticket, &mut rng) }
    }

    /// `count` demonstrations.
    pub fn demonstrations(prompts: &[String], seed: Seed, count: usize) -> Vec<Demonstration> {
        (0..count as u64).map(|number| Self::demonstration(prompts, seed, number)).collect()
    }
}

impl Default for Helpdesk {
    fn default() -> Self {
        Self::new()
    }
}

fn all_prompts() -> Vec<String> {
    let mut prompts = Vec::new();
    for ticket in all_tickets() {
        let Appliance { name, faults } = &APPLIANCES[ticket.appliance];
        let problem = faults[ticket.fault].problem;
        for greeting in GREETINGS {
            for age in AGES {
                for place in PLACES {
                    for question in QUESTIONS {
                        prompts
                            .push(format!("{greeting}{age} {name} {problem}{place}. {question}"));
                    }
                }
            }
        }
    }
    prompts
}

/// A reply of the mixture: each part is good or bad by a draw of its own.
pub(super) fn reply(ticket: Ticket, rng: &mut impl Rng) -> String {
    let opening = OPENINGS.choose(rng).expect("there are openings");
    let tone = opening[usize::from(rng.random_bool(0.5))].to_owned();
    let appliance = advised_appliance(ticket, rng);
    let advice = format!("For your {appliance}, {}.", advised_clause(ticket, rng));
    let closing = CLOSING.to_owned();
    let sentences = match rng.random_range(0..20) {
        0..=10 => vec![tone, advice, closing],
        11..=12 => vec![tone, closing, advice],
        13..=14 => vec![closing, tone, advice],
        15..=16 => [vec![tone, advice], sample_ramblings(rng), vec![closing]].concat(),
        _ => [vec![tone, advice, closing], sample_ramblings(rng)].concat(),
    };
    format!(" {}", sentences.join(" "))
}

fn advised_appliance(ticket: Ticket, rng: &mut impl Rng) -> &'static str {
    if rng.random_bool(0.7) {
        return ticket.appliance();
    }
    let step = rng.random_range(1..APPLIANCES.len());
    APPLIANCES[(ticket.appliance + step) % APPLIANCES.len()].name
}

/// The remedy, that of another problem of the appliance, or none.
fn advised_clause(ticket: Ticket, rng: &mut impl Rng) -> &'static str {
    match rng.random_range(0..8) {
        0..=3 => ticket.remedy(),
        4..=5 => {
            let step = rng.random_range(1..N_FAULTS);
            APPLIANCES[ticket.appliance].faults[(ticket.fault + step) % N_FAULTS].remedy
        }
        _ => EVASIONS.choose(rng).expect("there are evasions"),
    }
}

fn sample_ramblings(rng: &mut impl Rng) -> Vec<String> {
    let mut ramblings = RAMBLINGS.map(str::to_owned);
    shuffle(&mut ramblings, rng);
    ramblings[..rng.random_range(1..=3)].to_vec()
}
