//! Chat templates: conversations become text.
//!
//! A template is a program that came with a checkpoint, so it is trusted with nothing: it reaches no
//! file and nothing of the machine, and its steps, its recursion, the text it gives and the memory it
//! may fill are limited. Within that it gives what transformers gives: whitespace around
//! blocks, `tojson` and the methods of strings are Python's, and `{% generation %}` marks what an
//! assistant said.

mod marks;
mod operators;
mod python;
mod sandbox;

use std::ops::Range;

use self::marks::Marks;
use crate::DataError;
use minijinja::context;
use serde_json::{Map, Value, json};

/// `<|im_start|>role … <|im_end|>`, as Qwen and many others have it.
pub const CHATML: &str = "\
{%- for message in messages -%}
{{- '<|im_start|>' + message.role + '\\n' -}}
{%- if message.role == 'assistant' -%}
{% generation %}{{- message.content + '<|im_end|>' -}}{% endgeneration %}
{%- else -%}
{{- message.content + '<|im_end|>' -}}
{%- endif -%}
{{- '\\n' -}}
{%- endfor -%}
{%- if add_generation_prompt -%}{{- '<|im_start|>assistant\\n' -}}{%- endif -%}
";

/// `<|start_header_id|>role<|end_header_id|> … <|eot_id|>`, as Llama 3 has it.
pub const LLAMA3: &str = "\
{{- bos_token -}}
{%- for message in messages -%}
{{- '<|start_header_id|>' + message.role + '<|end_header_id|>\\n\\n' -}}
{%- if message.role == 'assistant' -%}
{% generation %}{{- message.content | trim + '<|eot_id|>' -}}{% endgeneration %}
{%- else -%}
{{- message.content | trim + '<|eot_id|>' -}}
{%- endif -%}
{%- endfor -%}
{%- if add_generation_prompt -%}{{- '<|start_header_id|>assistant<|end_header_id|>\\n\\n' -}}{%- endif -%}
";

/// `<|role|> … </s>`, as Zephyr has it.
pub const ZEPHYR: &str = "\
{%- for message in messages -%}
{{- '<|' + message.role + '|>\\n' -}}
{%- if message.role == 'assistant' -%}
{% generation %}{{- message.content + eos_token -}}{% endgeneration %}
{%- else -%}
{{- message.content + eos_token -}}
{%- endif -%}
{{- '\\n' -}}
{%- endfor -%}
{%- if add_generation_prompt -%}{{- '<|assistant|>\\n' -}}{%- endif -%}
";

/// Larger templates are refused; those of models have a few kilobytes.
const MAX_SOURCE_BYTES: usize = 64 << 10;

/// The built-in template with this name: `chatml`, `llama3` or `zephyr`.
pub fn built_in(name: &str) -> Option<&'static str> {
    let templates = [("chatml", CHATML), ("llama3", LLAMA3), ("zephyr", ZEPHYR)];
    templates.into_iter().find(|(it, _)| *it == name).map(|(_, template)| template)
}

/// A template that was read and found safe to run.
#[derive(Clone, Debug)]
pub struct ChatTemplate {
    source: String,
    bos: String,
    eos: String,
}

/// What shall be rendered.
#[derive(Clone, Copy, Debug)]
pub struct Conversation<'a> {
    /// Objects with `role` and `content`, and whatever else the template asks for.
    pub messages: &'a [Value],
    /// The tools that the model may call.
    pub tools: Option<&'a Value>,
    /// Whether the text ends with the beginning of an answer.
    pub add_generation_prompt: bool,
    /// Texts of special tokens: where one stands inside a message, it is remembered as plain text.
    pub special_texts: &'a [String],
}

/// A conversation as text.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rendered {
    /// The text.
    pub text: String,
    /// The bytes that stand inside `{% generation %}` marks: what an assistant said.
    pub generated: Vec<Range<usize>>,
    /// Places within texts that look like special tokens and came from a message.
    pub plain: Vec<usize>,
}

impl ChatTemplate {
    /// Reads a template; `bos` and `eos` are the texts of the special tokens that it may use.
    ///
    /// # Errors
    /// Wrong syntax, or a size or nesting that no honest template has.
    pub fn new(source: &str, bos: &str, eos: &str) -> Result<Self, DataError> {
        if source.len() > MAX_SOURCE_BYTES {
            return Err(refusal(format!(
                "{} bytes; at most {MAX_SOURCE_BYTES} are read",
                source.len()
            )));
        }
        let source = operators::guard(&marks_as_blocks(source)).map_err(refusal)?;
        Ok(Self { source, bos: bos.to_owned(), eos: eos.to_owned() })
    }

