//! Examples as rows of tokens, each token learned or not.

mod batches;
mod chat;
mod rows;

use std::str::FromStr;

use serde::{Deserialize, Serialize};

use crate::chat::end_of_reply;
use crate::encoding::TokenRow;
use crate::example::{Body, Content, Example, best_ranked};
use crate::template::ChatTemplate;
use crate::tokenizer::Tokenizer;

pub use self::batches::Encoding;
pub use self::rows::EncodedRows;

/// Which tokens are learned.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Learn {
    /// All of them. The default for texts and conversations without a prompt.
    All,
    /// Those behind the prompt. The default where there is one.
    Completion,
    /// What the assistant says in a conversation, behind the prompt if there is one.
    Assistant,
}

impl FromStr for Learn {
    type Err = String;

    fn from_str(name: &str) -> Result<Self, String> {
        match name {
            "all" => Ok(Self::All),
            "completion" => Ok(Self::Completion),
            "assistant" => Ok(Self::Assistant),
            _ => Err("learn `all`, `completion` or `assistant`".into()),
        }
    }
}

/// Turns examples into tokens.
#[derive(Clone, Debug)]
pub struct Encoder {
    tokenizer: Tokenizer,
    template: Option<ChatTemplate>,
    learn: Option<Learn>,
    special_texts: Vec<String>,
    /// The end of sequence, as texts that bring their own have it.
    eos: Option<String>,
}

/// An example's tokens, of any length.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Sequence {
    /// All of them.
    pub row: TokenRow,
    /// How many belong to the prompt; 0 for a text or conversation without one.
    pub n_prompt: usize,
}

impl Encoder {
    /// An encoder that learns what `learn` says, or what is usual for each example. Conversations need
    /// a `template`.
    pub fn new(tokenizer: Tokenizer, template: Option<ChatTemplate>, learn: Option<Learn>) -> Self {
        let special_texts = tokenizer.special_texts();
        let eos = tokenizer.token(tokenizer.special().eos).filter(|text| !text.is_empty());
        Self { tokenizer, template, learn, special_texts, eos }
    }

    /// The same encoder, but that all tokens are learned: for conversations that are judged and not
    /// imitated.
    #[must_use]
    pub fn learning_all(&self) -> Self {
        Self { learn: Some(Learn::All), ..self.clone() }
    }

    /// The tokenizer.
    pub fn tokenizer(&self) -> &Tokenizer {
        &self.tokenizer
    }

    /// The template that renders conversations, if there is one.
    pub fn template(&self) -> Option<&ChatTemplate> {
        self.template.as_ref()
    }

    /// What a model imitates: the text, the completion or the preferred one. `None` for a completion
    /// that was judged bad.
    ///
    /// # Errors
    /// An example that holds nothing to imitate, a conversation without a template, and whatever the
    /// template refuses.
    pub fn demonstration(&self, example: &Example) -> Result<Option<Sequence>, String> {
        match &example.body {
            Body::LanguageModeling(content) => self.whole(content, example).map(Some),
            Body::PromptOnly(_) => Err("a prompt alone holds nothing to learn".into()),
            Body::PromptCompletion { prompt, completion: answer }
            | Body::Preference { prompt, chosen: answer, .. }
            | Body::Scored { prompt, completion: answer, .. }
            | Body::UnpairedPreference { prompt, completion: answer, label: true } => {
                self.answer(prompt, answer, example, 0).map(Some)
            }
            Body::Ranking { prompt, completions, ranks } => {
                let best = best_ranked(ranks).ok_or("a ranking of nothing")?;
                self.answer(prompt, &completions[best], example, best).map(Some)
            }
            Body::UnpairedPreference { label: false, .. } => Ok(None),
        }
    }

    /// All rows of tokens that an example gives: one, or one for each completion.
    ///
    /// # Errors
    /// Those of [`Encoder::demonstration`], but a prompt alone is a row of which nothing is learned.
    pub fn sequences(&self, example: &Example) -> Result<Vec<Sequence>, String> {
        Ok(match &example.body {
            Body::LanguageModeling(content) => vec![self.whole(content, example)?],
            Body::PromptOnly(prompt) => {
                let tokens = self.prompt(prompt, example)?;
                let n_prompt = tokens.len();
                vec![Sequence { row: TokenRow::completion(tokens, &[]), n_prompt }]
            }
            Body::PromptCompletion { prompt, completion }
            | Body::Scored { prompt, completion, .. }
            | Body::UnpairedPreference { prompt, completion, .. } => {
                vec![self.answer(prompt, completion, example, 0)?]
            }
            Body::Preference { prompt, chosen, rejected, .. } => {
                let side = |(place, it)| self.answer(prompt, it, example, place);
                [chosen, rejected].into_iter().enumerate().map(side).collect::<Result<_, _>>()?
            }
            Body::Ranking { prompt, completions, .. } => {
                let answer = |(place, it)| self.answer(prompt, it, example, place);
                completions.iter().enumerate().map(answer).collect::<Result<_, _>>()?
            }
        })
    }

