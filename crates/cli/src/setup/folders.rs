use std::path::PathBuf;

use anyhow::Result;

use crate::args::HubArgs;
use crate::config::{Config, JudgeModel, JudgeSource, ModelSource};
use crate::hub;

/// Where the models lie that a run begins with.
#[derive(Clone, Debug, Default)]
pub(crate) struct Folders {
    /// The pretrained model; none if a new one is made.
    pub(crate) model: Option<PathBuf>,
    /// The reward model that the config names, if it does.
    pub(crate) reward_model: Option<PathBuf>,
    /// The reward models among `evaluate.judges`, in their order.
    pub(crate) judges: Vec<PathBuf>,
    /// Those of `evaluate.against`, in their order.
    pub(crate) against: Vec<PathBuf>,
}

impl Folders {
    /// Finds the config's models. Those of the Hub are downloaded, and the config names their commits
    /// from here on, so that the run goes on with the same ones.
    pub(super) fn find(config: &mut Config, hub: &HubArgs) -> Result<Self> {
        let mut folders = Self::default();
        if let ModelSource::Pretrained { path } = &mut config.model {
            folders.model = Some(located(path, hub)?);
        }
        let hub = HubArgs { revision: None, ..hub.clone() };
        if let Some(path) = &mut config.reward_model {
            folders.reward_model = Some(located(path, &hub)?);
        }
        for judge in &mut config.evaluate.judges {
            if let JudgeSource::Model(JudgeModel { path, .. }) = judge {
                folders.judges.push(located(path, &hub)?);
            }
        }
        for path in &mut config.evaluate.against {
            folders.against.push(located(path, &hub)?);
        }
        Ok(folders)
    }
}

/// The folder of a model; a name of the Hub becomes that of its commit.
fn located(path: &mut PathBuf, hub: &HubArgs) -> Result<PathBuf> {
    let found = hub::locate(path, hub)?;
    *path = found.name;
    Ok(found.folder)
}
