//! A red team within rounds: each round's policy is attacked by an attacker who begins afresh; what was found lies in the
//! store, and the next round learns from it.

use std::path::Path;

use anyhow::Result;
use rein_data::checkpoint::write_atomically;
use rein_data::jsonl;
use rein_feedback::{
    Annotation, Judgement, Kind, MAX_SUCCESS, NewTask, Response, Role, Settings, Shown, Split,
    Store,
};
use rein_model::backend::LmAutodiffBackend;
use rein_ppo::red_team::Attack;

use super::history::Attacked;
use super::{OpenLog, RoundReport, Session, name};
use crate::config::RedTeamConfig;
use crate::red_team::{Campaign, Effort, Judge, Place, mixed};
use crate::setup::Setup;
use crate::world::Question;

/// The project of a run's store in which attacks lie, and who found them.
const ATTACKS: &str = "attacks";
const ATTACKER: &str = "attacker";

impl<B: LmAutodiffBackend> Session<B> {
    /// Attacks a round's policy, by one worker. None if somebody asked to stop.
    pub(super) fn attack_round(
        &mut self,
        config: &RedTeamConfig,
        round: &RoundReport,
        open: OpenLog<'_>,
    ) -> Result<Option<Attacked>> {
        let root = self.run.root().to_path_buf();
        let target = root.join(&round.policy);
        let place = root.join(&round.folder).join("red-team");
        let users = self.setup.world.prompts.train.iter().map(|it| it.text.clone()).collect();
        let judge = Judge::Pattern(config.violation.clone());
        let seed = self.setup.config.seed.wrapping_add(round.number as u64);
        let models = [target.clone(), target.clone()];
        let campaign =
            Campaign::new(models, judge, Effort::of(config), &self.setup.config, users, seed)?;
        let mut place = Place::open(&place, &campaign, |run| open(run), self.interrupt.clone())?;
        let found = campaign.run::<B>(&mut place, &self.device)?;
        let Some(found) = found else { return Ok(None) };
        let lines: String = found.attacks.iter().map(jsonl::line).collect();
        write_atomically(&place.file("attacks.jsonl"), lines.as_bytes())?;
        keep(&mut self.store()?, &name(round.number), &found.attacks, &target)?;
        Ok(Some(Attacked { users: found.users, attacker: found.attacker }))
    }

    /// Half of what is asked in a round are attacks that were found before it, and violations cost.
    pub(super) fn learn_from_attacks(
        &self,
        config: &RedTeamConfig,
        setup: &mut Setup,
    ) -> Result<()> {
        let found = self.workers.from_first(|| -> Result<Vec<String>> {
            let tasks = self.store()?.tasks(ATTACKS, Split::Train)?;
            Ok(tasks.into_iter().map(|it| it.prompt.to_text()).collect())
        })?;
        let attacks: Vec<Question> = found.into_iter().map(Question::of_text).collect();
        let prompts = &mut setup.world.prompts.train;
        *prompts = mixed(prompts, &attacks);
        let rl = &mut setup.config.rl;
        rl.rewards = rl.reward_sources();
        rl.rewards.push(config.price());
        Ok(())
    }
}

/// Puts attacks that succeeded into the store; those that are there stay.
fn keep(store: &mut Store, round: &str, attacks: &[Attack], target: &Path) -> Result<()> {
    store.change(|change| change.set_project(ATTACKS, &Settings::of(Kind::RedTeam)).map(|_| ()))?;
    store.add_annotator(ATTACKER, Role::Simulated)?;
    let id = |number: usize| format!("{round}/{number}");
    let task = |(number, attack): (usize, &Attack)| NewTask {
        external_id: id(number),
        prompt: attack.prompt.as_str().into(),
        split: Split::Train,
        responses: vec![Response {
            text: attack.reply.clone(),
            finished: attack.finished,
            source: target.display().to_string(),
        }],
        overlap: 1,
        priority: 0.0,
        gold: None,
    };
    let tasks: Vec<NewTask> = attacks.iter().enumerate().map(task).collect();
    store.add_tasks(ATTACKS, &tasks)?;
    let said = |(number, task): (usize, &rein_feedback::Task)| Annotation {
        task: task.id,
        annotator: ATTACKER.into(),
        answer: Judgement::Attacked { success: MAX_SUCCESS, tags: Vec::new() }.into(),
        shown: Shown(vec![0]),
        idem_key: format!("{}/{ATTACKER}/{number}", task.external_id),
        active_ms: None,
    };
    let known = store.tasks(ATTACKS, Split::Train)?;
    let is_new =
        |it: &&rein_feedback::Task| tasks.iter().any(|task| task.external_id == it.external_id);
    let said: Vec<Annotation> = known.iter().filter(is_new).enumerate().map(said).collect();
    Ok(store.annotate(&said)?)
}
