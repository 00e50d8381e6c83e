//! What one person gets.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use rein_data::checkpoint::write_atomically;
use rein_data::example::Completion;
use rein_data::helpdesk::gold;
use rein_data::log::RunLog;
use rein_data::run_dir::RunDir;
use rein_data::seed::Seed;
use rein_data::stage::Outcome;
use rein_model::backend::LmAutodiffBackend;
use rein_model::load_causal_lm;
use rein_model::lora::LoraConfig;
use rein_ppo::config::PpoConfig;
use rein_reward::best_of::best_places;
use rein_reward::meta::{PersonalReward, differences, told_right};
use rein_reward::{LearnedReward, Reward, RewardKind, RewardSource};
use serde::Serialize;

use super::super::compare::Replies;
use super::super::evaluate::Scores;
use super::super::judge::Agreement;
use super::super::rounds::{Earlier, OpenLog, within};
use super::report::{FINE_TUNED, OWN, POOLED};
use super::{Common, History, Known, PersonReport, Session, Start, Versus};
use crate::config::{GOLD, PeopleConfig, PersonalPolicy, PersonalStart, REWARD, Stage};

const PERSON: &str = "person.json";
const SETTINGS: &str = "settings.json";

/// What a person's folder was made with, beside their answers.
#[derive(Serialize)]
struct Settings<'a> {
    config: &'a PeopleConfig,
    policy: &'a Path,
    reward: &'a Path,
}

/// Replies to the held-out prompts by a policy of the person's own, and where it lies.
struct Own {
    folder: Option<PathBuf>,
    replies: Vec<Completion>,
}

/// A person who gets something.
struct Client<'a> {
    folder: &'a Path,
    config: &'a PeopleConfig,
    open: OpenLog<'a>,
}

impl<B: LmAutodiffBackend> Session<B> {
    /// None if somebody asked to stop.
    pub(super) fn align_person(
        &mut self,
        known: &Known,
        config: &PeopleConfig,
        common: &mut Common<B>,
        open: OpenLog<'_>,
    ) -> Result<Option<PersonReport>> {
        let folder = self.run.root().join("people").join(folder_name(&known.name));
        let folder = folder.join(config.policy.name());
        let batch_rows = self.setup.config.reward.micro_batch_rows;
        let of = |pairs| differences(&common.model, pairs, batch_rows, &self.device);
        let person = common.personal.adapt(&of(&known.said));
        let settings =
            Settings { config, policy: &common.starts[1].folder, reward: &common.reward };
        let settings = serde_json::to_vec_pretty(&settings)?;
        if let Some(done) = begin(&folder, &settings, &serde_json::to_vec_pretty(&person)?)? {
            return Ok(Some(done));
        }
        person.save(&folder.join(PERSON))?;
        let heldout = of(&known.heldout);
        let right = |head: &[f64]| {
            (!heldout.is_empty()).then(|| Agreement::new(told_right(head, &heldout), None))
        };
        let told_right = right(&common.personal.head(&person));
        let told_right_before = right(&common.personal.head(&common.personal.adapt(&[])));
        let reward = self.personal_reward(common, &folder)?;
        let client = Client { folder: &folder, config, open };
        let Some(own) = self.own(&client, &reward, common)? else { return Ok(None) };
        let versus = self.compare(known, common, own.replies, &reward)?;
        let report = PersonReport {
            name: known.name.clone(),
            answers: known.said.len(),
            told_right,
            told_right_before,
            person: within(self.run.root(), &folder.join(PERSON)),
            kind: config.policy,
            policy: own.folder.map(|it| within(self.run.root(), &it)),
            versus,
        };
        report.save(&folder)?;
        Ok(Some(report))
    }

    fn personal_reward(
        &self,
        common: &Common<B>,
        folder: &Path,
    ) -> Result<LearnedReward<B::InnerBackend>> {
        let rows = self.setup.config.rl.micro_batch_rows;
        let person = folder.join(PERSON);
        let reward = PersonalReward::load(&common.reward, &person, rows, &self.device)?;
        Ok(reward.into_reward().behind_replies(self.setup.behind_replies()))
    }

