//! What a run does, as its TOML file says it.

mod evaluate;
mod files;
mod load;
mod people;
mod problems;
mod red_team;
mod rounds;

use std::path::PathBuf;

use rein_data::helpdesk::tastes::Population;
use rein_feedback::aggregate::Aggregation;
use rein_feedback::cleaning::Cleaning;
use rein_model::Precisions;
use rein_model::sft::SftConfig;
use rein_ppo::config::PpoConfig;
use rein_ppo::preference::DpoConfig;
use rein_reward::train::RewardConfig;
use serde::{Deserialize, Serialize};

use crate::world::Parts;

pub(crate) use evaluate::{EvaluateConfig, GOLD, JudgeModel, JudgeSource, REWARD};
pub(crate) use files::{FilesConfig, MixedSet};
pub(crate) use load::{change, load, load_rules, load_saved};
pub(crate) use people::{PeopleConfig, PersonalPolicy, PersonalStart};
pub(crate) use red_team::RedTeamConfig;
pub(crate) use rounds::{Answers, LoopConfig, Query, RewardStart};

/// The config that `rein train` runs without any argument.
pub(crate) const DEFAULT: &str = include_str!("../../../../configs/helpdesk.toml");

/// A run's config. Sections and keys left out have their defaults.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct Config {
    /// All randomness of the run follows from it.
    pub(crate) seed: u64,
    /// What `rein train` does; all that the data allow if left out.
    pub(crate) stages: Vec<Stage>,
    /// A reward model in the Hugging Face layout or of the Hub, to score with instead of training one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) reward_model: Option<PathBuf>,
    /// What the model learns from.
    pub(crate) data: DataConfig,
    /// What is trained.
    pub(crate) model: ModelSource,
    /// Supervised fine-tuning.
    pub(crate) sft: SftConfig,
    /// Gathering judgements.
    pub(crate) feedback: FeedbackConfig,
    /// The reward model.
    pub(crate) reward: RewardConfig,
    /// Optimisation on judgements alone.
    pub(crate) dpo: DpoConfig,
    /// Reinforcement learning.
    pub(crate) rl: PpoConfig,
    /// Measuring the result.
    pub(crate) evaluate: EvaluateConfig,
    /// Rounds; one if left out.
    #[serde(rename = "loop", skip_serializing_if = "Option::is_none")]
    pub(crate) rounds: Option<LoopConfig>,
    /// What becomes of the policy for single people, at the end; nothing if left out.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) personal: Option<PeopleConfig>,
    /// What is computed and kept in bf16, for all stages.
    pub(crate) precision: Precisions,
}

impl Config {
    /// The columns of prompts that are read: of those to train on by rewards, of those to measure with by judges, too.
    pub(crate) fn columns(&self) -> Parts<String> {
        let train = self.rl.columns();
        let mut heldout = [train.clone(), self.evaluate.columns()].concat();
        heldout.sort_unstable();
        heldout.dedup();
        Parts { train, heldout }
    }

    /// Whether there are several rounds: where `stages` has what is repeated, and nothing that isn't.
    pub(crate) fn repeats(&self) -> bool {
        let has = |stage| self.stages.contains(&stage);
        self.rounds.is_some() && has(Stage::Rl) && has(Stage::Evaluate) && !has(Stage::Dpo)
    }
}

/// A part of a run.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Stage {
    Sft,
    Feedback,
    Reward,
    Dpo,
    Rl,
    Evaluate,
}

impl Stage {
    /// In the order in which they run.
    pub(crate) const ALL: [Self; 6] =
        [Self::Sft, Self::Feedback, Self::Reward, Self::Dpo, Self::Rl, Self::Evaluate];

    /// The stage's name in run folders, metrics and commands.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Sft => "sft",
            Self::Feedback => "feedback",
            Self::Reward => "reward",
            Self::Dpo => "dpo",
            Self::Rl => "rl",
            Self::Evaluate => "evaluate",
        }
    }
}

/// What the model learns from.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case", deny_unknown_fields)]
pub(crate) enum DataConfig {
    /// The built-in world, with simulated people.
    Helpdesk {
        /// Demonstrations to imitate.
        #[serde(default = "defaults::demonstrations")]
        demonstrations: usize,
        /// Demonstrations to measure with.
        #[serde(default = "defaults::heldout_demonstrations")]
        heldout_demonstrations: usize,
        /// Demonstrations are those of experts, if given, of whom good replies are so much more probable: by
        /// `exp(gold / temperature)`.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        expert_temperature: Option<f64>,
        /// Simulated people want different things, and not what the world's truth says; if left out, all know it,
        /// blurred.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        population: Option<Population>,
    },
    /// Texts labelled good or bad: the model learns the language of the texts, the reward model the
    /// labels, and the policy completes the first words of texts.
    Labels {
        /// Texts to train on.
        train: Table,
        /// Texts to measure with.
        heldout: Table,
        /// Words of a text that make a prompt.
        #[serde(default = "defaults::opening_words")]
        opening_words: usize,
    },
    /// Pairs of dialogues that differ in the last reply (the format of Anthropic's HH-RLHF): the
    /// model imitates the preferred replies.
    Dialogues {
        /// JSON lines with `chosen` and `rejected`.
        path: PathBuf,
        /// The share of prompts kept to measure with.
        #[serde(default = "defaults::heldout_share")]
        heldout_share: f64,
    },
    /// Your own rows.
    Files(FilesConfig),
}