    /// Whether it has `{% generation %}` marks, which say what an assistant said.
    pub fn has_marks(&self) -> bool {
        self.source.contains("_generation_begins")
    }

    /// Renders a conversation.
    ///
    /// # Errors
    /// What the template itself refuses (`raise_exception`), what it does wrong, and limits that it
    /// runs into.
    pub fn render(&self, conversation: &Conversation<'_>) -> Result<Rendered, DataError> {
        self.render_with(conversation, &Map::new())
    }

    /// Renders a conversation; the template may ask for `arguments` (TRL: `chat_template_kwargs`), too.
    pub fn render_with(
        &self,
        conversation: &Conversation<'_>,
        arguments: &Map<String, Value>,
    ) -> Result<Rendered, DataError> {
        let Conversation { messages, tools, special_texts, .. } = conversation;
        let input = json!([messages, tools, arguments]).to_string();
        let marks = Marks::new(&input);
        let mut arguments = Value::Object(arguments.clone());
        marks.guard(&mut arguments, special_texts);
        let mut messages = messages.to_vec();
        messages.iter_mut().for_each(|it| marks.guard(it, special_texts));
        let tools = tools.cloned().map(|mut tools| {
            marks.guard(&mut tools, special_texts);
            tools
        });
        let context = context! {
            messages => minijinja::Value::from_serialize(&messages),
            tools => minijinja::Value::from_serialize(&tools),
            add_generation_prompt => conversation.add_generation_prompt,
            bos_token => self.bos,
            eos_token => self.eos,
            _generation_begins => marks.begin,
            _generation_ends => marks.end,
            ..minijinja::Value::from_serialize(&arguments)
        };
        let n_input = input.len() + self.source.len();
        let text = sandbox::render(&self.source, context, n_input).map_err(refusal)?;
        Ok(marks.take_out(&text))
    }
}

fn refusal(reason: String) -> DataError {
    DataError::Invalid(format!("chat template: {reason}"))
}