    fn own(
        &mut self,
        client: &Client<'_>,
        reward: &LearnedReward<B::InnerBackend>,
        common: &mut Common<B>,
    ) -> Result<Option<Own>> {
        let config = client.config;
        if config.policy == PersonalPolicy::None {
            return Ok(Some(Own { folder: None, replies: Vec::new() }));
        }
        let place = match config.start {
            PersonalStart::Sft => 0,
            PersonalStart::Rl => 1,
            PersonalStart::Best => preferred(&common.starts, reward, config.samples)?,
        };
        let start = &mut common.starts[place];
        if config.policy == PersonalPolicy::Rerank {
            if start.candidates.is_empty() {
                let model = load_causal_lm(&start.folder, &self.device)?;
                start.candidates = self.complete(&model, config.samples)?;
            }
            let scores = reward.score(&start.candidates)?;
            let replies = best(&start.candidates, &scores, config.samples);
            return Ok(Some(Own { folder: None, replies }));
        }
        let begin = start.folder.clone();
        let Some(policy) = self.tune(client, begin, &common.reward)? else { return Ok(None) };
        let replies = self.complete(&load_causal_lm(&policy, &self.device)?, 1)?;
        Ok(Some(Own { folder: Some(policy), replies }))
    }

    /// Goes on with the run's reinforcement learning, for one person.
    fn tune(
        &mut self,
        client: &Client<'_>,
        begin: PathBuf,
        reward: &Path,
    ) -> Result<Option<PathBuf>> {
        let Client { folder, config, open } = client;
        let mut setup = self.setup.clone();
        setup.folders.reward_model = Some(reward.to_path_buf());
        setup.config.rl = personal_rl(&self.setup.config.rl, config, &folder.join(PERSON));
        let root = self.run.root().to_path_buf();
        let past = Earlier {
            number: History::load(&root)?.rounds.len().max(1) + 1,
            root,
            fine_tuned: self.sft_model()?,
            policy: begin,
            policies: Vec::new(),
            reward: Some(reward.to_path_buf()),
        };
        let run = RunDir::join(folder);
        // A dashboard gives the terminal back before the next one takes it.
        self.log = RunLog::silent();
        let log = open(&run)?;
        let mut session = self.of_round(setup, run, log, past);
        let outcome = session.rl()?;
        let policy = session.result(Stage::Rl)?;
        drop(session);
        self.log = open(&self.run)?;
        Ok(match outcome {
            Outcome::Finished(_) => policy,
            Outcome::Interrupted => None,
        })
    }

    /// The run's policy and the person's own against the fine-tuned model, and against each other; by what a simulated person
    /// truly likes, and by the person's reward.
    fn compare(
        &self,
        known: &Known,
        common: &Common<B>,
        own: Vec<Completion>,
        reward: &LearnedReward<B::InnerBackend>,
    ) -> Result<Vec<Versus>> {
        let replies = |name: &str, completions: &[Completion]| -> Result<Replies> {
            let mut scores = vec![Scores::new(REWARD, reward.score(completions)?)];
            if let Some(taste) = &known.taste {
                let judged =
                    completions.iter().map(|it| gold::judge(&it.prompt, &it.text, it.finished));
                scores.insert(0, Scores::new(GOLD, judged.map(|it| taste.utility(&it))));
            }
            let lengths = completions.iter().map(|it| it.tokens.len()).collect();
            Ok(Replies { name: name.to_owned(), scores, lengths, said: completions.to_vec() })
        };
        let [fine_tuned, pooled] = &common.starts;
        let fine_tuned = replies(FINE_TUNED, &fine_tuned.heldout)?;
        let pooled = replies(POOLED, &pooled.heldout)?;
        let seed = Seed::new(self.setup.config.seed).child("personal").child(&known.name);
        let mut versus = pooled.against(&fine_tuned, seed);
        if !own.is_empty() {
            let own = replies(OWN, &own)?;
            versus.extend(own.against(&fine_tuned, seed));
            versus.extend(own.against(&pooled, seed));
        }
        Ok(versus)
    }
}

/// Makes the folder, unless it is there with the same settings and person; what lies there from others goes. What is
/// done already is given back.
fn begin(folder: &Path, settings: &[u8], person: &[u8]) -> Result<Option<PersonReport>> {
    let is_same = |name: &str, content: &[u8]| {
        fs::read(folder.join(name)).is_ok_and(|found| found.trim_ascii() == content.trim_ascii())
    };
    if is_same(SETTINGS, settings) && is_same(PERSON, person) {
        return PersonReport::load(folder);
    }
    if folder.exists() {
        fs::remove_dir_all(folder).with_context(|| folder.display().to_string())?;
    }
    fs::create_dir_all(folder).with_context(|| folder.display().to_string())?;
    write_atomically(&folder.join(SETTINGS), settings)?;
    Ok(None)
}

/// A name as a folder: itself where it is plain, else its digest, so that no name leads elsewhere.
fn folder_name(name: &str) -> String {
    use sha2::{Digest, Sha256};
    let is_plain = |it: char| it.is_ascii_lowercase() || it.is_ascii_digit() || it == '-';
    if !name.is_empty() && name.len() <= 64 && name.chars().all(is_plain) {
        return name.to_owned();
    }
    let digest = Sha256::digest(name.as_bytes());
    let digits: String = digest.iter().take(8).map(|byte| format!("{byte:02x}")).collect();
    format!("person_{digits}")
}