/// A table of labelled texts, tab-separated or (ending in `.csv`) comma-separated.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Table {
    /// The file; may be gzipped.
    pub(crate) path: PathBuf,
    /// The column of the texts.
    pub(crate) text: String,
    /// The column of the labels, 0 or 1.
    pub(crate) label: String,
}

mod defaults {
    pub(super) fn demonstrations() -> usize {
        9_600
    }
    pub(super) fn heldout_demonstrations() -> usize {
        256
    }
    pub(super) fn opening_words() -> usize {
        3
    }
    pub(super) fn heldout_share() -> f64 {
        0.1
    }
}

impl Default for DataConfig {
    fn default() -> Self {
        Self::Helpdesk {
            demonstrations: defaults::demonstrations(),
            heldout_demonstrations: defaults::heldout_demonstrations(),
            expert_temperature: None,
            population: None,
        }
    }
}

impl std::fmt::Display for ModelSource {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::New(_) => f.write_str("the new model"),
            Self::Pretrained { path } => path.display().fmt(f),
        }
    }
}

impl DataConfig {
    /// Whether a simulated world knows what is good, whoever is asked.
    pub(crate) fn knows_truth(&self) -> bool {
        matches!(self, Self::Helpdesk { population: None, .. })
    }

    /// Simulated people who want different things, if these are asked.
    pub(crate) fn population(&self) -> Option<Population> {
        match self {
            Self::Helpdesk { population, .. } => *population,
            _ => None,
        }
    }

    /// Where demonstrations to train and to measure with come from.
    pub(crate) fn origins(&self) -> [String; 2] {
        let [train, heldout] = match self {
            Self::Helpdesk { .. } => {
                return ["train", "held-out"].map(|it| format!("help desk, {it}"));
            }
            Self::Labels { train, heldout, .. } => [&train.path, &heldout.path],
            Self::Dialogues { path, .. } => [path, path],
            Self::Files(files) => return files.origins(),
        };
        [train, heldout].map(|path| path.display().to_string())
    }

    /// The stages that these data allow.
    pub(crate) fn stages(&self) -> Vec<Stage> {
        match self {
            Self::Helpdesk { .. } => {
                vec![Stage::Sft, Stage::Feedback, Stage::Reward, Stage::Rl, Stage::Evaluate]
            }
            Self::Files(files) => files.stages(),
            _ => vec![Stage::Sft, Stage::Reward, Stage::Rl, Stage::Evaluate],
        }
    }
}

/// What is trained.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case", deny_unknown_fields)]
pub(crate) enum ModelSource {
    /// A new Llama-style model, with a tokenizer trained on the data.
    New(NewModel),
    /// A model in the Hugging Face layout.
    Pretrained {
        /// Its folder, or its name in the Hub.
        path: PathBuf,
    },
}

/// The shape of a new model.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct NewModel {
    /// Entries of the tokenizer that is trained on the data.
    pub(crate) vocab_size: usize,
    /// Width of the residual stream.
    pub(crate) hidden_size: usize,
    /// Width of the feed-forward layers.
    pub(crate) mlp_size: usize,
    /// Blocks.
    pub(crate) n_layers: usize,
    /// Query heads.
    pub(crate) n_heads: usize,
    /// Key and value heads.
    pub(crate) n_kv_heads: usize,
    /// The longest sequence.
    pub(crate) max_positions: usize,
    /// Whether the head is the embedding.
    pub(crate) tied_head: bool,
}

impl Default for NewModel {
    fn default() -> Self {
        Self {
            vocab_size: 1024,
            hidden_size: 64,
            mlp_size: 172,
            n_layers: 4,
            n_heads: 4,
            n_kv_heads: 4,
            max_positions: 256,
            tied_head: true,
        }
    }
}

impl Default for ModelSource {
    fn default() -> Self {
        Self::New(NewModel::default())
    }
}

/// How judgements are gathered from simulated people.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct FeedbackConfig {
    /// Pairs to train on.
    pub(crate) pairs: usize,
    /// Pairs to measure with, on prompts that nothing trains on.
    pub(crate) heldout_pairs: usize,
    /// Pairs sampled and judged at a time.
    pub(crate) batch_pairs: usize,
    /// Simulated people.
    pub(crate) annotators: usize,
    /// People who judge each pair; what most of them say counts.
    pub(crate) overlap: u32,
    /// A store of judgements to learn from, instead of asking simulated people.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) store: Option<PathBuf>,
    /// Take only what was said in this project of the store.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) project: Option<String>,
    /// How many people's labels of one pair of the store become one.
    pub(crate) aggregation: Aggregation,
    /// Clean what is taken from the store, by these rules.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) cleaning: Option<Cleaning>,
}

impl Default for FeedbackConfig {
    fn default() -> Self {
        Self {
            pairs: 8192,
            heldout_pairs: 1024,
            batch_pairs: 512,
            annotators: 12,
            overlap: 5,
            store: None,
            project: None,
            aggregation: Aggregation::Share,
            cleaning: None,
        }
    }
}
