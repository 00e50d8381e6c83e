//! The model behind the server, on the thread where its backend is known.
//!
//! It may be a run: then the newest of its models answers, and what a run that goes on makes of them is loaded between
//! two questions.

use std::ops::ControlFlow;
use std::path::{Path, PathBuf};
use std::sync::mpsc::{Receiver, Sender, SyncSender, channel, sync_channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::SystemTime;

use anyhow::{Context, Result};
use clap::Args;
use rein_data::seed::Seed;
use rein_feedback::serve::{Answers, Ask, Lesson, Model, Sampled};
use rein_model::backend::{LmAutodiffBackend, LmBackend};
use rein_model::{CausalLm, Session, load_causal_lm};
use rein_reward::{LearnedReward, OnlineReward, RIDGE};

use super::places::{POLICIES, newest};
use super::taught::{Taught, row};
use crate::config::Stage;
use crate::device::Work;
use crate::inference::{GuardArgs, SamplingArgs, Speaker, Spoken};

/// A model that answers, and when it asks.
#[derive(Debug, Args)]
#[command(next_help_heading = "Live mode")]
pub(super) struct LiveArgs {
    /// A model that answers what people type: a folder, or a run, whose newest model answers. With `--kind red-team` they
    /// type attacks, and are always asked how far each went
    #[arg(long, value_name = "DIR")]
    model: Option<PathBuf>,
    /// A reward model that says which answer is better and how sure it is: a folder, or a run
    #[arg(long, value_name = "DIR", requires = "model")]
    reward_model: Option<PathBuf>,
    /// Ask for a judgement where the reward ensemble's models disagree by this much on the better of two answers, as a
    /// standard deviation of the difference of their scores; attacks are always asked about
    #[arg(long, value_name = "X", requires = "reward_model")]
    pub(super) ask_disagreement: Option<f64>,
    /// Ask for a judgement where the model is this uncertain: nats a token, the mean over both answers; attacks are always
    /// asked about
    #[arg(long, value_name = "NATS", requires = "model")]
    pub(super) ask_entropy: Option<f64>,
    /// How conversations become text: chatml, llama3, zephyr or a Jinja file; the model's own template if
    /// left out
    #[arg(long, value_name = "NAME|FILE")]
    chat_template: Option<String>,
    #[command(flatten)]
    sampling: SamplingArgs,
    #[command(flatten)]
    guards: GuardArgs,
}

impl LiveArgs {
    /// The model as the server knows it, and what it is told to do; `None` without a model.
    pub(super) fn model(&self) -> Result<Option<Connected>> {
        let Some(folder) = &self.model else { return Ok(None) };
        // What can be refused is refused before anybody is let in.
        let reads_messages = self.speaker(&newest(folder, &POLICIES)?)?.has_template();
        if let Some(reward) = &self.reward_model {
            newest(reward, &[Stage::Reward])?;
        }
        let (jobs, receiver) = channel();
        let jobs = Mutex::new(jobs);
        let name = folder.file_name().unwrap_or(folder.as_os_str());
        let name = name.to_string_lossy().into_owned();
        Ok(Some((Arc::new(Remote { name, reads_messages, jobs }), receiver)))
    }

    fn speaker(&self, folder: &Path) -> Result<Speaker> {
        Speaker::new(folder, self.chat_template.as_deref(), &self.sampling, &self.guards)
    }
}

/// The model as the server knows it, and where its questions arrive.
pub(super) type Connected = (Arc<dyn Model>, Receiver<Job>);

/// What the server asks of the model's thread.
pub(super) enum Job {
    Answer {
        ask: Ask,
        /// Gets the pieces; nobody reads them any more once the client is gone.
        pieces: SyncSender<(usize, String)>,
        done: Sender<Result<Answers, String>>,
    },
    Learn {
        lessons: Vec<Lesson>,
        done: Sender<()>,
    },
}

/// The model as the server's threads see it.
#[derive(Debug)]
struct Remote {
    name: String,
    reads_messages: bool,
    jobs: Mutex<Sender<Job>>,
}

const GONE: &str = "the model has stopped";

impl Remote {
    fn send(&self, job: Job) -> Result<(), String> {
        let jobs = self.jobs.lock().unwrap_or_else(PoisonError::into_inner);
        jobs.send(job).map_err(|_| GONE.to_owned())
    }
}

impl Model for Remote {
    fn name(&self) -> String {
        self.name.clone()
    }

    fn reads_messages(&self) -> bool {
        self.reads_messages
    }

    fn answer(
        &self,
        ask: &Ask,
        tell: &mut dyn FnMut(usize, &str) -> ControlFlow<()>,
    ) -> Result<Answers, String> {
        let (pieces, told) = sync_channel(64);
        let (done, result) = channel();
        self.send(Job::Answer { ask: ask.clone(), pieces, done })?;
        for (item, text) in told {
            if tell(item, &text).is_break() {
                break;
            }
        }
        result.recv().unwrap_or_else(|_| Err(GONE.into()))
    }

    fn learn(&self, lessons: &[Lesson]) -> Result<(), String> {
        let (done, result) = channel();
        self.send(Job::Learn { lessons: lessons.to_vec(), done })?;
        result.recv().map_err(|_| GONE.into())
    }
}

/// Answers until the server has stopped.
pub(super) struct LiveModel<'a> {
    pub(super) args: &'a LiveArgs,
    pub(super) jobs: Receiver<Job>,
}

