//! A model that answers whoever asks: conversations become tokens, and tokens text, piece by piece.

use std::ops::ControlFlow;
use std::path::Path;
use std::sync::Arc;

use anyhow::{Result, anyhow, bail};
use rein_data::chat::{Closing, closing, encode_chat, end_of_reply};
use rein_data::seed::Seed;
use rein_data::template::ChatTemplate;
use rein_data::tokenizer::Tokenizer;
use rein_feedback::serve::{Message, Wishes};
use rein_model::backend::LmBackend;
use rein_model::guard::fits;
use rein_model::sampling::{Choice, Filters};
use rein_model::{Generated, Session, read_config};
use serde_json::{Value, json};

use super::args::{GuardArgs, SamplingArgs};
use super::load_tokenizer;
use super::settings::Settings;
use super::texts::Texts;
use crate::chat_template::chat_template;

/// The longest answer where nobody says so, if the model has room for four of them.
const MAX_NEW_TOKENS: usize = 256;

/// What stands around a model, with its folder at hand.
pub(crate) struct Speaker {
    tokenizer: Tokenizer,
    /// Without one, the model goes on from the messages' bare texts.
    template: Option<ChatTemplate>,
    settings: Settings,
    n_positions: usize,
}

/// An answer as text and as tokens.
pub(crate) struct Spoken {
    pub(crate) text: String,
    pub(crate) generated: Generated,
}

impl Speaker {
    pub(crate) fn new(
        model: &Path,
        wanted_template: Option<&str>,
        sampling: &SamplingArgs,
        guards: &GuardArgs,
    ) -> Result<Self> {
        let name = model.display();
        let tokenizer = load_tokenizer(model)?
            .ok_or_else(|| anyhow!("{name}: holds no tokenizer.json, so it can't answer"))?;
        let config = read_config(model)?;
        fits(&config, &tokenizer)?;
        let template = chat_template(&tokenizer, wanted_template)?;
        let mut settings = Settings::new(sampling, guards, model, Some(&tokenizer))?;
        match template.as_ref().and_then(|it| closing(it, &tokenizer)) {
            Some(Closing::Token(token)) => settings.sampling.ends.push(token),
            Some(Closing::Text(text)) => {
                settings.stops = settings.stops.iter().cloned().chain([text]).collect::<Arc<[_]>>();
            }
            None => {}
        }
        let n_positions = config.max_positions;
        let longest = sampling.max_new_tokens;
        settings.sampling.max_new_tokens =
            longest.unwrap_or((n_positions / 4).clamp(1, MAX_NEW_TOKENS));
        if settings.sampling.max_new_tokens >= n_positions {
            bail!("{name}: has {n_positions} positions for question and answer together");
        }
        Ok(Self { tokenizer, template, settings, n_positions })
    }

    /// Whether a chat template renders what is said.
    pub(crate) fn has_template(&self) -> bool {
        self.template.is_some()
    }

    /// The tokens behind an answer that ended, where a model learns from answers.
    pub(crate) fn end_of_reply(&self) -> Vec<u32> {
        match &self.template {
            Some(template) => end_of_reply(template, &self.tokenizer),
            None => vec![self.tokenizer.special().eos],
        }
    }

    pub(crate) fn tokenizer(&self) -> &Tokenizer {
        &self.tokenizer
    }

    /// The conversation as tokens; the oldest turns are left out if the model has no room for them.
    pub(crate) fn prompt(&self, messages: &[Message], max_new_tokens: usize) -> Result<Vec<u32>> {
        let room = self.n_positions.saturating_sub(max_new_tokens);
        let n_system = messages.iter().take_while(|it| it.role == "system").count();
        let (system, mut said) = messages.split_at(n_system);
        loop {
            let tokens = self.encode(&[system, said].concat())?;
            if tokens.len() <= room {
                return Ok(tokens);
            }
            let next = said.iter().skip(1).position(|it| it.role == "user");
            let Some(next) = next else {
                bail!("the message makes {} tokens, and there is room for {room}", tokens.len());
            };
            said = &said[next + 1..];
        }
    }

    fn encode(&self, messages: &[Message]) -> Result<Vec<u32>> {
        let Some(template) = &self.template else {
            let texts: Vec<&str> = messages.iter().map(|it| it.content.as_str()).collect();
            return Ok(self.tokenizer.encode_prompt(&texts.join("\n")));
        };
        let messages: Vec<Value> =
            messages.iter().map(|it| json!({ "role": it.role, "content": it.content })).collect();
        Ok(encode_chat(&messages, None, true, template, &self.tokenizer)?.tokens)
    }

    /// The longest answer that somebody may wish for.
    pub(crate) fn max_new_tokens(&self, wishes: &Wishes) -> usize {
        let own = self.settings.sampling.max_new_tokens;
        wishes.max_tokens.map_or(own, |it| it.clamp(1, self.n_positions - 1))
    }

    /// An answer; `tell` gets its pieces, and may end it.
    pub(crate) fn reply<B: LmBackend>(
        &self,
        session: &mut Session<'_, B>,
        prompt: &[u32],
        wishes: &Wishes,
        seed: Seed,
        tell: &mut dyn FnMut(&str) -> ControlFlow<()>,
    ) -> Result<Spoken> {
        let settings = self.wished(wishes);
        let mut texts = Texts::new(&settings, Some(&self.tokenizer)).read_by(tell);
        let generated = session.reply(prompt, &settings.sampling, seed, &mut texts)?;
        let text = texts.take(0).unwrap_or_default();
        let text = settings.refusal(&generated).map_or(text, str::to_owned);
        Ok(Spoken { text, generated })
    }

    fn wished(&self, wishes: &Wishes) -> Settings {
        let mut settings = self.settings.clone();
        settings.sampling.max_new_tokens = self.max_new_tokens(wishes);
        settings.stops = settings.stops.iter().chain(&wishes.stop).cloned().collect();
        if wishes.temperature.is_some() || wishes.top_p.is_some() {
            let own = match settings.sampling.choice {
                Choice::Random(filters) => filters,
                Choice::Greedy => Filters::none(1.0),
            };
            let temperature = wishes.temperature.map_or(own.temperature, |it| it as f32);
            let top_p = wishes.top_p.map_or(own.top_p, |it| (it as f32).max(f32::MIN_POSITIVE));
            settings.sampling.choice = match temperature {
                0.0 => Choice::Greedy,
                temperature => Choice::Random(Filters { temperature, top_p, ..own }),
            };
        }
        settings
    }
}
