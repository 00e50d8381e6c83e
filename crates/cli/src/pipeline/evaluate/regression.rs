//! What models answer to prompts with rules that every reply must keep.

use anyhow::Result;
use rein_data::example::Completion;
use rein_model::backend::LmAutodiffBackend;
use rein_model::sampling::Choice;
use rein_model::{CausalLm, Sampling};
use rein_reward::Reward;
use serde::{Deserialize, Serialize};

use super::Session;
use crate::http::HttpClient;
use crate::suite::{Case, Suite};

/// What a suite of prompts found out.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct RegressionReport {
    /// How many prompts it has.
    pub(crate) n_prompts: usize,
    /// How many each model passes.
    pub(crate) models: Vec<SuitePassed>,
    /// What the newest policy fails, and what it began with, or the fine-tuned model, passes.
    pub(crate) regressed: Vec<Regressed>,
}

/// How many prompts a model passes.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct SuitePassed {
    pub(crate) name: String,
    pub(crate) n_passed: usize,
    /// The names of the others.
    pub(crate) failed: Vec<String>,
}

/// A prompt that was passed before.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct Regressed {
    /// The prompt's name.
    pub(crate) name: String,
    pub(crate) prompt: String,
    /// What the newest policy says.
    pub(crate) reply: String,
    /// What is wrong with that.
    pub(crate) reasons: Vec<String>,
    /// Which models pass it.
    pub(crate) passed_by: Vec<String>,
}

/// What a model says to all prompts of the suite.
#[derive(Clone, Debug)]
pub(super) struct Answers {
    pub(super) name: String,
    replies: Vec<String>,
    /// What is wrong with each reply; nothing where it passes.
    faults: Vec<Vec<String>>,
}

impl<B: LmAutodiffBackend> Session<B> {
    /// Lets a model answer the suite, where there is one, always with the most probable token.
    pub(super) fn answer_suite(
        &self,
        name: &str,
        model: &CausalLm<B::InnerBackend>,
    ) -> Result<Option<Answers>> {
        let Some(suite) = &self.setup.suite else { return Ok(None) };
        let prompts = suite.cases.iter().map(|it| self.setup.prompt(&it.question));
        let prompts = prompts.collect::<Result<Vec<_>>>()?;
        let sampling =
            Sampling { choice: Choice::Greedy, epsilon: 0.0, ..self.evaluation_sampling() };
        let completions = self.sample_all(model, &prompts, &sampling)?;
        let faults = self.workers.from_first(|| suite.faults(&completions))?;
        let replies = completions.into_iter().map(|it| it.text).collect();
        Ok(Some(Answers { name: name.to_owned(), replies, faults }))
    }
}

impl Suite {
    fn faults(&self, completions: &[Completion]) -> Result<Vec<Vec<String>>> {
        self.cases.iter().zip(completions).map(|(case, it)| case.faults(it)).collect()
    }
}

impl Case {
    /// What is wrong with a reply, by each rule that it doesn't keep.
    fn faults(&self, completion: &Completion) -> Result<Vec<String>> {
        let client = HttpClient::shared();
        let mut faults = Vec::new();
        for demand in &self.demands {
            let verdicts =
                demand.rule.build(&client)?.verdicts(std::slice::from_ref(completion))?;
            let broken = verdicts.into_iter().filter(|it| it.score < demand.at_least);
            let name = demand.rule.name();
            faults.extend(broken.map(|it| match it.reason.is_empty() {
                true => format!("{name}: {}", it.score),
                false => format!("{name}: {}", it.reason),
            }));
        }
        Ok(faults)
    }
}

/// What came of a suite: `answers` by all models, the newest policy's last; those named `before` are what it shall not be
/// worse than.
pub(super) fn regression(
    suite: &Suite,
    answers: &[Answers],
    before: &[&str],
) -> Option<RegressionReport> {
    let newest = answers.last()?;
    let regressed = suite.cases.iter().enumerate().filter_map(|(place, case)| {
        let passes = |it: &&Answers| before.contains(&&*it.name) && it.faults[place].is_empty();
        let passed_by: Vec<String> =
            answers.iter().filter(passes).map(|it| it.name.clone()).collect();
        let is_worse = !newest.faults[place].is_empty() && !passed_by.is_empty();
        is_worse.then(|| Regressed {
            name: case.name.clone(),
            prompt: case.question.text.clone(),
            reply: newest.replies[place].clone(),
            reasons: newest.faults[place].clone(),
            passed_by,
        })
    });
    Some(RegressionReport {
        n_prompts: suite.cases.len(),
        models: answers.iter().map(|it| it.passed(suite)).collect(),
        regressed: regressed.collect(),
    })
}

impl Answers {
    fn passed(&self, suite: &Suite) -> SuitePassed {
        let failed = suite.cases.iter().zip(&self.faults).filter(|(_, it)| !it.is_empty());
        let failed: Vec<String> = failed.map(|(case, _)| case.name.clone()).collect();
        SuitePassed { name: self.name.clone(), n_passed: suite.cases.len() - failed.len(), failed }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::suite::Demand;
    use crate::world::Question;

    fn case(name: &str, rules: &str) -> Case {
        let demands: Vec<Demand> = serde_json::from_str::<Vec<_>>(rules)
            .expect("is JSON")
            .into_iter()
            .map(|keys| Demand::read(keys).expect("is a demand"))
            .collect();
        Case { name: name.into(), question: Question::of_text("Hi?"), demands }
    }

    fn answers(suite: &Suite, name: &str, replies: [&str; 2]) -> Answers {
        let completion = |text: &str| Completion { text: text.into(), ..Completion::default() };
        let faults = suite.faults(&replies.map(completion)).expect("rules judge");
        Answers { name: name.into(), replies: replies.map(String::from).into(), faults }
    }

    #[test]
    fn what_was_passed_and_no_longer_is_is_told_with_its_reasons() {
        let suite = Suite {
            cases: vec![
                case(
                    "kind",
                    r#"[{"kind": "regex", "must_match": ["glad"]}, {"kind": "length", "max": 3}]"#,
                ),
                case("brief", r#"[{"kind": "length", "max": 2, "at_least": -0.1}]"#),
            ],
        };
        let before = answers(&suite, "before", ["glad", "one two three four"]);
        let tuned = answers(&suite, "SFT", ["so glad", "one two three"]);
        let newest = answers(&suite, "PPO", ["so sad it is", "one two three four"]);
        let told = regression(&suite, &[before, tuned, newest], &["SFT"]).expect("has answers");
        let passed: Vec<usize> = told.models.iter().map(|it| it.n_passed).collect();
        assert_eq!(passed, [1, 2, 0]);
        assert_eq!(told.models[0].failed, ["brief"]);
        let names: Vec<&str> = told.regressed.iter().map(|it| it.name.as_str()).collect();
        assert_eq!(names, ["kind", "brief"]);
        assert_eq!(
            told.regressed[0].reasons,
            ["regex: `glad` matches nowhere", "length: 4 of at most 3 words"]
        );
        assert_eq!(told.regressed[0].passed_by, ["SFT"], "only what it is compared with");
    }
}
