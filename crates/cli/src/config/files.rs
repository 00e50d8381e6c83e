//! People's own rows.

use std::path::PathBuf;

use rein_data::encoder::Learn;
use rein_data::mix::Until;
use rein_data::schema::Schema;
use serde::{Deserialize, Serialize};

use super::{Stage, defaults};

/// Files of any format and schema that docs/data.md lists.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct FilesConfig {
    /// What the model imitates; what is good in `preferences`, where neither this nor a mix is named.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) demonstrations: Option<PathBuf>,
    /// What the columns of `demonstrations` mean, where the first row doesn't show it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) schema: Option<Schema>,
    /// Pairs or labels, for a reward model or to be learned from directly.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) preferences: Option<PathBuf>,
    /// Demonstrations to measure with, instead of a share of those to imitate.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) heldout: Option<PathBuf>,
    /// The share of prompts kept to measure with.
    pub(crate) heldout_share: f64,
    /// Which tokens are learned; what is usual for the schema if left out.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) learn: Option<Learn>,
    /// The chat template instead of the model's: a name of ours or a file.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) chat_template: Option<String>,
    /// When a mix ends.
    pub(crate) mix_until: Until,
    /// Several sets of demonstrations instead of one.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub(crate) mix: Vec<MixedSet>,
}

/// One of several sets of demonstrations.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct MixedSet {
    /// The file.
    pub(crate) path: PathBuf,
    /// How many rows are drawn from it, compared with the others' weights.
    pub(crate) weight: f64,
    /// What its columns mean.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) schema: Option<Schema>,
}

impl Default for FilesConfig {
    fn default() -> Self {
        Self {
            demonstrations: None,
            schema: None,
            preferences: None,
            heldout: None,
            heldout_share: defaults::heldout_share(),
            learn: None,
            chat_template: None,
            mix_until: Until::default(),
            mix: Vec::new(),
        }
    }
}

impl FilesConfig {
    /// The sets of demonstrations, one or several; where none is named, what people called good.
    pub(crate) fn sets(&self) -> Vec<MixedSet> {
        let alone =
            |path: &PathBuf, schema| vec![MixedSet { path: path.clone(), weight: 1.0, schema }];
        match (&self.demonstrations, &self.mix[..], &self.preferences) {
            (Some(path), ..) => alone(path, self.schema),
            (None, [], Some(path)) => alone(path, None),
            (None, mix, _) => mix.to_vec(),
        }
    }

    /// Where demonstrations to train and to measure with come from, for messages.
    pub(crate) fn origins(&self) -> [String; 2] {
        let paths = self.sets().into_iter().map(|set| set.path.display().to_string());
        let train = paths.collect::<Vec<_>>().join(" + ");
        let heldout = self.heldout.as_ref().map(|path| path.display().to_string());
        [train.clone(), heldout.unwrap_or(train)]
    }

    /// The stages that these files allow.
    pub(super) fn stages(&self) -> Vec<Stage> {
        match self.preferences {
            Some(_) => vec![Stage::Sft, Stage::Reward, Stage::Rl, Stage::Evaluate],
            None => vec![Stage::Sft, Stage::Evaluate],
        }
    }

    pub(super) fn problems(&self) -> Option<String> {
        let problem = match (&self.demonstrations, &self.mix[..]) {
            (None, []) if self.preferences.is_none() => {
                "`data` names neither `data.demonstrations` nor a `data.mix` nor `data.preferences`"
            }
            (Some(_), [_, ..]) => "`data` names both `data.demonstrations` and a `data.mix`",
            (None, _) if self.schema.is_some() => {
                "`data.schema` is that of `data.demonstrations`; in a mix, each set has its own"
            }
            (_, mix) if mix.iter().any(|it| !(it.weight > 0.0 && it.weight.is_finite())) => {
                "`data.mix` has a weight that isn't above 0"
            }
            _ if !(0.0..1.0).contains(&self.heldout_share) => {
                "`data.heldout_share` must be within 0..1"
            }
            _ => return None,
        };
        Some(problem.into())
    }
}