    /// The tokens that a model shall go on from; a template adds how its answer begins.
    ///
    /// # Errors
    /// A conversation without a template, and whatever the template refuses.
    pub fn prompt(&self, prompt: &Content, example: &Example) -> Result<Vec<u32>, String> {
        match prompt {
            Content::Text(text) => Ok(self.tokenizer.encode_prompt(text)),
            Content::Messages(messages) => self.opening(messages, example),
        }
    }

    /// The tokens of an example that is a prompt, see [`Encoder::prompt`].
    ///
    /// # Errors
    /// Those of [`Encoder::prompt`], and an example that is more than a prompt.
    pub fn question(&self, example: &Example) -> Result<Vec<u32>, String> {
        match &example.body {
            Body::PromptOnly(prompt) => self.prompt(prompt, example),
            _ => Err("more than a prompt".into()),
        }
    }

    /// A text or conversation that is learned as a whole.
    fn whole(&self, content: &Content, example: &Example) -> Result<Sequence, String> {
        let learn = self.learn.unwrap_or(Learn::All);
        let row = match (content, learn) {
            (_, Learn::Completion) => {
                return Err("there is no completion to learn, only a whole; learn `all`, or, of \
                            conversations, `assistant`"
                    .into());
            }
            (Content::Text(_), Learn::Assistant) => return Err(NO_ASSISTANT.into()),
            (Content::Text(text), Learn::All) => {
                TokenRow::completion(Vec::new(), &self.text("", text).0)
            }
            (Content::Messages(messages), Learn::All) => {
                let (tokens, _) = self.conversation(messages, example, false)?;
                TokenRow::completion(Vec::new(), &tokens)
            }
            (Content::Messages(messages), Learn::Assistant) => {
                let (tokens, said) = self.conversation(messages, example, true)?;
                TokenRow::new(tokens, said)
            }
        };
        Ok(Sequence { row, n_prompt: 0 })
    }

    /// A prompt and what answers it: the completion at this place of those of an example. One that was cut
    /// ([`Example::finished`]) is without what stands behind an ended one.
    fn answer(
        &self,
        prompt: &Content,
        answer: &Content,
        example: &Example,
        place: usize,
    ) -> Result<Sequence, String> {
        let learn = self.learn.unwrap_or(Learn::Completion);
        let (tokens, n_prompt, said) = match (prompt, answer) {
            (Content::Text(_), Content::Text(_)) if learn == Learn::Assistant => {
                return Err(NO_ASSISTANT.into());
            }
            (Content::Text(prompt), Content::Text(answer)) => {
                let (tokens, n_prompt) = self.text(prompt, answer);
                (tokens, n_prompt, Vec::new())
            }
            (Content::Messages(prompt), Content::Messages(answer)) => {
                self.reply(prompt, answer, example, learn == Learn::Assistant)?
            }
            _ => return Err("prompt and completion must be both texts or both messages".into()),
        };
        let is_learned = |token: usize| match learn {
            Learn::All => true,
            Learn::Completion => token >= n_prompt,
            Learn::Assistant => token >= n_prompt && said[token],
        };
        let learned = (0..tokens.len()).map(is_learned).collect();
        let mut row = TokenRow::new(tokens, learned);
        if !example.finished(place) {
            let end = self.behind(answer);
            let n_kept =
                row.tokens.strip_suffix(end.as_slice()).map_or(row.tokens.len(), <[_]>::len);
            row.truncate(n_kept);
        }
        Ok(Sequence { row, n_prompt })
    }

    /// What stands behind a completion that ended.
    fn behind(&self, completion: &Content) -> Vec<u32> {
        match &self.template {
            Some(template) if completion.is_conversational() => {
                end_of_reply(template, &self.tokenizer)
            }
            _ => vec![self.tokenizer.special().eos],
        }
    }

    /// The tokens of a prompt, an answer and the end of sequence, and how many are the prompt's.
    ///
    /// As in TRL, both are encoded as one text. Where tokens would merge across the border they are
    /// encoded apart, so that the prompt's are those that a model is asked with later.
    fn text(&self, prompt: &str, answer: &str) -> (Vec<u32>, usize) {
        let answer = self.eos.as_ref().and_then(|eos| answer.strip_suffix(eos)).unwrap_or(answer);
        let mut tokens = self.tokenizer.encode_prompt(prompt);
        let n_prompt = tokens.len();
        let joint = self.tokenizer.encode_prompt(&format!("{prompt}{answer}"));
        if joint.starts_with(&tokens) {
            tokens = joint;
            tokens.push(self.tokenizer.special().eos);
        } else {
            tokens.extend(self.tokenizer.encode_completion(answer));
        }
        (tokens, n_prompt)
    }
}

const NO_ASSISTANT: &str = "a text has no assistant to learn from; learn `completion` or `all`";

#[cfg(test)]
mod tests;
