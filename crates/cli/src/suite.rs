//! Prompts with rules that every reply to them must keep: `evaluate.regression`.

use std::path::Path;

use anyhow::{Result, bail, ensure};
use rein_data::example::Columns;
use rein_data::schema::{Examples, Located, Schema};
use rein_reward::RuleSource;
use serde_json::{Map, Value};

use crate::config::JudgeSource;
use crate::files::question;
use crate::world::Question;

/// All prompts of a file.
#[derive(Clone, Debug)]
pub(crate) struct Suite {
    pub(crate) cases: Vec<Case>,
}

/// A prompt, and what a reply to it must keep.
#[derive(Clone, Debug)]
pub(crate) struct Case {
    /// What reports call it: its `name`, or its line.
    pub(crate) name: String,
    pub(crate) question: Question,
    pub(crate) demands: Vec<Demand>,
}

/// A rule, and the score that is good enough.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Demand {
    pub(crate) rule: RuleSource,
    pub(crate) at_least: f32,
}

impl Suite {
    /// Reads a file; `check` says what else is wrong with a prompt.
    pub(crate) fn read(path: &Path, check: impl Fn(&Question) -> Result<()>) -> Result<Self> {
        let mut cases: Vec<Case> = Vec::new();
        for located in Examples::open(path, Some(Schema::PromptOnly))? {
            let located = located?;
            let case = case(&located).map_err(|reason| located.refuse(reason))?;
            check(&case.question).map_err(|error| located.refuse(format!("{error:#}")))?;
            if cases.iter().any(|it| it.name == case.name) {
                let reason = format!("another prompt is called {:?}, too", case.name);
                return Err(located.refuse(reason).into());
            }
            cases.push(case);
        }
        Ok(Self { cases })
    }
}

fn case(located: &Located) -> Result<Case, String> {
    let mut rest = located.example.extra.clone();
    let name = match rest.remove("name") {
        None | Some(Value::Null) => located.place.to_string(),
        Some(Value::String(name)) => name,
        Some(_) => return Err("`name` must be a text".into()),
    };
    let demands =
        match rest.remove("rules") {
            Some(Value::Array(rules)) if !rules.is_empty() => rules.into_iter().enumerate(),
            _ => return Err(
                "`rules` must be a list of rules, as in `[{\"kind\": \"length\", \"max\": 20}]`"
                    .into(),
            ),
        };
    let demand = |(place, keys): (usize, Value)| {
        Demand::read(keys).map_err(|reason| format!("`rules[{place}]`: {reason}"))
    };
    let demands: Vec<Demand> = demands.map(demand).collect::<Result<_, _>>()?;
    check_columns(&demands, &rest)?;
    let asked = question(located.example.clone()).ok_or("`prompt` is empty")?.0;
    Ok(Case { name, question: Question { columns: Columns::from(rest), ..asked }, demands })
}

/// What else a line says is what rules read, no more and no less.
fn check_columns(demands: &[Demand], rest: &Map<String, Value>) -> Result<(), String> {
    let reads =
        |name: &str| demands.iter().any(|it| it.rule.rule.columns().iter().any(|c| c == name));
    if let Some(name) = rest.keys().find(|name| !reads(name)) {
        return Err(format!(
            "unknown key `{name}`; a line has `prompt`, `rules`, perhaps `name`, and what rules read"
        ));
    }
    let read = demands.iter().flat_map(|it| it.rule.rule.columns().iter().map(move |c| (it, c)));
    let mut missing = read.filter(|(_, name)| rest.get(*name).is_none_or(Value::is_null));
    missing.next().map_or(Ok(()), |(demand, name)| {
        Err(format!("has no column `{name}`, which the rule `{}` reads", demand.rule.name()))
    })
}

impl Demand {
    /// A table as `[[rl.rewards]]` have them, with `at_least`.
    pub(crate) fn read(keys: Value) -> Result<Self, String> {
        let Value::Object(mut keys) = keys else {
            return Err("a rule is a table with a `kind`".into());
        };
        let at_least = match keys.remove("at_least") {
            None => None,
            Some(value) => Some(value.as_f64().ok_or("`at_least` must be a number")? as f32),
        };
        let source = serde_json::from_value(Value::Object(keys)).map_err(|it| it.to_string())?;
        let JudgeSource::Rule(rule) = source else {
            return Err("\"model\" is no rule; name it among `evaluate.judges`".into());
        };
        let problems = rule.problems("rule");
        if !problems.is_empty() {
            return Err(problems.join("; "));
        }
        let at_least = at_least.or(rule.rule.best()).ok_or_else(|| {
            format!(
                "`at_least` is missing: what scores does \"{}\" give to good replies?",
                rule.name()
            )
        })?;
        Ok(Self { rule, at_least })
    }
}

