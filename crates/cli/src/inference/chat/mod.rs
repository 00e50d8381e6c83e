//! `rein chat`: a conversation with a model.

mod history;
mod interrupts;
mod lines;
mod talk;

use std::process::ExitCode;
use std::sync::Arc;

use anyhow::{Context, Result, anyhow, bail};
use rein_data::chat::{Closing, closing};
use rein_data::template::ChatTemplate;
use rein_data::tokenizer::Tokenizer;
use rein_model::backend::LmAutodiffBackend;
use rein_model::guard::fits;
use rein_model::{CausalLm, read_config};

use self::history::Saved;
use self::talk::Talk;
use super::args::ChatArgs;
use super::settings::Settings;
use super::{ModelFolders, load_tokenizer};
use crate::chat_template::chat_template;
use crate::device::Work;

/// The limit of a reply where nobody sets one, if the model has room for four of them.
const MAX_NEW_TOKENS: usize = 512;

/// Talks with whoever sits at the terminal.
pub(crate) struct Chat<'a> {
    args: &'a ChatArgs,
    folders: ModelFolders,
    tokenizer: Tokenizer,
    template: ChatTemplate,
    settings: Settings,
    /// Positions of the model.
    n_positions: usize,
    saved: Option<Saved>,
}

impl<'a> Chat<'a> {
    pub(crate) fn new(args: &'a ChatArgs) -> Result<Self> {
        let folders = ModelFolders::find(&args.model)?;
        let model = folders.base.as_path();
        let name = model.display();
        let tokenizer = load_tokenizer(folders.texts())?
            .ok_or_else(|| anyhow!("{name}: holds no tokenizer.json, so it can't talk"))?;
        let config = read_config(model)?;
        fits(&config, &tokenizer)?;
        let template = chat_template(&tokenizer, args.chat_template.as_deref())?;
        let template = template.ok_or_else(|| {
            anyhow!(
                "{name}: holds no chat template; name the one that the model was trained with: \
                 `--chat-template chatml`, `llama3`, `zephyr` or a file"
            )
        })?;
        let mut settings = Settings::new(&args.sampling, &args.guards, model, Some(&tokenizer))?;
        match closing(&template, &tokenizer) {
            Some(Closing::Token(token)) => settings.sampling.ends.push(token),
            Some(Closing::Text(text)) => {
                settings.stops = settings.stops.iter().cloned().chain([text]).collect::<Arc<[_]>>();
            }
            None => {}
        }
        let n_positions = config.max_positions;
        let max_new_tokens =
            args.sampling.max_new_tokens.unwrap_or((n_positions / 4).clamp(1, MAX_NEW_TOKENS));
        if max_new_tokens >= n_positions {
            bail!(
                "`--max-new-tokens` is {max_new_tokens}, but {name} has {n_positions} positions for \
                 messages and reply together"
            );
        }
        settings.sampling.max_new_tokens = max_new_tokens;
        let saved = args
            .save
            .as_deref()
            .map(|path| Saved::open(path).with_context(|| path.display().to_string()));
        let saved = saved.transpose()?;
        Ok(Self { args, folders, tokenizer, template, settings, n_positions, saved })
    }
}

impl Work for Chat<'_> {
    type Output = ExitCode;

    fn run<B: LmAutodiffBackend>(self, device: B::Device) -> Result<ExitCode> {
        let model: CausalLm<B::InnerBackend> = self.folders.load_causal_lm(&device)?;
        Talk::new(self, &model, &device)?.run()
    }
}