impl Work for LiveModel<'_> {
    type Output = ();

    fn run<B: LmAutodiffBackend>(self, device: B::Device) -> Result<()> {
        let mut loaded = Loaded::<B::InnerBackend>::load(self.args, &device)?;
        let mut n_answers = 0;
        for job in self.jobs {
            match job {
                Job::Answer { ask, pieces, done } => {
                    let seed = ask.wishes.seed.unwrap_or(self.args.sampling.seed);
                    let seed = Seed::new(seed).child("live").index(n_answers);
                    n_answers += u64::from(ask.wishes.seed.is_none());
                    let answers = loaded
                        .refresh(self.args)
                        .and_then(|()| loaded.answer(&ask, seed, &pieces))
                        .map_err(|error| format!("{error:#}"));
                    // Whoever asked may be gone.
                    drop(done.send(answers));
                }
                Job::Learn { lessons, done } => {
                    loaded.learn(lessons);
                    // Whoever taught may be gone, too.
                    let _ = done.send(());
                }
            }
        }
        Ok(())
    }
}

/// Models as they lay in their folders when they were loaded.
struct Loaded<B: LmBackend> {
    speaker: Speaker,
    model: CausalLm<B>,
    reward: Option<Taught<B>>,
    /// Lessons are learned again by a reward model that takes this one's place.
    lessons: Vec<Lesson>,
    stamps: [Option<Stamp>; 2],
    device: B::Device,
}

/// A folder and when its weights were written.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Stamp {
    folder: PathBuf,
    written: Option<SystemTime>,
}

/// Rows that a reward model scores side by side.
const BATCH_ROWS: usize = 8;

impl<B: LmBackend> Loaded<B> {
    fn load(args: &LiveArgs, device: &B::Device) -> Result<Self> {
        let [policy, reward] = stamps(args)?;
        let policy = policy.context("live mode has a model")?;
        let mut loaded = Self {
            speaker: args.speaker(&policy.folder)?,
            model: load_causal_lm(&policy.folder, device)?,
            reward: None,
            lessons: Vec::new(),
            stamps: [Some(policy), None],
            device: device.clone(),
        };
        loaded.load_reward(reward)?;
        Ok(loaded)
    }

