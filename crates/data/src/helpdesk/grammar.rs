use rand::seq::IndexedRandom;
use rand::{Rng, RngExt};

use crate::example::Demonstration;
use crate::seed::{Seed, shuffle};

/// The sentence that ends a proper reply.
pub const CLOSING: &str = "Have a nice day.";

/// An appliance and its problems, each with its one remedy.
pub(super) struct Appliance {
    pub(super) name: &'static str,
    pub(super) faults: [Fault; 3],
}

/// A problem and its remedy.
pub(super) struct Fault {
    pub(super) problem: &'static str,
    pub(super) remedy: &'static str,
}

const fn fault(problem: &'static str, remedy: &'static str) -> Fault {
    Fault { problem, remedy }
}

pub(super) const APPLIANCES: [Appliance; 8] = [
    Appliance {
        name: "router",
        faults: [
            fault("drops the connection", "update its firmware"),
            fault("is very slow", "move it away from the wall"),
            fault("shows a red light", "hold the reset button"),
        ],
    },
    Appliance {
        name: "phone",
        faults: [
            fault("does not charge", "clean the charging port"),
            fault("gets too hot", "close all open apps"),
            fault("has no sound", "turn off silent mode"),
        ],
    },
    Appliance {
        name: "printer",
        faults: [
            fault("prints blank pages", "replace the ink cartridge"),
            fault("jams all the time", "refill the paper tray"),
            fault("is never found", "join it to the network again"),
        ],
    },
    Appliance {
        name: "laptop",
        faults: [
            fault("will not start", "charge it for an hour"),
            fault("freezes often", "free some disk space"),
            fault("has a dark screen", "raise the brightness"),
        ],
    },
    Appliance {
        name: "camera",
        faults: [
            fault("takes blurry pictures", "wipe the lens"),
            fault("forgets the date", "change the small battery"),
            fault("cannot save pictures", "format the memory card"),
        ],
    },
    Appliance {
        name: "speaker",
        faults: [
            fault("hums loudly", "try another power socket"),
            fault("pairs with strangers", "clear the device list"),
            fault("plays on one side", "check the left cable"),
        ],
    },
    Appliance {
        name: "heater",
        faults: [
            fault("stays cold", "bleed the air out"),
            fault("clicks at night", "tighten the two screws"),
            fault("smells of dust", "vacuum the grille"),
        ],
    },
    Appliance {
        name: "kettle",
        faults: [
            fault("leaks water", "press the lid down"),
            fault("boils for ever", "descale it with vinegar"),
            fault("trips the fuse", "dry the base plate"),
        ],
    },
];

/// Openings in pairs of a kind and a rude one. Most pairs share their words.
pub(super) const OPENINGS: [[&str; 2]; 3] = [
    ["We are glad to help and never tired of it.", "We are tired of it and never glad to help."],
    ["It is no trouble, thank you for asking.", "It is trouble, no thank you for asking."],
    ["You are right, this is not your fault.", "This is your fault, you are not right."],
];

pub(super) const EVASIONS: [&str; 2] = ["wait and see", "ask somebody else"];

pub(super) const RAMBLINGS: [&str; 4] = [
    "My cousin has one too.",
    "The weather is fine here.",
    "I had a long lunch.",
    "They do not make them like before.",
];

const GREETINGS: [&str; 4] = ["Hello, my", "Hi, my", "Good morning, my", "My"];
const AGES: [&str; 3] = ["", " new", " old"];
const PLACES: [&str; 4] = ["", " at home", " in the office", " since Monday"];
const QUESTIONS: [&str; 4] =
    ["What should I do?", "How do I fix it?", "Can you help?", "Do you have any idea?"];

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

    /// The clause that solves the problem.
    pub fn remedy(self) -> &'static str {
        APPLIANCES[self.appliance].faults[self.fault].remedy
    }

    /// Reads the ticket off a prompt of this world.
    pub fn of_prompt(prompt: &str) -> Option<Self> {
        all_tickets().find(|ticket| {
            let Appliance { name, faults } = &APPLIANCES[ticket.appliance];
            prompt.contains(&format!("{name} {}", faults[ticket.fault].problem))
        })
    }
}

fn all_tickets() -> impl Iterator<Item = Ticket> {
    (0..APPLIANCES.len()).flat_map(|appliance| (0..3).map(move |fault| Ticket { appliance, fault }))
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

/// A reply of the mixture: each part is good or bad by a coin of its own.
fn reply(ticket: Ticket, rng: &mut impl Rng) -> String {
    let tone = OPENINGS.choose(rng).expect("there are openings")[usize::from(rng.random_bool(0.5))];
    let advice =
        format!("For your {}, {}.", advised_appliance(ticket, rng), advised_clause(ticket, rng));
    let ramblings = |rng: &mut _| sample_ramblings(rng);
    let sentences = match rng.random_range(0..20) {
        0..=10 => vec![tone.into(), advice, CLOSING.into()],
        11..=12 => vec![tone.into(), CLOSING.into(), advice],
        13..=14 => vec![CLOSING.into(), tone.into(), advice],
        15..=16 => [vec![tone.into(), advice], ramblings(rng), vec![CLOSING.into()]].concat(),
        _ => [vec![tone.into(), advice, CLOSING.into()], ramblings(rng)].concat(),
    };
    format!(" {}", sentences.join(" "))
}

fn advised_appliance(ticket: Ticket, rng: &mut impl Rng) -> &'static str {
    if rng.random_bool(0.75) {
        return ticket.appliance();
    }
    let step = rng.random_range(1..APPLIANCES.len());
    APPLIANCES[(ticket.appliance + step) % APPLIANCES.len()].name
}

/// The remedy, that of another problem, or none.
fn advised_clause(ticket: Ticket, rng: &mut impl Rng) -> &'static str {
    match rng.random_range(0..10) {
        0..=3 => ticket.remedy(),
        4..=7 => {
            let step = rng.random_range(1..3);
            APPLIANCES[ticket.appliance].faults[(ticket.fault + step) % 3].remedy
        }
        _ => EVASIONS.choose(rng).expect("there are evasions"),
    }
}

fn sample_ramblings(rng: &mut impl Rng) -> Vec<String> {
    let mut ramblings = RAMBLINGS.map(str::to_owned);
    shuffle(&mut ramblings, rng);
    ramblings[..rng.random_range(1..=3)].to_vec()
}
