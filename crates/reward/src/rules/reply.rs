//! What programs and endpoints are asked, and how their answers are read.

use rein_data::example::Completion;
use serde_json::{Map, Value, json};

use super::Fault;
use super::fault::shortened;
use crate::Verdict;

/// A completion as others read it: `prompt`, `completion`, `finished` and `columns`.
///
/// # Errors
/// A column that the prompt's row doesn't have.
pub(super) fn question(completion: &Completion, columns: &[String]) -> Result<Value, Fault> {
    let column = |name: &String| {
        let value = completion.columns.get(name).ok_or_else(|| Fault::NoColumn(name.clone()))?;
        Ok((name.clone(), value.clone()))
    };
    let columns = columns.iter().map(column).collect::<Result<Map<_, _>, Fault>>()?;
    let Completion { prompt, text, finished, .. } = completion;
    Ok(json!({ "prompt": prompt, "completion": text, "finished": finished, "columns": columns }))
}

/// Asks about those completions that can be asked about, and gives an answer or a fault to each of all.
pub(super) fn ask_all(
    completions: &[Completion],
    columns: &[String],
    ask: impl FnOnce(&[Value]) -> Result<Vec<Result<Verdict, Fault>>, Fault>,
) -> Vec<Result<Verdict, Fault>> {
    let questions: Vec<Result<Value, Fault>> =
        completions.iter().map(|it| question(it, columns)).collect();
    let asked: Vec<Value> = questions.iter().filter_map(|it| it.as_ref().ok().cloned()).collect();
    if asked.is_empty() {
        return questions
            .into_iter()
            .map(|it| it.map(|_| unreachable!("none was asked")))
            .collect();
    }
    let answers = ask(&asked).and_then(|answers| counted(answers, asked.len()));
    let mut answers = match answers {
        Ok(answers) => answers.into_iter(),
        Err(fault) => vec![Err(fault); asked.len()].into_iter(),
    };
    let answer = |question: Result<Value, Fault>| {
        question.and_then(|_| answers.next().expect("as many as were asked"))
    };
    questions.into_iter().map(answer).collect()
}

fn counted<T>(answers: Vec<T>, wanted: usize) -> Result<Vec<T>, Fault> {
    let found = answers.len();
    if found == wanted { Ok(answers) } else { Err(Fault::Count { found, wanted }) }
}

/// A line that is a number, or an object with a `score` and perhaps a `reason`.
pub(super) fn line(text: &str) -> Result<Verdict, Fault> {
    if let Ok(score) = text.trim().parse() {
        return verdict_of(score, "");
    }
    serde_json::from_str(text).map_err(|_| garbage(text)).and_then(|it| verdict(&it))
}

/// A number, or an object with a `score` and perhaps a `reason`.
pub(super) fn verdict(value: &Value) -> Result<Verdict, Fault> {
    let (score, reason) = match value {
        Value::Object(object) => (object.get("score"), object.get("reason")),
        other => (Some(other), None),
    };
    let score = score.and_then(Value::as_f64).ok_or_else(|| garbage(&value.to_string()))?;
    verdict_of(score, reason.and_then(Value::as_str).unwrap_or_default())
}

fn verdict_of(score: f64, reason: &str) -> Result<Verdict, Fault> {
    let verdict = Verdict::new(score, reason);
    if verdict.score.is_finite() { Ok(verdict) } else { Err(Fault::NotFinite(score)) }
}

fn garbage(text: &str) -> Fault {
    let text = shortened(text);
    Fault::Garbage(format!(
        "{text:?} is no score; a number or {{\"score\": 1.0, \"reason\": \"…\"}} was asked for"
    ))
}