    /// Loads what is newer in its folder.
    fn refresh(&mut self, args: &LiveArgs) -> Result<()> {
        let [policy, reward] = stamps(args)?;
        if policy != self.stamps[0]
            && let Some(policy) = policy
        {
            self.speaker = args.speaker(&policy.folder)?;
            self.model = load_causal_lm(&policy.folder, &self.device)?;
            self.stamps[0] = Some(policy);
        }
        if reward != self.stamps[1] {
            self.load_reward(reward)?;
        }
        Ok(())
    }

    fn load_reward(&mut self, stamp: Option<Stamp>) -> Result<()> {
        let Some(stamp) = stamp else { return Ok(()) };
        let reward = LearnedReward::load(&stamp.folder, BATCH_ROWS, &self.device)?;
        self.reward = OnlineReward::new(reward, RIDGE, &self.device).map(Taught::new);
        self.stamps[1] = Some(stamp);
        let lessons = std::mem::take(&mut self.lessons);
        self.learn(lessons);
        Ok(())
    }

    fn learn(&mut self, lessons: Vec<Lesson>) {
        if let Some(reward) = &mut self.reward {
            reward.learn(&lessons, &self.speaker);
        }
        self.lessons = lessons;
    }

    fn answer(
        &self,
        ask: &Ask,
        seed: Seed,
        pieces: &SyncSender<(usize, String)>,
    ) -> Result<Answers> {
        let n_new = self.speaker.max_new_tokens(&ask.wishes);
        let prompt = self.speaker.prompt(&ask.messages, n_new)?;
        let mut session = Session::new(&self.model, &self.device);
        let mut spoken = Vec::new();
        for item in 0..ask.n {
            let mut tell = |piece: &str| {
                let sent = piece.is_empty() || pieces.send((item, piece.to_owned())).is_ok();
                if sent { ControlFlow::Continue(()) } else { ControlFlow::Break(()) }
            };
            let seed = seed.index(item as u64);
            spoken.push(self.speaker.reply(&mut session, &prompt, &ask.wishes, seed, &mut tell)?);
        }
        Ok(self.judged(&prompt, &spoken))
    }

    fn judged(&self, prompt: &[u32], spoken: &[Spoken]) -> Answers {
        let rows: Vec<Vec<u32>> = spoken
            .iter()
            .map(|it| row(&self.speaker, prompt, &it.text, it.generated.finished()))
            .collect();
        let reward = self.reward.as_ref().map(|it| &it.reward);
        let scores = reward.map(|reward| reward.score_rows(&rows));
        let disagreement = match (reward, rows.as_slice()) {
            (Some(reward), [first, second, ..]) => reward.disagreement([first, second]),
            _ => None,
        };
        let sampled = |(place, it): (usize, &Spoken)| {
            let logprobs = &it.generated.logprobs;
            let total: f64 = logprobs.iter().map(|it| -f64::from(*it)).sum();
            Sampled {
                text: it.text.clone(),
                finished: it.generated.finished(),
                n_tokens: it.generated.tokens.len(),
                // What is drawn surprises by the entropy on average.
                entropy: (!logprobs.is_empty()).then(|| total / logprobs.len() as f64),
                score: scores.as_ref().map(|scores| f64::from(scores[place])),
            }
        };
        Answers {
            samples: spoken.iter().enumerate().map(sampled).collect(),
            n_prompt_tokens: prompt.len(),
            disagreement,
        }
    }
}

/// What lies in the folders of the policy and of the reward model now.
fn stamps(args: &LiveArgs) -> Result<[Option<Stamp>; 2]> {
    let stamp = |folder: &Option<PathBuf>, stages: &[Stage]| -> Result<Option<Stamp>> {
        let Some(folder) = folder else { return Ok(None) };
        let folder = newest(folder, stages)?;
        let written = folder.join("config.json").metadata().and_then(|it| it.modified()).ok();
        Ok(Some(Stamp { folder, written }))
    };
    Ok([stamp(&args.model, &POLICIES)?, stamp(&args.reward_model, &[Stage::Reward])?])
}
