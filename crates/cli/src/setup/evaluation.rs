use std::path::Path;

use anyhow::{Context, Result, ensure};
use rein_model::guard::fits;
use rein_model::{check_causal_lm, check_scalar_model};

use super::{Folders, Setup, pretrained};
use crate::inference::reads_alike;
use crate::suite::{Suite, check_prompt};
use crate::world::Question;

impl Setup {
    /// Refuses judges and other policies that read other tokens than the run's models.
    pub(super) fn check_evaluation(&self) -> Result<()> {
        let Folders { judges, against, .. } = &self.folders;
        judges.iter().chain(against).try_for_each(|it| self.check_tokens(it))?;
        judges.iter().try_for_each(|it| check_scalar_model(it))?;
        Ok(against.iter().try_for_each(|it| check_causal_lm(it))?)
    }

    /// Refuses a model that reads other tokens than the run's.
    fn check_tokens(&self, folder: &Path) -> Result<()> {
        let (tokenizer, model) = pretrained(folder)?;
        fits(&model, &tokenizer).with_context(|| folder.display().to_string())?;
        ensure!(
            reads_alike(&tokenizer, &self.tokenizer),
            "{}: has another tokenizer than the run's models, so that it can't be measured with them; name one that \
             was trained from the same model",
            folder.display()
        );
        Ok(())
    }

    /// The regression suite that the config names, all of whose prompts the run's models can answer.
    pub(super) fn read_suite(&self) -> Result<Option<Suite>> {
        let check = |question: &Question| {
            ensure!(
                question.chat.is_none() || self.world.has_chats(),
                "the prompt is a conversation, but the run's own are texts"
            );
            check_prompt(self.prompt(question)?.tokens.len(), self.room())
        };
        let path = self.config.evaluate.regression.as_ref();
        path.map(|it| Suite::read(it, check)).transpose()
    }
}
