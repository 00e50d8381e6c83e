//! What each model wrote, policies token by token.

use minijinja::{Value, context};

use crate::pipeline::{ModelReport, Shown, ShownToken};

/// Nats of KL at which a token's background grows darker.
const KL_STEPS: [f32; 5] = [0.02, 0.1, 0.3, 1.0, 3.0];
/// How many widths an underline has, upwards and downwards.
const VALUE_LEVELS: f32 = 3.0;

/// Prompt by prompt, what each model wrote.
pub(super) fn samples(models: &[ModelReport]) -> Vec<Value> {
    let n_samples = models.iter().map(|model| model.samples.len()).min().unwrap_or(0);
    let widest = widest(models);
    let rows = (0..n_samples).map(|sample| {
        let replies = models.iter().map(|model| reply(&model.name, &model.samples[sample], widest));
        context! {
            prompt => models[0].samples[sample].prompt,
            replies => replies.collect::<Vec<_>>(),
        }
    });
    rows.collect()
}

/// What the colours mean; `None` where nothing is coloured.
pub(super) fn legend(models: &[ModelReport]) -> Option<Value> {
    tokens_of(models).next()?;
    let mut steps = vec![format!("below {}", KL_STEPS[0])];
    steps.extend(KL_STEPS.windows(2).map(|step| format!("{} to {}", step[0], step[1])));
    steps.push(format!("from {}", KL_STEPS[KL_STEPS.len() - 1]));
    let widest = widest(models);
    let bounds = |level: f32| widest * (level - 0.5) / VALUE_LEVELS;
    let changes = (1..=VALUE_LEVELS as i32).map(|level| {
        context! { level, from => format!("{:.2}", bounds(level as f32)) }
    });
    let has_values = tokens_of(models).any(|token| token.value.is_some());
    Some(context! { steps, has_values, changes => changes.collect::<Vec<_>>() })
}

fn tokens_of(models: &[ModelReport]) -> impl Iterator<Item = &ShownToken> {
    models.iter().flat_map(|model| &model.samples).flat_map(|shown| &shown.tokens)
}

/// How far values are at most from what was expected before the reply.
fn widest(models: &[ModelReport]) -> f32 {
    let replies = models.iter().flat_map(|model| &model.samples);
    let changes = replies.flat_map(|shown| shown.tokens.iter().filter_map(|it| change(shown, it)));
    changes.map(f32::abs).fold(0.0, f32::max)
}

/// How a token's value differs from what was expected before the reply.
fn change(shown: &Shown, token: &ShownToken) -> Option<f32> {
    Some(token.value? - shown.tokens.first()?.value?)
}

fn reply(model: &str, shown: &Shown, widest: f32) -> Value {
    let score = shown.gold.or(shown.reward).map(|score| format!("{score:+.2}"));
    let last = shown.tokens.len().saturating_sub(1);
    let tokens = shown.tokens.iter().enumerate().map(|(place, it)| {
        let is_end = place == last && shown.finished;
        token(it, change(shown, it), widest, is_end)
    });
    context! {
        model,
        text => shown.reply,
        finished => shown.finished,
        score,
        tokens => tokens.collect::<Vec<_>>(),
        summary => summary(&shown.tokens),
        has_values => shown.tokens.iter().any(|it| it.value.is_some()),
    }
}

fn token(token: &ShownToken, change: Option<f32>, widest: f32, is_end: bool) -> Value {
    let mark = if is_end { "¶" } else { "·" };
    context! {
        // A character that isn't whole yet, or the end, can't be seen otherwise.
        mark => token.text.is_empty().then_some(mark),
        text => token.text,
        kl_level => kl_level(token.kl),
        value_level => change.map_or(0, |it| value_level(it, widest)),
        log_ratio => signed(token.log_ratio),
        kl => format!("{:.3}", token.kl.max(0.0)),
        value => token.value.map(signed),
    }
}

/// What is next to nothing has no sign.
fn signed(value: f32) -> String {
    if value.abs() < 0.0005 { "0.000".to_owned() } else { format!("{value:+.3}") }
}

fn kl_level(nats: f32) -> usize {
    KL_STEPS.iter().filter(|step| nats >= **step).count()
}

/// From −3 to 3.
fn value_level(change: f32, widest: f32) -> i32 {
    if widest > 0.0 { (VALUE_LEVELS * change / widest).round() as i32 } else { 0 }
}

/// What the colours say, in words.
fn summary(tokens: &[ShownToken]) -> Option<String> {
    let total: f32 = tokens.iter().map(|it| it.kl).sum();
    let (place, most) =
        tokens.iter().enumerate().max_by(|(_, one), (_, other)| one.kl.total_cmp(&other.kl))?;
    let text = match most.text.trim() {
        "" => String::new(),
        text => format!(", “{text}”"),
    };
    let mut words = format!(
        "KL {total:.2} nats, the largest {:.2} at token {} of {}{text}",
        most.kl,
        place + 1,
        tokens.len()
    );
    if let (Some(first), Some(last)) = (tokens.first()?.value, tokens.last()?.value) {
        words += &format!("; value {first:+.2} at first, {last:+.2} before the last token");
    }
    Some(words)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn token(text: &str, kl: f32, value: Option<f32>) -> ShownToken {
        ShownToken { text: text.into(), log_ratio: 0.0, kl, value }
    }

    #[test]
    fn colours_grow_with_what_they_show() {
        let levels = [0.0, 0.02, 0.5, 2.9, 3.0, 1e6].map(kl_level);
        assert_eq!(levels, [0, 1, 3, 4, 5, 5]);
        let levels = [-2.0, -0.3, 0.3, 1.0, 2.0].map(|change| value_level(change, 2.0));
        assert_eq!(levels, [-3, 0, 0, 2, 3]);
        assert_eq!(value_level(0.0, 0.0), 0);
        assert_eq!([-0.0004, -0.0006, 1.0].map(signed), ["0.000", "-0.001", "+1.000"]);
    }

    #[test]
    fn words_say_what_colours_do() {
        let tokens = [token(" Bleed", 0.25, Some(0.5)), token("", 1.5, Some(-1.0))];
        let words = summary(&tokens).expect("there are tokens");
        assert_eq!(
            words,
            "KL 1.75 nats, the largest 1.50 at token 2 of 2; value +0.50 at first, -1.00 before the last token"
        );
        let words = summary(&tokens[..1]).expect("there are tokens");
        assert!(words.contains("at token 1 of 1, “Bleed”"), "{words}");
        assert_eq!(summary(&[]), None);
    }
}
