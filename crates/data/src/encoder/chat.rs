//! Conversations, and who said what in them.

use std::ops::Range;

use serde_json::Value;

use super::Encoder;
use crate::chat::encode_rendered;
use crate::encoding::TokenRow;
use crate::example::Example;
use crate::template::{ChatTemplate, Conversation, Rendered};

impl Encoder {
    /// A conversation's tokens and, if `mark`, which of them the assistant said.
    pub(super) fn conversation(
        &self,
        messages: &[Value],
        example: &Example,
        mark: bool,
    ) -> Result<(Vec<u32>, Vec<bool>), String> {
        let template = self.needed_template()?;
        let mut rendered = self.render(messages, example, false)?;
        if mark && !template.has_marks() {
            rendered.generated = self.replies(&rendered, messages, example)?;
        }
        let TokenRow { tokens, learned } = encode_rendered(&rendered, &self.tokenizer);
        Ok((tokens, learned))
    }

    /// The tokens of a conversation, up to where the assistant speaks next.
    pub(super) fn opening(
        &self,
        messages: &[Value],
        example: &Example,
    ) -> Result<Vec<u32>, String> {
        // Some templates refuse to render nothing.
        if messages.is_empty() {
            return Ok(Vec::new());
        }
        Ok(encode_rendered(&self.render(messages, example, true)?, &self.tokenizer).tokens)
    }

    /// The tokens of prompt and answer, how many are the prompt's, and which ones the assistant said.
    ///
    /// As in TRL, the answer begins where the tokens of the whole differ from those of the prompt with
    /// the beginning of a reply: templates may render the end of a prompt otherwise when it goes on.
    pub(super) fn reply(
        &self,
        prompt: &[Value],
        answer: &[Value],
        example: &Example,
        mark: bool,
    ) -> Result<(Vec<u32>, usize, Vec<bool>), String> {
        let opening = self.opening(prompt, example)?;
        let (tokens, said) = self.conversation(&[prompt, answer].concat(), example, mark)?;
        let n_prompt = opening.iter().zip(&tokens).take_while(|(a, b)| a == b).count();
        Ok((tokens, n_prompt, said))
    }

    fn needed_template(&self) -> Result<&ChatTemplate, String> {
        self.template.as_ref().ok_or_else(|| {
            "a conversation needs a chat template, and the model's folder holds none; name one: \
             `chatml`, `llama3` or `zephyr`"
                .to_owned()
        })
    }

    fn render(
        &self,
        messages: &[Value],
        example: &Example,
        add_generation_prompt: bool,
    ) -> Result<Rendered, String> {
        let conversation = Conversation {
            messages,
            tools: example.tools.as_ref(),
            add_generation_prompt,
            special_texts: &self.special_texts,
        };
        let rendered =
            self.needed_template()?.render_with(&conversation, &example.template_arguments);
        rendered.map_err(|error| error.to_string())
    }

    /// What the assistant said, where the template doesn't mark it: what each of its messages adds to
    /// the conversation before, behind the beginning of a reply. White space behind the special token
    /// that ends a message isn't said by anybody.
    ///
    /// # Errors
    /// A template under which a conversation doesn't begin with its parts.
    fn replies(
        &self,
        whole: &Rendered,
        messages: &[Value],
        example: &Example,
    ) -> Result<Vec<Range<usize>>, String> {
        let mut spans = Vec::new();
        for (number, message) in messages.iter().enumerate() {
            if message["role"] != "assistant" {
                continue;
            }
            let before = match number {
                0 => String::new(),
                _ => self.render(&messages[..number], example, true)?.text,
            };
            let upto = self.render(&messages[..=number], example, false)?.text;
            if !upto.starts_with(&before) || !whole.text.starts_with(&upto) {
                return Err(format!(
                    "the chat template has no `{{% generation %}}` marks and renders message {} \
                     otherwise once others follow, so what the assistant said can't be told; use a \
                     template with marks (`chatml`, `llama3` or `zephyr`), or learn `all` or \
                     `completion`",
                    number + 1
                ));
            }
            spans.push(before.len()..self.end(&upto));
        }
        Ok(spans)
    }

    fn end(&self, text: &str) -> usize {
        let trimmed = text.trim_end();
        let is_special =
            |special: &String| !special.is_empty() && trimmed.ends_with(special.as_str());
        if self.special_texts.iter().any(is_special) { trimmed.len() } else { text.len() }
    }
}
