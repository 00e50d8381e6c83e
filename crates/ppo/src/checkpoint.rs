//! The two networks and their optimisers within a checkpoint.

use std::path::Path;

use rein_data::tokenizer::Tokenizer;
use rein_model::backend::LmAutodiffBackend;
use rein_model::checkpoint::{ADAPTER, OPTIMIZER, save_with_tokenizer};
use rein_model::lora::LoraConfig;
use rein_model::{
    AdapterConfig, ModelError, load_causal_lm, load_scalar_model, save_adapter, save_causal_lm,
    save_scalar_adapter, save_scalar_model,
};
use serde_json::Map;

use crate::actor_critic::{ActorCritic, Learners};
use crate::config::PpoConfig;

/// The folder of the value model within a checkpoint.
pub const VALUE_MODEL: &str = "value_model";
/// The folder of the value model's adapters within a checkpoint, if it is trained by LoRA.
pub const VALUE_ADAPTER: &str = "value_adapter";

/// The file of the policy's head for values within a checkpoint, if it has one.
pub const VALUE_HEAD: &str = "value_head.safetensors";
/// The file of the value model's optimiser within a checkpoint.
const VALUE_OPTIMIZER: &str = "value_optimizer.safetensors";

impl<B: LmAutodiffBackend> Learners<B> {
    /// Writes networks, adapters, where `lora` says that there are any, and optimisers; the policy to a folder
    /// of this name.
    pub(crate) fn save(
        &self,
        lora: Option<&LoraConfig>,
        tokenizer: &Tokenizer,
        policy_folder: &str,
        folder: &Path,
    ) -> Result<(), ModelError> {
        let ActorCritic { policy, value } = self.valid();
        let tokenizer = Some(tokenizer);
        save_with_tokenizer(&folder.join(policy_folder), tokenizer, |folder| {
            save_causal_lm(&policy, folder)
        })?;
        policy.save_value_head(&folder.join(VALUE_HEAD))?;
        if let Some(value) = &value {
            save_with_tokenizer(&folder.join(VALUE_MODEL), tokenizer, |folder| {
                save_scalar_model(value, &Map::new(), folder)
            })?;
        }
        if let Some(lora) = lora {
            let about = |model, has_score| AdapterConfig::new(lora, model, has_score);
            let config = about(policy.config(), false);
            save_adapter(&policy, &config, &folder.join(ADAPTER))?;
            if let Some(value) = &value {
                let config = about(value.config(), true);
                save_scalar_adapter(value, &config, &folder.join(VALUE_ADAPTER))?;
            }
        }
        self.policy.save_optimizer(&folder.join(OPTIMIZER))?;
        self.value.iter().try_for_each(|it| it.save_optimizer(&folder.join(VALUE_OPTIMIZER)))
    }

    /// Becomes what was saved; with adapters, the networks below them stay as they are.
    pub(crate) fn restore(
        &mut self,
        config: &PpoConfig,
        policy_folder: &str,
        folder: &Path,
        device: &B::Device,
    ) -> Result<(), ModelError> {
        let (policy, value) = match &config.lora {
            Some(_) => {
                let acts = self.policy.module().clone().without_lora();
                let expects = self.value.as_ref().map(|it| it.module().clone().without_lora());
                let value =
                    expects.map(|it| it.with_saved_lora(&folder.join(VALUE_ADAPTER), device));
                (acts.with_saved_lora(&folder.join(ADAPTER), device)?, value)
            }
            None => {
                let load = |_| load_scalar_model(&folder.join(VALUE_MODEL), device);
                let value = self.value.as_ref().map(load);
                (load_causal_lm(&folder.join(policy_folder), device)?, value)
            }
        };
        let policy = if config.value_head {
            policy.with_saved_value_head(&folder.join(VALUE_HEAD), device)?
        } else {
            policy
        };
        let actors = ActorCritic { policy, value: value.transpose()? }.computed_as(config);
        self.policy.restore(actors.policy, &folder.join(OPTIMIZER), device)?;
        if let (Some(learner), Some(value)) = (&mut self.value, actors.value) {
            learner.restore(value, &folder.join(VALUE_OPTIMIZER), device)?;
        }
        Ok(())
    }
}
