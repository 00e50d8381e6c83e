//! A row as the rules read it.

use std::borrow::Cow;

use rein_data::example::{Body, Content, Example};
use serde_json::Value;
use sha2::{Digest as _, Sha256};

use super::text::{folded, text_of};

/// The column that says who judged a row.
const ANNOTATOR: &str = "annotator";
/// Probabilities are compared in millionths.
const CERTAIN: i64 = 1_000_000;
const HALF: i64 = CERTAIN / 2;

/// SHA-256 of some texts.
pub(super) type Digest = [u8; 32];

/// A row's texts and what it says of them.
pub(super) struct Reading<'a> {
    pub(super) example: &'a Example,
    pub(super) prompt: Cow<'a, str>,
    /// The prompt, folded.
    pub(super) folded_prompt: String,
    pub(super) responses: Vec<Response<'a>>,
}

/// A response and what is said of it.
pub(super) struct Response<'a> {
    /// How reasons call it.
    pub(super) name: Cow<'static, str>,
    pub(super) text: Cow<'a, str>,
    pub(super) folded: String,
    /// The verdict: of pairs the probability in millionths, of rankings the place among the places taken, of labels 0
    /// or 1, of grades their bits.
    pub(super) worth: i64,
}

impl<'a> Reading<'a> {
    pub(super) fn of(example: &'a Example) -> Self {
        let prompt = match &example.body {
            Body::LanguageModeling(text) => text_of(text),
            body => body.prompt().map_or(Cow::Borrowed(""), text_of),
        };
        let folded_prompt = folded(&prompt);
        Self { example, prompt, folded_prompt, responses: responses(&example.body) }
    }

    /// What is judged: the same in all judgements of the same responses to the same prompt.
    pub(super) fn thing(&self) -> Digest {
        let mut texts: Vec<&str> = self.responses.iter().map(|it| it.folded.as_str()).collect();
        texts.sort_unstable();
        let context = self.context();
        digest([kind(&self.example.body), &context, &self.folded_prompt].into_iter().chain(texts))
    }

    /// The whole judgement: the same only if verdict and annotator are, too.
    pub(super) fn judgement(&self) -> Digest {
        let mut said: Vec<(&str, i64)> =
            self.responses.iter().map(|it| (it.folded.as_str(), it.worth)).collect();
        said.sort_unstable();
        let verdict: String = said.iter().map(|(_, worth)| format!("{worth},")).collect();
        let texts = said.iter().map(|(text, _)| *text);
        let fixed = [self.circumstances(), verdict, self.folded_prompt.clone()];
        digest(fixed.iter().map(String::as_str).chain(texts))
    }

    /// What has to be the same in a judgement of almost the same texts.
    pub(super) fn circumstances(&self) -> String {
        let margin = match &self.example.body {
            Body::Preference { margin, .. } => margin.map(f32::to_bits),
            _ => None,
        };
        let annotator = self.example.extra.get(ANNOTATOR).filter(|it| !it.is_null());
        format!("{}|{margin:?}|{annotator:?}|{}", kind(&self.example.body), self.context())
    }

    /// What is said of the thing, the responses in the order of their texts. Nothing by pairs of which none is better.
    pub(super) fn verdict(&self) -> Option<Vec<i64>> {
        let is_pair = matches!(self.example.body, Body::Preference { .. });
        let leaning = |worth: i64| if is_pair { (worth - HALF).signum() } else { worth };
        let mut said: Vec<(&str, i64)> =
            self.responses.iter().map(|it| (it.folded.as_str(), leaning(it.worth))).collect();
        said.sort_unstable();
        let verdict: Vec<i64> = said.into_iter().map(|(_, worth)| worth).collect();
        (!is_pair || verdict.iter().any(|it| *it != 0)).then_some(verdict)
    }

    /// Of a pair, the better response and the other; none where none is better.
    pub(super) fn better_and_worse(&self) -> Option<[&Response<'a>; 2]> {
        let (Body::Preference { .. }, [chosen, rejected]) =
            (&self.example.body, &self.responses[..])
        else {
            return None;
        };
        match chosen.worth.cmp(&HALF) {
            std::cmp::Ordering::Greater => Some([chosen, rejected]),
            std::cmp::Ordering::Less => Some([rejected, chosen]),
            std::cmp::Ordering::Equal => None,
        }
    }

    /// What the model is given besides the prompt.
    fn context(&self) -> String {
        let Example { tools, template_arguments, .. } = self.example;
        let tools = tools.as_ref().map(Value::to_string).unwrap_or_default();
        if template_arguments.is_empty() {
            return tools;
        }
        format!("{tools}{}", Value::Object(template_arguments.clone()))
    }
}

/// How probable it is that a pair's chosen response is preferred.
pub(super) fn probability(chosen_probability: Option<f32>) -> f64 {
    chosen_probability.filter(|it| !it.is_nan()).map_or(1.0, |it| f64::from(it).clamp(0.0, 1.0))
}

/// SHA-256 of texts, each preceded by its length.
pub(super) fn digest<'a>(texts: impl IntoIterator<Item = &'a str>) -> Digest {
    let mut hash = Sha256::new();
    for text in texts {
        hash.update((text.len() as u64).to_le_bytes());
        hash.update(text);
    }
    hash.finalize().into()
}

fn responses(body: &Body) -> Vec<Response<'_>> {
    match body {
        Body::LanguageModeling(_) | Body::PromptOnly(_) => Vec::new(),
        Body::PromptCompletion { completion, .. } => vec![response("completion", completion, 0)],
        Body::Preference { chosen, rejected, chosen_probability, .. } => {
            let worth = (probability(*chosen_probability) * CERTAIN as f64).round() as i64;
            vec![response("chosen", chosen, worth), response("rejected", rejected, CERTAIN - worth)]
        }
        Body::UnpairedPreference { completion, label, .. } => {
            vec![response("completion", completion, i64::from(*label))]
        }
        Body::Scored { completion, score, .. } => {
            vec![response("completion", completion, i64::from(score.to_bits()))]
        }
        Body::Ranking { completions, ranks, .. } => ranked(completions, ranks),
    }
}

fn ranked<'a>(completions: &'a [Content], ranks: &[u32]) -> Vec<Response<'a>> {
    let mut places = ranks.to_vec();
    places.sort_unstable();
    places.dedup();
    let ranked = completions.iter().zip(ranks).enumerate().map(|(number, (completion, rank))| {
        let place = places.partition_point(|it| it < rank);
        response(format!("completion {}", number + 1), completion, place as i64)
    });
    ranked.collect()
}

fn response(name: impl Into<Cow<'static, str>>, content: &Content, worth: i64) -> Response<'_> {
    let text = text_of(content);
    let folded = folded(&text);
    Response { name: name.into(), text, folded, worth }
}

fn kind(body: &Body) -> &'static str {
    match body {
        Body::LanguageModeling(_) => "text",
        Body::PromptOnly(_) => "prompt",
        Body::PromptCompletion { .. } => "completion",
        Body::Preference { .. } => "pair",
        Body::UnpairedPreference { .. } => "label",
        Body::Ranking { .. } => "ranking",
        Body::Scored { .. } => "grade",
    }
}