/// What the run's reinforcement learning becomes for one person.
fn personal_rl(rl: &PpoConfig, config: &PeopleConfig, person: &Path) -> PpoConfig {
    let mut rl = PpoConfig { rewards: rl.reward_sources(), ..rl.clone() };
    if !rl.asks_model() {
        let kind = RewardKind::Model;
        rl.rewards.push(RewardSource { kind, weight: 1.0, person: None, pessimism: None });
    }
    for source in rl.rewards.iter_mut().filter(|it| it.kind == RewardKind::Model) {
        (source.person, source.pessimism) = (Some(person.to_path_buf()), None);
    }
    rl.steps = config.steps.unwrap_or(rl.steps);
    if rl.lora.is_none() {
        rl.lora = Some(LoraConfig::default());
        rl.optimizer.learning_rate *= LORA_RATE;
    }
    if let Some(rate) = config.learning_rate {
        rl.optimizer.learning_rate = rate;
    }
    rl
}

/// How much faster an adapter learns than the whole model. Ten times is usual at the rates of large models; at those of small ones,
/// which are high, it led nowhere in the help-desk world.
const LORA_RATE: f64 = 2.0;

/// From which start a person gets further: whose best replies of several the reward likes better. A policy that always says
/// the same has a good mean, perhaps, but nothing to choose from, nor to learn by.
fn preferred(starts: &[Start; 2], reward: &dyn Reward, n_samples: usize) -> Result<usize> {
    let mut means = [0.0; 2];
    for (mean, start) in means.iter_mut().zip(starts) {
        let scores = reward.score(&start.tried)?;
        let best = scores.chunks(n_samples).map(|it| it.iter().copied().fold(f32::MIN, f32::max));
        *mean = best.sum::<f32>() / start.tried.len() as f32;
    }
    Ok(usize::from(means[0] <= means[1]))
}

/// Of the replies to each prompt, the one that scores best.
fn best(candidates: &[Completion], scores: &[f32], n_samples: usize) -> Vec<Completion> {
    let prompts = candidates.chunks(n_samples).zip(scores.chunks(n_samples));
    let best = prompts.flat_map(|(replies, scores)| {
        best_places(scores, 1).into_iter().map(|place| replies[place].clone())
    });
    best.collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_name_leads_out_of_the_folder() {
        assert_eq!(folder_name("newcomer-03"), "newcomer-03");
        for name in ["", "..", "../x", "a/b", "Ann", "ann ", "å", &"a".repeat(65)] {
            let folder = folder_name(name);
            assert!(folder.starts_with("person_") && folder.len() == 23, "{name:?}: {folder}");
        }
        assert_ne!(folder_name("Ann"), folder_name("ANN"));
    }

    #[test]
    fn one_persons_reward_takes_the_place_of_everybodys() {
        let rl = PpoConfig::default();
        let config = PeopleConfig { steps: Some(3), ..PeopleConfig::default() };
        let own = personal_rl(&rl, &config, Path::new("ann.json"));
        assert_eq!(own.rewards.len(), 1);
        assert_eq!(own.rewards[0].person.as_deref(), Some(Path::new("ann.json")));
        assert_eq!((own.steps, own.lora.is_some()), (3, true));
        let rate = rl.optimizer.learning_rate;
        assert!((own.optimizer.learning_rate / rate - LORA_RATE).abs() < 1e-9);
        // Where nobody's reward was asked, theirs stands beside what was.
        let source =
            RewardSource { kind: RewardKind::Gold, weight: 2.0, person: None, pessimism: None };
        let ruled = PpoConfig { rewards: vec![source.clone()], ..rl };
        let own = personal_rl(&ruled, &config, Path::new("ann.json"));
        assert_eq!((own.rewards.len(), &own.rewards[0]), (2, &source));
        assert_eq!(own.rewards[1].person.as_deref(), Some(Path::new("ann.json")));
    }

    #[test]
    fn what_is_there_is_kept_only_for_the_same_person_and_settings() {
        let folder = tempfile::tempdir().expect("a folder");
        let folder = folder.path().join("ann");
        assert_eq!(begin(&folder, b"settings", b"person").expect("begins"), None);
        fs::write(folder.join(PERSON), b"person\n").expect("writes");
        let report = PersonReport { name: "ann".into(), ..PersonReport::default() };
        report.save(&folder).expect("saves");
        let again =
            |settings: &[u8], person: &[u8]| begin(&folder, settings, person).expect("begins");
        assert_eq!(again(b"settings", b"person"), Some(report));
        assert_eq!(again(b"settings", b"another"), None);
        assert!(!folder.join(PERSON).exists());
    }
}