/// Refuses a prompt that the run's models can't answer.
pub(crate) fn check_prompt(n_tokens: usize, room: usize) -> Result<()> {
    ensure!(n_tokens > 0, "the prompt has no tokens");
    if n_tokens > room {
        bail!(
            "the prompt has {n_tokens} tokens, but there is room for {room} beside `rl.max_new_tokens`"
        );
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    fn read(lines: &str) -> Result<Suite, String> {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let path = folder.path().join("suite.jsonl");
        fs::write(&path, lines).expect("writes");
        let told = Suite::read(&path, |it| check_prompt(it.text.len(), 9));
        told.map_err(|error| {
            format!("{error:#}").replace(&path.display().to_string(), "suite.jsonl")
        })
    }

    #[test]
    fn a_line_is_a_prompt_with_rules() {
        let suite = read(
            "{\"prompt\": \"1 + 2?\", \"answer\": 3, \"rules\": [{\"kind\": \"numeric_answer\"}, \
             {\"kind\": \"length\", \"max\": 3, \"at_least\": -0.5}]}\n\
             {\"name\": \"kind\", \"prompt\": \"Hi\", \"rules\": [{\"kind\": \"repetition\"}]}\n",
        )
        .expect("reads");
        let names: Vec<&str> = suite.cases.iter().map(|it| it.name.as_str()).collect();
        assert_eq!(names, ["line 1", "kind"]);
        let at_least = |case: usize| -> Vec<f32> {
            suite.cases[case].demands.iter().map(|it| it.at_least).collect()
        };
        assert_eq!([at_least(0), at_least(1)], [vec![1.0, -0.5], vec![0.0]]);
        assert_eq!(suite.cases[0].question.columns.get("answer"), Some(&Value::from(3)));
    }

    #[test]
    fn what_is_wrong_with_a_line_is_told_with_its_number() {
        let good = "{\"name\": \"a\", \"prompt\": \"Hi\", \"rules\": [{\"kind\": \"length\", \"max\": 3}]}\n";
        let told = |line: &str| read(&format!("{good}{line}\n")).expect_err("is refused");
        let cases = [
            ("{\"prompt\": \"Hi\"}", "suite.jsonl:2: `rules` must be a list of rules"),
            ("{\"prompt\": \"Hi\", \"rules\": []}", "`rules` must be a list of rules"),
            ("{\"prompt\": \"Hi\", \"rules\": [3]}", "`rules[0]`: a rule is a table with a `kind`"),
            (
                "{\"prompt\": \"Hi\", \"rules\": [{\"kind\": \"gold\"}]}",
                "\"gold\" can't be a judge",
            ),
            (
                "{\"prompt\": \"Hi\", \"rules\": [{\"kind\": \"regex\", \"must_match\": [\"(\"]}]}",
                "suite.jsonl:2: `rules[0]`: `rule.must_match` holds no rule",
            ),
            (
                "{\"prompt\": \"Hi\", \"rules\": [{\"kind\": \"command\", \"command\": [\"judge\"]}]}",
                "`at_least` is missing",
            ),
            (
                "{\"prompt\": \"Hi\", \"rules\": [{\"kind\": \"numeric_answer\"}]}",
                "has no column `answer`, which the rule `numeric_answer` reads",
            ),
            (
                "{\"prompt\": \"Hi\", \"must\": 1, \"rules\": [{\"kind\": \"length\", \"max\": 3}]}",
                "unknown key `must`",
            ),
            (good.trim_end(), "another prompt is called \"a\", too"),
            (
                "{\"prompt\": \"Hi, hi, hi\", \"rules\": [{\"kind\": \"length\", \"max\": 3}]}",
                "suite.jsonl:2: the prompt has 10 tokens, but there is room for 9",
            ),
            ("{\"prompt\": 3}", "suite.jsonl:2: "),
            ("{\"prompt\": ", "suite.jsonl:2: "),
        ];
        for (line, reason) in cases {
            let told = told(line);
            assert!(told.contains(reason), "{line}: {told}");
        }
        assert!(read("").expect_err("is refused").contains("holds no rows"));
    }
}
