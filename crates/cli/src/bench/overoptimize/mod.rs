//! Whether a pessimistic ensemble puts over-optimisation off: PPO on a weak reward model of the help desk, far
//! beyond where the truth turns.
//!
//! Each seed makes a [`World`] of its own: a fine-tuned model, few judgements by single people, an ensemble
//! fitted to them. All [`Arm`]s begin there, pay the same small price for KL, and differ in nothing but what they make
//! of the heads. Held-out replies are scored by the truth every few steps. What comes of it is fitted with the curve
//! of Gao et al. ([`rein_reward::overoptimization`]), told in a table and drawn in one [`picture`].

mod args;
mod arm;
mod curves;
mod picture;
mod table;

use anyhow::Result;
use rein_data::checkpoint::write_atomically;
use rein_data::jsonl;
use rein_model::backend::LmAutodiffBackend;

use self::arm::{Arm, World};
use self::curves::Curves;
use crate::device::Work;
use crate::speech::print;

pub(crate) use self::args::OveroptimizeArgs;

const CURVES: &str = "curves.jsonl";
const TABLE: &str = "table.txt";
const PICTURE: &str = "overoptimization.svg";

/// Runs all arms with all seeds, and tells what came of it.
#[derive(Debug)]
pub(super) struct Overoptimize<'a> {
    pub(super) args: &'a OveroptimizeArgs,
}

impl Work for Overoptimize<'_> {
    type Output = ();

    fn run<B: LmAutodiffBackend>(self, device: B::Device) -> Result<()> {
        let args = self.args;
        let mut curves = Curves::default();
        for seed in args.seeds() {
            let world = World::load_or_make::<B>(args, seed, &device)?;
            for arm in Arm::ALL {
                curves.add(arm, seed, world.run::<B>(arm, &device)?);
                let lines: String = curves.points().map(jsonl::line).collect();
                write_atomically(&args.out.join(CURVES), lines.as_bytes())?;
            }
        }
        let table = table::render(&curves);
        write_atomically(&args.out.join(TABLE), table.as_bytes())?;
        let picture = args.out.join(PICTURE);
        write_atomically(&picture, picture::draw(&curves)?.as_bytes())?;
        print(&table);
        print(&format!("\npicture: {}\n", picture.display()));
        Ok(())
    }
}