/// `{% generation %}` isn't of Jinja. It becomes a block that prints a mark, so that whitespace around
/// it is treated as around any block.
fn marks_as_blocks(source: &str) -> String {
    let mut text = String::with_capacity(source.len());
    let mut rest = source;
    while let Some(begin) = rest.find("{%") {
        let Some(length) = rest[begin + 2..].find("%}") else { break };
        let (before, tag) = (&rest[..begin], &rest[begin..begin + length + 4]);
        rest = &rest[begin + length + 4..];
        text.push_str(before);
        let inner = &tag[2..tag.len() - 2];
        let name = inner.trim_start_matches(['-', '+']).trim_end_matches(['-', '+']);
        let printed = match name.trim() {
            "generation" => "_generation_begins",
            "endgeneration" => "_generation_ends",
            _ => {
                text.push_str(tag);
                continue;
            }
        };
        let at = inner.find(name).expect("is a part of it");
        let (left, right) = (&inner[..at], &inner[at + name.len()..]);
        text.push_str(&format!("{{%{left} if true %}}{{{{ {printed} }}}}{{% endif {right}%}}"));
    }
    text.push_str(rest);
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    fn render(template: &str) -> Result<Rendered, String> {
        let messages = [
            json!({"role": "user", "content": "Hi"}),
            json!({"role": "assistant", "content": " Yes? "}),
        ];
        let conversation = Conversation {
            messages: &messages,
            tools: None,
            add_generation_prompt: true,
            special_texts: &[],
        };
        ChatTemplate::new(template, "<s>", "</s>")
            .and_then(|template| template.render(&conversation))
            .map_err(|error| error.to_string())
    }

    #[test]
    fn half_a_block_is_no_block() {
        for template in ["{%}", "{%", "{% generation", "{%}{% generation %}", "{%-%}"] {
            assert!(render(template).is_err(), "{template}");
        }
    }

    #[test]
    fn the_built_in_ones_mark_what_the_assistant_said() {
        for (template, text, said) in [
            (
                CHATML,
                "<|im_start|>user\nHi<|im_end|>\n<|im_start|>assistant\n Yes? <|im_end|>\n\
                 <|im_start|>assistant\n",
                " Yes? <|im_end|>",
            ),
            (
                LLAMA3,
                "<s><|start_header_id|>user<|end_header_id|>\n\nHi<|eot_id|>\
                 <|start_header_id|>assistant<|end_header_id|>\n\nYes?<|eot_id|>\
                 <|start_header_id|>assistant<|end_header_id|>\n\n",
                "Yes?<|eot_id|>",
            ),
            (ZEPHYR, "<|user|>\nHi</s>\n<|assistant|>\n Yes? </s>\n<|assistant|>\n", " Yes? </s>"),
        ] {
            let rendered = render(template).expect("renders");
            assert_eq!(rendered.text, text);
            let marked: Vec<&str> =
                rendered.generated.iter().map(|span| &rendered.text[span.clone()]).collect();
            assert_eq!(marked, [said]);
        }
    }

    #[test]
    fn python_is_spoken() {
        for (template, text) in [
            (
                "{{ none }} {{ true }} {{ 1.5 }} {{ ['a', \"it's\", none] }}",
                "None True 1.5 ['a', \"it's\", None]",
            ),
            ("{{ {'a': [1, true], 'b': '<é>'} | tojson }}", "{\"a\": [1, true], \"b\": \"<é>\"}"),
            ("{{ 'a b'.split()[1].upper() + 'x' * 2 }}", "Bxx"),
            ("{{ 1 + 2 * 3 - 1 }} {{ [1] + [2] }}", "6 [1, 2]"),
            (
                "{% for m in messages %}\n  {% if loop.first %}\n{{ m.role }}\n  {% endif %}\n{% endfor %}",
                "user\n",
            ),
            ("{{ messages[1:] | length }}{{ (messages[0].content ~ '!')[::-1] }}", "1!iH"),
            ("{{ messages[1:][0].content[:4].strip() + 'ab'[1:] ~ ( ('c' + 'd') )[:1] }}", "Yesbc"),
            (
                "{% for m in messages[:1] %}{{ m['role'][1:] }}{% endfor %}{{ ('(' ~ ')')[1:] }}",
                "ser)",
            ),
            ("{{ 'x' if 'ab'[:1] == 'a' and 'ab'[1:] is string else 'y' }}", "x"),
            ("{{ ('a' ~ 'b')[1:] + 'c' }}{{ ((messages))[1:][0].role[:1] + 'z' * 2 }}", "bcazz"),
            ("{% set a = [1, 2, 3][1:] %}{{ a | length + 1 }}{{ range(5)[2:] | first }}", "32"),
        ] {
            assert_eq!(render(template).map(|it| it.text), Ok(text.to_owned()), "{template}");
        }
    }

    #[test]
    fn what_the_template_refuses_is_told() {
        let error = render("{{ raise_exception('no tools, please') }}").expect_err("is refused");
        assert_eq!(error, "chat template: no tools, please");
        let error = render("{% for m in messages %}").expect_err("is refused");
        assert!(error.starts_with("chat template: syntax error"), "{error}");
    }

    /// Templates that want too much, each in another way.
    #[test]
    fn limits_hold() {
        let grow = |step: &str| {
            format!(
                "{{% set ns = namespace(s='ab\\\\', l=[]) %}}{{% for i in range(2000) %}}{step}{{% endfor %}}{{{{ ns.s }}}}"
            )
        };
        let nested = format!("{}1{}", "(".repeat(5000), ")".repeat(5000));
        let templates = [
            grow("{% set ns.s = ns.s ~ ns.s %}"),
            grow("{% set ns.s = ns.s + ns.s %}"),
            grow("{% set ns.s = [ns.s, ns.s] | join %}"),
            grow("{% set ns.s = ns.s | replace('a', 'aa') %}"),
            grow("{% set ns.s = ns.s.replace('a', 'aa') %}"),
            grow("{% set ns.s = ns.s | tojson %}"),
            grow("{% set ns.s = ns.s * 2 %}"),
            grow("{% set ns.s %}{{ ns.s }}{{ ns.s }}{% endset %}"),
            grow("{% set ns.s = [ns.s, ns.s] | string %}"),
            grow("{% set ns.l = ns.l + ns.l + [1] %}"),
            grow("{% set ns.l = [ns.l, range(90000) | list] %}"),
            grow("{% set ns.l = [ns.l, ('x' * 60000) | upper] %}"),
            grow("{{ 'x' * 60000 }}"),
            format!("{{{{ {nested} }}}}"),
            format!("{{{{ {}1 }}}}", "not ".repeat(5000)),
            format!("{{{{ 1{} }}}}", " + 1".repeat(5000)),
            "{% macro f() %}{{ f() }}{% endmacro %}{{ f() }}".into(),
            format!("{{% set s = 'x' * 60000 %}}{{{{ [{}] | length }}}}", "s[1:],".repeat(2000)),
            "{{ 'x' | indent(1000000000) }}".into(),
        ];
        for template in templates {
            let error = render(&template).map(|it| it.text.len()).expect_err(&template);
            assert!(error.starts_with("chat template: "), "{error}");
        }
    }
}
