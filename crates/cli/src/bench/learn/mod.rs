//! Whether every algorithm learns: bandits and sums, whose best answers are known, with several seeds.
//!
//! All runs of a task [`start`] at one fine-tuned model. A [`trial`] is the library's own stage with an
//! algorithm's own settings, but for those that [`method`] names; an [`examine`]r looks at its policy every
//! few steps, on problems that nothing trained on. What comes of it is judged in a table ([`verdict`]) and
//! drawn in one [`picture`].

mod args;
mod bandit;
mod bootstrap;
mod examine;
mod method;
mod picture;
mod progress;
mod start;
mod task;
mod trial;
mod verdict;

use anyhow::Result;
use rein_data::checkpoint::write_atomically;
use rein_data::jsonl;
use rein_model::backend::LmAutodiffBackend;

use self::start::Start;
use self::task::Task;
use self::trial::{Trial, Trials};
use self::verdict::Verdicts;
use crate::device::Work;
use crate::speech::print;

pub(crate) use self::args::LearnArgs;
pub(super) use self::progress::{Quiet, drive_quietly};
pub(super) use self::start::at_the_end;

const CURVES: &str = "curves.jsonl";
const TABLE: &str = "table.txt";
const PICTURE: &str = "learning.svg";

/// Lets algorithms learn and says whether all did.
#[derive(Debug)]
pub(super) struct Learn<'a> {
    pub(super) args: &'a LearnArgs,
}

impl Work for Learn<'_> {
    type Output = bool;

    fn run<B: LmAutodiffBackend>(self, device: B::Device) -> Result<bool> {
        let args = self.args;
        if let Some(folder) = &args.export {
            Start::load_or_make::<B>(args.tasks()[0], folder, &device)?;
            return Ok(true);
        }
        let (mut tasks, mut verdicts) = (Vec::new(), Vec::new());
        for task in args.tasks() {
            let trials = Trials::<B>::new(task, args, &device)?;
            let ran = run_all(task, args, &trials)?;
            verdicts.push(Verdicts::new(task, &trials.before, &ran));
            tasks.push((task, ran));
            self.write_curves(&tasks)?;
        }
        if !args.judges() {
            return Ok(true);
        }
        self.tell(&tasks, &verdicts)?;
        Ok(verdicts.iter().all(Verdicts::pass))
    }
}

fn run_all<B: LmAutodiffBackend>(
    task: Task,
    args: &LearnArgs,
    trials: &Trials<'_, B>,
) -> Result<Vec<Trial>> {
    let seeds = args.seeds();
    let each = args.methods().into_iter().filter(|it| it.can_learn(task));
    let each = each.flat_map(|method| seeds.iter().map(move |seed| (method, *seed)));
    each.map(|(method, seed)| trials.run(method, seed)).collect()
}

impl Learn<'_> {
    fn write_curves(&self, tasks: &[(Task, Vec<Trial>)]) -> Result<()> {
        let points = tasks.iter().flat_map(|(_, trials)| trials).flat_map(|it| &it.points);
        let lines: String = points.map(jsonl::line).collect();
        Ok(write_atomically(&self.args.out.join(CURVES), lines.as_bytes())?)
    }

    fn tell(&self, tasks: &[(Task, Vec<Trial>)], verdicts: &[Verdicts]) -> Result<()> {
        let table: String = verdicts.iter().map(Verdicts::render).collect();
        write_atomically(&self.args.out.join(TABLE), table.as_bytes())?;
        let picture = self.args.out.join(PICTURE);
        write_atomically(&picture, picture::draw(tasks)?.as_bytes())?;
        print(&table);
        print(&format!("\npicture: {}\n", picture.display()));
        Ok(())
    }
}
